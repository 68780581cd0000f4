"""Ray Serve, as its documentation writes a deployment: a method under @serve.batch, called once for each request."""

# mypy: disable-error-code="import-not-found,untyped-decorator,attr-defined"
# Ray lives in an environment of its own, so its decorators are unknown here.

import signal
from typing import Any

import ray
from job import Row, Session, answer, job, read
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=512)
class Peer:
    """One replica. Ray caps batches by the requests that a replica may have under way, so these are many."""

    def __init__(self) -> None:
        self.batching = job().batching
        self.session = Session(job().file)

    @serve.batch(max_batch_size=job().rows, batch_wait_timeout_s=job().wait_ms / 1000)
    async def together(self, rows: list[Row]) -> list[dict[str, Any]]:
        return [answer(one) for one in self.session.run(rows)]

    async def __call__(self, request: Any) -> dict[str, Any]:
        row = read(await request.json())
        if self.batching:
            answered: dict[str, Any] = await self.together(row)
            return answered
        alone: dict[str, Any] = answer(self.session.run([row])[0])
        return alone


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": job().port})
    serve.run(Peer.bind())
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
