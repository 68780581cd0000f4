"""A real service with one committed model: started, sent rows, asked what it thinks of its traffic. It must not know what is measured."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np

from loadtests.compare import files, measure, serving
from loadtests.compare.contenders import EVERGREEN, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.compare.processes import Tree
from loadtests.drift.rows import Rows, cut
from loadtests.payloads import to_tensors
from models import bundle

EVALUATED_S = 20.0
LOOK_S = 0.1
ROWS_PER_REQUEST = 25
WIDE_OPEN = {"EVERGREEN_OBSERVE_ROWS_PER_S": "100000", "EVERGREEN_MONITOR_CPU_SHARE": "1"}
"""Everything is observed: the question is what is told of rows, not how many of them are looked at under load."""


class Signal(msgspec.Struct):
    """What is read of a signal."""

    name: str


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


class Service(NamedTuple):
    """One that answers."""

    url: str
    """Of the model, under /v1."""
    infer: str
    metrics: str
    tree: Tree
    subject: Subject
    client: httpx.Client

    def drift(self) -> Drift:
        """What it says now."""
        answer = self.client.get(f"{self.url}/drift")
        if answer.status_code != 200:
            raise NotMeasured(f"drift was answered with {answer.status_code}: {answer.text[:200]}")
        return msgspec.json.decode(answer.content, type=Drift)

    def send(self, rows: Rows, chosen: np.ndarray) -> list[tuple[str, int, int]]:
        """Rows as tensors; (prediction id, row in it, which row) of each."""
        manifest = bundle.read(self.subject.file.path.parent)
        output = manifest.output("probabilities")
        assert output is not None
        sent = []
        for some in np.split(chosen, range(ROWS_PER_REQUEST, len(chosen), ROWS_PER_REQUEST)):
            inputs = cut(manifest.task, {name: array[some] for name, array in rows.inputs.items()})
            payload = to_tensors(inputs, output.name)
            answer = self.client.post(self.infer, content=payload.body, headers=payload.headers)
            if answer.status_code != 200:
                raise NotMeasured(f"it answered {answer.status_code}: {answer.text[:200]}")
            known = answer.headers["prediction-id"]
            sent += [(known, row, int(which)) for row, which in enumerate(some)]
        return sent

    def evaluated(self, before: float | None) -> Drift:
        """The first evaluation after the one that ended at `before`."""
        deadline = time.monotonic() + EVALUATED_S
        while (found := self.drift()).ended_at == before:
            if time.monotonic() > deadline:
                raise NotMeasured(
                    f"no window was evaluated within {EVALUATED_S:g} s: {found.reason}"
                )
            time.sleep(LOOK_S)
        return found

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
        root = f"http://127.0.0.1:{job.port}"
        with (
            serving.serving(contender, job, subject.requests[0]) as server,
            httpx.Client(timeout=30) as client,
        ):
            yield Service(
                f"{root}/v1/models/{model}",
                server.url,
                f"{root}/metrics",
                server.tree,
                subject,
                client,
            )
