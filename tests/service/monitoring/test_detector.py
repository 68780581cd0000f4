"""The verdict: two of three windows wake somebody, three quiet ones let him sleep."""

from hypothesis import given
from hypothesis import strategies as st

from service.monitoring.detector import DRIFT, WATCH, Detector

CALM, ODD, FAR = 0.5, 0.005, 0.0005


def verdicts(*values: float) -> list[str]:
    detector = Detector()
    return [detector.update(p, float(at)) for at, p in enumerate(values)]


def test_nothing_is_known_before_the_first_window():
    assert Detector().verdict == "insufficient"


def test_one_window_far_out_is_watched_and_wakes_nobody():
    assert verdicts(CALM, FAR, CALM, CALM, FAR) == ["quiet", "watch", "quiet", "quiet", "watch"]


def test_two_of_three_windows_far_out_are_a_drift():
    assert verdicts(FAR, CALM, FAR)[-1] == "drift"
    assert verdicts(FAR, FAR)[-1] == "drift"


def test_a_drift_is_over_after_three_quiet_windows_in_a_row():
    assert verdicts(FAR, FAR, CALM, CALM, CALM)[2:] == ["drift", "drift", "quiet"]
    assert verdicts(FAR, FAR, CALM, CALM, ODD, CALM, CALM, CALM)[2:] == ["drift"] * 5 + ["quiet"]


def test_the_thresholds_themselves_count_as_reached():
    assert verdicts(DRIFT, DRIFT)[-1] == "drift"
    assert verdicts(WATCH) == ["watch"]


def test_since_is_the_end_of_the_window_that_changed_the_verdict():
    detector = Detector()
    for at, p in enumerate((CALM, CALM, FAR, FAR, FAR)):
        detector.update(p, float(at))
    assert (detector.verdict, detector.since) == ("drift", 3.0)


@given(st.lists(st.sampled_from((CALM, ODD, FAR)), min_size=1), st.data())
def test_who_goes_on_from_three_windows_and_a_verdict_goes_on_as_if_nothing_had_happened(
    values: list[float], data: st.DataObject
):
    cut = data.draw(st.integers(1, len(values)))
    one, other = Detector(), Detector()
    for at, p in enumerate(values[:cut]):
        one.update(p, float(at))
    assert one.since is not None
    other.resume(one.verdict, one.since, values[max(0, cut - 3) : cut])
    for at, p in enumerate(values[cut:], cut):
        assert one.update(p, float(at)) == other.update(p, float(at))
        assert one.since == other.since


@given(st.lists(st.sampled_from((CALM, ODD, FAR)), min_size=1, max_size=8))
def test_a_verdict_of_drift_needs_two_windows_far_out(values: list[float]):
    if values.count(FAR) < 2:
        assert "drift" not in verdicts(*values)
