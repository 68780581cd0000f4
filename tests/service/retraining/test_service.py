"""The loop in real services: control, engines, a ledger, and a stand-in for the training that copies a bundle."""

import json
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import live
import pytest
import retrained
import toys
from retrained import MODEL, PHASES, Client, Trainer, stream

from service.retraining.launchers import local


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


def gate(job: dict[str, Any]) -> dict[str, bool]:
    return {line["name"]: line["passed"] for line in job["gate"]["lines"]}


def test_a_better_challenger_is_trained_judged_promoted_and_watched(
    tmp_path: Path, trainer: Trainer
):
    with retrained.service(tmp_path, trainer) as (_, client):
        client.teach()
        page = client.get(f"/v1/models/{MODEL}").json()
        assert (page["retrainable"], page["retraining"]["active"]) == (True, None)
        answer = client.retrain(reason="words that it does not know")
        assert (answer.status_code, answer.headers["Retry-After"]) == (202, "2")
        job = answer.json()["id"]
        assert answer.headers["Location"] == f"/v1/retrainings/{job}"
        told = client.until(job, "succeeded")
        assert all(gate(told).values())
        assert (told["parent"], told["version"], client.champion()) == (1, 2, 2)
        learnt = told["learnt"]
        assert (learnt["labels"], learnt["with_payload"]) == (40, 40)
        assert learnt["trained"] + learnt["held_out"] == 40
        request = json.loads((tmp_path / "state" / "jobs" / job / "request.json").read_text())
        assert (request["parent"], request["version"], request["trigger"]) == (1, 2, "person")
        assert request["reason"] == "words that it does not know"
        states = [e["state"] for e in stream(client, job) if e["kind"] == "state"]
        assert states == [
            *("queued", "submitted", "running", "evaluating"),
            *("promoting", "watching", "succeeded"),
        ]
        assert next(one["number"] for one in stream(client, job, 5)) == 6
        answer = client.get(f"/v1/retrainings/{job}", headers={"If-None-Match": "*"})
        etag = answer.headers["ETag"]
        again = client.get(f"/v1/retrainings/{job}", headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        printed = client.get(f"/v1/retrainings/{job}/logs").json()
        assert printed["text"] == f"training {job}\n"
        rest = client.get(f"/v1/retrainings/{job}/logs", params={"offset": 9}).json()
        assert rest == {"text": f"{job}\n", "offset": printed["offset"]}
        sent = {"traffic.npz", "holdout.npz", "reference.npz", "parent", "bundle"}
        directory = tmp_path / "state" / "jobs" / job
        live.until(lambda: not sent & {path.name for path in directory.iterdir()}, "its end")
        history = client.get(f"/v1/models/{MODEL}").json()["history"]
        assert history[-1]["who"] == f"retraining {job}"
        # What it learnt from is not new any more, and no second training comes of it.
        refused = client.retrain()
        assert refused.status_code == 409
        assert "0 labels with kept rows" in refused.json()["detail"]


def test_a_worse_challenger_is_rejected_and_says_in_which_lines(tmp_path: Path, trainer: Trainer):
    trainer.plan(bundle=str(retrained.challenger(tmp_path / "worse", 1.0, good=-3.0)))
    with retrained.service(tmp_path, trainer) as (_, client):
        client.teach()
        told = client.until(client.began(), "rejected")
        assert not gate(told)["accuracy"]
        assert "on the newest labels it gains" in told["reason"]
        page = client.get(f"/v1/models/{MODEL}").json()
        assert page["aliases"] == {"champion": 1}
        assert page["shadow"] is None
        # It stays in the registry, for whoever wants to look at it.
        assert {one["version"] for one in page["versions"]} == {1, 2}


def test_a_run_that_fails_says_why(tmp_path: Path, trainer: Trainer):
    with retrained.service(tmp_path, trainer) as (_, client):
        client.teach()
        trainer.plan(fail="the recipe met nothing to learn")
        told = client.until(client.began(), "failed")
        assert told["reason"] == "the recipe met nothing to learn"
        trainer.plan(silent=True)
        told = client.until(client.began(), "failed")
        assert "ended without a result" in told["reason"]
        listed = client.get("/v1/retrainings", params={"state": "failed", "limit": 1}).json()
        assert [one["id"] for one in listed] == [told["id"]]
        older = client.get("/v1/retrainings", params={"before": told["id"]}).json()
        assert [one["state"] for one in older] == ["failed"]


def test_equal_keys_are_one_job_and_other_triggers_are_kept_with_the_reason(
    tmp_path: Path, trainer: Trainer
):
    go = tmp_path / "go"
    trainer.plan(until=str(go), fail="enough")
    with retrained.service(tmp_path, trainer, front_ends="2") as (program, client):
        client.teach()

        def ask(_: int) -> tuple[int, str]:
            with Client(base_url=program.said, timeout=60) as one:
                answer = one.retrain(key="k", reason="the same")
                return answer.status_code, answer.json()["id"]

        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(ask, range(8)))
        ((status, job),) = found
        assert status == 202
        other = client.retrain(key="k", reason="another")
        assert (other.status_code, "Idempotency-Key" in other.text) == (422, True)
        for _ in range(3):
            busy = client.retrain()
            assert (busy.status_code, f"job {job} is under way" in busy.text) == (409, True)
        suppressed = client.get("/v1/retrainings", params={"state": "suppressed"}).json()
        assert len(suppressed) == 1
        plan = client.retrain(dry_run=True)
        assert plan.status_code == 200
        assert not plan.json()["fire"]
        conditions = {one["name"]: one["holds"] for one in plan.json()["decision"]["conditions"]}
        assert not conditions["one job"]
        assert conditions["labels"]
        go.touch()
        client.until(job, "failed")
        assert trainer.runs() == [job]
        assert client.retrain(key="k", reason="the same").json()["id"] == job


def test_without_enough_labels_nothing_is_trained_and_both_numbers_are_told(
    tmp_path: Path, trainer: Trainer
):
    with retrained.service(tmp_path, trainer) as (_, client):
        client.teach(6)
        answer = client.retrain()
        assert answer.status_code == 409
        assert "6 labels with kept rows" in answer.json()["detail"]
        assert "20 are needed" in answer.json()["detail"]
        assert client.get("/v1/retrainings").json()[0]["state"] == "suppressed"
        assert trainer.runs() == []


def test_without_torch_the_answer_is_the_command_that_installs_it(tmp_path: Path):
    models, python = tmp_path / "models", tmp_path / "bare"
    toys.text(models)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    recipe = tmp_path / "recipe.py"
    recipe.touch()
    settings = {
        "train_python": str(python),
        "models__toy_text__retraining__recipe": str(recipe),
    }
    with (
        live.serving(models, tmp_path, **settings) as program,
        Client(base_url=program.said, timeout=60) as client,
    ):
        answer = client.retrain()
        assert answer.status_code == 409
        assert f"{python} -m pip install -e '.[train]'" in answer.json()["detail"]
        page = client.get(f"/v1/models/{MODEL}").json()
        assert page["retrainable"] is False
        assert "EVERGREEN_TRAIN_PYTHON" in page["retraining"]["reason"]


@pytest.mark.system
def test_a_person_approves_or_turns_down(tmp_path: Path, trainer: Trainer):
    with retrained.service(tmp_path, trainer, models__toy_text__retraining__approval="true") as (
        _,
        client,
    ):
        client.teach()
        first = client.began()
        waiting = client.until(first, "awaiting_approval")
        assert client.champion() == 1
        assert waiting["gate"]["passed"]
        answer = client.post(f"/v1/retrainings/{first}/reject", json={"who": "ann", "reason": "no"})
        assert answer.status_code == 202
        assert client.until(first, "rejected")["reason"] == "rejected by ann: no"
        assert client.post(f"/v1/retrainings/{first}/approve").status_code == 409
        second = client.began()
        client.until(second, "awaiting_approval")
        answer = client.post(f"/v1/retrainings/{second}/approve", json={"who": "bob"})
        assert answer.status_code == 202
        told = client.until(second, "succeeded")
        assert (told["approved"], client.champion()) == ("bob", 3)
        assert client.post(f"/v1/retrainings/{second}/cancel").status_code == 409


def test_what_is_not_there_or_malformed_is_said(tmp_path: Path, trainer: Trainer):
    with retrained.service(tmp_path, trainer, token="a-token-of-some-length") as (_, client):
        assert client.retrain().status_code == 401
        assert client.post("/v1/retrainings/none/cancel").status_code == 401
        client.headers["Authorization"] = "Bearer a-token-of-some-length"
        for path in ("none", "none/logs", "none/events"):
            assert client.get(f"/v1/retrainings/{path}").status_code == 404
        assert client.post("/v1/models/nobody/retrainings", json={}).status_code == 404
        assert client.retrain(mode="auto").status_code == 422
        assert client.retrain(key="k" * 201).status_code == 422
        wrong = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
        assert "'from' must be before 'to'" in client.retrain(data=wrong).text
        assert client.get("/v1/retrainings", params={"limit": 0}).status_code == 422


def test_whoever_follows_does_not_keep_the_service_from_ending(tmp_path: Path, trainer: Trainer):
    trainer.plan(until=str(tmp_path / "never"))
    with retrained.service(tmp_path, trainer) as (program, client):
        client.teach()
        job = client.began()
        client.until(job, "running")
        with client.stream("GET", f"/v1/retrainings/{job}/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == f": job {job}"
            program.process.terminate()
            assert program.process.wait(live.PATIENCE) == 0
            assert any(line.startswith("data: ") for line in lines)
    # The run goes on: nobody has ended it.
    directory = tmp_path / "state" / "jobs" / job
    local.told(directory, signal.SIGKILL)


@pytest.mark.parametrize(
    "state",
    [
        "running",
        "awaiting_approval",
        pytest.param("promoting", marks=pytest.mark.system),
    ],
)
def test_what_is_cancelled_leaves_nothing_behind(tmp_path: Path, trainer: Trainer, state: str):
    settings = PHASES[state] | {"models__toy_text__retraining__trial_requests": "1000000"}
    if state == "running":
        trainer.plan(until=str(tmp_path / "never"))
    with retrained.service(tmp_path, trainer, **settings) as (_, client):
        client.teach()
        job = client.began()
        client.until(job, state)
        for _ in range(2):
            answer = client.post(f"/v1/retrainings/{job}/cancel", json={"who": "ann"})
            assert answer.status_code in (202, 409)
        told = client.until(job, "cancelled")
        assert told["reason"] == "cancelled by ann"
        page = client.get(f"/v1/models/{MODEL}").json()
        assert page["aliases"] == {"champion": 1}
        assert (page["shadow"], page["canary"]) == (None, None)
        assert client.post(f"/v1/retrainings/{job}/cancel").status_code == 409
        jobs = sqlite3.connect(tmp_path / "state" / "ledger.sqlite")
        assert jobs.execute("select count(*) from jobs where active is not null").fetchone() == (0,)
        jobs.close()
