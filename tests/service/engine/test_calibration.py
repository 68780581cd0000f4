"""How caps are found, kept, inherited and overridden."""

from pathlib import Path

import pytest

from service.engine import calibration
from service.engine.calibration import ROUNDS, calibrate, key, measure, outside_in
from service.engine.latency import Bucket
from service.errors import DeviceLost, EngineError, OutOfMemory

BUCKETS = (Bucket(16), Bucket(64), Bucket(256))


class Machine:
    """A batch takes a fixed part, and a part for each row and element; long rows do not gain from company."""

    def __init__(self, fixed: float = 0.001, row: float = 0.0002) -> None:
        self.fixed, self.row = fixed, row
        self.runs: list[tuple[Bucket, int]] = []
        self.spent = 0.0

    def __call__(self, bucket: Bucket, rows: int) -> float:
        self.runs.append((bucket, rows))
        seconds = self.fixed + self.row * rows * bucket.length / 16
        self.spent += seconds
        return seconds


def test_the_cap_of_each_bucket_is_the_knee_of_what_was_measured():
    found = calibrate(BUCKETS, Machine())
    assert found.source == "measured"
    assert found.caps[Bucket(256)] < found.caps[Bucket(16)] == 32


def test_measuring_keeps_to_its_budget_and_the_nearest_length_speaks_for_what_it_did_not_reach():
    slow = Machine(fixed=0.2, row=0.2)
    curve = measure(BUCKETS, slow)
    assert slow.spent < calibration.BUDGET + 2 * 0.2 + 2 * 0.2 * 256 / 16
    assert curve[0].length == 16


def test_every_size_is_measured_in_several_rounds_that_take_turns():
    machine = Machine(fixed=0.0)
    measure((Bucket(16),), machine)
    sizes = [rows for _, rows in machine.runs[1:]]
    assert sizes == list(calibration.SIZES) * ROUNDS


def test_sizes_that_are_clearly_slower_are_measured_once():
    machine = Machine(fixed=0.010)
    measure((Bucket(16),), machine)
    assert [rows for _, rows in machine.runs].count(2) == 1
    assert [rows for _, rows in machine.runs].count(32) == ROUNDS


def test_a_size_that_is_clearly_slower_ends_the_search():
    machine = Machine(fixed=0.0)

    def timed(bucket: Bucket, rows: int) -> float:
        return machine(bucket, rows) * (2 if rows >= 4 else 1)

    measure((Bucket(16),), timed)
    assert max(rows for _, rows in machine.runs) == 4


def test_one_slow_moment_does_not_end_the_search():
    machine = Machine()

    def timed(bucket: Bucket, rows: int) -> float:
        slow = rows == 8 and (bucket, 8) not in machine.runs
        return machine(bucket, rows) * (50 if slow else 1)

    (sizes,) = measure((Bucket(16),), timed)
    assert max(sizes.seconds) == 32


def test_the_ends_are_measured_first_and_then_the_widest_gaps():
    five = [Bucket(length) for length in (1, 2, 3, 4, 5)]
    assert [bucket.length for bucket in outside_in(five)] == [1, 5, 3, 2, 4]
    assert outside_in(five[:1]) == five[:1]


def test_a_measurement_is_kept_and_not_repeated(tmp_path: Path):
    kept = tmp_path / "curves" / "x.json"
    first = calibrate(BUCKETS, Machine(), kept=kept)
    again = Machine()
    second = calibrate(BUCKETS, again, kept=kept)
    assert (first.source, second.source) == ("measured", "kept")
    assert second.caps == first.caps
    assert again.runs == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'[{"length": 1}]'])
def test_a_damaged_measurement_is_made_again(tmp_path: Path, content: bytes):
    kept = tmp_path / "x.json"
    kept.write_bytes(content)
    assert calibrate(BUCKETS, Machine(), kept=kept).source == "measured"
    assert calibrate(BUCKETS, Machine(), kept=kept).source == "kept"


def test_a_directory_that_cannot_be_written_costs_a_measurement_and_nothing_else(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert calibrate(BUCKETS, Machine(), kept=tmp_path / "file" / "x.json").source == "measured"


def test_the_settings_and_then_the_version_that_is_replaced_go_before_a_measurement(tmp_path: Path):
    machine = Machine()
    champion = measure(BUCKETS, Machine())
    inherited = calibrate(BUCKETS, machine, inherited=champion, kept=tmp_path / "x.json")
    fixed = calibrate(BUCKETS, machine, fixed=5, inherited=champion)
    assert inherited.source == "inherited"
    assert inherited.curve == champion
    assert (fixed.source, fixed.caps) == ("settings", dict.fromkeys(BUCKETS, 5))
    assert machine.runs == []


def test_another_file_provider_or_thread_count_is_another_measurement():
    keys = {
        key("a" * 64, {"provider": "cpu", "threads": 1}),
        key("b" * 64, {"provider": "cpu", "threads": 1}),
        key("a" * 64, {"provider": "cuda", "threads": 1}),
        key("a" * 64, {"provider": "cpu", "threads": 2}),
    }
    assert len(keys) == 4
    assert key("a", {"provider": "cpu", "threads": 1}) == key(
        "a", {"threads": 1, "provider": "cpu"}
    )


def test_a_size_that_fails_or_does_not_fit_is_no_size_for_a_batch():
    bucket = Bucket(1, ((3,),))

    def timed(_: Bucket, rows: int) -> float:
        if rows > 4:
            raise OutOfMemory("too many")
        return 0.001

    (measured,) = calibration.measure([bucket], timed)
    assert sorted(measured.seconds) == [1, 2, 4]


@pytest.mark.parametrize(("fails", "error"), [(1, EngineError("no row")), (2, DeviceLost("gone"))])
def test_a_row_that_fails_and_a_device_that_is_lost_end_it(fails: int, error: EngineError):
    def timed(_: Bucket, rows: int) -> float:
        if rows >= fails:
            raise error
        return 0.001

    with pytest.raises(type(error)):
        calibration.measure([Bucket(4)], timed)
