"""The program as a person runs it: data to bundle in one command."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import bundle, profile
from models.datasets import watch

QUICK = ["activity-lstm", "--quick", "--width=8", "--windows=2", "--epochs=2"]
ROOT = Path(bundle.__file__).parents[1]


def train(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "models.train", *arguments]
    where = [f"--out={folder / 'repository'}", f"--runs={folder / 'runs'}"]
    return subprocess.run(
        [*command, *where], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def trained(had: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, what was said) of a quick run at the declared width, --resume without a checkpoint."""
    had(watch.recordings)
    folder = tmp_path_factory.mktemp("trained")
    done = train(folder, "activity-lstm", "--quick", "--epochs=2", "--windows=2", "--resume")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_quick_run_publishes_a_whole_bundle(trained: tuple[Path, str]) -> None:
    directory = trained[0] / "repository" / "activity-lstm" / "1"
    manifest = bundle.read(directory)
    bundle.verify(directory, manifest)
    assert {"card.md", "training.png", "confusion.png", "samples.npz", "weights.safetensors"} < set(
        manifest.files
    )
    assert (directory / "training.png").read_bytes().startswith(b"\x89PNG")
    assert (directory / "card.md").read_text().startswith("# activity-lstm, version 1\n")
    assert {one.name for one in manifest.variants} >= {"fp32", "fp16"}


def test_a_quick_run_makes_a_reference_from_held_out_and_out_of_fold_rows(
    trained: tuple[Path, str],
) -> None:
    directory = trained[0] / "repository" / "activity-lstm" / "1"
    found = profile.read(directory)
    assert profile.FILE in bundle.read(directory).files
    assert found.rows > 2 * 320
    assert not any(one.kind == "embedding" for one in found.signals)
    assert "out-of-fold" in found.source
    assert "## Reference for drift" in (directory / "card.md").read_text()


def test_a_quick_run_records_what_it_was_told(trained: tuple[Path, str]) -> None:
    training = bundle.read(trained[0] / "repository" / "activity-lstm" / "1").training
    assert (training.parameters["epochs"], training.parameters["windows"]) == (2, 2)
    assert training.parameters["batch_size"] == 64  # the recipe's own
    assert training.seed == 1
    assert "published" in trained[1]


def test_a_run_leaves_neither_a_temporary_folder_nor_a_checkpoint(
    trained: tuple[Path, str],
) -> None:
    folder = trained[0]
    assert [p.name for p in (folder / "repository" / "activity-lstm").iterdir()] == ["1"]
    assert not list((folder / "runs" / "activity-lstm").iterdir())


@pytest.mark.parametrize(
    "wrong", [["--colour=green"], ["--epochs=many"], ["--epochs=0"], ["--learning-rate=-1"]]
)
def test_a_wrong_hyper_parameter_exits_non_zero_and_publishes_nothing(
    tmp_path: Path, wrong: list[str]
) -> None:
    done = train(tmp_path, *QUICK, *wrong)
    assert done.returncode != 0
    assert wrong[0].partition("=")[0].strip("-").replace("-", "_") in done.stderr.replace("-", "_")
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = train(tmp_path, "other")
    assert done.returncode != 0
    assert "activity-lstm" in done.stderr


@pytest.mark.system
def test_a_champion_without_some_people_needs_no_folds(had: Callable, tmp_path: Path) -> None:
    had(watch.recordings)
    done = train(tmp_path, *QUICK[:2], "--epochs=1", "--windows=1", "--unseen=1,2", "--no-folds")
    assert done.returncode == 0, done.stderr
    directory = tmp_path / "repository" / "activity-lstm" / "1"
    assert bundle.read(directory).training.parameters["unseen"] == "1,2"
    assert profile.read(directory).source == "the 320 held-out windows of 4 s"
