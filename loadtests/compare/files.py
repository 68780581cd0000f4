"""Which ONNX file is compared: the committed one, or one trained here where the repository leaves it out.

Trained once into .evergreen/compare/repository and kept: same recipe, same data, same seed.
"""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from loadtests.compare.contenders import ROOT
from loadtests.compare.environments import SCRATCH
from loadtests.compare.errors import NotMeasured
from models import bundle
from models.errors import BundleError

COMMITTED = ROOT / "models" / "repository"
TRAINED = SCRATCH / "repository"
TRAINING_S = 1800


class ModelFile(NamedTuple):
    """One variant of a model: where it lies, and whether a row's answer depends on its batch mates."""

    model: str
    variant: str
    repository: Path
    path: Path
    independent: bool


def find(model: str, variant: str) -> ModelFile | None:
    """The committed file, or the one trained here; None where neither is there."""
    for repository in (COMMITTED, TRAINED):
        directory = repository / model / "1"
        try:
            known = bundle.read(directory).variant(variant)
        except BundleError:
            continue
        path = directory / known.file
        if not known.absent and path.is_file():
            return ModelFile(model, variant, repository, path, known.independent)
    return None


def train(model: str) -> None:
    """All variants of a model into the scratch repository. NotMeasured names the log when that fails."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    log = SCRATCH / f"train-{model}.log"
    command = [sys.executable, "-m", "models.train", model]
    command += ["--out", str(TRAINED), "--runs", str(SCRATCH / "runs")]
    with log.open("w") as file:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=TRAINING_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"training {model} took more than {TRAINING_S} s") from error
    if done.returncode:
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise NotMeasured(f"{model} could not be trained: {last}")
