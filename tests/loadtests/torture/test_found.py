"""What holds and what does not, from figures made by hand."""

from loadtests.torture import report
from loadtests.torture.found import Bin, Found, Memory, Probe, Probes, Tally, growth, violations

RIGHT, REFUSED, SILENT = Bin(right=5), Bin(refused=5), Bin(oldest=3.0)


def met(bins: list[Bin], at: float, ready: bool) -> list[str]:
    """What does not hold where a model's requests met this, and one probe said that."""
    probes = Probes(live=9, models={"m": [Probe(at, ready)]})
    return list(violations(Found("a", "b", probes=probes, courses={"m": bins})))


def test_what_is_right_or_refused_cleanly_holds():
    tally = Tally(right=9, refused=3, unreached=2, cut=1)
    assert tally.requests == 15
    assert not list(violations(Found("a", "b", models={"m": tally})))


def test_a_wrong_and_a_lost_answer_are_told_with_the_first_of_them():
    tally = Tally(right=8)
    tally.count("wrong", "binary: another's")
    tally.count("lost", "json: cut")
    wrong, lost = violations(Found("a", "b", models={"m": tally, "n": Tally(right=2)}))
    assert wrong == "1 of 12 answers were wrong, none may be, first: binary: another's"
    assert lost.startswith("1 of 12 answers were lost")


def test_a_dead_probe_is_told():
    (said,) = violations(Found("a", "b", probes=Probes(live=7, dead=["503 after 1.2 s"])))
    assert said == "liveness failed 1 of 7 times, first: 503 after 1.2 s"


def test_ready_is_a_lie_where_everybody_is_refused_for_longer_than_a_second():
    (said,) = met([REFUSED] * 20, 1.5, ready=True)
    assert "m said ready 1.5 s after the beginning (1 of 1 probes)" in said


def test_ready_is_a_lie_where_nobody_is_answered_at_all():
    assert met([SILENT] * 20, 1.5, ready=True)
    assert not met([Bin()] * 20, 1.5, ready=True), "nobody asked"


def test_not_ready_is_a_lie_where_everybody_is_answered():
    assert met([RIGHT] * 20, 1.5, ready=False)
    assert not met([RIGHT] * 20, 1.5, ready=True)
    assert not met([RIGHT] * 10 + [Bin()] + [RIGHT] * 9, 1.2, ready=False), "there was a gap"


def test_readiness_has_a_second_and_may_be_first_to_tell():
    changed = [RIGHT] * 15 + [REFUSED] * 15
    assert not met(changed, 2.0, ready=True), "half a second after the change"
    assert not met(changed, 1.4, ready=False), "it told of the change before requests met it"
    assert met(changed, 2.7, ready=True)


def test_growth_is_the_slope_after_the_first_third():
    steady = [Memory(n, 1000 * n, 300.0 + (40 if n < 10 else 0)) for n in range(30)]
    assert abs(growth(steady)) < 1e-9
    rising = [Memory(n, 1000 * n, 300.0 + 3 * n) for n in range(30)]
    assert 0.1 < growth(rising) < 0.2
    assert growth(steady[:2]) == 0


def test_the_page_tells_every_scenario_and_what_was_left_out():
    tally = Tally(right=9, refused=1)
    found = Found("engines killed", "Engines are killed.", seconds=3.0, models={"m": tally})
    machine = {"processor": "p", "cores": "2 cores", "memory": "1 GiB", "python": "Python 3"}
    told = report.page(report.Report("2026-01-01", machine, [found], {"a day": "no time"}))
    assert "| engines killed | 9 | 1 | 0 | 0 | 0 of 0 |  |  |" in told
    assert "**10 requests: 9 right, 1 refused cleanly, 0 wrong, 0 lost.**" in told
    assert "**a day** was left out: no time" in told
