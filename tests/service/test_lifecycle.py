"""Versions come and go under load: what is wrong never answers, what is right answers all the while."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import live
import msgspec
import numpy as np
import pytest
import raw
import tritonclient.grpc.aio as triton
import versions as variants
from live import children

from models.errors import Conflict, InputError
from models.registry import Registry
from service import steering, swaps
from service.control import Control
from service.errors import NotFound, Refused
from service.routing import Share, Split
from service.settings import ModelSettings, Settings

MODEL = "toy-text"
PREDICT = f"/v1/models/{MODEL}/predict"
GOOD = {"text": "good good"}


class Service:
    """Control in this process, with what it says over HTTP."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.lifecycle = control.lifecycle
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{control.port}", timeout=live.PATIENCE
        )

    async def ask(self, **headers: str) -> httpx.Response:
        return await self.http.post(PREDICT, json=GOOD, headers=headers)

    async def answers(self) -> int:
        """The version that answers by default."""
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        return int(answer.json()["version"])

    async def view(self) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/models/{MODEL}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def states(self) -> dict[int, str]:
        return {one["version"]: one["state"] for one in (await self.view())["versions"]}

    def engines(self, version: int) -> list[int]:
        """The processes that run a version."""
        told = f'"model":"{MODEL}","version":{version},'.encode()
        found = []
        for pid in children(os.getpid(), "service.engine.worker"):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if told in command:
                found.append(pid)
        return found

    async def promote(self, version: int, **more: Any) -> None:
        await self.lifecycle.promote(MODEL, version, who="a test", **more)


async def until(found: Callable[[], Any], what: str) -> Any:
    return await asyncio.to_thread(live.until, found, what)


async def soon(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first value of `found()` that is true."""
    async with asyncio.timeout(live.PATIENCE):
        while not (value := await found()):
            await asyncio.sleep(0.05)
    assert value, what
    return value


@asynccontextmanager
async def serving(repository: Path, state: Path, **more: Any) -> AsyncIterator[Service]:
    told = {"serve": (MODEL,), "registry_poll_s": 0.1, "keep_previous_s": 600.0} | more
    control = Control(Settings(port=0, repository=repository, state=state, **told))
    service: Service | None = None
    try:
        await control.start()
        service = Service(control)
        yield service
    finally:
        if service is not None:
            await service.http.aclose()
        await control.close()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for what is only kept for a while."""
    monkeypatch.setattr(swaps, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(steering, "QUIET_SECONDS", 0.1)


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """toy-text 1 to 3, of which 1 is the champion; state/ lies beside."""
    root = tmp_path / "models"
    for version in (1, 2, 3):
        variants.text(root, version)
    variants.champion(root, tmp_path / "state", 1)
    return root


@pytest.fixture
async def service(versions: Path, tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(versions, tmp_path / "state") as service:
        yield service


class Load:
    """Requests without a break; every outcome counts."""

    def __init__(self, service: Service, callers: int = 4) -> None:
        self.seen: dict[Any, int] = {}
        self._service = service
        self._callers = callers

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self) -> None:
        while True:
            answer = await self._service.ask()
            good = answer.status_code == 200
            key = answer.json()["version"] if good else answer.text
            self.seen[key] = self.seen.get(key, 0) + 1


async def test_the_registrys_champion_answers_at_start(service: Service):
    assert await service.answers() == 1
    assert await service.states() == {1: "ready", 2: "available", 3: "available"}


async def test_a_promotion_answers_everybody_and_is_written_down(service: Service):
    async with Load(service) as load:
        await until(lambda: load.seen.get(1, 0) > 5, "answers of version 1")
        await service.promote(2, reason="it is better")
        assert await service.answers() == 2
        await until(lambda: load.seen.get(2, 0) > 5, "answers of version 2")
    assert set(load.seen) == {1, 2}, load.seen
    view = await service.view()
    assert view["aliases"] == {"champion": 2, "previous": 1}
    last = view["history"][-1]
    assert (last["kind"], last["before"], last["after"], last["who"]) == ("promote", 1, 2, "a test")
    assert last["why"].startswith("it is better (toy-text/2 agrees with version 1 on 100%")
    assert await service.states() == {1: "ready", 2: "ready", 3: "available"}


async def test_a_rollback_is_one_publication_while_previous_is_warm(service: Service):
    await service.promote(2)
    old = service.engines(1)
    begun = asyncio.get_running_loop().time()
    await service.lifecycle.rollback(MODEL, who="a test", reason="worse")
    assert asyncio.get_running_loop().time() - begun < 1
    assert await service.answers() == 1
    assert service.engines(1) == old
    await until(lambda: not service.engines(2), "the end of version 2")
    with pytest.raises(Conflict, match="nothing to go back to"):
        await service.lifecycle.rollback(MODEL, who="a test")


async def test_what_is_no_longer_kept_is_loaded_for_a_rollback(versions: Path, tmp_path: Path):
    async with serving(versions, tmp_path / "state", keep_previous_s=0.0) as service:
        await service.promote(2)
        await until(lambda: not service.engines(1), "the end of version 1")
        assert (await service.states())[1] == "available"
        await service.lifecycle.rollback(MODEL, who="a test")
        assert await service.answers() == 1


TENSORS = {
    "inputs": [
        {"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]},
        {"name": "attention_mask", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]},
    ]
}


@pytest.mark.parametrize(
    ("path", "body", "chunked"),
    [
        (PREDICT, GOOD, False),
        (f"/v2/models/{MODEL}/infer", TENSORS, False),
        (f"/v2/models/{MODEL}/infer", TENSORS, True),
    ],
)
async def test_a_body_that_comes_slowly_is_answered_by_who_is_champion_at_its_end(
    versions: Path, tmp_path: Path, path: str, body: dict[str, Any], chunked: bool
):
    data = json.dumps(body).encode()
    chunks = [data[:9], data[9:]] if chunked else None
    whole = raw.message(path, data, {"Content-Type": "application/json"}, chunks=chunks)
    async with (
        serving(versions, tmp_path / "state", keep_previous_s=0.0) as service,
        raw.Connection(str(service.http.base_url)) as slow,
    ):
        await slow.send(whole[:-9])
        for _ in range(3):
            assert await service.answers() == 1
        await service.promote(2)
        await until(lambda: not service.engines(1), "the end of version 1")
        answer = await slow.ask(whole[-9:])
    assert answer.status == 200, answer.body
    told = json.loads(answer.body)
    assert int(told.get("version") or told["model_version"]) == 2


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


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (variants.swapped, "gives 0% of 16 kept rows the label that version 1 gives"),
        (variants.corrupt, "sha256"),
    ],
)
async def test_a_version_that_is_wrong_never_answers(
    versions: Path, tmp_path: Path, make: Callable[[Path, int], Path], says: str
):
    make(versions, 4)
    async with serving(versions, tmp_path / "state") as service, Load(service) as load:
        with pytest.raises(Refused, match=says):
            await service.promote(4)
        assert await service.answers() == 1
        await until(lambda: not service.engines(4), "the end of its engine")
        bad = next(one for one in (await service.view())["versions"] if one["version"] == 4)
        assert bad["state"] == "failed"
        assert says in bad["reason"]
    assert set(load.seen) == {1}, load.seen
    assert (
        await asyncio.to_thread(Registry([versions], tmp_path / "state/registry").aliases, MODEL)
    )["champion"] == 1


async def test_force_leaves_the_comparison_out_and_says_so(versions: Path, tmp_path: Path):
    variants.swapped(versions, 4)
    async with serving(versions, tmp_path / "state") as service:
        await service.promote(4, force=True)
        assert await service.answers() == 4
        last = (await service.view())["history"][-1]
        assert (last["forced"], last["why"]) == (True, "without a comparison")


async def test_a_champion_that_crashes_at_every_load_is_given_up_and_can_be_replaced(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    env = variants.faulty(tmp_path / "fault", 1, "pass")
    monkeypatch.setenv("PYTHONPATH", env["PYTHONPATH"])
    site = tmp_path / "fault" / "sitecustomize.py"
    site.write_text(
        site.read_text().replace(
            "    from service.engine", "    os.abort()\n    from service.engine"
        )
    )
    async with serving(versions, tmp_path / "state") as service:

        async def given_up() -> bool:
            first = (await service.view())["versions"][0]
            return first["state"] == "failed" and "ended 3 times before" in first["reason"]

        await soon(given_up, "the end of the attempts")
        assert not service.engines(1)
        assert (await service.ask()).status_code == 503
        await service.promote(2)
        assert await service.answers() == 2


async def test_one_that_loads_too_slowly_is_given_up(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with serving(versions, tmp_path / "state") as service:
        slow = msgspec.structs.replace(service.control.settings, load_timeout_s=0.05)
        monkeypatch.setattr(service.control.deployments, "_settings", slow)
        with pytest.raises(Refused, match=r"toy-text/2 was not ready within 0.05 s"):
            await service.promote(2)
        await until(lambda: not service.engines(2), "the end of its engine")
        assert await service.answers() == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("os._exit(9)", "does not answer kept rows"),
        # Kept rows have six tokens, the requests two: only a copy of a real one finds this.
        ("if tensors['input_ids'].shape[1] == 2: os._exit(9)", "failed|ended on a copy"),
    ],
)
async def test_one_that_crashes_at_its_first_request_never_answers(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, says: str
):
    monkeypatch.setenv("PYTHONPATH", variants.faulty(tmp_path / "fault", 2, fault)["PYTHONPATH"])
    async with serving(versions, tmp_path / "state") as service, Load(service) as load:
        await until(lambda: load.seen, "a first answer")
        with pytest.raises(Refused, match=says):
            await service.promote(2)
        await until(lambda: not service.engines(2), "the end of its engine")
        assert await service.answers() == 1
    assert set(load.seen) == {1}, load.seen


async def test_an_engine_that_is_killed_while_it_loads_costs_nobody_anything(service: Service):
    async with Load(service) as load:
        promoting = asyncio.create_task(service.promote(2))
        (pid,) = await until(lambda: service.engines(2), "the new engine")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(Refused, match=r"toy-text/2 cannot be served: .* SIGKILL"):
            await promoting
        assert not service.engines(2)
        await service.promote(2)
    assert set(load.seen) <= {1, 2}, load.seen


async def test_exactly_one_of_two_promotions_at_once_wins(service: Service):
    outcomes = await asyncio.gather(
        service.promote(2, if_champion=1),
        service.promote(3, if_champion=1),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes].count(Conflict) == 1, outcomes
    winner = 2 if outcomes[0] is None else 3
    assert await service.answers() == winner


async def test_another_champion_than_expected_is_a_conflict_before_anything_is_loaded(
    service: Service,
):
    with pytest.raises(Conflict, match="the champion of 'toy-text' is version 1, not 3"):
        await service.promote(2, if_champion=3)
    assert not service.engines(2)


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


async def test_a_promotion_inherits_the_batch_times_of_the_champion(service: Service):
    await service.promote(2)
    reports = {one["version"]: one["report"] for one in (await service.view())["versions"]}
    assert reports[2]["batching"]["source"] == "inherited"
    assert reports[2]["batching"]["curve"] == reports[1]["batching"]["curve"]


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
    for _ in range(20):
        assert await service.answers() == 1

    async def compared() -> dict[str, Any] | None:
        shadow = (await service.view())["shadow"]
        return shadow if shadow["rows"] == 20 else None

    shadow = await soon(compared, "20 rows compared")
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
