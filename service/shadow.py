"""Copies of requests for a version that nobody hears yet, and how its answers differ. It must not delay or fail an answer.

A copy is made after the champion has answered, at the lowest priority. At most MOST are under way; what comes beyond is counted and dropped.
"""

import asyncio
import time
from collections.abc import Sequence

import numpy as np

from models.bundle import Manifest
from models.errors import EvergreenError
from service.engine import wire
from service.engine.client import Answer
from service.engine.lanes import LOW
from service.routing import Router, Target
from service.tallies import FrontEndMetrics, ShadowTally

MOST = 8
"""Copies under way at a time, of all models together: what a front end may hold in memory for nobody."""
SECONDS = 5.0
"""A copy that is not answered by then is given up."""


class Shadow:
    """Makes the copies of one front end."""

    def __init__(self, router: Router, metrics: FrontEndMetrics) -> None:
        self._router = router
        self._metrics = metrics
        self._due: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def copy(
        self, target: Target, tensors: wire.Tensors, outputs: Sequence[str], answer: Answer
    ) -> None:
        """Give the model's shadow what `target`, its champion, has answered: every so often, as its share says."""
        share = self._router.shadows.get(target.model)
        if share is None or target.version != self._router.models().get(target.model):
            return
        due = self._due.get(target.model, 0.0) + share.percent
        self._due[target.model] = due % 100 if due >= 100 else due
        if due < 100:
            return
        tally = self._metrics.of_shadow(target.model, share.version)
        if len(self._tasks) >= MOST:
            tally.end("dropped")
            return
        task = asyncio.create_task(
            self._ask(target, share.version, tensors, list(outputs), answer, tally)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(
        self,
        target: Target,
        version: int,
        tensors: wire.Tensors,
        outputs: list[str],
        answer: Answer,
        tally: ShadowTally,
    ) -> None:
        try:
            shadow = self._router.target(target.model, version)
            opened = self._router.opened(shadow)
            ordered = opened.signature.check(tensors)
            names = opened.signature.check_outputs(outputs)
            copy = await self._router.infer(shadow, ordered, names, time.monotonic() + SECONDS, LOW)
            tally.time(answer.queue + answer.compute, copy.queue + copy.compute)
            manifests = (self._router.opened(target).manifest, opened.manifest)
            for agrees, difference in compared(manifests, answer, copy):
                tally.compare(agrees, difference)
        except EvergreenError as error:
            tally.end(type(error).__name__)
        except Exception:  # noqa: BLE001 - nobody waits for it, and it must not become anybody's trouble
            tally.end("defect")
        else:
            tally.end("ok")


def compared(
    manifests: tuple[Manifest, Manifest], ours: Answer, theirs: Answer
) -> list[tuple[bool, float]]:
    """For each row, whether the labels agree, and the difference of the highest probabilities; nothing where none were asked for."""
    found: list[np.ndarray] = []
    for manifest, answer in zip(manifests, (ours, theirs), strict=True):
        output = manifest.output("probabilities")
        if output is None or output.name not in answer.outputs:
            return []
        found.append(answer.outputs[output.name])
    one, other = found
    if one.shape[:1] != other.shape[:1]:
        return []
    labels, more = manifests[0].labels, manifests[1].labels
    return [
        (labels[a.argmax()] == more[b.argmax()], abs(float(a.max()) - float(b.max())))
        for a, b in zip(one, other, strict=True)
    ]
