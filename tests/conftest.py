"""What several test files share: the toy models, and one service that serves them."""

from collections.abc import Iterator
from pathlib import Path

import live
import pytest
import toys


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy models as a repository, never written to."""
    return toys.repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service with the toy models: control, a front end and three engines."""
    with live.serving(
        repository, tmp_path_factory.mktemp("service"), max_body_bytes="300000"
    ) as service:
        yield service.said
