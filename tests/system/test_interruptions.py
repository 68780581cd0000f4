"""The closed loop is whole after a few interruptions; `python -m loadtests.interruptions` does a hundred."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from loadtests.interruptions.__main__ import JSON, PAGE
from loadtests.interruptions.found import Found

ROOT = Path(__file__).parents[2]


@pytest.mark.system
def test_after_a_few_interruptions_the_loop_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.interruptions"]
    options = ["--count", "3", "--seed", "1", "--output", str(tmp_path)]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=540
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = msgspec.json.decode((tmp_path / JSON).read_bytes(), type=Found)
    assert [one.number for one in found.interruptions] == [0, 1, 2]
    assert {number for job in found.jobs for number in job.interruptions} == {0, 1, 2}
    assert found.labels > 0
    assert "**0 violations**" in (tmp_path / PAGE).read_text()
