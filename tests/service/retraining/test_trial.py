"""What a challenger does before it answers everybody, in real services: copies, some requests, and what ends that."""

import json
from pathlib import Path

import live
import pytest
import retrained
from retrained import MODEL, Client, Trainer


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


def trial(role: str, requests: int = 20) -> dict[str, str]:
    prefix = "models__toy_text__retraining__trial"
    return {
        prefix: role,
        f"{prefix}_percent": "100",
        f"{prefix}_requests": str(requests),
        f"{prefix}_s": "0",
    }


def share(client: Client, role: str) -> float:
    """The percentage of the requests that somebody gets in this role."""
    told = client.get(f"/v1/models/{MODEL}").json()[role]
    return 0.0 if told is None else float(told["percent"])


@pytest.mark.parametrize("role", ["shadow", pytest.param("canary", marks=pytest.mark.system)])
def test_a_challenger_answers_everybody_after_enough_requests(
    tmp_path: Path, trainer: Trainer, role: str
):
    with retrained.service(tmp_path, trainer, **trial(role)) as (_, client):
        client.teach()
        job = client.began()
        client.until(job, "promoting")
        live.until(lambda: share(client, role) == 100, "the trial")
        assert client.champion() == 1

        def asked() -> bool:
            client.predict("good")
            return client.job(job)["state"] == "succeeded"

        live.until(asked, "the promotion")
        assert (client.champion(), share(client, role)) == (2, 0)


@pytest.mark.system
def test_a_trial_that_somebody_ends_ends_the_job(tmp_path: Path, trainer: Trainer):
    with retrained.service(tmp_path, trainer, **trial("canary", 10**6)) as (_, client):
        client.teach()
        job = client.began()
        client.until(job, "promoting")
        live.until(lambda: share(client, "canary") == 100, "the trial")
        client.predict("good")

        def ended() -> bool:
            client.put(f"/v1/models/{MODEL}/traffic", json={"canary": None, "shadow": None})
            return client.job(job)["state"] == "rejected"

        live.until(ended, "the end of the job")
        assert "its canary was ended by hand" in client.job(job)["reason"]
        assert client.champion() == 1


def test_challengers_that_learnt_nothing_good_never_pass(tmp_path: Path, trainer: Trainer):
    bad = {
        "flipped": retrained.challenger(tmp_path / "flipped", unknown=-5.0, good=-2.0),
        "one class": retrained.challenger(tmp_path / "one", unknown=500.0, good=-500.0),
    }
    with retrained.service(tmp_path, trainer) as (_, client):
        client.teach(60)
        for bundle in bad.values():
            trainer.plan(bundle=str(bundle))
            told = client.until(client.began(), "rejected")
            lines = {line["name"]: line["passed"] for line in told["gate"]["lines"]}
            assert not lines["accuracy"], json.dumps(told["gate"], indent=1)
            assert client.champion() == 1
