"""Evidently's defaults as a program, run in its own environment: it knows nothing of this project.

python evidently_program.py FOLDER: reference.npz and window-*.npz (columns by name) -> a line of JSON for each window
"""

# mypy: disable-error-code="import-not-found,import-untyped"
# Evidently and pandas live in an environment of their own.

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

CATEGORICAL = "class"


def main(folder: Path) -> None:
    """Read, judge, tell."""
    reference = dataset(folder / "reference.npz")
    for path in sorted(folder.glob("window-*.npz")):
        report = Report([DataDriftPreset()]).run(dataset(path), reference).dict()
        told: dict[str, Any] = report["metrics"][0]["value"]
        share = float(told["share"])
        print(json.dumps({"share": share, "drift": share >= 0.5}), flush=True)


def dataset(path: Path) -> Dataset:
    """One file's columns: numbers, and the class as a category."""
    with np.load(path) as archive:
        frame = pd.DataFrame({name: archive[name] for name in archive.files})
    categorical = [name for name in frame.columns if name == CATEGORICAL]
    frame[categorical] = frame[categorical].astype(int).astype(str)
    numerical = [name for name in frame.columns if name != CATEGORICAL]
    definition = DataDefinition(numerical_columns=numerical, categorical_columns=categorical)
    return Dataset.from_pandas(frame, data_definition=definition)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
