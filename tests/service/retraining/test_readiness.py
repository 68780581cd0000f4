"""Torch is asked for where training runs, and nowhere else."""

from pathlib import Path

import pytest
import toys

from models import bundle
from service.retraining.launchers.settings import Training
from service.retraining.options import Retraining
from service.retraining.readiness import Readiness
from service.settings import ModelSettings, Settings


@pytest.mark.parametrize("launcher", ["local", "ray", "kubernetes"])
async def test_only_a_local_run_needs_torch_here(tmp_path: Path, launcher: str):
    recipe = tmp_path / "recipe.py"
    recipe.touch()
    model = ModelSettings(retraining=Retraining(recipe=str(recipe)))
    settings = Settings(
        models={"toy_image": model},
        training=Training(launcher=launcher),  # type: ignore[arg-type]
        train_python=Path("/bin/false"),
    )
    manifest = bundle.read(toys.image(tmp_path))
    missing = await Readiness(settings).missing("toy-image", manifest)
    assert (missing is None) == (launcher != "local")
