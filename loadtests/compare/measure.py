"""One setup measured: a server checked and loaded, or the loop run. It must not know the plan.

started -> asked one at a time and many at a time, the answers compared -> warmed up -> measured at each concurrency
"""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from loadtests.compare import loop, plan, rows, serving
from loadtests.compare.contenders import CONTENDERS, ROOT, Contender, Job, Json
from loadtests.compare.environments import programs
from loadtests.compare.errors import NotMeasured
from loadtests.compare.files import ModelFile
from loadtests.compare.load import Load, send, write
from loadtests.compare.plan import Options, Setup
from loadtests.compare.results import Limit, Measurement

ALONE, TOGETHER = 8, 64
"""So many answers are compared one at a time, and so many with 32 under way: mistakes in batching show only then."""
UNDER_WAY = 32
CLOSE = 1e-3
"""Allowed difference of a probability where a row's answer does not depend on its batch mates."""
FAR, FAR_ON_AVERAGE, SAME_LABEL = 0.3, 0.05, 0.9
"""... and where it does, as dynamic int8 scales are of the whole batch. Other rows' answers would be 0.3 away on average."""


class Subject(NamedTuple):
    """One file, what is sent to it, and what ONNX Runtime answers: probabilities [rows, classes]."""

    file: ModelFile
    rows: list[rows.Row]
    source: str
    requests: list[Json]
    expected: np.ndarray


def subject(file: ModelFile) -> Subject:
    """Everything about a file that does not depend on who serves it."""
    found = rows.held_out(file.model, file.path.parent)
    requests = [rows.request(row) for row in found.rows]
    return Subject(file, found.rows, found.source, requests, rows.answers(file.path, found.rows))


def server(setup: Setup, subject: Subject, number: int, options: Options) -> list[Measurement]:
    """Start, check, warm up, measure, end. NotMeasured where one of these is not possible."""
    contender = CONTENDERS[setup.server]
    requests = [contender.request(one) for one in subject.requests]
    with serving.scratch() as folder:
        job = Job(
            model=setup.model,
            variant=setup.variant,
            file=subject.file.path,
            repository=subject.file.repository,
            programs=programs(contender),
            scratch=folder,
            token=serving.new_token(),
            port=serving.free_port(),
            batching=setup.batching,
        )
        bodies = folder / "bodies"
        write(bodies, ((rows.compact(one), 0) for one in requests))
        with serving.serving(contender, job, requests[0]) as running:
            check(contender, running.url, requests, subject)
            send(running.url, bodies, max(setup.concurrencies), plan.WARM_UP_S)
            duration = plan.seconds(options, setup.model)
            return [
                loaded(running, bodies, concurrency, duration, setup, number)
                for concurrency in setup.concurrencies
            ]


def loaded(
    running: serving.Server,
    bodies: Path,
    concurrency: int,
    duration: int,
    setup: Setup,
    number: int,
) -> Measurement:
    """One measurement. Processes are looked at before and after, never during it."""
    before = running.tree.cpu_seconds()
    load = send(running.url, bodies, concurrency, duration)
    cpu = running.tree.cpu_seconds() - before
    memory = running.tree.memory_mib()  # allocators keep what the load made them take
    return measurement(setup, number, concurrency, load, (cpu, memory))


def measurement(
    setup: Setup, number: int, concurrency: int, load: Load, cost: tuple[float, float]
) -> Measurement:
    """The figures of one load; `cost` is (CPU seconds, MiB)."""
    if not load.requests:
        raise NotMeasured(f"no request was answered at concurrency {concurrency}")
    return Measurement(
        round=number,
        model=setup.model,
        variant=setup.variant,
        server=setup.server,
        batching=setup.batching,
        concurrency=concurrency,
        requests=load.requests,
        failures=load.failures,
        per_second=round(load.per_second, 2),
        p50_ms=load.p50_us / 1000,
        p99_ms=load.p99_us / 1000,
        cpu_s_per_1000=round(1000 * cost[0] / load.requests, 4),
        memory_mib=round(cost[1], 1),
    )


def check(contender: Contender, url: str, requests: list[Json], subject: Subject) -> None:
    """Compare answers given alone and given in batches. NotMeasured where they are not ONNX Runtime's."""
    independent = subject.file.independent
    # Answers that may differ are judged by averages, which need many.
    for count, concurrency in ((ALONE if independent else TOGETHER, 1), (TOGETHER, UNDER_WAY)):
        answers = serving.ask(url, requests[:count], concurrency)
        given = [probabilities(contender, answer) for answer in answers]
        wrong = difference(given, subject.expected[:count], independent=independent)
        if wrong:
            raise NotMeasured(f"with {concurrency} requests under way {wrong}")


def probabilities(contender: Contender, answer: Any) -> list[float]:
    """The values of the output `probabilities`; NotMeasured where there are none."""
    try:
        outputs = contender.answer(answer)["outputs"]
        return next(list(one["data"]) for one in outputs if one["name"] == rows.OUTPUT)
    except (KeyError, TypeError, IndexError, StopIteration) as error:
        raise NotMeasured(f"an answer holds no probabilities: {str(answer)[:120]}") from error


def difference(given: list[list[float]], expected: np.ndarray, *, independent: bool) -> str:
    """What is wrong with the answers, in words; empty where they are right."""
    shapes = {len(one) for one in given}
    if shapes != {expected.shape[1]} or len(given) != len(expected):
        return f"the answers have {sorted(shapes)} classes, the model has {expected.shape[1]}"
    array = np.array(given)
    gap = np.abs(array - expected).max(axis=1)
    far = ~(gap <= (CLOSE if independent else FAR))  # NaN is far, too
    if far.any():
        return f"{far.sum()} of {len(gap)} answers differ from ONNX Runtime's, by up to {gap.max():.3g}"
    same = float((array.argmax(1) == expected.argmax(1)).mean())
    if gap.mean() > FAR_ON_AVERAGE or (not independent and same < SAME_LABEL):
        return f"answers differ from ONNX Runtime's by {gap.mean():.3g} on average, {same:.0%} of the labels are the same"
    return ""


def limits(setup: Setup, subject: Subject, number: int, options: Options) -> list[Limit]:
    """The loop in a process of its own, as the servers are."""
    duration = plan.seconds(options, setup.model)
    sizes = ",".join(map(str, plan.LOOP_BATCHES))
    with serving.scratch() as folder:
        loop.write_rows(folder / "rows.npz", subject.rows)
        command = [sys.executable, "-m", "loadtests.compare.loop"]
        command += [str(subject.file.path), str(folder / "rows.npz")]
        command += ["--batches", sizes, "--seconds", str(duration)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=60 + 10 * duration,
                check=True,
                cwd=ROOT,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NotMeasured(f"the loop failed: {error.stderr!s}") from error
    return [
        Limit(
            round=number,
            model=setup.model,
            variant=setup.variant,
            batch=one.batch,
            rows_per_second=round(one.rows_per_second, 2),
            p50_ms=round(one.p50_ms, 4),
        )
        for one in msgspec.json.decode(done.stdout, type=list[loop.Pace])
    ]
