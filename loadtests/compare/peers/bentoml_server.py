"""BentoML, as its documentation writes a service: an api that is batchable takes and returns a list."""

# mypy: disable-error-code="import-not-found,untyped-decorator"
# BentoML lives in an environment of its own, so its decorators are unknown here.

from typing import Any

import bentoml
from job import Session, answer, job, read


@bentoml.service(workers=1, traffic={"timeout": 60})
class Peer:
    """Takes {"rows": [request]}: BentoML's batches are lists of one parameter's items."""

    def __init__(self) -> None:
        self.session = Session(job().file)

    # An api that is not batchable takes the same list; a largest batch of 1 would be refused.
    @bentoml.api(batchable=job().batching, max_batch_size=max(job().rows, 2), max_latency_ms=60_000)
    def infer(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [answer(one) for one in self.session.run([read(row) for row in rows])]
