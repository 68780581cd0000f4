"""The checks that need a device. Without one they skip with the reason; under `make test-gpu` (REQUIRE_GPU) they fail with it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models import bundle
from service.engine import providers
from service.engine.config import Options
from service.engine.session import Session
from service.settings import SEED

Load = Callable[..., Session]


@pytest.fixture(autouse=True, scope="session")
def cuda() -> None:
    if reason := providers.why_no_cuda():
        (pytest.fail if os.environ.get("REQUIRE_GPU") else pytest.skip)(reason)


@pytest.fixture
def tensorrt() -> None:
    if reason := providers.why_no_tensorrt():
        pytest.skip(f"{reason}; `make test-gpu EXTRAS=gpu,tensorrt` installs it")


@pytest.fixture(params=["fashion-cnn", "activity-lstm", "sentiment-transformer"])
def directory(request: pytest.FixtureRequest) -> Path:
    """A committed model. The Transformer's files for a GPU are there after `make models`."""
    found: Path = SEED / request.param / "1"
    shipped = {v.name for v in bundle.read(found).variants if not v.absent}
    if not shipped & {"fp16", "fp32"}:
        pytest.skip(f"{request.param} has neither fp16 nor fp32: `make models` builds them")
    return found


@pytest.fixture
def cnn() -> Path:
    return SEED / "fashion-cnn" / "1"


@pytest.fixture
def load() -> Load:
    """A warm session on the device, strictly."""

    def loaded(directory: Path, *, rows: int = 8, **options: object) -> Session:
        chosen = Options(**{"provider": "cuda", "strict": True, **options})  # type: ignore[arg-type]
        session = Session.load(directory, chosen)
        session.warm_up(dict.fromkeys(session.buckets(), rows))
        return session

    return loaded
