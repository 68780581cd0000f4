"""Whether a model can be trained here at all, and what to do where it cannot. It must not know whether it should be."""

import asyncio
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import models
from models.bundle import Manifest
from service.retraining.options import Retraining
from service.retraining.vouching import Vouching
from service.settings import Settings

PROBE = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('torch') and u.find_spec('models') else 1)"
INSTALL = "pip install -e '.[train]'"
KNOWN_SECONDS = 60.0
"""Somebody may install what is missing."""
PROBE_SECONDS = 30.0


class Readiness:
    """Of one service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._vouching = Vouching(settings)
        self._probed: tuple[float, str | None] | None = None

    def python(self) -> str:
        """The interpreter that training runs in."""
        chosen = self._settings.train_python
        return sys.executable if chosen is None else str(chosen)

    async def missing(self, model: str, manifest: Manifest | None) -> str | None:
        """Why a model cannot be trained here; None where it can."""
        why = untrainable(model, manifest, self._settings.model(model).retraining)
        why = why or await self._vouching.missing()
        if why is not None or self._settings.training.launcher != "local":
            return why  # elsewhere the image that runs has torch
        return await self._without_torch()

    async def _without_torch(self) -> str | None:
        """Asked of the interpreter itself, now and again."""
        if self._probed is None or time.monotonic() - self._probed[0] > KNOWN_SECONDS:
            why = await asyncio.to_thread(without_torch, self.python())
            self._probed = time.monotonic(), why
        return self._probed[1]


def untrainable(model: str, manifest: Manifest | None, options: Retraining) -> str | None:
    """What speaks against training a model by what it declares and what the settings say."""
    if manifest is None:
        return f"'{model}' is a bare ONNX file: it declares no classes, and no recipe made it"
    if not manifest.labels or not (manifest.output("probabilities") or manifest.output("logits")):
        return f"'{model}' names no classes, so labels say nothing about it"
    recipe = options.recipe or model
    file = Path(recipe) if recipe.endswith(".py") else shipped(recipe)
    if not file.is_file():
        return f"there is no recipe '{recipe}': name one, or its file, in [models.{model}.retraining] as 'recipe'"
    return None


def shipped(recipe: str) -> Path:
    """Where a recipe that comes with this program lies. Not imported: recipes need torch."""
    name = recipe.replace("-", "_")
    return Path(models.__file__).parent / "recipes" / f"{name}.py"


def without_torch(python: str) -> str | None:
    """Why an interpreter cannot train; None where it can."""
    if python == sys.executable:
        found = importlib.util.find_spec("torch") is not None
        return None if found else needs_torch(python)
    try:
        done = subprocess.run(
            [python, "-c", PROBE], check=False, capture_output=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"train_python: {python} does not run: {error}"
    if done.returncode == 0:
        return None
    return needs_torch(python)


def needs_torch(python: str) -> str:
    """What to do about it."""
    return (
        f"training needs torch, which {python} does not have: {python} -m {INSTALL}, "
        "or name another interpreter in EVERGREEN_TRAIN_PYTHON"
    )
