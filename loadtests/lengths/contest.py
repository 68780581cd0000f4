"""Policies that run all rows of a queue, each as it would be done, and what they took. It must not know the plan.

    buckets    Evergreen's scheduler, session and runner, its caps measured as the engine measures them
    arrival    as rows arrive, padded to the longest of 16
    alone      one at a time
    sorted     as arrival, sorted by length before

Padding is part of what is timed for all; threads, sockets and HTTP are part of none. One thread computes.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import onnxruntime

from loadtests.compare.files import ModelFile
from loadtests.compare.rows import OUTPUT, length
from loadtests.lengths import policies
from loadtests.lengths.policies import Planned, Row
from service.engine import calibration, loading, native, runner
from service.engine.calibration import Calibration
from service.engine.config import Config, Options
from service.engine.lanes import Entry
from service.engine.latency import LatencyTable
from service.engine.scheduler import Limits, Scheduler
from service.engine.session import Session
from service.errors import EngineError

MOST = 16
POLICIES = ("buckets", "arrival", "alone", "sorted")


class Pass(NamedTuple):
    """All rows once: seconds, elements after padding over before, batches, probabilities [rows, classes]."""

    seconds: float
    padding: float
    batches: int
    answers: np.ndarray


class Contest:
    """One file loaded for everybody: by Evergreen, and plainly with the same session options."""

    def __init__(self, file: ModelFile) -> None:
        options = Options(provider="cpu", variant=file.variant)
        config = Config(file.model, 1, str(file.path.parent), "", -1, options)
        with ThreadPoolExecutor(1) as threads:
            session, calibrated = loading.load(config, threads)
        if session.report["variant"] != file.variant:
            raise EngineError(f"the engine took {session.report['variant']}, not {file.variant}")
        self.evergreen = Evergreen(session, calibrated, options)
        self.session = native.build(file.path, "cpu", options)

    def run(self, policy: str, rows: Sequence[Row]) -> Pass:
        """All rows by one policy."""
        if policy == "buckets":
            return self.evergreen.run(rows)
        return run_plan(self.session, rows, PLANS[policy])


PLANS: dict[str, Callable[[Sequence[int]], list[Planned]]] = {
    "arrival": lambda lengths: policies.in_order(lengths, MOST),
    "alone": policies.one_at_a_time,
    "sorted": lambda lengths: policies.sorted_first(lengths, MOST),
}


def run_plan(
    session: onnxruntime.InferenceSession,
    rows: Sequence[Row],
    make: Callable[[Sequence[int]], list[Planned]],
) -> Pass:
    """Plan, pad, run, and hand every row its answer."""
    answers: list[np.ndarray] = [np.empty(0)] * len(rows)
    begun = time.perf_counter()
    lengths = [length(row) for row in rows]
    plan = make(lengths)
    for one in plan:
        batch = policies.padded([rows[number] for number in one.rows], one.length)
        (values,) = session.run([OUTPUT], batch)
        for number, value in zip(one.rows, values, strict=True):
            answers[number] = value
    seconds = time.perf_counter() - begun
    return Pass(seconds, policies.waste(plan, lengths), len(plan), np.array(answers))


class Evergreen:
    """The engine without its process: the same scheduler with the same limits, session and runner."""

    def __init__(self, session: Session, calibrated: Calibration, options: Options) -> None:
        self.caps = {bucket.length: cap for bucket, cap in calibrated.caps.items()}
        self._session = session
        self._calibrated = calibrated
        self._limits = Limits(1, options.max_queue_rows, options.max_batch_tokens)

    def run(self, rows: Sequence[Row]) -> Pass:
        """Queue everything, then batches until nothing is left."""
        answers: list[np.ndarray] = [np.empty(0)] * len(rows)
        latency = LatencyTable(calibration.as_curve(self._calibrated.curve))
        scheduler = Scheduler(self._limits, self._calibrated.caps, latency)
        ran: list[list[Row]] = []
        begun = time.perf_counter()
        now = time.monotonic()
        for number, row in enumerate(rows):
            bucket = self._session.bucket(row)
            scheduler.add(Entry((0, number), bucket, 1, now, math.inf, payload=row), now)
        while (batch := scheduler.next_batch(time.monotonic())) is not None:
            requests = [entry.payload for entry in batch.entries]
            done = runner.run(self._session, requests, [OUTPUT])
            scheduler.finished(batch, time.monotonic())
            for entry, answer in zip(batch.entries, done.answers, strict=True):
                if isinstance(answer, EngineError):
                    raise answer
                answers[entry.key[1]] = answer[OUTPUT][0]
            ran.append(requests)
        seconds = time.perf_counter() - begun
        real, padded = np.sum([self._session.lengths(requests) for requests in ran], axis=0)
        return Pass(seconds, float(padded / real), len(ran), np.array(answers))
