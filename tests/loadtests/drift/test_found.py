"""Verdicts and the arithmetic behind them."""

from typing import Any

import pytest

from loadtests.drift import report
from loadtests.drift.found import (
    Course,
    Effect,
    Found,
    Part,
    Rate,
    Verdict,
    auroc,
    auroc_interval,
    interval,
    read,
    write,
)
from loadtests.drift.parts import power
from loadtests.drift.parts.false_alarms import OURS
from loadtests.drift.rivals.kolmogorov import BBSDS
from loadtests.drift.shifts import Shift


def rate(contender: str, value: float, **changed: Any) -> Rate:
    given = {"modality": "images", "suite": "rabanser", "shift": "a", "n": 200, "windows": 10}
    return Rate(contender=contender, rate=value, **(given | changed))


def effect(lost: float | None, told: float, **changed: Any) -> Effect:
    given: dict[str, Any] = {
        "modality": "images",
        "suite": "rabanser",
        "shift": "a",
        "covariate": True,
        "estimates": {"cbpe": 0.8, "atc": 0.9},
        "severity": 1.0,
        "psi": 0.1,
    }
    accuracy = None if lost is None else 0.9 - lost
    return Effect(lost=lost, told=told, accuracy=accuracy, **(given | changed))


@pytest.mark.parametrize(
    ("value", "met"), [(0.02, False), (0.03, True), (0.07, True), (0.08, False), (None, None)]
)
def test_a_verdict_is_met_between_its_bounds(value: float | None, met: bool | None) -> None:
    assert Verdict(id="A1", what="w", value=value, least=0.03, most=0.07).met is met


def test_auroc_is_one_where_every_harm_scores_above_every_harmless_one() -> None:
    assert auroc([3, 2, 1], [True, True, False]) == 1
    assert auroc([1, 2], [True, False]) == 0
    assert auroc([1, 1], [True, False]) == 0.5
    assert auroc([1], [True]) is None


def test_the_interval_of_a_mean_shrinks_with_the_number_of_splits() -> None:
    assert interval([0.05]) == (None, None)
    low, high = interval([0.0, 0.1] * 50)
    assert (low, high) == (pytest.approx(0.0401, abs=1e-4), pytest.approx(0.0599, abs=1e-4))


def test_the_interval_of_auroc_holds_its_value_and_is_always_the_same() -> None:
    scores, harmful = [4.0, 3, 1, 2, 0, 0.5], [True, True, True, False, False, False]
    low, high = auroc_interval(scores, harmful, seed=1)
    value = auroc(scores, harmful)
    assert low is not None
    assert value is not None
    assert high is not None
    assert low < value <= high
    assert auroc_interval(scores, harmful, seed=1) == (low, high)


def test_power_is_the_mean_over_shifts_and_compared_in_the_same_windows() -> None:
    seen: power.Seen = {
        ("a", OURS, 200): [0.5, 0.7],
        ("b", OURS, 200): [0.9, 0.9],
        ("a", BBSDS, 200): [0.4, 0.4],
        ("b", BBSDS, 200): [0.6, 0.6],
    }
    suite = [Shift("images", "rabanser", name) for name in "ab"]
    power_at_200, above, *at_1000 = power.power_verdicts(seen, suite)
    assert (power_at_200.value, power_at_200.met) == (pytest.approx(0.75), True)
    assert (above.value, above.met) == (pytest.approx(0.25), True)
    assert above.low is not None
    assert above.low < 0.25
    assert [one.met for one in at_1000] == [None, None]
    assert power.power_verdicts({}, [Shift("series", "series", "a")]) == []


def test_corruptions_that_are_seen_too_rarely_are_named() -> None:
    rates = [rate(OURS, 0.99, suite="corruptions", shift=str(i)) for i in range(14)]
    verdict = power.corruption_verdict([*rates, rate(OURS, 0.9, suite="corruptions", shift="fog")])
    assert (verdict.value, verdict.met, verdict.note) == (14, True, "less often: fog")


def test_harm_is_a_loss_of_more_than_five_points_and_unknown_losses_do_not_count() -> None:
    effects = [effect(0.2, 0.1), effect(0.04, 0.05), effect(None, 0.9)]
    (verdict,) = power.harm_verdicts(effects, seed=1)
    assert verdict.value == 1
    assert verdict.note.startswith("1 of 2 shifts hurt")


def test_estimates_are_judged_over_covariate_shifts() -> None:
    cbpe, atc = power.estimate_verdicts([effect(0.1, 0.1), effect(0.5, 0, covariate=False)])
    assert (cbpe.value, cbpe.met) == (pytest.approx(0), True)
    assert (atc.value, atc.met) == (pytest.approx(10), False)
    assert cbpe.note.startswith(
        "median 0.0; rabanser 0.0; without noise large 0.0; over other shifts 40.0; "
    )


def found_by(**findings: Any) -> Found:
    return Found(
        machine={"cores": "2 cores"},
        versions={"numpy": "2"},
        parts={"power": Part(date="2026-01-01", **findings)},
    )


def test_what_is_written_is_read_back_and_told() -> None:
    course = Course(
        modality="images",
        shift="a",
        n=100,
        changed=100,
        harmful=150,
        rows=[100, 200],
        p=[0.5, 0.0003],
        verdicts=["quiet", "watch"],
        accuracy=[0.9, 0.5],
        estimated=[0.9, 0.6],
    )
    a1 = Verdict(
        id="A1", what="false alarms", value=0.04, low=0.03, high=0.05, least=0.03, most=0.07
    )
    found = found_by(
        rates=[rate(OURS, 0.5), rate(OURS, 0.04, suite="clean", shift="none", low=0.03, high=0.05)],
        effects=[effect(0.2, 0.1), effect(0.01, 0.1, shift="b")],
        courses=[course],
        verdicts=[Verdict(id="A10", what="merging", value=1.0, least=1.0), a1],
        notes=["busy"],
    )
    assert write(read(write(found))) == write(found)
    pictures = report.pictures(found)
    assert list(pictures) == [
        *("false-alarms.svg", "power.svg", "courses.svg", "harm.svg", "power-by-shift.svg"),
    ]
    page = report.markdown(found, list(pictures))
    assert "| A1 | false alarms | 0.03 to 0.07 | 0.04 (0.03 to 0.05) | met |" in page
    assert page.index("| A1 |") < page.index("| A10 |")
    assert "| images | a | 0.50 | 70.0% | +20.0 | 80.0%, 90.0% |" in page
    assert "| images | Evergreen | 0.040 ± 0.010 (10) |" in page
    assert "| power | 2026-01-01 |  | 1 | 0 | busy |" in page
    assert report.line(a1).startswith("met      A1")


def test_power_stands_beside_false_alarms() -> None:
    rates = [rate(OURS, 0.5), rate(OURS, 0.9, shift="b"), rate(OURS, 0.04, suite="clean")]
    assert "| Rabanser's suite (pictures) | Evergreen | 0.70 | 0.04 |" in report.powers(rates)


def test_each_finding_is_a_line() -> None:
    text = write(found_by(rates=[rate(OURS, 0.5), rate(BBSDS, 0.4)]))
    (line,) = [one for one in text.splitlines() if b'"BBSDs"' in one]
    assert line.strip().startswith(b"{")
    assert line.strip().endswith(b"}")
