"""What a demonstration promises is held against what it found."""

from typing import Any

import pytest

from loadtests.demo import drawing, found
from loadtests.demo.audience import Answer
from loadtests.demo.found import Found, Judged, Look, Moment


def shown(**changes: Any) -> Found:
    given: dict[str, Any] = {
        "model": "activity-lstm",
        "usual": "people 1 to 7",
        "unusual": "people 8 to 10",
        "date": "2026-11-21",
        "seconds": 120.0,
        "settings": "",
        "requests": 1000,
        "failed": {},
        "champion": Judged(1, 0.98, 100, 0.86, 300),
        "challenger": Judged(2, 0.98, 100, 0.97, 300),
        "bad_version": 3,
        "rolled_back_after_s": 4.0,
        "gate": None,
        "moments": [Moment(0.0, "begins")],
        "looks": [
            Look(0.0, "quiet", "fine", "unknown", 1),
            Look(9.0, "drift", "harmful", "harmful", 2),
        ],
        "answers": [
            Answer(float(at), "usual" if at < 5 else "unusual", 1, at % 2 == 0) for at in range(9)
        ],
    }
    return Found(**given | changes)


def test_the_share_that_came_back_is_of_what_was_lost():
    assert found.recovered(shown()) == pytest.approx(11 / 12)
    assert found.recovered(shown(champion=Judged(1, 0.9, 100, 0.9, 100))) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"challenger": Judged(2, 0.98, 100, 0.90, 300)}, "33% of the lost accuracy came back"),
        ({"challenger": Judged(2, 0.96, 100, 0.97, 300)}, "2.0 points were lost on people 1 to 7"),
        ({"failed": {"503": 2}}, "2 of 1000 requests failed (2 x 503), none may"),
    ],
)
def test_a_broken_promise_is_a_sentence_with_both_numbers(changes: dict[str, Any], says: str):
    (sentence,) = found.violations(shown(**changes))
    assert says in sentence


def test_a_kept_one_is_none():
    assert list(found.violations(shown())) == []


def test_the_picture_shows_accuracy_verdict_and_version_over_one_time():
    figure = drawing.drawn(shown())
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "accuracy of 60 answers",
        "verdict",
        "version",
    ]


def test_what_lasts_is_one_stretch():
    looks = [Look(float(at), "quiet", kind, "unknown", 1) for at, kind in enumerate("aabbb")]
    assert drawing.spans(looks, lambda one: one.conclusion) == [("a", 0.0, 2.0), ("b", 2.0, 4.0)]
