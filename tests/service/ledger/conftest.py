"""A ledger in each of the two databases."""

from collections.abc import Iterator
from pathlib import Path

import ledgers
import pytest

from service.ledger.ledger import Ledger


@pytest.fixture(scope="session")
def server() -> Iterator[ledgers.Server]:
    """A PostgreSQL server for all tests that do not stop it."""
    with ledgers.Server.running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "postgresql":
        return request.getfixturevalue("server").fresh()
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """With nothing in it."""
    ledger = Ledger.open(url)
    yield ledger
    ledger.close()
