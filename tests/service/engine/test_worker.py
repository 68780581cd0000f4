"""A real engine process, asked over its socket."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import oddities
import onnx
import pytest
import toys

from service import context
from service.context import RequestContext
from service.engine import supervisor, wire
from service.engine.client import Answer, EngineClient
from service.engine.config import Config, Options
from service.engine.lanes import HIGH, LOW, NORMAL
from service.engine.supervisor import Supervisor
from service.errors import DeadlineExceeded, EngineError, EngineLost, QueueFull, Unavailable

SOON = 60.0


class Running:
    """An engine under its supervisor, and a client."""

    def __init__(self, repository: Path, runtime: Path, model: str, **options: Any) -> None:
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


async def until(engine: Running, starts: int) -> None:
    """Wait until the engine has been started so many times and is ready."""
    async with asyncio.timeout(SOON):
        while engine.changes[-1] != "ready" or engine.starts < starts:
            await asyncio.sleep(0.01)


async def stats(client: EngineClient) -> dict[tuple[str, str], float]:
    """The engine's metrics by name and last label."""
    return {
        (name, [*labels.values()][-1]): value
        for family in await client.stats()
        for name, labels, value in family.samples
    }


async def test_a_high_priority_overtakes_and_a_low_one_lets_others_pass(
    repository: Path, tmp_path: Path
):
    running = Running(repository, tmp_path, "toy-text", max_batch_rows=1)
    running.supervisor.start()
    client = await running.client()
    ended: list[int] = []

    async def ask(place: int, priority: int) -> None:
        await client.infer(tokens(2), OUT, soon(), priority)
        ended.append(place)

    client.hold(6)
    wanted = (LOW, NORMAL, NORMAL, HIGH, LOW, HIGH)
    await asyncio.gather(*(ask(place, priority) for place, priority in enumerate(wanted)))
    assert ended == [3, 5, 1, 2, 0, 4]
    client.close()
    await running.supervisor.stop(SOON)


async def test_what_a_front_end_that_goes_had_asked_for_is_never_run(engine: Running):
    leaving, staying = await engine.client(), await engine.client()
    leaving.hold(4)
    waiting = [asyncio.ensure_future(leaving.infer(tokens(2), OUT, soon())) for _ in range(2)]
    await leaving.stats()  # they are queued: frames are read in order
    leaving.close()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, EngineLost)
    async with asyncio.timeout(SOON):
        while (await stats(staying))["inference_queue_rows", "1"]:
            await asyncio.sleep(0.01)
    assert (await stats(staying))["inference_cancelled_requests_total", "queued"] == 2
    staying.hold(1)
    assert (await staying.infer(tokens(3), OUT, soon())).batch_rows == 1
    assert (await stats(staying))["inference_rows_total", "1"] == 1
    staying.close()


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff" * 8,
        b"\x01\0\0\0\0\0\0\0\xc1",
        b"\x02\0\0\0\0\0\0\0[]",
        msgspec.msgpack.encode(wire.Hello(1, {})),
    ],
)
async def test_who_speaks_nonsense_loses_the_connection_and_nobody_else_anything(
    engine: Running, frame: bytes
):
    client = await engine.client()
    reader, writer = await asyncio.open_unix_connection(engine.socket)
    if frame[0] not in b"\xff\x01\x02":  # a good frame of a kind that no engine is sent
        frame = len(frame).to_bytes(4, "little") + bytes(4) + frame
    writer.write(frame)
    async with asyncio.timeout(SOON):
        await reader.read()  # hello, and then the end
    writer.close()
    assert (await client.infer(tokens(2), OUT, soon())).batch_rows == 1
    assert engine.supervisor.restarts == 0
    client.close()


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("troubled")
    toys.troubled(root)
    return root


def pixel(value: float) -> dict[str, np.ndarray]:
    image = np.ones((1, 1, 4, 4), np.float32)
    image[0, 0, 0, 0] = value
    return {"image": image}


@pytest.mark.parametrize("instances", [1, 2])
async def test_a_run_that_hangs_is_told_to_its_callers_and_the_reason_to_the_supervisor(
    troubled: Path, tmp_path: Path, instances: int
):
    engine = Running(
        troubled, tmp_path, "toy-troubled", max_batch_rows=2, hang_limit_s=0.5, instances=instances
    )
    engine.supervisor.start()
    client = await engine.client()
    client.hold(2)
    together = [asyncio.create_task(client.infer(pixel(x), OUT, soon())) for x in (1e6, 0)]
    behind: list[asyncio.Task] = []
    while not behind or not behind[-1].done():  # with a second instance some are answered
        behind.append(asyncio.create_task(client.infer(pixel(0), OUT, soon())))
        await asyncio.sleep(0.05)
    for task in together:
        with pytest.raises(Unavailable, match=r"longer than 0\.5 s") as caught:
            await task
        assert type(caught.value) is Unavailable, "it must not be run again"
        assert caught.value.retry_after > 0
    if instances == 1:
        for result in await asyncio.gather(*behind, return_exceptions=True):
            assert isinstance(result, EngineLost)
    else:
        assert (await behind[0]).batch_rows >= 1
    await until(engine, 2)
    again = await engine.client()
    assert (await again.infer(pixel(0), OUT, soon())).batch_rows == 1
    assert engine.supervisor.restarts == 1
    again.close()
    await engine.supervisor.stop(SOON)


async def test_an_engine_that_has_stopped_is_replaced_and_one_that_computes_is_not(
    troubled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisor, "SILENCE_SECONDS", 1.0)
    reasons: list[str | None] = []
    engine = Running(troubled, tmp_path, "toy-troubled", max_batch_rows=1, instances=1)
    engine.supervisor._on_change = lambda s: (  # type: ignore[assignment]
        engine.changes.append(s.state),
        reasons.append(s.reason),
    )
    engine.supervisor.start()
    client = await engine.client()
    first = engine.supervisor.pid
    await client.infer(pixel(2), OUT, soon())  # a run of seconds, during which the loop turns
    assert engine.supervisor.pid == first
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    async with asyncio.timeout(SOON):
        await client.lost.wait()
    await until(engine, 2)
    assert engine.supervisor.pid != first
    assert any("SIGKILL: it said nothing for 1 s" in reason for reason in reasons if reason)
    await engine.supervisor.stop(SOON)


async def test_caps_are_measured_once_kept_for_the_restart_and_the_settings_go_before_both(
    repository: Path, tmp_path: Path
):
    def batching(engine: Running) -> dict[str, Any]:
        return engine.supervisor.report["batching"]

    curves = str(tmp_path / "curves")
    measured = Running(repository, tmp_path, "toy-text", curves=curves)
    measured.supervisor.start()
    client = await measured.client()
    assert batching(measured)["source"] == "measured"
    assert set(batching(measured)["caps"]) == {"4", "8", "16"}
    first = dict(batching(measured))
    assert measured.supervisor.pid
    os.kill(measured.supervisor.pid, signal.SIGKILL)
    await until(measured, 2)
    assert batching(measured) == first | {"source": "kept"}
    client = await measured.client()
    shown = {name: value for name, value in (await stats(client)).items() if "cap" in name[0]}
    assert shown == {("inference_batch_cap_rows", k): v for k, v in first["caps"].items()}
    client.close()
    await measured.supervisor.stop(SOON)
    told = Running(repository, tmp_path, "toy-text", curves=curves, max_batch_rows=3)
    told.supervisor.start()
    (await told.client()).close()
    assert batching(told) == {"source": "settings", "caps": {"4": 3, "8": 3, "16": 3}, "curve": []}
    await told.supervisor.stop(SOON)


# -- versions of one file, and what they may take


def bare(tmp_path: Path, made: onnx.ModelProto, **options: Any) -> Running:
    """An engine on a version without a manifest."""
    oddities.save(tmp_path, made)
    running = Running(tmp_path, tmp_path, "odd", **options)
    running.supervisor.start()
    return running


async def test_rows_of_a_bare_file_run_together_where_that_was_shown_to_be_safe(tmp_path: Path):
    engine = bare(tmp_path, oddities.linear(), max_batch_rows=8)
    client = await engine.client()
    client.hold(4)
    rows = [np.full((1, 3), value, np.float32) for value in range(4)]
    answers = await asyncio.gather(*(client.infer({"x": row}, ["y"], soon()) for row in rows))
    assert [answer.batch_rows for answer in answers] == [4] * 4
    for value, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs["y"], [[6 * value + 0.5, 9 * value - 0.5]])
    client.close()
    await engine.supervisor.stop(SOON)


async def test_requests_to_a_bare_file_run_one_by_one_where_it_was_not_whatever_the_settings_say(
    tmp_path: Path,
):
    engine = bare(tmp_path, oddities.centred(), max_batch_rows=8)
    client = await engine.client()
    assert engine.supervisor.report["batching"] == {
        "source": "alone",
        "caps": {"1x3": 1},
        "curve": [],
    }
    client.hold(4)
    rows = [np.eye(3, dtype=np.float32)] * 4
    answers = await asyncio.gather(*(client.infer({"x": row}, ["y"], soon()) for row in rows))
    assert [answer.batch_rows for answer in answers] == [1] * 4
    client.close()
    await engine.supervisor.stop(SOON)


async def test_scalars_travel_both_ways(tmp_path: Path):
    engine = bare(tmp_path, oddities.four_outputs())
    client = await engine.client()
    tensors = {"count": np.array(3, np.int32), "images:0": np.ones((1, 2, 2), np.float32)}
    answer = await client.infer(tensors, ["sum/total?", "scaled:0"], soon())
    assert (answer.outputs["sum/total?"].shape, float(answer.outputs["sum/total?"])) == ((), 4)
    assert answer.outputs["scaled:0"].max() == 3
    client.close()
    await engine.supervisor.stop(SOON)


async def test_shapes_that_callers_choose_name_no_metric(tmp_path: Path):
    engine = bare(tmp_path, oddities.centred())
    client = await engine.client()
    for count in range(1, 40):
        await client.infer({"x": np.ones((count, 3), np.float32)}, ["y"], soon())
    caps = [name[1] for name in await stats(client) if name[0] == "inference_batch_cap_rows"]
    assert caps == ["1x3"]
    client.close()
    await engine.supervisor.stop(SOON)


async def test_a_run_that_takes_more_memory_than_an_engine_may_is_answered_and_the_engine_goes_on(
    tmp_path: Path,
):
    engine = bare(tmp_path, oddities.hungry(), memory_mb=600)
    client = await engine.client()
    for _ in range(3):
        with pytest.raises(EngineError, match="did not fit into memory"):
            await client.infer({"count": np.array([200_000_000])}, ["y"], soon())
        answer = await client.infer({"count": np.array([1000])}, ["y"], soon())
        assert answer.outputs["y"] == 0
    assert engine.starts == 1
    client.close()
    await engine.supervisor.stop(SOON)


async def test_a_graph_that_takes_gigabytes_whatever_it_is_asked_fails_each_request(tmp_path: Path):
    made = oddities.model(
        [
            oddities.node("Mul", ["x", "many"], ["count"]),
            oddities.node("ConstantOfShape", ["count"], ["numbers"]),
            oddities.node("ReduceSum", ["numbers"], ["y"], keepdims=0),
        ],
        [oddities.tensor("x", oddities.INT64, [1])],
        [oddities.tensor("y", oddities.FLOAT, [])],
        [oddities.constant("many", [1 << 31], "int64")],
    )
    engine = bare(tmp_path, made, memory_mb=600)
    client = await engine.client()
    assert engine.supervisor.report["batching"]["caps"] == {}
    with pytest.raises(EngineError, match="did not fit into memory"):
        await client.infer({"x": np.array([1])}, ["y"], soon())
    client.close()
    await engine.supervisor.stop(SOON)


async def test_a_model_that_does_not_fit_is_refused_with_the_limit(tmp_path: Path):
    made = oddities.linear(width=20_000_000)
    engine = bare(tmp_path, made, memory_mb=300)
    await asyncio.wait_for(engine.supervisor.settled.wait(), SOON)
    assert engine.supervisor.state == "failed"
    assert engine.supervisor.reason == (
        "the model does not fit into the 300 MB that an engine may take (engine_memory_mb)"
    )
    await engine.supervisor.stop(SOON)


async def test_an_answer_that_nobody_could_take_is_refused_with_both_figures(tmp_path: Path):
    made = oddities.model(
        [oddities.node("ConstantOfShape", ["count"], ["y"])],
        [oddities.tensor("count", oddities.INT64, [1])],
        [oddities.tensor("y", oddities.FLOAT, ["n"])],
    )
    engine = bare(tmp_path, made)
    client = await engine.client()
    with pytest.raises(
        EngineError, match="the answer has 320,000,000 bytes, the limit is 268,435,456"
    ):
        await client.infer({"count": np.array([80_000_000])}, ["y"], soon())
    client.close()
    await engine.supervisor.stop(SOON)


async def test_a_batch_is_told_once_to_one_of_those_whose_requests_are_traced(engine: Running):
    untraced = await engine.client()
    heard: list[wire.Ran] = []
    traced = await EngineClient.connect(engine.socket, on_ran=heard.append)
    untraced.hold(4)
    traces = [(f"00-{i:032x}-{i:016x}-01", "") for i in (1, 2)]

    async def ask(number: int, trace: tuple[str, str]) -> Answer:
        context.current.set(RequestContext())
        context.current.get().trace = trace  # type: ignore[union-attr]
        return await traced.infer(tokens(number), OUT, soon())

    began = time.monotonic()
    runs = [untraced.infer(tokens(2), OUT, soon()) for _ in range(2)]
    asking = [asyncio.create_task(ask(*one)) for one in zip((3, 999), traces, strict=True)]
    answers = await asyncio.gather(*runs, *asking, return_exceptions=True)
    assert [isinstance(one, EngineError) for one in answers] == [False, False, False, True]
    await untraced.stats()  # whatever was to be told has been told by now
    await traced.stats()
    (ran,) = heard
    assert (ran.model, ran.version, ran.rows, ran.requests, ran.whole) == (
        "toy-text",
        1,
        4,
        4,
        False,
    )
    assert ran.device == {"provider": "cpu", "variant": "fp32"}
    assert began < ran.started < ran.ended < time.monotonic()
    assert sorted((one.trace, one.failed) for one in ran.traced) == [
        (traces[0], False),
        (traces[1], True),
    ]
    assert all(began < one.arrived <= ran.started for one in ran.traced)
    found = {e.trace["trace_id"] for f in await traced.stats() for e in f.examples}
    assert found <= {f"{i:032x}" for i in (1, 2)}
    assert found
    untraced.close()
    traced.close()
