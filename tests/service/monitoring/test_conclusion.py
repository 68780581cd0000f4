"""Drift, labels and refused inputs as one answer: which of them counts when, and what the sentence says."""

import pytest

from service.ledger.records import Evaluation
from service.monitoring.account import began, not_loaded
from service.monitoring.conclusion import Findings, concluded
from service.monitoring.detector import Verdict
from service.monitoring.faults import Intake
from service.monitoring.harm import Harm, HarmTest
from service.monitoring.quality import Accuracy


def after(right: int = 0, wrong: int = 0) -> Harm:
    test = HarmTest(0.05, 0.02)
    for one in [False] * right + [True] * wrong:
        test.update(one)
    return test.state()


UNKNOWN, HARMLESS, HARMFUL = after(10), after(800), after(10, 40)


def intake(requests: int, refused: int) -> Intake:
    return Intake(3600.0, requests, {"InputError": refused}, refused / requests, requests, 0)


@pytest.mark.parametrize(
    ("drift", "harm", "since", "kind"),
    [
        ("insufficient", None, None, "insufficient"),
        ("insufficient", UNKNOWN, None, "insufficient"),
        ("insufficient", HARMLESS, None, "fine"),
        ("insufficient", HARMFUL, None, "harmful"),
        ("quiet", None, None, "fine"),
        ("quiet", UNKNOWN, None, "fine"),
        ("quiet", HARMFUL, None, "harmful"),
        ("watch", HARMLESS, None, "watch"),
        ("watch", HARMFUL, None, "harmful"),
        ("drift", None, None, "watch"),
        ("drift", HARMLESS, UNKNOWN, "watch"),
        ("drift", HARMLESS, HARMLESS, "benign drift"),
        ("drift", UNKNOWN, HARMLESS, "benign drift"),
        ("drift", HARMLESS, HARMFUL, "harmful"),
        ("drift", HARMFUL, HARMLESS, "harmful"),
    ],
)
def test_what_counts(drift: Verdict, harm: Harm | None, since: Harm | None, kind: str):
    assert concluded(Findings(drift, None, harm, since)).kind == kind


@pytest.mark.parametrize(
    ("requests", "refused", "faulty"), [(1000, 11, True), (1000, 10, False), (99, 50, False)]
)
def test_broken_inputs_come_before_everything_else(requests: int, refused: int, faulty: bool):
    found = concluded(Findings("drift", intake(requests, refused), HARMFUL, HARMFUL))
    assert (found.kind == "data fault") == faulty
    if faulty:
        assert "11 of the last 1,000" in found.why or "refused" in found.why


def test_the_sentence_says_how_many_labels_would_tell():
    why = concluded(Findings("drift", None, HARMLESS, UNKNOWN)).why
    assert f"about {UNKNOWN.labels_to_harmless:,} labels" in why


def test_the_sentence_says_what_the_newest_labels_show():
    newest = Accuracy(0.875, 40, 0.7, 0.95, 40.0)
    why = concluded(Findings("quiet", None, HARMFUL, None, newest)).why
    assert "limit of 7.0%; of the newest 40, 87.5% were right" in why


def test_rows_of_the_windows_that_called_the_drift_belong_to_it():
    past = [Evaluation("m", 1, "", float(at), 200, 0.5, "quiet", b"") for at in range(10, 60, 10)]
    assert began(past, 50.0) == 30.0
    assert began(past, 20.0) == 0.0
    assert began([], 50.0) == 0.0
    assert began(past, None) is None


def test_a_version_that_is_not_loaded_has_no_verdict():
    told = not_loaded("m", 3)
    assert (told.verdict, told.samples) == ("insufficient", 0)
    assert "m/3 is not loaded" in told.reason
