"""A version's traffic against its profile: what is quiet stays quiet, what moves is named, on every machine alike."""

from collections.abc import Iterator

import numpy as np
import profiled
import pytest
from msgspec.structs import replace

from models import profile
from service.ledger.records import Block, Evaluation
from service.monitoring.judge import Judge

NONE = np.empty((0, 2), np.float32)


def judge(machine: str = "here", largest: int = 500) -> Judge:
    return Judge("toy-image", 1, profiled.reference(), machine, largest)


def feed(
    one: Judge, rows: int, shift: float = 0.0, seed: int = 1, at: float = 0.0
) -> tuple[list[Block], list[Evaluation]]:
    """So many rows, one a second."""
    bins = profiled.bins(profiled.pictures(np.random.default_rng(seed), rows, shift))
    blocks: list[Block] = []
    evaluations: list[Evaluation] = []
    for begin in range(0, rows, 50):
        part = bins[begin : begin + 50]
        blocks += one.add([at + begin + i for i in range(len(part))], part, NONE)
        evaluations += one.evaluate()
    return blocks, evaluations


def test_the_largest_admitted_window_up_to_the_setting_is_taken():
    assert judge(largest=500).sizes == [100, 200, 500]
    assert judge(largest=300).sizes == [100, 200]


def test_without_the_setting_a_window_has_at_most_a_tenth_of_the_references_rows():
    reference = profiled.reference()
    assert reference.rows == 1500
    assert Judge("toy-image", 1, reference, "here").sizes == [100]
    assert Judge("toy-image", 1, replace(reference, rows=2100), "here").sizes == [100, 200]
    assert Judge("toy-image", 1, replace(reference, rows=9000), "here").sizes == [100, 200, 500]
    assert judge(largest=10).sizes == [100]


def test_traffic_like_the_reference_is_quiet():
    one = judge()
    _, evaluations = feed(one, 2000)
    assert {found.verdict for found in evaluations} <= {"quiet", "watch"}
    assert one.detector.verdict == "quiet"


def test_brighter_pictures_are_a_drift_and_brightness_leads_the_ranking():
    one = judge()
    feed(one, 1000)
    _, evaluations = feed(one, 1000, shift=0.08, seed=2, at=1000)
    assert evaluations[-1].verdict == "drift"
    assert one.comparison is not None
    assert one.comparison.signals[0].name in ("brightness", "energy")
    assert one.detector.since is not None
    assert 1000 < one.detector.since < 2000


def test_a_drift_that_ends_is_over_after_three_quiet_windows():
    one = judge(largest=100)
    feed(one, 400, shift=0.3)
    assert one.detector.verdict == "drift"
    feed(one, 400, seed=2, at=400)
    assert one.detector.verdict in ("quiet", "watch")


def test_a_restart_knows_the_verdict_since_when_and_what_moved():
    before, after = judge("before"), judge("after")
    blocks, evaluations = feed(before, 1500, shift=0.2)
    after.resume(blocks[-20:], evaluations)
    assert after.detector.verdict == before.detector.verdict == "drift"
    assert (after.detector.since, after.evaluated_at) == (
        before.detector.since,
        before.evaluated_at,
    )
    assert after.comparison == before.comparison
    assert list(after.evaluate()) == []
    more, less = feed(before, 500, seed=3, at=1500)[1], feed(after, 500, seed=3, at=1500)[1]
    assert [(one.at, one.p, one.verdict) for one in more] == [
        (one.at, one.p, one.verdict) for one in less
    ]


def test_windows_of_another_profile_are_not_gone_on_from():
    one = judge()
    one.resume([], [Evaluation("toy-image", 1, "another profile", 5.0, 100, 0.0001, "drift", b"")])
    assert one.detector.verdict == "insufficient"


def shared(machines: int) -> Iterator[tuple[str, list[Block]]]:
    """The blocks of several machines that saw the same stream in turns."""
    bins = profiled.bins(profiled.pictures(np.random.default_rng(7), 3200, 0.1))
    for number in range(machines):
        one = judge(f"machine {number}")
        mine = np.arange(number, len(bins), machines)
        yield f"machine {number}", one.blocks.add([float(i) for i in mine], bins[mine], NONE)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_eight_machines_that_share_blocks_come_to_the_same_evaluations(seed: int):
    everybody = dict(shared(8))
    every = [block for blocks in everybody.values() for block in blocks]
    order = np.random.default_rng(seed).permutation(len(every))
    judges, written = [], []
    for name in everybody:
        found: list[Evaluation] = []
        one, rng = judge(name), np.random.default_rng([seed, len(judges)])
        for index in order:
            one.window.add(every[index])
            if rng.random() < 0.1:  # everybody looks when it likes
                found += one.evaluate()
        judges.append(one)
        written.append([*found, *one.evaluate()])
    first = judges[0]
    assert first.comparison is not None
    for one in judges:
        assert one.comparison == first.comparison
        assert one.counted is not None
        assert first.counted is not None
        assert one.counted.counts.tobytes() == first.counted.counts.tobytes()
        assert (one.detector.verdict, one.detector.since) == (
            first.detector.verdict,
            first.detector.since,
        )
    assert written == [written[0]] * 8
    assert len(written[0]) > 3


@pytest.mark.system
@pytest.mark.parametrize("largest", [200, 500])
def test_traffic_without_drift_wakes_somebody_at_most_once_in_thirty_days(largest: int):
    images = profiled.pictures(np.random.default_rng(99), 20_000)
    pages = [paged(profiled.reference(seed=seed), images, largest) for seed in range(3)]
    assert sum(pages) <= len(pages), "on average over references, which differ by chance"


def paged(reference: profile.Profile, images: np.ndarray, largest: int) -> int:
    """How often a drift is called in 30 days of 600 requests an hour that are like the reference."""
    pool = profiled.bins(images, reference)
    one = Judge("toy-image", 1, reference, "here", largest)
    rng, pages, was = np.random.default_rng(reference.rows), 0, False
    for hour in range(30 * 24):
        bins = pool[rng.integers(0, len(pool), 600)]
        one.add([3600.0 * hour + 6 * i for i in range(600)], bins, NONE)
        for found in one.evaluate():
            now = found.verdict == "drift"
            pages, was = pages + (now and not was), now
    return pages
