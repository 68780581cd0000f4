"""What observing costs a service under load: monitor on and off in turn, p99 and CPU compared within each pair (A11)."""

import re
from statistics import median
from typing import NamedTuple

from loadtests.compare import comparison, load, machine, rows, serving
from loadtests.compare.errors import NotMeasured
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Verdict
from loadtests.drift.service import running

MODEL, VARIANT = "fashion-cnn", "fp32"
ALTERNATIONS = 5
CONNECTIONS = 8
WARM_UP_S = 12
"""What is observed settles within ten seconds: the budget is an average over as long."""
CPU = re.compile(r"^inference_monitor_cpu_seconds_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Measured(NamedTuple):
    """One service under load: milliseconds, requests a second, CPU seconds per 1,000 requests, and the monitor's own share of a core."""

    p50: float
    p99: float
    per_second: float
    cpu: float
    monitor: float


def run(bench: Bench) -> Steps:
    """Pairs, each in the other order than the one before."""
    if why := load.available():
        raise NotMeasured(why)
    bench.found.notes += comparison.busy(machine.cores_in_use())
    pairs = []
    count = ALTERNATIONS if bench.scale.seconds > 1 else 1
    for number in range(count):
        order = (True, False) if number % 2 == 0 else (False, True)
        found = {}
        for on in order:
            yield number, count, f"pair {number + 1}, monitor {'on' if on else 'off'}"
            found[on] = measured(on, bench.scale.seconds)
        pairs.append((found[True], found[False]))
    judge(bench, pairs)


def measured(on: bool, seconds: int) -> Measured:
    """One service, warmed up."""
    settings = {"EVERGREEN_MONITOR": "true" if on else "false"}
    with running(MODEL, VARIANT, settings) as service, serving.scratch() as folder:
        requests = folder / "requests"
        load.write(requests, ((rows.compact(one), 0) for one in service.subject.requests))
        load.send(service.infer, requests, CONNECTIONS, WARM_UP_S)
        cpu, own = service.tree.cpu_seconds(), spent(service.client.get(service.metrics).text)
        sent = load.send(service.infer, requests, CONNECTIONS, seconds)
        if sent.failures:
            raise NotMeasured(f"{sent.failures} of {sent.requests} requests failed")
        cpu = service.tree.cpu_seconds() - cpu
        own = spent(service.client.get(service.metrics).text) - own
        return Measured(
            sent.p50_us / 1000,
            sent.p99_us / 1000,
            sent.per_second,
            1000 * cpu / sent.requests,
            own / (sent.duration_us / 1e6),
        )


def spent(metrics: str) -> float:
    """CPU seconds that the monitor says it took."""
    return sum(float(value) for value in CPU.findall(metrics))


def judge(bench: Bench, pairs: list[tuple[Measured, Measured]]) -> None:
    """Medians of ratios within pairs."""

    def more(name: str) -> tuple[float, str]:
        ratios = [100 * (getattr(on, name) / getattr(off, name) - 1) for on, off in pairs]
        return median(ratios), ", ".join(f"{one:+.1f}" for one in ratios)

    own = 100 * median(on.monitor for on, _ in pairs)
    rate = median(on.per_second for on, _ in pairs)
    cpu, each = more("cpu")
    bench.found.verdicts.append(
        Verdict(
            id="A11",
            what=f"CPU that observing adds per request, {CONNECTIONS} connections",
            value=cpu,
            most=1,
            unit=" %",
            note=f"pairs {each}; {rate:,.0f} requests/s; the monitor counts {own:.1f} % of a core itself",
        )
    )
    p99, each = more("p99")
    p50, halves = more("p50")
    bench.found.verdicts.append(
        Verdict(
            id="A11",
            what=f"p99 that observing adds, {CONNECTIONS} connections",
            value=p99,
            most=2,
            unit=" %",
            note=f"pairs {each}; p50 {p50:+.1f} % ({halves})",
        )
    )
