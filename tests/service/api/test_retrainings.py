"""Retrainings over HTTP: what control is asked, and how its answers are told. What control does is tested with real services."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fronted import FrontEnd, front_end

from service.api import streams
from service.errors import Unavailable
from service.retraining import jobs
from service.retraining.triggers import Trigger
from service.settings import Settings

FOUND = jobs.began("abc", "m", Trigger(kind="person"), "queued", 1.0)
JOB = msgspec.to_builtins(FOUND.job)
EVENT = msgspec.to_builtins(FOUND.event)


def settings(directory: Path) -> Settings:
    return Settings(state=directory)


async def asked(front: FrontEnd, order: dict[str, Any], **headers: str) -> dict[str, Any]:
    """What control is asked for an order."""
    front.asked.clear()
    answer = await front.client.post("/v1/models/m/retrainings", json=order, headers=headers)
    assert answer.status_code == 202, answer.text
    ((what, body),) = front.asked
    assert what == "retrain"
    return dict(body)


async def test_an_order_is_passed_on_as_a_persons_trigger(tmp_path: Path):
    async with front_end(tmp_path, settings(tmp_path), retrain=JOB) as front:
        data = {"from": "1970-01-01T00:01:00Z", "to": "1970-01-01T02:00:00+01:00"}
        order = {"reason": "why", "data": data, "parameters": {"epochs": 3}, "who": "ann"}
        body = await asked(front, order, **{"Idempotency-Key": "k"})
        assert (body["model"], body["dry_run"]) == ("m", False)
        assert body["trigger"] == {
            "kind": "person",
            "reason": "why",
            "who": "ann",
            "key": "k",
            "evidence": {},
            "parameters": {"epochs": 3},
            "since": 60.0,
            "until": 3600.0,
        }
        assert (await asked(front, {}))["trigger"]["who"] == "127.0.0.1"
        bare = await front.client.post("/v1/models/m/retrainings")
        assert bare.status_code == 202


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"reason": 1}', 422),
        (b'{"mode": "auto"}', 422),
        (b'{"parameters": {"a": [1]}}', 422),
        (b'{"data": {"from": "yesterday"}}', 422),
        (b'{"data": {"from": "2026-01-01T00:00:00"}}', 422),
    ],
)
async def test_an_order_that_cannot_be_is_refused(tmp_path: Path, order: bytes, status: int):
    async with front_end(tmp_path, settings(tmp_path), retrain=JOB) as front:
        answer = await front.client.post("/v1/models/m/retrainings", content=order)
        assert (answer.status_code, front.asked) == (status, [])


async def test_a_stream_goes_on_behind_the_last_event_and_ends_with_the_job(tmp_path: Path):
    def events(body: Any) -> Any:
        new = [EVENT | {"number": n} for n in range(1, 4) if n > body["after"]]
        return {"ended": True, "number": 3, "events": new}

    answers = {"retraining": JOB, "retraining events": events}
    async with front_end(tmp_path, settings(tmp_path), **answers) as front:
        for last, expected in ((None, ["1", "2", "3"]), ("2", ["3"]), ("3", [])):
            headers = {} if last is None else {"Last-Event-ID": last}
            answer = await front.client.get("/v1/retrainings/abc/events", headers=headers)
            assert answer.status_code == 200
            lines = answer.text.splitlines()
            assert [line[4:] for line in lines if line.startswith("id: ")] == expected
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            assert [str(one["number"]) for one in told] == expected
        bad = await front.client.get(
            "/v1/retrainings/abc/events", headers={"Last-Event-ID": "newest"}
        )
        assert bad.status_code == 422


async def test_while_nothing_happens_a_comment_keeps_the_stream_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.0)
    quiet = {"ended": False, "number": 0, "events": []}
    told = iter([quiet, quiet, quiet])

    def events(_: Any) -> Any:
        return next(told, {"ended": True, "number": 0, "events": []})

    answers = {"retraining": JOB, "retraining events": events}
    async with front_end(tmp_path, settings(tmp_path), **answers) as front:
        answer = await front.client.get("/v1/retrainings/abc/events")
        assert answer.text.count(": still here") == 3
        assert "data:" not in answer.text


async def test_a_stream_ends_where_control_is_away_so_that_the_client_comes_again(tmp_path: Path):
    answers = {"retraining": JOB, "retraining events": Unavailable("away")}
    async with front_end(tmp_path, settings(tmp_path), **answers) as front:
        answer = await asyncio.wait_for(front.client.get("/v1/retrainings/abc/events"), 20)
        assert "retry: 2000" in answer.text


async def test_the_routes_are_documented(tmp_path: Path):
    async with front_end(tmp_path, settings(tmp_path)) as front:
        paths = (await front.client.get("/docs/openapi.json")).json()["paths"]
        assert "post" in paths["/v1/models/{name}/retrainings"]
        for rest in ("", "/cancel", "/approve", "/reject", "/events", "/logs"):
            assert "/v1/retrainings/{job}" + rest in paths
