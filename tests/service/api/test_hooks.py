"""Alertmanager's webhook: 202 where there is a job, 200 with the reason where there is none, 400 for what is no notification."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import live
import notifications
import pytest
from notifications import alert, notification

from models.errors import Conflict, EvergreenError, InputError
from service.api.hooks import Heard, answered
from service.errors import NotFound, Refused, Unavailable
from service.retraining import alerts

PATH = "/v1/hooks/alertmanager"
TOKEN = "a-token-for-the-hook"


class Control:
    """Stands in for control: it makes a job for each key that it has not seen."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.notes: list[str] = []
        self.error: EvergreenError | None = None
        self.reason = ""

    async def ask(self, what: str, body: Any, seconds: float) -> Any:
        if self.error is not None:
            raise self.error
        if what == "retraining note":
            self.notes.append(body["key"])
            return None
        assert what == "retrain"
        key = body["trigger"]["key"]
        if self.reason:
            return {"id": key, "state": "suppressed", "reason": self.reason}
        job = self.jobs.setdefault(key, f"job {len(self.jobs) + 1}")
        return {"id": job, "state": "queued", "reason": ""}


async def heard(control: Control, body: dict[str, Any]) -> Heard:
    return await answered(alerts.read(json.dumps(body).encode()), control.ask)


async def test_ten_repetitions_are_one_job():
    control = Control()
    for _ in range(10):
        told = await heard(control, notification())
        assert [one.job for one in told.jobs] == ["job 1"]
    assert len(control.jobs) == 1


async def test_each_alert_is_told_what_it_came_to():
    over = alert(status="resolved") | {"fingerprint": "2"}
    nobodys = alert(model=None) | {"fingerprint": "3"}
    body = notification(alert(), over, nobodys, truncatedAlerts=3)
    told = await heard(Control(), body)
    assert [(one.model, one.alert, one.state) for one in told.jobs] == [
        ("toy-image", "ModelDrift", "queued")
    ]
    assert [(one.model, one.reason) for one in told.suppressed] == [
        ("toy-image", "ModelDrift is over"),
        ("", "it has no label 'model'"),
    ]
    assert told.truncated == 3


async def test_that_an_alert_is_over_is_written_beside_its_job():
    control = Control()
    await heard(control, notification())
    told = await heard(control, notification(alert(status="resolved"), status="resolved"))
    assert control.notes == list(control.jobs)
    assert not told.jobs
    control.error = Conflict("the job has changed meanwhile")
    assert not (await heard(control, notification(alert(status="resolved")))).jobs


@pytest.mark.parametrize(
    "error", [NotFound("no model 'x'"), Refused("it cannot be trained"), InputError("wrong")]
)
async def test_what_control_refuses_is_done_with(error: EvergreenError):
    control = Control()
    control.error = error
    told = await heard(control, notification())
    assert not told.jobs
    assert told.suppressed[0].reason == str(error)


async def test_what_control_cannot_say_now_is_to_be_sent_again():
    control = Control()
    control.error = Unavailable("the ledger cannot be reached")
    with pytest.raises(Unavailable):
        await heard(control, notification())


async def test_what_the_policy_suppresses_has_its_reason():
    control = Control()
    control.reason = "none before, 24 h have to pass"
    told = await heard(control, notification())
    assert (told.jobs, told.suppressed[0].reason) == ([], "none before, 24 h have to pass")


@pytest.fixture(scope="module")
def guarded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service that has a token."""
    with live.serving(repository, tmp_path_factory.mktemp("guarded"), token=TOKEN) as service:
        yield service.said


def post(url: str, body: Any, token: str = TOKEN) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url + PATH, content=content, headers=headers, timeout=60)


def test_a_service_answers_what_its_policy_says(guarded: str):
    for body in (notification(), notifications.grafana()):
        answer = post(guarded, body)
        assert answer.status_code == 200, answer.text
        (one,) = answer.json()["suppressed"]
        assert one["model"] == "toy-image"
        assert one["reason"]


def test_what_was_suppressed_is_kept_once_and_its_end_is_written_beside_it(guarded: str):
    started = {"startsAt": "2026-11-20T08:00:00Z"}
    body = notification(alert() | started)
    with ThreadPoolExecutor(10) as several:
        answers = several.map(lambda _: post(guarded, body), range(10))
        assert {answer.status_code for answer in answers} == {200}
    over = alert(status="resolved") | started
    assert post(guarded, notification(over, status="resolved")).status_code == 200
    found = httpx.get(f"{guarded}/v1/retrainings", params={"model": "toy-image"}).json()
    evidence = [one["trigger"]["evidence"]["starts_at"] for one in found]
    (job,) = (one for one, at in zip(found, evidence, strict=True) if at == started["startsAt"])
    assert (job["state"], job["trigger"]["who"]) == ("suppressed", "Alertmanager")
    with httpx.stream("GET", f"{guarded}/v1/retrainings/{job['id']}/events", timeout=60) as events:
        assert any("ModelDrift is over" in line for line in events.iter_lines())


def test_a_model_that_is_not_known_is_done_with(guarded: str):
    answer = post(guarded, notification(alert(model="no-such-model")))
    assert answer.status_code == 200
    assert "'no-such-model' is not found" in answer.json()["suppressed"][0]["reason"]


def test_what_is_no_notification_is_400(guarded: str):
    for body in (b"", b"{}", b"not json", json.dumps(notification(version="3")).encode()):
        answer = post(guarded, body)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


def test_it_needs_a_token_as_other_changes_do(guarded: str):
    assert post(guarded, notification(), "another-token").status_code == 401
    assert httpx.post(guarded + PATH, json=notification()).status_code == 401
