"""What the tests of engine processes share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import toys
from engines import SOON, Running


@pytest.fixture
async def engine(repository: Path, tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(repository, tmp_path, "toy-text", max_batch_rows=4, max_queue_rows=8)
    running.supervisor.start()
    yield running
    await running.supervisor.stop(SOON)


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("troubled")
    toys.troubled(root)
    return root
