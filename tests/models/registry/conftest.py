"""What the registry's tests share: the three kinds of overlay, a bundle to publish, registries that see the same overlay."""

import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import toys

from models.registry import Registry

sys.path.append(str(Path(__file__).parent))  # for racer.py


@pytest.fixture(params=["local", "memory", "s3"])
def overlay(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """An overlay with nothing in it, of each kind."""
    if request.param == "local":
        return tmp_path / "overlay"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of toy-image as training leaves it, never written to."""
    return toys.image(tmp_path_factory.mktemp("made"))


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """A read-only root with version 1 of toy-image."""
    toys.image(tmp_path / "seed")
    return tmp_path / "seed"


@pytest.fixture
def open_registry(seed: Path, overlay: Path | str, tmp_path: Path) -> Callable[..., Registry]:
    """Another registry over the same seed and overlay, as another machine has it when `machine` differs."""
    return lambda machine="one": Registry([seed], overlay, tmp_path / "cache" / machine)


@pytest.fixture
def registry(open_registry: Callable[..., Registry]) -> Registry:
    return open_registry()


@pytest.fixture
def grown(registry: Registry, made: Path) -> Registry:
    """Versions 1 (seed, champion), 2 and 3."""
    registry.publish(made, who="anna")
    registry.publish(made, who="anna")
    return registry
