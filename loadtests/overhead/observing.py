"""What observing costs: the same rows at a fixed rate, with the monitor on and off in turn. It must not know the plan.

CPU is that of all processes of the service: what the front end looks at, control adds up and writes down.
"""

import re

import httpx

from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.overhead import bodies, measuring, paced
from loadtests.overhead.found import Observing

PER_SECOND = 200
WARM_UP_S = 12
"""The share that is observed settles within ten seconds: the budget is an average over as long."""
TIMES = 5
"""A measurement is so many times as long as others: p99 of a thousand requests says little."""
OWN = re.compile(r"^inference_monitor_cpu_seconds_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


def take(subject: Subject, number: int, seconds: int, *, on: bool) -> Observing:
    """One start of the service, loaded."""
    settings = {"EVERGREEN_MONITOR": "true" if on else "false"}
    with measuring.evergreen(subject, settings) as running:
        url = running.url("binary")
        rows = [bodies.sent(row, "binary") for row in subject.rows]
        paced.send(url, rows, PER_SECOND, WARM_UP_S)
        cpu, own = running.tree.cpu_seconds(), spent(running)
        pace = paced.send(url, rows, PER_SECOND, TIMES * seconds)
        cpu, own = running.tree.cpu_seconds() - cpu, spent(running) - own
    if pace.failures > pace.requests / 100:
        raise NotMeasured(f"{pace.failures} of {pace.requests} requests failed")
    return Observing(
        round=number,
        on=on,
        requests=pace.requests,
        failures=pace.failures,
        p50_ms=round(pace.p50_ms, 4),
        p99_ms=round(pace.p99_ms, 4),
        cpu_us=round(1e6 * cpu / pace.requests, 2),
        own_us=round(1e6 * own / pace.requests, 2),
    )


def spent(running: measuring.Running) -> float:
    """CPU seconds that the monitor says it took."""
    page = httpx.get(f"http://127.0.0.1:{running.job.port}/metrics", timeout=10).text
    return sum(map(float, OWN.findall(page)))
