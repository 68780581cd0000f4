"""What the loop does without being asked: drift with harm trains, and a promotion that hurts is taken back."""

from pathlib import Path
from typing import Any

import live
import pytest
import retrained
import toys
import versions
from prometheus_client.parser import text_string_to_metric_families
from retrained import MODEL, Client, Trainer


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


def counted(client: Client, name: str) -> dict[str, float]:
    """Samples of a metric of retrainings, by their labels."""
    return {
        "/".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def first(client: Client) -> dict[str, Any] | None:
    told = client.get("/v1/retrainings").json()
    return told[-1] if told else None


def test_drift_with_harm_asks_for_labels_then_trains_once(tmp_path: Path, trainer: Trainer):
    automatic = {"models__toy_text__retraining__automatic": "true"}
    with retrained.service(tmp_path, trainer, **automatic) as (_, client):
        client.teach(18)
        told = live.until(lambda: first(client), "the trigger")
        assert (told["state"], told["trigger"]["kind"]) == ("suppressed", "drift")
        job = str(told["id"])
        asked = live.until(lambda: client.job(job)["wanted"] is not None, "the question")
        assert asked
        live.until(lambda: counted(client, "inference_labels_wanted")[MODEL] == 2, "the gauge")
        client.teach(10, offset=18)
        told = client.until(job, "succeeded")
        assert (told["trigger"]["who"], client.champion()) == ("evergreen", 2)
        assert len(client.get("/v1/retrainings").json()) == 1
        assert trainer.runs() == [job]
        assert counted(client, "inference_labels_wanted") == {MODEL: 0}
        outcomes = counted(client, "inference_retraining_jobs_total")
        assert outcomes == {
            f"{MODEL}/{outcome}/drift": 1 for outcome in ("suppressed", "queued", "succeeded")
        }
        assert counted(client, "inference_gate_decisions_total") == {f"{MODEL}/true": 1}
        assert counted(client, "inference_model_promotions_total") == {MODEL: 1}


def serve_two(tmp_path: Path) -> Path:
    """Version 1, which is the champion, and one that says the opposite."""
    models = tmp_path / "models"
    toys.text(models)
    versions.swapped(models, 2)
    versions.champion(models, tmp_path / "state", 1)
    return models


def prove(client: Client, count: int = 20) -> None:
    """Label answers to what everybody knows to be good."""
    told = [client.predict("good") for _ in range(count)]
    client.label(*({"prediction_id": one, "label": "positive"} for one in told))


def forced(client: Client, version: int) -> None:
    body = {"version": version, "force": True, "who": "ann"}
    answer = client.post(f"/v1/models/{MODEL}/promotions", json=body)
    assert answer.status_code == 200, answer.text


def test_a_bad_version_that_a_person_forced_is_taken_back(tmp_path: Path):
    with (
        live.serving(serve_two(tmp_path), tmp_path) as program,
        Client(base_url=program.said, timeout=60) as client,
    ):
        forced(client, 2)
        prove(client)
        live.until(lambda: client.champion() == 1, "the rollback")
        last = client.get(f"/v1/models/{MODEL}").json()["history"][-1]
        assert (last["kind"], last["who"]) == ("rollback", "guard")
        assert "20 of 20 labelled answers were wrong" in last["why"]
        name, once = "inference_model_rollbacks_total", {f"{MODEL}/person": 1}
        live.until(lambda: counted(client, name) == once, "the count")


@pytest.mark.system
def test_what_was_forced_stays_where_nobody_guards_or_it_does_no_harm(tmp_path: Path):
    guardless = {"models__toy_text__retraining__guard": "false"}
    with (
        live.serving(serve_two(tmp_path), tmp_path, **guardless) as program,
        Client(base_url=program.said, timeout=60) as client,
    ):
        forced(client, 2)
        prove(client)
        live.until(lambda: client.get(f"/v1/models/{MODEL}/drift").json()["harm"], "the account")
        forced(client, 1)
        prove(client)
        assert client.champion() == 1


def test_a_challenger_that_hurts_once_it_answers_is_taken_back(tmp_path: Path, trainer: Trainer):
    with retrained.service(tmp_path, trainer, models__toy_text__retraining__watch_h="1") as (
        _,
        client,
    ):
        client.teach()
        job = client.began()
        client.until(job, "watching")
        assert client.champion() == 2
        # What it learnt is not true any more.
        told = [client.predict("awful " * 6) for _ in range(30)]
        client.label(*({"prediction_id": one, "label": "positive"} for one in told))
        over = client.until(job, "rolled_back")
        assert "30 of 30 labelled answers were wrong" in over["reason"]
        assert client.champion() == 1
        assert counted(client, "inference_model_rollbacks_total") == {f"{MODEL}/retraining": 1}
        refused = client.retrain(dry_run=True).json()
        # Labels are still there to learn from: nothing of them answers now.
        assert refused["labels_with_payload"] == 70
