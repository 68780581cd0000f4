"""What is wrong never takes another's place; what is right answers all the while."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import raw
import versions as variants
from controlled import GOOD, MODEL, PREDICT, TENSORS, Load, Service, serving, soon, until

from models.errors import Conflict
from models.registry import Registry
from service import comparison
from service.errors import Refused


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


async def test_an_engine_that_has_shown_all_kept_rows_is_asked_for_one_when_it_comes_back(
    service: Service, monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    ask = comparison.ask

    async def counted(candidate: Any, tensors: Any, output: str) -> Any:
        asked.append(len(next(iter(tensors.values()))))
        return await ask(candidate, tensors, output)

    monkeypatch.setattr(comparison, "ask", counted)
    for version in (2, 1):
        await service.promote(version)
    assert asked[0] == 1 < max(asked)
    asked.clear()
    await service.promote(2)
    assert asked == [1]
    (engine,) = service.engines(1)
    os.kill(engine, signal.SIGKILL)
    await until(lambda: service.engines(1) not in ([], [engine]), "another engine")
    deployment = service.lifecycle.of(MODEL).running[1]
    await until(lambda: deployment.ready, "it answers")
    asked.clear()
    await service.promote(1)
    assert asked[0] == 1 < max(asked)


async def test_a_rollback_is_one_publication_while_previous_is_warm(service: Service):
    await service.promote(2)
    old = service.engines(1)
    await service.lifecycle.rollback(MODEL, who="a test", reason="worse")
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


async def test_a_promotion_inherits_the_batch_times_of_the_champion(service: Service):
    await service.promote(2)
    reports = {one["version"]: one["report"] for one in (await service.view())["versions"]}
    assert reports[2]["batching"]["source"] == "inherited"
    assert reports[2]["batching"]["curve"] == reports[1]["batching"]["curve"]
