"""A real service with one committed model: started, sent rows over both APIs, asked what it thinks of its traffic. It must not know what is measured."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np

from loadtests.compare import files, measure, serving
from loadtests.compare.contenders import EVERGREEN, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.compare.processes import PROC, TICKS
from loadtests.drift.rows import Rows, cut
from loadtests.payloads import to_tensors
from models import bundle, tasks
from service import examples

PATIENCE_S = 20.0
LOOK_S = 0.1
ROWS_PER_REQUEST = 25
CONNECTIONS = 8
"""Whoever listens on the port shares them."""
FRONT_END = "service.frontend"
WIDE_OPEN = {"EVERGREEN_OBSERVE_ROWS_PER_S": "100000", "EVERGREEN_MONITOR_CPU_SHARE": "1"}
"""Everything is observed: the question is what is told of rows, not how many of them are looked at under load."""


class Signal(msgspec.Struct):
    """What is read of a signal: `live` are the window's counts by bin."""

    name: str
    kind: str
    live: list[int]


class Window(msgspec.Struct):
    """The newest rows in one size."""

    samples: int
    p: float


class Conclusion(msgspec.Struct):
    """Whether it hurts."""

    kind: str
    why: str


class Drift(msgspec.Struct):
    """What is read of GET /v1/models/{name}/drift."""

    verdict: str
    reason: str
    conclusion: Conclusion
    samples: int
    window: int | None
    ended_at: float | None
    p: float | None
    reference: dict[str, Any] | None
    signals: list[Signal]
    windows: list[Window]


class Service:
    """One that answers. `url`: of the model, under /v1; `infer`: under /v2; `clients`: each with a connection of its own."""

    def __init__(
        self, root: str, server: serving.Server, subject: Subject, clients: Sequence[httpx.Client]
    ) -> None:
        self.url = f"{root}/v1/models/{subject.file.model}"
        self.infer, self.metrics = server.url, f"{root}/metrics"
        self.tree, self.subject, self.client = server.tree, subject, clients[0]
        self.manifest = bundle.read(subject.file.path.parent)
        self._turns = cycle([(c, api) for c in clients for api in ("v1", "v2")])

    def drift(self) -> Drift:
        """What it says now."""
        answer = self.client.get(f"{self.url}/drift")
        if answer.status_code != 200:
            raise NotMeasured(f"drift was answered with {answer.status_code}: {answer.text[:200]}")
        return msgspec.json.decode(answer.content, type=Drift)

    def send(self, rows: Rows, chosen: np.ndarray) -> list[tuple[str, int, int]]:
        """Rows over /v1 and /v2 in turn, over all connections; (prediction id, row in it, which row) of each."""
        sent = []
        for some in np.split(chosen, range(ROWS_PER_REQUEST, len(chosen), ROWS_PER_REQUEST)):
            client, api = next(self._turns)
            answer = (
                self._people(client, rows, some)
                if api == "v1"
                else self._tensors(client, rows, some)
            )
            if answer.status_code != 200:
                raise NotMeasured(f"it answered {answer.status_code}: {answer.text[:200]}")
            known = answer.headers["prediction-id"]
            sent += [(known, row, int(which)) for row, which in enumerate(some)]
        return sent

    def _tensors(self, client: httpx.Client, rows: Rows, some: np.ndarray) -> httpx.Response:
        """As programs send them."""
        output = self.manifest.output("probabilities")
        assert output is not None
        inputs = cut(self.manifest.task, {name: array[some] for name, array in rows.inputs.items()})
        payload = to_tensors(inputs, output.name)
        return client.post(self.infer, content=payload.body, headers=payload.headers)

    def _people(self, client: httpx.Client, rows: Rows, some: np.ndarray) -> httpx.Response:
        """As people send them."""
        url = f"{self.url}/predict"
        match self.manifest.task:
            case tasks.ImageTask() as task:
                pictures = [examples.png(rows.inputs[task.input][i]) for i in some]
                return client.post(
                    url, files=[("file", ("p.png", one, "image/png")) for one in pictures]
                )
            case tasks.SeriesTask() as task:
                series, lengths = rows.inputs[task.input], rows.inputs[task.lengths]
                return client.post(
                    url, json={"series": [series[i, : lengths[i]].tolist() for i in some]}
                )
        return client.post(url, json={"texts": [rows.texts[i] for i in some]})

    def front_ends(self) -> list[float]:
        """The CPU seconds of each process that speaks HTTP."""
        found = []
        for pid, stat in self.tree.alive().items():
            command = (PROC / str(pid) / "cmdline").read_text(errors="replace")
            if FRONT_END in command:
                found.append(stat.ticks / TICKS)
        return found

    def until(self, reached: Callable[[Drift], bool]) -> Drift:
        """What it says once that is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached(found := self.drift()):
            if time.monotonic() > deadline:
                raise NotMeasured(f"nothing new was told in {PATIENCE_S:g} s: {found.reason}")
            time.sleep(LOOK_S)
        return found

    def after(self, evaluation: float | None) -> Drift:
        """What it says after the first evaluation that follows the one that ended at `evaluation`."""
        return self.until(lambda told: told.ended_at != evaluation)

    def label(self, labels: list[dict[str, Any]]) -> None:
        """Labels of rows that were sent."""
        answer = self.client.post(f"{self.url}/feedback", json={"labels": labels})
        if answer.status_code >= 300:
            raise NotMeasured(
                f"feedback was answered with {answer.status_code}: {answer.text[:200]}"
            )


@contextmanager
def running(model: str, variant: str, settings: Mapping[str, str]) -> Iterator[Service]:
    """`evergreen serve` with one committed model and its defaults but for `settings`."""
    file = files.find(model, variant)
    if file is None:
        raise NotMeasured(f"the {variant} file of {model} is not there")
    subject = measure.subject(file)
    with serving.scratch() as folder:
        job = Job(
            model=model,
            variant=variant,
            file=file.path,
            repository=file.repository,
            programs=Path(sys.executable).parent,
            scratch=folder,
            token=serving.new_token(),
            port=serving.free_port(),
            batching=True,
        )
        name = f"EVERGREEN_MODELS__{model.upper().replace('-', '_')}__VARIANT"
        own = {"EVERGREEN_STATE": str(folder / "state"), name: variant, **settings}
        contender = EVERGREEN._replace(environ=lambda _: own)
        with serving.serving(contender, job, subject.requests[0]) as server, ExitStack() as stack:
            clients = [stack.enter_context(httpx.Client(timeout=30)) for _ in range(CONNECTIONS)]
            yield Service(f"http://127.0.0.1:{job.port}", server, subject, clients)
