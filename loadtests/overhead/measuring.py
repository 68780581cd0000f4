"""One step measured: a server started, checked, loaded, its front-end process looked at before and after. It must not know the plan."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from loadtests.compare import load, measure, processes, serving
from loadtests.compare.contenders import EVERGREEN, Contender, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.overhead import bodies, standins
from loadtests.overhead.bodies import FORMS, Form
from loadtests.overhead.found import TOGETHER, Sample
from service.api.infer import Answer

FRONT_END = b"service.frontend"
WARM_UP_S = 1
NOTHING: Mapping[str, str] = {}


class Running(NamedTuple):
    """A server that answers right, with what is sent to it."""

    contender: Contender
    job: Job
    subject: Subject
    process: int
    """The one that speaks HTTP."""
    tree: processes.Tree
    """All of its processes."""

    def url(self, form: Form) -> str:
        """Where requests of a form go."""
        ours = self.contender.name == EVERGREEN.name
        return self.contender.url(self.job if ours else self.job._replace(model=form))

    def bodies(self, form: Form) -> Path:
        """The file with the requests of a form."""
        return self.job.scratch / form


@contextmanager
def evergreen(subject: Subject, settings: Mapping[str, str] = NOTHING) -> Iterator[Running]:
    """`evergreen serve` with one model, its answers compared with ONNX Runtime's in both forms. `settings` go into its environment."""
    contender = EVERGREEN._replace(environ=lambda job: {**EVERGREEN.environ(job), **settings})
    with started(contender, subject, subject.file.model, {}) as running:
        measure.check(contender, running.url("JSON"), subject.requests, subject)
        check_binary(running)
        yield running


@contextmanager
def standin(kind: str, subject: Subject, constants: standins.Constants) -> Iterator[Running]:
    """A server that answers a constant."""
    with started(standins.contender(kind), subject, "JSON", constants) as running:
        yield running


@contextmanager
def started(
    contender: Contender, subject: Subject, name: str, constants: standins.Constants
) -> Iterator[Running]:
    """Any of them; `name` stands in its path."""
    file = subject.file
    with serving.scratch() as folder:
        job = Job(
            model=name,
            variant=file.variant,
            file=file.path,
            repository=file.repository,
            programs=Path(sys.executable).parent,
            scratch=folder,
            token=serving.new_token(),
            port=serving.free_port(),
            batching=True,
        )
        standins.write(folder / standins.CONSTANTS, constants)
        for form in FORMS:
            load.write(folder / form, (bodies.sent(row, form) for row in subject.rows))
        with serving.serving(contender, job, subject.requests[0]) as server:
            yield Running(contender, job, subject, front_end(server.tree, contender), server.tree)


def front_end(tree: processes.Tree, contender: Contender) -> int:
    """The process that speaks HTTP: Evergreen's front end, or the only one that there is."""
    alive = list(tree.alive())
    if contender.name == EVERGREEN.name:
        alive = [
            pid
            for pid in alive
            if FRONT_END in (processes.PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        ]
    if len(alive) != 1:
        raise NotMeasured(f"{contender.name} has {len(alive)} processes that might speak HTTP")
    return alive[0]


def ask(running: Running, form: Form, number: int) -> Answer:
    """The answer to one row."""
    request = bodies.sent(running.subject.rows[number], form)
    found = httpx.post(running.url(form), content=request.body, headers=request.headers, timeout=10)
    if found.status_code != 200:
        raise NotMeasured(f"{form}: it answered {found.status_code}: {found.text[:200]}")
    head = found.headers.get(bodies.HEADER)
    return Answer(found.headers["prediction-id"], found.content, int(head) if head else None)


def check_binary(running: Running) -> None:
    """Compare answers to binary requests with ONNX Runtime's; the JSON ones have been."""
    subject = running.subject
    independent = subject.file.independent
    # As many as for JSON: answers that may differ are judged by averages.
    count = measure.ALONE if independent else measure.TOGETHER
    answers = [ask(running, "binary", number) for number in range(count)]
    given = [bodies.probabilities(one.body, one.header_length) for one in answers]
    wrong = measure.difference(given, subject.expected[:count], independent=independent)
    if wrong:
        raise NotMeasured(f"binary: {wrong}")


def constants(subject: Subject) -> dict[str, Answer]:
    """Evergreen's own answers, one for each form: what the stand-ins say."""
    with evergreen(subject) as running:
        return {form: ask(running, form, 0) for form in FORMS}


def warm_up(running: Running) -> None:
    """Both forms at full load."""
    for form in FORMS:
        send(running, form, TOGETHER, WARM_UP_S)


def send(running: Running, form: Form, concurrency: int, seconds: int) -> load.Load:
    """The load of one form."""
    url, file = running.url(form), running.bodies(form)
    return load.send(url, file, concurrency, seconds)


def sample(running: Running, form: Form, number: int, concurrency: int, seconds: int) -> Sample:
    """One measurement."""
    before = ticks(running.process)
    found = send(running, form, concurrency, seconds)
    spent = (ticks(running.process) - before) / processes.TICKS
    if not found.requests:
        raise NotMeasured(f"{running.contender.name} answered nothing, {form}, c={concurrency}")
    return Sample(
        round=number,
        server=running.contender.name,
        form=form,
        model=running.subject.file.model,
        variant=running.subject.file.variant,
        concurrency=concurrency,
        requests=found.requests,
        failures=found.failures,
        per_second=round(found.per_second, 2),
        p50_ms=found.p50_us / 1000,
        p99_ms=found.p99_us / 1000,
        cpu_us=round(1e6 * spent / found.requests, 2),
    )


def ticks(process: int) -> int:
    """User and system time of one process so far."""
    text = (processes.PROC / str(process) / "stat").read_text(errors="replace")
    return processes.parse_stat(text).ticks
