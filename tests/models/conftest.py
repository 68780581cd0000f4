"""What the tests of the models share: data sets that may be out of reach, and small networks for the recipes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import export
from models.errors import DataError

sys.path.append(str(Path(__file__).parent))  # for small.py: the package `models` is another folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Networks this small gain nothing from a second thread, and sums come out the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def had() -> Callable:
    """Read a data set. Where it cannot be had, a person's run skips the test and CI fails it."""

    def read(reader: Callable) -> object:
        try:
            return reader()
        except DataError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))

    return read


@pytest.fixture(scope="session")
def activity(tmp_path_factory: pytest.TempPathFactory) -> export.Graph:
    """An exported, untrained, small LSTM, never written to: one export takes seconds."""
    import small

    recipe = small.Activity()
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("activity") / "model.fp32.onnx"
    return export.export(recipe.network(recipe.hyper).eval(), recipe, path)
