"""An engine as a process: how it starts, fails, is replaced and ends, and what memory it may take."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import oddities
import pytest
from engines import OUT, SOON, Running, bare, pixel, soon, stats, tokens, until

from service.engine import supervisor
from service.errors import EngineError, EngineLost, Unavailable


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
