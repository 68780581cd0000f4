"""Versions come and go under load, and what several changes at once leave is consistent."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import live
import pytest
import versions as variants
from controlled import GOOD, MODEL, PREDICT, Load, Service, serving, soon

from models.errors import InputError
from models.registry import Registry
from service.errors import NotFound, Refused
from service.settings import ModelSettings


async def test_the_registrys_champion_answers_at_start(service: Service):
    assert await service.answers() == 1
    assert await service.states() == {1: "ready", 2: "available", 3: "available"}


async def test_series_of_a_version_go_with_it(versions: Path, tmp_path: Path):
    async with serving(versions, tmp_path / "state", keep_previous_s=0.0) as service:
        await service.answers()
        assert 'version="1"' in (await service.http.get("/metrics")).text
        await service.promote(2)
        await service.answers()

        async def gone() -> bool:
            page = (await service.http.get("/metrics")).text
            assert 'version="2"' in page
            return 'version="1"' not in page

        await soon(gone, "the end of version 1's series")


@pytest.mark.parametrize(("model", "version"), [("nobody", 1), (MODEL, 9), ("../toy-text", 1)])
async def test_what_is_not_there_is_not_found(service: Service, model: str, version: int):
    for change in (
        service.lifecycle.load(model, version),
        service.lifecycle.unload(model, version),
        service.lifecycle.promote(model, version, who="a test"),
    ):
        with pytest.raises(NotFound):
            await change


async def test_a_version_is_loaded_beside_the_champion_and_unloaded_again(service: Service):
    await service.lifecycle.load(MODEL, 2)
    path = f"/v2/models/{MODEL}/versions/2/ready"
    assert (await service.http.get(path)).status_code == 200
    assert await service.answers() == 1
    await service.lifecycle.unload(MODEL, 2)
    assert (await service.http.get(path)).status_code == 404
    assert not service.engines(2)
    with pytest.raises(Refused, match="version 1 of 'toy-text' answers by default"):
        await service.lifecycle.unload(MODEL, 1)


async def test_an_unloaded_model_is_unknown_until_it_is_loaded_again(service: Service):
    await service.lifecycle.unload(MODEL)
    assert not service.engines(1)
    assert (await service.ask()).status_code == 404
    assert await service.states() == {1: "available", 2: "available", 3: "available"}
    await asyncio.sleep(0.3)  # the registry is looked at meanwhile
    assert (await service.ask()).status_code == 404
    await service.lifecycle.load(MODEL)
    assert await service.answers() == 1


async def test_equal_loads_share_one_start(service: Service, monkeypatch: pytest.MonkeyPatch):
    starts = 0
    add = service.control.deployments.add

    def counted(*given: Any) -> Any:
        nonlocal starts
        starts += 1
        return add(*given)

    monkeypatch.setattr(service.control.deployments, "add", counted)
    await asyncio.gather(*(service.lifecycle.load(MODEL, 2) for _ in range(32)))
    assert starts == 1
    assert len(service.engines(2)) == 1


async def test_a_config_of_the_caller_wins_over_the_settings(service: Service):
    await service.lifecycle.load(MODEL, None, {"max_batch_size": 3})
    batching = (await service.view())["versions"][0]["report"]["batching"]
    assert (batching["source"], set(batching["caps"].values())) == ("settings", {3})
    assert await service.answers() == 1
    with pytest.raises(InputError, match=r"'config': .*max_batch_size"):
        await service.lifecycle.load(MODEL, None, {"max_batch_size": "many"})


async def test_what_another_process_promotes_is_followed(
    service: Service, versions: Path, tmp_path: Path
):
    other = Registry([versions], tmp_path / "state" / "registry")
    async with Load(service) as load:
        await asyncio.to_thread(other.promote, MODEL, 2, who="another machine")

        async def followed() -> bool:
            return await service.answers() == 2

        await soon(followed, "version 2")
        await asyncio.to_thread(other.rollback, MODEL, who="another machine")

        async def back() -> bool:
            return await service.answers() == 1

        await soon(back, "version 1")
    assert set(load.seen) == {1, 2}, load.seen


async def test_a_champion_of_the_registry_that_cannot_be_served_here_is_not_followed(
    versions: Path, tmp_path: Path
):
    variants.corrupt(versions, 4)
    async with serving(versions, tmp_path / "state") as service:
        other = Registry([versions], tmp_path / "state" / "registry")
        await asyncio.to_thread(other.promote, MODEL, 4, who="another machine")

        async def failed() -> bool:
            return (await service.states())[4] == "failed"

        await soon(failed, "the failure")
        assert await service.answers() == 1
        await asyncio.to_thread(other.promote, MODEL, 3, who="another machine")

        async def followed() -> bool:
            return await service.answers() == 3

        await soon(followed, "version 3")


async def test_a_version_of_the_settings_answers_until_the_registry_changes(
    versions: Path, tmp_path: Path
):
    pinned = {"toy_text": ModelSettings(version=3)}
    async with serving(versions, tmp_path / "state", models=pinned) as service:
        await asyncio.sleep(0.3)  # the registry is looked at meanwhile
        assert await service.answers() == 3
        await service.promote(2)
        assert await service.answers() == 2


@pytest.mark.parametrize(
    ("callers", "operations"), [(8, 30), pytest.param(32, 300, marks=pytest.mark.system)]
)
async def test_many_load_and_unload_one_model_and_it_ends_consistent(
    service: Service, callers: int, operations: int
):
    orders = iter(range(operations))

    async def caller(number: int) -> None:
        for order in orders:
            if (order + number) % 3:
                await service.lifecycle.load(MODEL, 2)
            else:
                await service.lifecycle.unload(MODEL, 2)

    async with Load(service, 1) as load:
        await asyncio.gather(*(caller(number) for number in range(callers)))
    assert set(load.seen) == {1}, load.seen
    await service.lifecycle.load(MODEL, 2)
    assert (await service.states())[2] == "ready"
    assert len(service.engines(2)) == 1
    await service.lifecycle.unload(MODEL, 2)
    assert not service.engines(2)


DIES_BEFORE_IT_PUBLISHES = """
import os, sys
if "serve" in sys.orig_argv:
    from service.swaps import Swaps

    async def die(*given, **named):
        os._exit(9)

    Swaps.switch = die
"""


def test_a_service_that_dies_between_registry_and_publication_starts_with_the_new_champion(
    versions: Path, tmp_path: Path
):
    (tmp_path / "sitecustomize.py").write_text(DIES_BEFORE_IT_PUBLISHES)
    given = {"serve": MODEL}
    environ = live.environment(tmp_path, **given) | {"PYTHONPATH": str(tmp_path)}
    command = [live.evergreen(), "serve", "--repository", str(versions), "--port", "0"]
    codes = []

    def promote() -> None:
        with live.running(command, r"answers on (http://\S+),", tmp_path, environ) as program:
            with suppress(httpx.TransportError):  # its front end answers 503, or ends with it
                url = f"{program.said}/v1/models/{MODEL}/promotions"
                assert httpx.post(url, json={"version": 2}, timeout=60).status_code == 503
            codes.append(program.process.wait(live.PATIENCE))

    with pytest.raises(AssertionError):  # it does not end well
        promote()
    assert codes == [9]
    with live.serving(versions, tmp_path, **given) as program:
        answer = httpx.post(f"{program.said}{PREDICT}", json=GOOD, timeout=60)
        assert answer.json()["version"] == 2
