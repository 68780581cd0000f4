"""Evidently with its defaults, in an environment of its own (a gigabyte) and asked over files. NotMeasured says why it cannot be.

.evergreen/drift/evidently/: made again when what it is made from changes.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from loadtests.compare import environments
from loadtests.compare.contenders import ROOT
from loadtests.compare.errors import NotMeasured
from loadtests.drift.rows import Scored

EVIDENTLY = "Evidently"
FOLDER = ROOT / ".evergreen" / "drift" / "evidently"
REQUIREMENTS = ("evidently==0.7.23", "pandas==2.3.3")
"""With pandas 3 this version of Evidently cannot be imported."""
PROGRAM = Path(__file__).with_name("evidently_program.py")
PATIENCE_S = 1800


class Judged(msgspec.Struct, frozen=True):
    """One window: the share of columns that are said to have drifted, and whether that makes the data set drift."""

    share: float
    drift: bool


def ensure() -> Path:
    """The Python of its environment, built where it is not there."""
    wanted = hashlib.sha256("\n".join([sys.version, *REQUIREMENTS]).encode()).hexdigest()
    stamp, python = FOLDER / "stamp", FOLDER / "bin" / "python"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        environments.run([sys.executable, "-m", "venv", str(FOLDER)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        environments.run([*pip, "--progress-bar", "off", *REQUIREMENTS])
        stamp.write_text(wanted)
    return python


def judge(
    python: Path, names: Sequence[str], reference: Scored, windows: Sequence[Scored]
) -> list[Judged]:
    """What it says of each window."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "reference.npz", names, reference)
        for number, window in enumerate(windows):
            save(Path(folder) / f"window-{number:04}.npz", names, window)
        # -I: the folder of the program, which holds an `evidently` of its own, must not be on its path.
        command = [str(python), "-I", "-W", "ignore", str(PROGRAM), folder]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"it did not end within {PATIENCE_S} s") from error
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise NotMeasured(f"it failed: {last[0]}")
    found = [msgspec.json.decode(line, type=Judged) for line in done.stdout.splitlines()]
    assert len(found) == len(windows)
    return found


def save(path: Path, names: Sequence[str], rows: Scored) -> None:
    """Columns by name."""
    np.savez(path, allow_pickle=False, **dict(zip(names, rows.values.T, strict=True)))
