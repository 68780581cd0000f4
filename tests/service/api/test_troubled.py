"""What callers see of a model that is slow, fails or hangs: deadlines, priorities, who goes and who stays.

The model works as long as a picture's first pixel asks for; a run occupies the only instance, and batches have one row.
"""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import live
import numpy as np
import pytest
import toys
from PIL import Image
from raw import Connection, Reply, message

V1, V2 = "/v1/models/toy-troubled/predict", "/v2/models/toy-troubled/infer"
OPTIONS = {"models__toy_troubled__instances": "1", "models__toy_troubled__max_batch_rows": "1"}
BUSY = 1.0
"""Seconds that a run takes which others are to wait for; nothing here waits for it to end without need."""
AT_MOST = 3.0
"""The service's own deadline, for all requests."""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("troubled")
    toys.troubled(root)
    return root


class Service:
    """A service with the troubled model."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=live.PATIENCE)
        self.second = 0.1 / min(self._timed(0.1) for _ in range(4))
        """The pixel that asks for a second at least: told by the fastest run, because others may be using the machine."""

    def _timed(self, pixel: float) -> float:
        begun = time.perf_counter()
        assert self.infer(pixel).status_code == 200
        return time.perf_counter() - begun

    def close(self) -> None:
        self._client.close()

    def forget(self) -> None:
        """What the engine has learned of slow runs is lost among quick ones, once the last slow one has ended."""
        quick = 0
        while quick < 30:
            quick += self.infer(0).status_code == 200

    def infer(self, pixel: float) -> httpx.Response:
        return self._client.post(V2, content=tensor(pixel))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` with these labels."""
        return total(self._client.get("/metrics").text, name, **labels)

    async def until(self, value: float, name: str, **labels: str) -> None:
        """Wait until a metric has this value."""
        deadline = time.monotonic() + live.PATIENCE
        while (found := self.metric(name, **labels)) != value:
            assert time.monotonic() < deadline, f"{name} {labels} is {found:g}, not {value:g}"
            await asyncio.sleep(0.01)

    async def until_waiting(self, requests: int, queued: int) -> None:
        """Wait until so many requests have been accepted, and so many of them wait in the engine."""
        names = ("inference_in_flight_requests", "inference_queue_rows")
        deadline = time.monotonic() + live.PATIENCE
        while True:  # both of one page: the run does not last for many
            page = self._client.get("/metrics").text
            if (found := [total(page, name) for name in names]) == [requests, queued]:
                return
            assert time.monotonic() < deadline, f"{found}, not {requests} and {queued}"
            await asyncio.sleep(0.01)

    def cancelled(self) -> dict[str, float]:
        """How many requests lost their caller, where they were and where they had come from."""
        stages = {s: self.metric("inference_cancelled_requests_total", stage=s) for s in STAGES}
        apis = {
            a: self.metric("inference_requests_total", api=a, status="cancelled")
            for a in ("v1", "v2")
        }
        return stages | apis

    @asynccontextmanager
    async def busy(self, seconds: float = BUSY) -> AsyncIterator["asyncio.Task[Reply]"]:
        """The engine runs a request of so many seconds, which it does not expect to take that long."""
        self.forget()
        async with Connection(self.url) as connection:
            body = tensor(seconds * self.second)
            running = asyncio.create_task(connection.ask(message(V2, body)))
            await self.until_waiting(1, 0)
            assert not running.done()
            try:
                yield running
            finally:
                running.cancel()
        await self.until(0, "inference_in_flight_requests")


def total(page: str, name: str, **labels: str) -> float:
    """The sum of the samples of `name` with these labels on a page of metrics."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = [one for one in page.splitlines() if one.startswith(name + "{")]
    return sum(float(one.rpartition(" ")[2]) for one in lines if all(w in one for w in wanted))


STAGES = ("queued", "running")


@pytest.fixture(scope="module")
def service(troubled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with (
        live.serving(troubled, directory, request_timeout_s=str(AT_MOST), **OPTIONS) as program,
        closing(Service(program.said)) as service,
    ):
        yield service


def tensor(*pixels: float, **parameters: Any) -> bytes:
    """A /v2 body: a white picture for each first pixel."""
    rows = np.ones((len(pixels), 16))
    rows[:, 0] = pixels
    given = {"name": "image", "shape": [len(pixels), 1, 4, 4], "datatype": "FP32"}
    body = {"inputs": [given | {"data": rows.ravel().tolist()}], "parameters": parameters}
    return json.dumps(body).encode()


def picture(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), value).save(file, "PNG")
    return file.getvalue()


def asking(api: str, pixel: float = 0, timeout_ms: float | None = None, **parameters: Any) -> bytes:
    """A request over one of the three ways into the service."""
    headers = {} if timeout_ms is None else {"Request-Timeout-Ms": str(timeout_ms)}
    if api == "v1":
        kind = {"Content-Type": "image/png"}
        return message(V1, picture(255 if pixel else 0), headers | kind)
    body = tensor(pixel, **parameters)
    if api == "chunked":
        return message(V2, headers=headers, chunks=[body])
    return message(V2, body, headers)


WAYS = ("hot", "chunked", "v1")


@pytest.mark.parametrize("way", WAYS)
async def test_whose_client_goes_while_it_runs_is_dropped_and_who_goes_while_queued_never_runs(
    service: Service, way: str
):
    before, rows = service.cancelled(), service.metric("inference_rows_total")
    async with Connection(service.url) as client:
        await client.send(asking(way, BUSY * service.second))
        await service.until_waiting(1, 0)
        for other in WAYS:
            async with Connection(service.url) as leaving:
                await leaving.send(asking(other))
                await service.until_waiting(2, 1)
            await service.until_waiting(1, 0)
        assert service.metric("inference_rows_total") == rows, "the run has ended too soon"
    await service.until(
        before["running"] + 1, "inference_cancelled_requests_total", stage="running"
    )
    await service.until(0, "inference_in_flight_requests")
    after = service.cancelled()
    assert {key: after[key] - before[key] for key in after} == {
        "queued": 3,
        "running": 1,
        "v1": 1 + (way == "v1"),
        "v2": 2 + (way != "v1"),
    }
    while service.infer(0).status_code != 200:
        pass  # the run that nobody waits for goes on
    assert service.metric("inference_rows_total") == rows + 2


TIMEOUTS = [
    ("hot", 100, {}),
    ("hot", None, {"timeout": 100_000}),
    ("hot", 100, {"timeout": 60_000_000}),
    ("hot", 60_000, {"timeout": 100_000}),
    ("chunked", 100, {}),
    ("chunked", None, {"timeout": 100_000}),
    ("v1", 100, {}),
]


async def test_a_deadline_ends_the_wait_in_the_queue_however_it_was_given(service: Service):
    async def ask(way: str, timeout_ms: float | None, parameters: dict[str, Any]) -> Reply:
        async with Connection(service.url) as client:
            return await client.ask(asking(way, 0, timeout_ms, **parameters))

    expired = service.metric("inference_refused_requests_total", reason="deadline")
    async with service.busy() as running:
        replies = await asyncio.gather(*(ask(*one) for one in TIMEOUTS))
        assert not running.done(), "they waited for the run"
    assert [reply.status for reply in replies] == [504] * len(TIMEOUTS)
    assert "deadline" in json.loads(replies[0].body)["error"]
    assert json.loads(replies[-1].body)["status"] == 504
    await service.until(
        expired + len(TIMEOUTS), "inference_refused_requests_total", reason="deadline"
    )


async def test_a_deadline_ends_the_wait_for_a_run_too(service: Service):
    service.forget()
    async with Connection(service.url) as client:
        before = service.metric("inference_cancelled_requests_total", stage="running")
        reply = await client.ask(asking("hot", BUSY * service.second, 300))
        assert (reply.status, json.loads(reply.body)) == (
            504,
            {"error": "no answer before the deadline"},
        )
        await service.until(before + 1, "inference_cancelled_requests_total", stage="running")
        assert service.metric("inference_queue_rows") == 0


@pytest.mark.parametrize("way", ["hot", "chunked"])
async def test_nobody_gets_more_time_than_the_service_gives(service: Service, way: str):
    service.forget()
    async with Connection(service.url) as client:
        begun = time.monotonic()
        request = asking(way, 1.5 * AT_MOST * service.second, 60_000, timeout=60_000_000)
        reply = await client.ask(request)
    assert reply.status == 504
    assert time.monotonic() - begun >= AT_MOST


@pytest.mark.parametrize("way", WAYS)
async def test_what_cannot_be_met_is_refused_at_once_with_when_to_come_back(
    service: Service, way: str
):
    async with service.busy() as running:
        await running  # from now on such requests are expected to take longer
    refused = service.metric("inference_refused_requests_total", reason="deadline_unmeetable")
    async with Connection(service.url) as client:
        reply = await client.ask(asking(way, 0, 50))
    assert reply.status == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert re.search(rb"expected in [\d.]+ ms, [\d.]+ ms were given", reply.body)
    await service.until(
        refused + 1, "inference_refused_requests_total", reason="deadline_unmeetable"
    )


@pytest.mark.parametrize("way", ["hot", "chunked"])
async def test_a_request_of_high_priority_overtakes_those_that_were_there_before(
    service: Service, way: str
):
    ended: list[int] = []

    async def ask(number: int, **parameters: int) -> None:
        async with Connection(service.url) as client:
            reply = await client.ask(asking(way, 0.03 * service.second, **parameters))
            assert reply.status == 200
            ended.append(number)

    async with service.busy(), asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(ask(number))
        await service.until_waiting(6, 5)
        group.create_task(ask(5, priority=1))
        await service.until_waiting(7, 6)
    # One of those that had waited for long may go before it.
    assert ended.index(5) <= 1


async def test_trouble_is_answered_to_whom_it_belongs(troubled: Path, tmp_path: Path):
    options = OPTIONS | {
        "models__toy_troubled__max_batch_rows": "8",
        "models__toy_troubled__max_delay_ms": "60000",
    }
    with live.serving(troubled, tmp_path, **options) as program:

        async def ask(*pixels: float) -> Reply:
            async with Connection(program.said) as client:
                return await client.ask(message(V2, tensor(*pixels)))

        # They are one batch: it starts when it has eight rows, or after a minute.
        replies = await asyncio.gather(ask(0), ask(-1), ask(0, 0), ask(-2), ask(0, -3), ask(0))
        assert [reply.status for reply in replies] == [200, 500, 200, 500, 500, 200]
        assert "holds NaN" in json.loads(replies[1].body)["error"]
        assert "shape [0, 2] for 1 rows" in json.loads(replies[3].body)["error"]
        assert "shape [1, 2] for 2 rows" in json.loads(replies[4].body)["error"]
        shapes = [json.loads(replies[i].body)["outputs"][0]["shape"] for i in (0, 2, 5)]
        assert shapes == [[1, 2], [2, 2], [1, 2]]


async def test_a_run_that_hangs_costs_its_callers_a_503_and_those_behind_it_only_time(
    troubled: Path, tmp_path: Path
):
    options = OPTIONS | {"models__toy_troubled__hang_limit_s": "3", "log_level": "info"}
    with (
        live.serving(troubled, tmp_path, **options) as program,
        closing(Service(program.said)) as service,
    ):

        async def ask(request: bytes) -> Reply:
            async with Connection(program.said) as client:
                return await client.ask(request)

        async with asyncio.TaskGroup() as group:
            hanging = group.create_task(ask(asking("hot", 1e6)))
            await service.until_waiting(1, 0)
            behind = [group.create_task(ask(asking(way))) for way in WAYS]
            await service.until_waiting(4, 3)
        assert hanging.result().status == 503
        assert int(hanging.result().headers["retry-after"]) >= 1
        assert "longer than 3 s; the engine is replaced" in hanging.result().body.decode()
        assert [task.result().status for task in behind] == [200] * 3
        await service.until(1, "inference_engine_restarts_total")
        said = [
            json.loads(line) for line in program.output.read_text().splitlines() if line[:1] == "{"
        ]
        reasons = [line["reason"] for line in said if line.get("reason")]
        assert any("exit code 70: a run of 1 rows took longer than 3 s" in r for r in reasons)
