"""What leaves an engine process."""

import asyncio
import time
from pathlib import Path

import numpy as np
import oddities
import pytest
from engines import OUT, SOON, Running, bare, soon, tokens

from service import context
from service.context import RequestContext
from service.engine import wire
from service.engine.client import Answer, EngineClient
from service.errors import EngineError


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
