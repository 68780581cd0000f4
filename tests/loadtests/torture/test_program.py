"""The command line, and what a run leaves behind."""

import argparse
from pathlib import Path

import msgspec
import pytest

from loadtests.torture import __main__ as program
from loadtests.torture import report
from loadtests.torture.found import Bin, Fault, Found, Report, Tally
from loadtests.torture.scenarios import FAULTS, SCENARIOS
from loadtests.torture.trial import Options


def test_without_a_word_every_fault_is_tried_and_no_long_load():
    names, options, _ = program.parse([])
    assert (names, options) == (list(FAULTS), Options())
    assert set(SCENARIOS) - set(FAULTS) == {"many requests", "a day"}


def test_a_day_in_an_hour():
    names, options, _ = program.parse(["--only", "a day", "--hours", "24", "--in", "60m"])
    assert (names, options.hours, options.within_s) == (["a day"], 24, 3600)


@pytest.mark.parametrize("text", ["", "soon", "60 m", "-1s"])
def test_what_is_no_time_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="is no time"):
        program.seconds(text)


def test_a_scenario_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(argparse.ArgumentTypeError, match="'fire' is none of: engines killed, "):
        program.chosen("disk full, fire")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_says_what_it_is(name: str):
    assert program.about(name).endswith(".")


def test_a_run_leaves_figures_a_page_and_the_same_picture_each_time(tmp_path: Path):
    course = {"m": [Bin(right=3), Bin(refused=1), Bin(other=1)] * 10}
    faults = [Fault(1.0, "SIGKILL")]
    one = Found("engines killed", "About.", 3.0, {"m": Tally(right=30)}, faults, courses=course)
    machine = {"processor": "p", "cores": "2 cores", "memory": "1 GiB", "python": "Python 3"}
    for folder in ("a", "b"):
        report.write(Report("2026-01-01", machine, [one]), tmp_path / folder)
    read = msgspec.json.decode((tmp_path / "a" / "torture.json").read_bytes(), type=Report)
    assert read.total.right == 30
    for name in ("torture.json", "torture.md", "torture.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
