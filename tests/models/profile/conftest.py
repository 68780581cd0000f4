"""The profile that most tests here compare with: it takes a second to make."""

import sys
from pathlib import Path

import pytest

from models.profile import Profile

sys.path.append(str(Path(__file__).parent))  # for made.py: the package `models` is another folder


@pytest.fixture(scope="session")
def reference() -> Profile:
    import made

    return made.profile()
