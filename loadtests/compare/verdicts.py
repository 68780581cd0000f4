"""The lines by which Evergreen is judged, computed from a run's measurements. Pure.

Each ratio is taken within a round, against whichever peer was fastest in that round; the value is the median over rounds.
"""

from collections import Counter
from collections.abc import Callable
from statistics import median

from loadtests.compare.results import (
    Limit,
    Measurement,
    Results,
    Verdict,
    fastest,
    rounds,
    select,
)

US = "evergreen"
MODELS = {"fashion-cnn": "CNN", "activity-lstm": "LSTM", "sentiment-transformer": "Transformer"}
Pair = tuple[Measurement, Measurement]


def judged(results: Results) -> list[Verdict]:
    """Every line that this comparison can know, in the order of the targets' table."""
    given = results.measurements
    found: list[Verdict] = []
    for concurrency in (32, 128):
        cnn = select(given, model="fashion-cnn", concurrency=concurrency)
        same = select(cnn, variant="fp32")
        choice = cnn if same != cnn else []  # one file alone leaves nothing to choose
        found += [
            ratio(f"CNN, fp32, requests/s against the best peer, c={concurrency}", 1.5, same),
            p99(f"CNN, fp32, best peer's p99 over ours, c={concurrency}", same),
            ratio(f"CNN, each with its fastest file, c={concurrency}", 2.0, choice),
        ]
    for concurrency in (32, 128):
        lstm = select(given, model="activity-lstm", variant="fp32", concurrency=concurrency)
        found.append(ratio(f"LSTM, fp32, best setting, c={concurrency}", 1.5, lstm))
    for variant in ("fp32", "int8"):
        text = select(given, model="sentiment-transformer", variant=variant, concurrency=32)
        on = select(text, batching=True)
        found += [
            ratio(f"Transformer, {variant}, batching on, c=32", 1.3, on),
            ratio(f"Transformer, {variant}, best setting, c=32", 1.0, text),
        ]
    found += [added_latency(results, model) for model in MODELS]
    asked = {one.model for one in given}
    return [one for one in found if any(one.what.startswith(MODELS[model]) for model in asked)]


def pairs(measurements: list[Measurement]) -> list[Pair]:
    """(Evergreen's fastest, the peers' fastest) of every round that has both."""
    found = []
    for number in rounds(measurements):
        of_round = select(measurements, round=number)
        ours = fastest([one for one in of_round if one.server == US])
        theirs = fastest([one for one in of_round if one.server != US])
        if ours and theirs:
            found.append((ours, theirs))
    return found


def ratio(what: str, target: float, measurements: list[Measurement]) -> Verdict:
    """Requests a second over those of the round's fastest peer."""
    return compared(
        what, target, measurements, lambda ours, theirs: ours.per_second / theirs.per_second
    )


def p99(what: str, measurements: list[Measurement]) -> Verdict:
    """The p99 of the round's fastest peer over ours: 1 or more is no worse."""
    return compared(what, 1.0, measurements, lambda ours, theirs: theirs.p99_ms / ours.p99_ms)


def compared(
    what: str,
    target: float,
    measurements: list[Measurement],
    divide: Callable[[Measurement, Measurement], float],
) -> Verdict:
    """One ratio per round, their median, and whom they are against."""
    found = pairs(measurements)
    values = [divide(ours, theirs) for ours, theirs in found]
    return Verdict(
        what=what,
        target=target,
        value=median(values) if values else None,
        rounds=values,
        against=opponents([theirs for _, theirs in found]),
    )


def opponents(fastest_peers: list[Measurement]) -> str:
    """The peers that were fastest, most often first."""
    names = Counter(
        f"{one.server} {one.variant}{'' if one.batching else ' without batching'}"
        for one in fastest_peers
    )
    return ", ".join(name for name, _ in names.most_common())


def added_latency(results: Results, model: str) -> Verdict:
    """Our p50 at concurrency 1 less the p50 of one run of one row in the loop of the same round."""
    ours = select(
        results.measurements, model=model, variant="fp32", server=US, concurrency=1, batching=True
    )
    values = [
        one.p50_ms - run.p50_ms
        for one in ours
        for run in results.limits
        if alone(run, model) and run.round == one.round
    ]
    return Verdict(
        what=f"{MODELS[model]}, fp32, p50 added to the raw session run, c=1",
        target=0.6,
        value=median(values) if values else None,
        unit=" ms",
        at_most=True,
        rounds=values,
        against="the loop",
    )


def alone(run: Limit, model: str) -> bool:
    """Whether a limit is that of one row at a time with the fp32 file."""
    return run.model == model and run.variant == "fp32" and run.batch == 1


def line(verdict: Verdict) -> str:
    """For a person: met or missed, the value and its rounds, the target."""
    if verdict.value is None:
        return f"unknown  {verdict.what}: not measured (target {verdict.target:g}{verdict.unit})"
    sign = "at most" if verdict.at_most else "at least"
    each = ", ".join(f"{value:.2f}" for value in verdict.rounds)
    return (
        f"{'met' if verdict.met else 'MISSED':8} {verdict.what}: {verdict.value:.2f}{verdict.unit}, "
        f"{sign} {verdict.target:g} (rounds {each}; against {verdict.against})"
    )
