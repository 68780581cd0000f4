"""What the tests of the models share: data sets that may be out of reach, and small networks for the recipes."""

import os
from collections.abc import Callable

import pytest
import torch

from models.errors import DataError


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
