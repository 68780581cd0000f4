"""Control with a model in three versions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import versions as variants
from controlled import Service, serving


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """toy-text 1 to 3, of which 1 is the champion; state/ lies beside."""
    root = tmp_path / "models"
    for version in (1, 2, 3):
        variants.text(root, version)
    variants.champion(root, tmp_path / "state", 1)
    return root


@pytest.fixture
async def service(versions: Path, tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(versions, tmp_path / "state") as service:
        yield service
