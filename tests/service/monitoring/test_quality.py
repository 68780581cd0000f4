"""What labels say of a version: shares, intervals, corrections, and which labels count for what."""

import dataclasses
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import share
from service.ledger.records import Label, Labelled, Prediction
from service.monitoring import quality
from service.monitoring.quality import ACTIVE, LabelledQuality, Quality

CLASSES = ("cat", "dog", "owl")
DAY = 86_400.0


@dataclasses.dataclass
class Stream:
    """Labels as a ledger tells them: rows are numbered, a row that comes again is corrected."""

    of: LabelledQuality = dataclasses.field(
        default_factory=lambda: LabelledQuality(CLASSES, 0.05, 0.02)
    )
    position: int = 0
    said: dict[int, str] = dataclasses.field(default_factory=dict)

    def add(self, row: int, answer: int, label: str, **more: object) -> None:
        self.position += 1
        told = {"share": 1.0, "at": 1000.0, "confidence": 0.9, "late": 60.0, "source": ""} | more
        number = str(uuid.UUID(int=row))
        at = float(told["at"])  # type: ignore[arg-type]
        prediction = Prediction(
            number,
            0,
            "m",
            1,
            at,
            answer,
            told["confidence"],
            told["share"],
            "v1",  # type: ignore[arg-type]
        )
        received = at + float(told["late"])  # type: ignore[arg-type]
        one = Label(number, 0, label, str(told["source"]), received, received)
        self.of.add(Labelled(self.position, one, prediction, self.said.get(row)))
        self.said[row] = label

    def told(self) -> Quality:
        return self.of.described()


def many(answers: int, right: int) -> Stream:
    stream = Stream()
    for row in range(answers):
        stream.add(row, 0, "cat" if row < right else "dog")
    return stream


def test_nothing_is_said_without_labels():
    told = Stream().told()
    assert (told.overall, told.newest, sum(told.delays.counts)) == (None, None, 0)
    assert told.harm is not None
    assert told.harm.verdict == "unknown"


def test_even_shares_give_wilsons_interval():
    told = many(40, 36).told()
    assert told.overall is not None
    expected = share(36, 40)
    assert (told.overall.value, told.overall.n) == (expected.value, 40)
    assert (told.overall.low, told.overall.high) == pytest.approx((expected.low, expected.high))
    assert told.overall.effective_n == pytest.approx(40)


def test_a_row_that_was_kept_by_a_small_share_stands_for_many():
    stream = Stream()
    stream.add(1, 0, "cat", share=0.25)
    stream.add(2, 0, "dog")
    told = stream.told().overall
    assert told is not None
    assert told.value == pytest.approx(4 / 5)
    assert told.effective_n == pytest.approx(25 / 17)


def test_intervals_with_uneven_shares_hold_the_true_accuracy():
    """Half of the traffic, on which the model is worse, was kept by a tenth: the plain share would be far off."""
    rng, held, plain = np.random.default_rng(0), 0, 0
    for _ in range(200):
        sums, right, n = quality.Sums(), 0, 0
        for weight, accuracy, rows in ((10.0, 0.7, 60), (1.0, 0.95, 600)):
            for one in rng.random(rng.poisson(rows)) < accuracy:
                sums.add(quality.Row(0, 0 if one else 1, weight))
                right, n = right + one, n + 1
        found, naive = sums.accuracy(), share(int(right), n)
        assert found is not None
        held += found.low <= 0.825 <= found.high
        plain += naive.low <= 0.825 <= naive.high
    assert held >= 180
    assert plain < 20


def test_a_correction_takes_the_place_of_what_was_said():
    stream = many(10, 10)
    stream.add(3, 0, "owl")
    told = stream.told()
    assert told.overall is not None
    assert told.newest is not None
    assert (told.overall.n, told.newest.n) == (10, 10)
    assert told.overall.value == pytest.approx(0.9)
    assert told.newest.value == pytest.approx(0.9)
    assert told.harm is not None
    assert (told.harm.labels, told.harm.wrong) == (10, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from(CLASSES))))
def test_any_corrections_end_where_the_last_labels_alone_would(said: list[tuple[int, int, str]]):
    stream, last = Stream(), Stream()
    final: dict[int, tuple[int, str]] = {}
    for row, any_answer, label in said:
        answer = final.get(row, (any_answer, ""))[0]
        final[row] = (answer, label)
        stream.add(row, answer, label)
    for row, (answer, label) in final.items():
        last.add(row, answer, label)
    got, expected = stream.told(), last.told()
    for name in ("overall", "newest"):
        one, other = getattr(got, name), getattr(expected, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert (one.value, one.n) == (pytest.approx(other.value, abs=1e-9), other.n)
    assert [(c.recall is None, c.precision is None) for c in got.classes] == [
        (c.recall is None, c.precision is None) for c in expected.classes
    ]


def test_the_newest_window_forgets_what_is_old():
    stream = many(quality.WINDOW, 0)
    for row in range(quality.WINDOW):
        stream.add(10_000 + row, 0, "cat")
    told = stream.told()
    assert told.newest is not None
    assert told.overall is not None
    assert (told.newest.value, told.newest.n) == (1, quality.WINDOW)
    assert told.overall.value == pytest.approx(0.5)


def test_every_class_has_what_was_found_of_it_and_what_was_said_in_its_name():
    stream = Stream()
    for row, (answer, label) in enumerate([(0, "cat"), (0, "dog"), (1, "dog"), (1, "dog")]):
        stream.add(row, answer, label)
    cat, dog, owl = stream.told().classes
    assert cat.recall is not None
    assert cat.precision is not None
    assert dog.recall is not None
    assert dog.precision is not None
    assert (cat.recall.value, cat.precision.value) == (1, 0.5)
    assert (dog.recall.value, dog.precision.value) == (pytest.approx(2 / 3), 1)
    assert (owl.recall, owl.precision) == (None, None)


def test_labels_of_picked_rows_are_no_sample():
    stream = many(20, 20)
    for row in range(100, 150):
        stream.add(row, 0, "dog", source=ACTIVE)
    stream.add(101, 0, "owl")
    told = stream.told()
    assert told.overall is not None
    assert told.harm is not None
    assert (told.overall.n, told.overall.value, told.harm.labels) == (20, 1, 20)


def test_a_label_that_is_no_class_counts_for_nothing():
    stream = many(5, 5)
    stream.add(50, 0, "fish")
    assert stream.told().overall == many(5, 5).told().overall
    assert stream.of.position == 6


def test_what_is_covered_is_told_by_class_and_by_confidence():
    kept = [
        (Prediction("x", row, "m", 1, 0.0, row % 2, 0.55 if row % 2 else 0.97, 1.0, "v1"), row < 4)
        for row in range(10)
    ]
    told = Stream().of.described(kept)
    by_class = {one.group: (one.labelled, one.predictions) for one in told.coverage_by_class}
    by_confidence = {
        one.group: (one.labelled, one.predictions) for one in told.coverage_by_confidence
    }
    assert by_class == {"cat": (2, 5), "dog": (2, 5), "owl": (0, 0)}
    assert by_confidence["0.5-0.6"] == (2, 5)
    assert by_confidence["0.95-0.99"] == (2, 5)
    assert sum(predictions for _, predictions in by_confidence.values()) == 10


def test_delays_are_counted_by_how_long_a_label_took():
    stream = Stream()
    for row, late in enumerate((1.0, 59.0, 61.0, 2 * DAY, 90 * DAY)):
        stream.add(row, 0, "cat", late=late)
    told = dict(zip((*quality.DELAYS, "later"), stream.told().delays.counts, strict=True))
    assert {bound: count for bound, count in told.items() if count} == {
        60: 2,
        600: 1,
        259_200: 1,
        "later": 1,
    }


def test_only_rows_since_the_drift_tell_whether_the_drift_hurts():
    stream = many(200, 200)
    assert stream.told().harm_since_drift is None
    assert stream.of.drifting_since(2000.0)
    for row in range(1000, 1040):
        stream.add(row, 0, "dog", at=2500.0)
    for row in range(2000, 2010):  # their labels came late: they say nothing about the drift
        stream.add(row, 0, "cat", at=1500.0, late=2000.0)
    told = stream.told()
    assert told.harm_since_drift is not None
    assert (told.harm_since_drift.labels, told.harm_since_drift.verdict) == (40, "harmful")
    assert not stream.of.drifting_since(2000.0)
    assert not stream.of.drifting_since(None)
    assert stream.told().harm_since_drift is None


def test_without_a_promise_there_is_no_test():
    stream = Stream(LabelledQuality(CLASSES, None, 0.02))
    stream.add(1, 0, "dog")
    told = stream.told()
    assert told.harm is None
    assert told.overall is not None


def test_the_course_of_accuracy_gets_coarser_and_loses_nothing():
    stream = many(20_000, 10_000)
    course = stream.told().course
    assert len(course) <= 120
    assert sum(step.labels for step in course) == 20_000
    assert course[0].right == course[0].weight
    assert course[-1].right == 0
