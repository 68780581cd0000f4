"""Rows become blocks of exactly fifty, however they come."""

import numpy as np
import profiled
from hypothesis import given
from hypothesis import strategies as st

from service.monitoring.blocks import SAMPLES, Blocks

BINS = profiled.bins(profiled.pictures(np.random.default_rng(3), 400))
FIGURES = np.random.default_rng(4).random((400, 2)).astype(np.float32)


def blocks() -> Blocks:
    return Blocks("toy-image", 1, profiled.reference(), "here")


@given(st.lists(st.integers(1, 130), min_size=1, max_size=6))
def test_however_rows_come_the_blocks_are_the_same(parts: list[int]):
    cut, whole, found, at = blocks(), blocks(), [], 0
    for part in parts:
        end = min(at + part, 400)
        times = [float(i) for i in range(at, end)]
        found += cut.add(times, BINS[at:end], FIGURES[at:end])
        at = end
    assert found == whole.add([float(i) for i in range(at)], BINS[:at], FIGURES[:at])
    assert [one.samples for one in found] == [SAMPLES] * (at // SAMPLES)
    assert cut.waiting == at % SAMPLES


def test_a_blocks_counts_are_its_rows():
    (one,) = blocks().add([1.0] * 50, BINS[:50], FIGURES[:50])
    expected = profiled.reference().counts(BINS[:50])
    assert np.frombuffer(one.counts, "<i4").tolist() == expected.tolist()
    assert one.sums["rows"] == 50
    assert abs(one.sums["confidence"] - FIGURES[:50, 0].sum(dtype=float)) < 1e-9


def test_ends_only_ever_grow_though_front_ends_clocks_differ():
    one, other = blocks().add([*[9.0] * 50, *[5.0] * 50], BINS[:100], FIGURES[:100])
    assert (one.number, one.begun_at, one.ended_at) == (1, 9.0, 9.0)
    assert (other.number, other.begun_at) == (2, 5.0)
    assert 9.0 < other.ended_at < 9.001


def test_what_fills_no_block_survives_a_restart():
    before, after, whole = blocks(), blocks(), blocks()
    times = [float(i) for i in range(70)]
    first = before.add(times, BINS[:70], FIGURES[:70])
    after.resume(before.rest())
    (second,) = after.add([70.0] * 30, BINS[70:100], FIGURES[70:100])
    (_, expected) = whole.add([*times, *[70.0] * 30], BINS[:100], FIGURES[:100])
    assert len(first) == 1
    assert (second.counts, second.sums, second.ended_at) == (expected.counts, expected.sums, 70.0)


def test_a_model_without_probabilities_has_no_sums():
    (one,) = blocks().add([1.0] * 50, BINS[:50], np.empty((0, 2), np.float32))
    assert one.sums == {}
