"""A real engine process, asked over its socket: who runs with whom, and who does not run."""

import asyncio
import time
from pathlib import Path

import msgspec
import numpy as np
import oddities
import pytest
from engines import OUT, SOON, Running, bare, soon, stats, tokens

from service.engine import wire
from service.engine.lanes import HIGH, LOW, NORMAL
from service.errors import DeadlineExceeded, EngineError, EngineLost, QueueFull


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
