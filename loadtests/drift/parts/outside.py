"""The same from outside: a service with the committed profile and two front ends is sent held-out rows, then shifted ones, and asked over HTTP.

The committed profile was made of the held-out rows, so the rows that are sent here without a shift are some of its own.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from loadtests.compare.errors import NotMeasured
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Delays, Verdict, interval
from loadtests.drift.parts.false_alarms import ALPHA
from loadtests.drift.pools import POOLS, UNSEEN, Pool, directory
from loadtests.drift.rows import Model, Rows
from loadtests.drift.service import LOOK_S, WIDE_OPEN, Drift, Service, running
from models import profile


class Case(NamedTuple):
    """What is sent of a modality: windows of `n` rows, at most a tenth of the reference, and what becomes of the traffic."""

    n: int
    shift: str


CASES = {
    "images": Case(200, "image medium"),
    "series": Case(100, UNSEEN),
    "texts": Case(100, "tweets"),
}
TENTH = 10
FRONT_ENDS = 2
SOON = 200
"""Rows after which a change is to be seen."""
SHIFTED_ROWS = 600
LABELS = 400
"""Rows that are labelled, without a shift and after it."""
CONCLUDED_S = 20.0
BATCHES = 10


def run(bench: Bench) -> Steps:
    """One service after another."""
    for modality, case in CASES.items():
        pool = POOLS[modality](bench.scale.rows.get(modality))
        settings = {
            **WIDE_OPEN,
            "EVERGREEN_DRIFT_WINDOW": str(case.n),
            "EVERGREEN_FRONT_ENDS": str(FRONT_ENDS),
        }
        done, total = list(CASES).index(modality), len(CASES)
        try:
            with running(pool.model, pool.variant, settings) as service:
                if service.drift().reference is None:
                    raise NotMeasured(f"{pool.model} has no profile")
                for share in ask(bench, modality, pool, service):
                    yield round(100 * (done + share)), 100 * total, f"{modality} over HTTP"
        except NotMeasured as error:
            bench.found.notes.append(f"{modality} was not measured over HTTP: {error}")


def ask(bench: Bench, modality: str, pool: Pool, service: Service) -> Iterator[float]:
    """Held-out rows, labels of them, shifted ones, labels of those. Yields how much of it is done."""
    rng, case = np.random.default_rng([bench.seed, 11]), CASES[modality]
    rows = pool.committed()
    quiet = Quiet(pool, rows, case.n)
    labelled = quiet.begin(service, rng)
    for number in range(bench.scale.outside):
        yield 0.8 * number / bench.scale.outside
        labelled = (labelled + quiet.half(service, rng))[-LABELS:]
    bench.found.verdicts += quiet.verdicts(modality, service)
    bench.found.verdicts.append(concluded(service, pool, rows, labelled, f"{modality}, held out"))
    shifted = pool.rows(case.shift, rng)
    needed, first, sent = until_drift(service, shifted, case.n, rng)
    bench.found.delays += [
        Delays(
            modality=modality, shift=case.shift, alarm=f"{alarm} over HTTP", n=case.n, requests=[at]
        )
        for alarm, at in needed.items()
    ]
    bench.found.verdicts.append(
        Verdict(
            id="HTTP",
            what=f"rows until GET .../drift says drift, {modality}, {case.shift}, n={case.n}",
            value=float(needed["drift"]) if needed["drift"] >= 0 else float(SHIFTED_ROWS),
            most=SOON,
            note=f"watch or drift after {needed['watch']}; named first: {', '.join(first)}",
        )
    )
    what = f"{modality}, {case.shift}"
    bench.found.verdicts.append(concluded(service, pool, shifted, sent[-LABELS:], what))


class Quiet:
    """Traffic without a shift: what is told of each window, and whether its counts are those of the rows that were sent."""

    def __init__(self, pool: Pool, rows: Rows, n: int) -> None:
        model = Model(directory(pool.model), pool.variant)
        known = profile.read(directory(pool.model), pool.variant)
        assert known is not None
        self.profile, self.rows, self.n = known, rows, n
        panel = profile.panel(model.manifest, model.directory, known)
        self._bins = known.bins(panel.values(rows.inputs, model.answers(rows)))
        self._order: list[int] = []
        self._sent: list[int] = []
        self._last: float | None = None
        self._p: dict[int, list[float]] = {}
        self._exact: list[tuple[str, bool]] = []
        self._windows = 0

    def begin(self, service: Service, rng: np.random.Generator) -> list[tuple[str, int, int]]:
        """Fill the first window, which holds the row that the service was greeted with."""
        greeted = service.until(lambda told: told.samples > 0).samples
        sent = self._send(service, self.n - greeted, rng)
        full = service.until(lambda told: told.p is not None and told.samples == self.n)
        self._last = full.ended_at
        return sent

    def half(self, service: Service, rng: np.random.Generator) -> list[tuple[str, int, int]]:
        """Send half a window and take down what is said of it."""
        sent = self._send(service, self.n // 2, rng)
        told = service.after(self._last)
        self._last = told.ended_at
        if len(self._sent) >= 3 * self.n // 2:
            self._compare(told)
        return sent

    def _send(
        self, service: Service, count: int, rng: np.random.Generator
    ) -> list[tuple[str, int, int]]:
        """Each row once before any comes again."""
        while len(self._order) < count:
            self._order += rng.permutation(self.rows.size).tolist()
        chosen, self._order = self._order[:count], self._order[count:]
        self._sent += chosen
        return service.send(self.rows, np.array(chosen))

    def _compare(self, told: Drift) -> None:
        self._windows += 1
        for one in told.windows:
            if TENTH * one.samples <= self.profile.rows:
                self._p.setdefault(one.samples, []).append(one.p)
        counts = self.profile.counts(self._bins[self._sent[-self.n :]])
        expected = dict(zip(self.profile.names, self.profile.by_signal(counts), strict=True))
        self._exact += [(one.kind, one.live == expected[one.name].tolist()) for one in told.signals]

    def verdicts(self, modality: str, service: Service) -> list[Verdict]:
        """False alarms of every size that was looked at, and whether two front ends count as one."""
        found = []
        for n, p in sorted(self._p.items()):
            alarms = [float(one < ALPHA) for one in p]
            parts = [float(np.mean(one)) for one in np.array_split(alarms, BATCHES) if len(one)]
            low, high = interval(parts)
            found.append(
                Verdict(
                    id="HTTP",
                    what=f"false alarms at alpha .05 over HTTP, {modality}, n={n}",
                    value=float(np.mean(alarms)),
                    low=None if low is None else max(low, 0.0),
                    high=high,
                    most=0.10,
                    note=f"{len(p)} windows, one every {self.n // 2} rows, of rows that the profile was made of",
                )
            )
        inputs = [same for kind, same in self._exact if kind == "input"]
        others = [same for kind, same in self._exact if kind != "input"]
        spent = " and ".join(f"{seconds:.1f}" for seconds in sorted(service.front_ends()))
        found.append(
            Verdict(
                id="A10",
                what=f"input signals' counts with {FRONT_ENDS} front ends as one process counts them, over HTTP, {modality}",
                value=float(np.mean(inputs)),
                least=1,
                note=f"{self._windows} windows; of the signals of answers {np.mean(others):.1%}; the front ends took {spent} s of CPU",
            )
        )
        return found


def until_drift(
    service: Service, rows: Rows, n: int, rng: np.random.Generator
) -> tuple[dict[str, int], list[str], list[tuple[str, int, int]]]:
    """Shifted rows until there are enough: how many it took to each alarm (-1: it never came), the signals named first at the drift, and what was sent."""
    order, half = rng.permutation(rows.size)[:SHIFTED_ROWS], n // 2
    sent: list[tuple[str, int, int]] = []
    needed, first = {"watch": -1, "drift": -1}, list[str]()
    told = service.drift()
    for start in range(0, len(order) - half + 1, half):
        if needed["drift"] >= 0 and len(sent) >= LABELS:
            break
        sent += service.send(rows, order[start : start + half])
        told = service.after(told.ended_at)
        for alarm, verdicts in (("watch", ("watch", "drift")), ("drift", ("drift",))):
            if told.verdict in verdicts and needed[alarm] < 0:
                needed[alarm] = start + half
                first = [one.name for one in told.signals[:3]]
    return needed, first, sent


def concluded(
    service: Service, pool: Pool, rows: Rows, sent: list[tuple[str, int, int]], what: str
) -> Verdict:
    """The labels of what was sent come back: is it called harmful if, and only if, more answers are wrong than is put up with?"""
    names = service.manifest.labels
    known = [
        {"prediction_id": one, "row": row, "label": names[rows.labels[which]]}
        for one, row, which in sent
    ]
    service.label(known)
    chosen = np.array([which for _, _, which in sent])
    some = Rows({name: array[chosen] for name, array in rows.inputs.items()}, rows.labels[chosen])
    model = Model(directory(pool.model), pool.variant)
    accuracy = model.score(some, model.answers(some)).accuracy
    assert accuracy is not None
    limit = 1 - service.manifest.metrics["accuracy"].low + 0.02
    hurts = 1 - accuracy > limit
    told = service.drift().conclusion
    deadline = time.monotonic() + CONCLUDED_S
    while hurts and told.kind != "harmful" and time.monotonic() < deadline:
        time.sleep(LOOK_S)
        told = service.drift().conclusion
    right = (told.kind == "harmful") == hurts
    return Verdict(
        id="people" if what.endswith(UNSEEN) else "HTTP",
        what=f"right verdict on harm over HTTP once {len(sent)} labels came back, {what}",
        value=float(right),
        least=1,
        note=f"really {accuracy:.1%} right, {limit:.1%} wrong is put up with; it says {told.kind}: {told.why}",
    )
