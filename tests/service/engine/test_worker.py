"""A real engine process, asked over its socket."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.engine.client import EngineClient
from service.engine.config import Config, Options
from service.engine.supervisor import Supervisor
from service.errors import DeadlineExceeded, EngineError, EngineLost, QueueFull

SOON = 20.0


class Running:
    """An engine under its supervisor, and a client."""

    def __init__(self, repository: Path, runtime: Path, model: str, **options: int) -> None:
        self.starts = 0
        self.changes: list[str] = []

        def command(lifeline: int) -> list[str]:
            self.starts += 1
            self.socket = runtime / f"{self.starts}.sock"
            config = Config(
                model,
                1,
                str(repository / model / "1"),
                str(self.socket),
                lifeline,
                Options(**options),
            )
            return ["service.engine.worker", msgspec.json.encode(config).decode()]

        self.supervisor = Supervisor(model, command, lambda s: self.changes.append(s.state))

    async def client(self) -> EngineClient:
        await asyncio.wait_for(self.supervisor.settled.wait(), SOON)
        assert self.supervisor.state == "ready", self.supervisor.reason
        return await EngineClient.connect(self.socket)


@pytest.fixture
async def engine(repository: Path, tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(repository, tmp_path, "toy-text", max_batch_rows=4, max_queue_rows=8)
    running.supervisor.start()
    yield running
    await running.supervisor.stop(SOON)


def tokens(*ids: int, rows: int = 1) -> dict[str, np.ndarray]:
    array = np.array([ids] * rows, dtype=np.int64)
    return {"input_ids": array, "attention_mask": np.ones_like(array)}


def soon() -> float:
    return time.monotonic() + SOON


OUT = ["probabilities"]


async def test_requests_that_wait_together_run_together(engine: Running):
    client = await engine.client()
    client.hold(4)
    answers = await asyncio.gather(*(client.infer(tokens(2, 2, 3), OUT, soon()) for _ in range(4)))
    assert [answer.batch_rows for answer in answers] == [4, 4, 4, 4]
    client.close()


async def test_batches_form_across_connections(engine: Running):
    first, second = await engine.client(), await engine.client()
    first.hold(2)
    answers = await asyncio.gather(
        first.infer(tokens(2), OUT, soon()), second.infer(tokens(3), OUT, soon())
    )
    assert [answer.batch_rows for answer in answers] == [2, 2]
    assert [int(answer.outputs["probabilities"].argmax()) for answer in answers] == [0, 1]
    first.close()
    second.close()


async def test_a_guilty_request_fails_alone(engine: Running):
    client = await engine.client()
    client.hold(4)
    runs = [client.infer(tokens(id_), OUT, soon()) for id_ in (2, 999, 3, 2)]
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(results[1], EngineError)
    assert [int(r.outputs["probabilities"].argmax()) for i, r in enumerate(results) if i != 1] == [
        0,
        1,
        0,
    ]
    client.close()


async def test_a_row_that_answers_nan_fails_alone(repository: Path, tmp_path: Path):
    running = Running(repository, tmp_path, "toy-series", max_batch_rows=4)
    running.supervisor.start()
    client = await running.client()
    client.hold(3)
    rows = [np.full((1, 4, 2), value, np.float32) for value in (1, np.nan, -1)]
    runs = [
        client.infer({"series": row, "lengths": np.array([4], np.int32)}, OUT, soon())
        for row in rows
    ]
    results = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(results[1], EngineError)
    assert [int(r.outputs["probabilities"].argmax()) for r in (results[0], results[2])] == [0, 1]
    client.close()
    await running.supervisor.stop(SOON)


async def test_a_full_queue_refuses_at_once(engine: Running):
    client = await engine.client()
    client.hold(9)
    waiting = asyncio.ensure_future(client.infer(tokens(2, rows=8), OUT, soon()))
    await asyncio.sleep(0)  # it is sent first
    with pytest.raises(QueueFull, match="8 rows of at most 8, 1 more do not fit"):
        await client.infer(tokens(2), OUT, soon())
    waiting.cancel()
    client.close()


async def test_an_expired_request_gets_no_answer_but_an_error(engine: Running):
    client = await engine.client()
    client.hold(2)
    with pytest.raises(DeadlineExceeded):
        await client.infer(tokens(2), OUT, time.monotonic() + 0.05)
    client.close()


async def test_a_cancelled_request_is_taken_out_of_the_queue(engine: Running):
    client = await engine.client()
    client.hold(2)
    waiting = asyncio.ensure_future(client.infer(tokens(2), OUT, soon()))
    await asyncio.sleep(0)
    waiting.cancel()
    first, second = await asyncio.gather(*(client.infer(tokens(3), OUT, soon()) for _ in range(2)))
    assert (first.batch_rows, second.batch_rows) == (2, 2)
    stats = {sample[0]: sample[2] for family in await client.stats() for sample in family.samples}
    assert stats["inference_cancelled_requests_total"] == 1
    assert stats["inference_rows_total"] == 2
    client.close()


async def test_a_killed_engine_fails_what_was_in_flight_and_is_started_again(engine: Running):
    client = await engine.client()
    client.hold(2)
    waiting = asyncio.ensure_future(client.infer(tokens(2), OUT, soon()))
    await asyncio.sleep(0)
    assert engine.supervisor.pid
    os.kill(engine.supervisor.pid, signal.SIGKILL)
    with pytest.raises(EngineLost):
        await waiting
    async with asyncio.timeout(SOON):
        while engine.changes[-1] != "ready" or engine.starts < 2:
            await asyncio.sleep(0.01)
    again = await engine.client()
    answer = await again.infer(tokens(2), OUT, soon())
    assert answer.batch_rows == 1
    assert engine.supervisor.restarts == 1
    again.close()


async def test_sigterm_answers_what_was_accepted(engine: Running):
    client = await engine.client()
    client.hold(3)
    waiting = [asyncio.ensure_future(client.infer(tokens(2), OUT, soon())) for _ in range(2)]
    await client.stats()  # the two are queued: frames are read in order
    stopping = asyncio.ensure_future(engine.supervisor.stop(SOON))
    last = await client.infer(tokens(3), OUT, soon())
    answers = await asyncio.gather(*waiting)
    assert [answer.batch_rows for answer in (*answers, last)] == [3, 3, 3]
    await stopping
    assert engine.supervisor.state == "stopped"


async def test_a_version_that_cannot_be_loaded_says_why_and_is_not_started_again(tmp_path: Path):
    broken = tmp_path / "toy" / "1"
    broken.mkdir(parents=True)
    running = Running(tmp_path, tmp_path, "toy")
    running.supervisor.start()
    await asyncio.wait_for(running.supervisor.settled.wait(), SOON)
    assert running.supervisor.state == "failed"
    assert "manifest.json" in (running.supervisor.reason or "")
    await running.supervisor.stop(SOON)
    assert running.starts == 1


async def test_an_engine_ends_when_its_supervisor_has_gone(engine: Running):
    client = await engine.client()
    engine.supervisor._stopping = True
    engine.supervisor._task.cancel()  # type: ignore[union-attr] # closes the lifeline, kills nothing by itself
    await asyncio.wait_for(client.lost.wait(), SOON)
