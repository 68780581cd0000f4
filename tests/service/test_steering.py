"""Canaries and shadows: who gets them, and what ends them."""

from pathlib import Path
from typing import Any

import live
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
import versions as variants
from controlled import MODEL, TENSORS, Load, Service, serving, soon, until

from models.errors import InputError
from service import steering
from service.routing import Share, Split
from service.settings import ModelSettings


async def test_a_canary_answers_its_share_and_always_the_same_clients(service: Service):
    await service.lifecycle.share(MODEL, Split(Share(2, 30.0)))

    async def asked() -> dict[int, int]:
        answers = [await service.ask(**{"Evergreen-Client": f"client {n}"}) for n in range(100)]
        return {n: answer.json()["version"] for n, answer in enumerate(answers)}

    first = await asked()
    assert 15 <= list(first.values()).count(2) <= 45
    assert await asked() == first
    await service.lifecycle.share(MODEL, Split(Share(2, 60.0)))
    wider = await asked()
    assert {n for n, version in first.items() if version == 2} < {
        n for n, version in wider.items() if version == 2
    }
    named = f"/v2/models/{MODEL}/versions/1"
    assert (await service.http.get(named)).status_code == 200
    await service.lifecycle.share(MODEL, Split())
    assert set((await asked()).values()) == {1}
    await until(lambda: not service.engines(2), "the end of the canary")


async def test_a_canary_has_the_same_clients_over_grpc(versions: Path, tmp_path: Path):
    async with serving(versions, tmp_path / "state", grpc_port=0) as service:
        await service.lifecycle.share(MODEL, Split(Share(2, 50.0)))
        port = service.control.front_ends.grpc_port
        async with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            given = []
            for one in TENSORS["inputs"]:
                given.append(triton.InferInput(one["name"], one["shape"], one["datatype"]))
                given[-1].set_data_from_numpy(np.array([one["data"]], np.int64))

            async def asked(version: str = "", **headers: str) -> int:
                answer = await client.infer(MODEL, given, version, headers=headers)
                return int(answer.get_response().model_version)

            names = [f"client {n}" for n in range(20)]
            http = [(await service.ask(**{"Evergreen-Client": one})).json() for one in names]
            found = [await asked(**{"evergreen-client": one}) for one in names]
            assert found == [one["version"] for one in http]
            assert set(found) == {1, 2}
            assert len({await asked() for _ in range(3)}) == 1  # by its address
            assert {await asked("1", **{"evergreen-client": one}) for one in names} == {1}
        page = (await service.http.get("/metrics")).text
        assert 'inference_request_duration_seconds_count{api="grpc",' in page
        assert 'inference_request_duration_seconds_count{api="v2",' not in page


async def test_a_canary_that_fails_is_ended_and_the_reason_shown(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fault = "from service.errors import EngineError; return channel.send(serving.wire.Failure(message.id, 'EngineError', 'broken'))"
    env = variants.faulty(tmp_path / "fault", 2, fault)
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    monkeypatch.setattr(steering, "LOOK_SECONDS", 0.1)
    limits = {"toy_text": ModelSettings(canary_min_requests=10)}
    async with serving(versions, tmp_path / "state", models=limits) as service:
        await service.lifecycle.share(MODEL, Split(Share(2, 100.0)))
        assert (await service.ask()).status_code == 500
        async with Load(service) as load:

            async def ended() -> bool:
                view = await service.view()
                return view["canary"] is None and "100.0% of" in (view["note"] or "")

            await soon(ended, "the end of the canary")
            before = load.seen.get(1, 0)
            await until(lambda: load.seen.get(1, 0) > before + 5, "answers of the champion")


async def test_a_shadow_sees_copies_and_nobody_waits_for_it(service: Service, versions: Path):
    await service.lifecycle.share(MODEL, Split(None, Share(2, 100.0)))
    shadow: dict[str, Any] = {}
    for rows in range(4, 21, 4):  # fewer than may wait for it
        for _ in range(4):
            assert await service.answers() == 1

        async def compared(rows: int = rows) -> dict[str, Any] | None:
            shadow = (await service.view())["shadow"]
            return shadow if shadow["rows"] == rows else None

        shadow = await soon(compared, f"{rows} rows compared")
    assert (shadow["agreement"], shadow["confidence_difference"]) == (1.0, 0.0)
    assert shadow["shadow_s"] > 0
    page = (await service.http.get("/metrics")).text
    assert 'inference_traffic_percent{model="toy-text",role="shadow",version="2"} 100.0' in page
    (pid,) = service.engines(2)
    with live.stopped(pid):
        for _ in range(20):
            assert await service.answers() == 1
        dropped = (await service.view())["shadow"]["dropped"]
    assert dropped == 12


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (Share(1, 10.0), "version 1 of 'toy-text' is its champion"),
        (Share(2, 101.0), "'percent' is 101, it must be 0 to 100"),
    ],
)
async def test_a_share_that_cannot_be_is_refused(service: Service, share: Share, says: str):
    for split in (Split(share), Split(None, share)):
        with pytest.raises(InputError, match=says):
            await service.lifecycle.share(MODEL, split)
