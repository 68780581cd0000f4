"""The same from outside: a service with the committed profile is sent held-out rows, then shifted ones, and asked over HTTP.

The committed profile was made of all held-out rows, so the rows that are sent here without a shift are some of its own.
"""

import time

import numpy as np

from loadtests.compare.errors import NotMeasured
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Delays, Verdict
from loadtests.drift.parts.false_alarms import ALPHA
from loadtests.drift.pools import CLEAN, POOLS, UNSEEN, Pool
from loadtests.drift.rows import Rows
from loadtests.drift.service import WIDE_OPEN, Service, running
from models.bundle import read

N = 200
SHIFTS = {"images": "image medium", "series": UNSEEN, "texts": "tweets"}
SHIFTED_ROWS = 2000
HARM_S = 20.0
LEAST_WINDOWS = 12


def run(bench: Bench) -> Steps:
    """One service after another."""
    for done, modality in enumerate(POOLS):
        yield done, len(POOLS), f"{modality} over HTTP"
        pool = POOLS[modality](bench.scale.rows.get(modality))
        settings = {**WIDE_OPEN, "EVERGREEN_DRIFT_WINDOW": str(N)}
        try:
            with running(pool.model, pool.variant, settings) as service:
                if service.drift().reference is None:
                    raise NotMeasured(f"{pool.model} has no profile")
                ask(bench, modality, pool, service)
        except NotMeasured as error:
            bench.found.notes.append(f"{modality} was not measured over HTTP: {error}")


def ask(bench: Bench, modality: str, pool: Pool, service: Service) -> None:
    """Held-out rows, shifted ones, and labels where the rows have some."""
    rng = np.random.default_rng([bench.seed, 11])
    clean = pool.rows(CLEAN, rng)
    found = windows(service, clean, rng, max(bench.scale.splits, LEAST_WINDOWS))
    sizes = f"n={N}" if service.drift().window == N else f"n={service.drift().window}"
    bench.found.verdicts.append(
        Verdict(
            id="HTTP",
            what=f"false alarms at alpha .05 over HTTP, {modality}, {sizes}",
            value=float(np.mean([p < ALPHA for p in found])),
            most=0.10,
            note=f"{len(found)} windows that overlap by half, of rows that the profile was made of",
        )
    )
    shift = SHIFTS[modality]
    rows = pool.rows(shift, rng)
    needed, first, sent = until_drift(service, rows, rng)
    bench.found.delays.append(
        Delays(modality=modality, shift=shift, alarm="drift over HTTP", n=N, requests=[needed])
    )
    bench.found.verdicts.append(
        Verdict(
            id="HTTP",
            what=f"rows until GET .../drift says drift, {modality}, {shift}",
            value=float(needed) if needed >= 0 else float("inf"),
            most=2 * N,
            note=f"named first: {', '.join(first)}",
        )
    )
    if modality == "series":
        bench.found.verdicts.append(harm(service, pool, rows, sent))


def windows(service: Service, rows: Rows, rng: np.random.Generator, count: int) -> list[float]:
    """The p-values of `count` evaluations of rows without a shift."""
    half = (service.drift().window or N) // 2
    found: list[float] = []
    last = None
    order = np.concatenate(
        [rng.permutation(rows.size) for _ in range(1 + count * half // rows.size)]
    )
    for start in range(0, count * half, half):
        service.send(rows, order[start : start + half])
        told = service.evaluated(last)
        last = told.ended_at
        if told.samples == service.drift().window and told.p is not None:
            found.append(told.p)
    return found


def until_drift(
    service: Service, rows: Rows, rng: np.random.Generator
) -> tuple[int, list[str], list[tuple[str, int, int]]]:
    """Shifted rows until the verdict is drift: how many (-1: it never was), the signals named first, and all that was sent."""
    order, sent = rng.permutation(rows.size)[:SHIFTED_ROWS], []
    half = (service.drift().window or N) // 2
    told = service.drift()
    for start in range(0, len(order) - half, half):
        sent += service.send(rows, order[start : start + half])
        told = service.evaluated(told.ended_at)
        if told.verdict == "drift":
            return start + half, [one.name for one in told.signals[:3]], sent
    return -1, [one.name for one in told.signals[:3]], sent


def harm(service: Service, pool: Pool, rows: Rows, sent: list[tuple[str, int, int]]) -> Verdict:
    """The labels of what was sent: does it say that the drift hurts?"""
    labels = read(service.subject.file.path.parent).labels
    service.label(
        [
            {"prediction_id": known, "row": row, "label": labels[rows.labels[which]]}
            for known, row, which in sent
        ]
    )
    deadline = time.monotonic() + HARM_S
    while (told := service.drift().conclusion).kind != "harmful" and time.monotonic() < deadline:
        time.sleep(0.2)
    return Verdict(
        id="people",
        what=f"people never seen, over HTTP: says harmful once {len(sent)} labels are there",
        value=float(told.kind == "harmful"),
        least=1,
        note=f"{told.kind}: {told.why}",
    )
