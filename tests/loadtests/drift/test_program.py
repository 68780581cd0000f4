"""The program itself, small and seeded, on the committed models and real rows."""

import os
from pathlib import Path

import numpy as np
import pytest

from loadtests.compare.contenders import ROOT
from loadtests.drift import __main__ as program
from loadtests.drift.bench import QUICK, Bench
from loadtests.drift.found import Found, Part, read
from loadtests.drift.material import Material
from loadtests.drift.parts.false_alarms import OURS
from loadtests.drift.pools import POOLS
from loadtests.drift.rivals.kolmogorov import ANY_COLUMN, BBSDS
from loadtests.drift.shifts import Shift, clean
from models.errors import DataError


@pytest.fixture(scope="module")
def had() -> None:
    """The data sets. Where one cannot be had, a person's run skips the test and CI fails it."""
    try:
        for make in POOLS.values():
            make(50)
    except DataError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))


def quick(folder: Path, parts: str) -> Found:
    assert program.main(["--quick", "--parts", parts, "--output", str(folder)]) == 0
    assert (folder / "drift.md").read_text().startswith("# How well drift is told")
    return read((folder / "drift.json").read_bytes())


def test_only_a_whole_run_replaces_the_published_results() -> None:
    assert program.parse([])[1] == program.FOLDER
    assert program.parse(["--quick"])[1] == program.SCRATCH
    assert program.parse(["--parts", "power"])[1] == program.SCRATCH
    assert program.FOLDER == ROOT / "loadtests" / "results" / "drift"


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.parse(["--parts", "luck"])
    assert "no luck; known: false-alarms" in capsys.readouterr().err


@pytest.mark.usefixtures("had")
def test_a_split_keeps_reference_and_traffic_apart_and_is_the_same_every_time() -> None:
    first, second = (Material("series", 600, 1000, 1) for _ in range(2))
    split, ours = first.split(2)
    assert not set(split.reference) & set(split.traffic)
    assert ours.profile.rows == len(split.reference) == 400
    assert ours.profile.sizes == (100,)
    again, theirs = second.split(2)
    assert (again.traffic == split.traffic).all()
    assert ours.profile == theirs.profile
    window = first.window(clean("series"), split, 100, 1)
    assert ours.p(window) == theirs.p(second.window(clean("series"), again, 100, 1))


@pytest.mark.usefixtures("had")
def test_many_windows_at_once_have_the_p_values_of_one_after_another() -> None:
    material = Material("series", 600, 1000, 1)
    split, ours = material.split(0)
    traffic = material.clean.rows(split.traffic)
    rng = np.random.default_rng(0)
    windows = np.array([rng.permutation(traffic.size)[:100] for _ in range(5)])
    alone = [ours.p(traffic.rows(rows)) for rows in windows]
    np.testing.assert_allclose(ours.p_values(ours.bins(traffic), windows), alone, rtol=1e-4)


@pytest.mark.usefixtures("had")
def test_a_clear_shift_is_seen_and_its_absence_is_not() -> None:
    material = Material("series", 900, 1000, 1)
    level = Shift("series", "series", "level 1", "level")
    assert list(material.load([level])) == ["level"]
    split, ours = material.split(0)
    assert ours.p(material.window(level, split, 200, 0)) < 0.01
    quiet = [ours.p(material.window(clean("series"), split, 100, i)) for i in range(20)]
    assert sum(p < 0.05 for p in quiet) <= 6


@pytest.mark.system
@pytest.mark.usefixtures("had")
def test_replicas_agree_and_causes_are_named(tmp_path: Path) -> None:
    found = quick(tmp_path, "merging,causes")
    assert [(one.id, one.met) for one in found.verdicts] == [("A10", True), ("A12", True)]


@pytest.mark.system
@pytest.mark.usefixtures("had")
def test_power_of_the_small_suite_is_above_the_best_published_rival(tmp_path: Path) -> None:
    found = quick(tmp_path, "power")
    known = {(one.id, one.what): one for one in found.verdicts}
    assert known["A4", "power, Rabanser's suite, n=200"].met
    assert known["A4", "power above BBSDs in the same windows, n=200"].met
    assert known["A5", "corruptions of 15 that are seen in 95 % of windows, n=200"].met


@pytest.mark.system
@pytest.mark.usefixtures("had")
def test_a_change_is_seen_in_time_and_nothing_pages_without_one(tmp_path: Path) -> None:
    found = quick(tmp_path, "pages,changes,labels")
    seen = [one for one in found.verdicts if one.id != "people" or "page" not in one.what]
    assert [one.what for one in seen if not one.met] == []
    assert {one.id for one in seen} == {"A2", "A7", "A8", "people"}
    assert [one.modality for one in found.courses] == ["images", "series", "texts"]


@pytest.mark.system
@pytest.mark.usefixtures("had")
def test_false_alarms_are_counted_for_everybody_in_every_size(tmp_path: Path) -> None:
    found = quick(tmp_path, "false-alarms,dependence")
    assert {one.id for one in found.verdicts} == {"A1", "A3"}
    assert {one.contender for one in found.rates} == {OURS, ANY_COLUMN, BBSDS}
    naive = [one.rate for one in found.rates if one.contender == ANY_COLUMN]
    ours = [one.rate for one in found.rates if one.contender == OURS and one.suite == "clean"]
    assert np.mean(ours) < 0.15 < np.mean(naive)


def test_a_part_that_is_measured_again_leaves_the_others(tmp_path: Path) -> None:
    empty = Found(machine={}, versions={})
    first, again, other = (Part(date=f"2026-01-0{day}") for day in (1, 2, 3))
    program.publish(empty, "merging", other, tmp_path)
    program.publish(empty, "power", first, tmp_path)
    found = program.publish(empty, "power", again, tmp_path)
    assert list(found.parts.items()) == [("power", again), ("merging", other)]
    assert read((tmp_path / "drift.json").read_bytes()) == found


@pytest.mark.system
@pytest.mark.usefixtures("had")
def test_a_service_tells_the_same_from_outside(tmp_path: Path) -> None:
    found = quick(tmp_path, "outside")
    rows = [one for one in found.verdicts if one.what.startswith("rows until")]
    assert rows
    assert all(one.met for one in rows), found.parts["outside"].notes


def test_quick_can_tell_a_page() -> None:
    assert QUICK.resamples * 0.001 > 3


def test_a_bench_has_the_shifts_of_every_modality() -> None:
    bench = Bench(QUICK, 1)
    assert {modality: bool(bench.of(modality)) for modality in POOLS} == dict.fromkeys(POOLS, True)
