"""Kill -9 of the service at any step, and several services on one ledger: one job, one run, one champion, and nothing half-done."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import live
import pytest
import toys
from retrained import MODEL, OVER, PHASES, Client, Trainer, stream

from models.registry import Registry


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


@contextmanager
def killable(directory: Path, trainer: Trainer, **settings: str) -> Iterator[tuple[int, Client]]:
    """A service whose control may be killed: (its process number, a caller)."""
    models = directory / "models"
    if not models.exists():
        toys.text(models)
    command = [live.evergreen(), "serve", "--repository", str(models), "--port", "0"]
    log = directory / "log"
    environ = live.environment(directory, **trainer.settings(**settings))
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=directory, stdout=file, stderr=file, env=environ)
    try:
        said = live.until(lambda: re.search(r"answers on (\S+),", log.read_text()), "the service")
        url = said[1]
        with Client(base_url=url, timeout=60) as client:
            yield process.pid, client
    finally:
        process.kill()
        process.wait()


@pytest.mark.system
@pytest.mark.parametrize("state", PHASES)
def test_a_job_goes_on_after_kill_9_in_any_state_that_lasts(
    tmp_path: Path, trainer: Trainer, state: str
):
    go = tmp_path / "go"
    better = json.loads((trainer.directory / "plan.json").read_text())
    trainer.plan(**better, until=str(go))
    if state != "running":
        go.touch()
    with killable(tmp_path, trainer, **PHASES[state]) as (pid, client):
        client.teach()
        job = client.began()
        client.until(job, state)
        os.kill(pid, signal.SIGKILL)
    go.touch()
    with killable(tmp_path, trainer, **PHASES[state]) as (_, client):
        if state == "awaiting_approval":
            client.until(job, state)
            client.post(f"/v1/retrainings/{job}/approve")
        if state == "promoting":
            shadow = lambda: client.get(f"/v1/models/{MODEL}").json()["shadow"]  # noqa: E731
            live.until(lambda: (shadow() or {}).get("percent"), "the trial")
            client.predict(*["good"] * 20)
            live.until(lambda: client.predict("good") and client.job(job)["state"] in OVER, "it")
        assert client.until(job, "succeeded")["version"] == 2
        assert client.champion() == 2
        assert trainer.runs() == [job]
        events = [event["number"] for event in stream(client, job)]
        assert events == list(range(1, len(events) + 1))
    assert Registry([tmp_path / "models"], tmp_path / "state" / "registry").versions(MODEL) == [
        1,
        2,
    ]


@pytest.mark.system
def test_of_two_services_on_one_ledger_one_drives_and_both_serve_what_came_of_it(
    tmp_path: Path, trainer: Trainer
):
    toys.text(tmp_path / "models")
    shared = {
        "ledger_url": f"sqlite:///{tmp_path / 'ledger.sqlite'}",
        "registry": str(tmp_path / "registry"),
        "registry_poll_s": "0.2",
    }
    places = [tmp_path / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    settings = trainer.settings(**shared)
    with (
        live.serving(tmp_path / "models", places[0], **settings) as one,
        live.serving(tmp_path / "models", places[1], **settings) as two,
        Client(base_url=one.said, timeout=60) as first,
        Client(base_url=two.said, timeout=60) as second,
    ):
        first.teach()
        asked = [(client, key) for client in (first, second) for key in ("k", None) * 3]

        def ask(what: tuple[Client, str | None]) -> tuple[int, str | None]:
            with Client(base_url=what[0].base_url, timeout=60) as client:
                answer = client.retrain(key=what[1], reason="the same")
                return answer.status_code, answer.json().get("id")

        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(ask, asked))
        (job,) = {id_ for status, id_ in found if status == 202}
        assert {status for status, _ in found} <= {202, 409}
        assert second.until(job, "succeeded")["version"] == 2
        for client in (first, second):
            live.until(lambda client=client: client.champion() == 2, "both to follow")
        assert trainer.runs() == [job]


@pytest.mark.system
@pytest.mark.parametrize("seed", range(4))
def test_whenever_it_is_killed_the_job_ends_and_the_registry_is_whole(
    tmp_path: Path, trainer: Trainer, seed: int
):
    lot = random.Random(seed)
    with killable(tmp_path, trainer) as (pid, client):
        client.teach()
        job = client.began()
        time.sleep(lot.uniform(0.0, 6.0))
        os.kill(pid, signal.SIGKILL)
    for _ in range(lot.randrange(3)):
        with killable(tmp_path, trainer) as (pid, client):
            time.sleep(lot.uniform(0.0, 4.0))
            os.kill(pid, signal.SIGKILL)
    with killable(tmp_path, trainer) as (_, client):
        assert client.until(job, "succeeded")
        version = client.job(job)["version"]
        assert client.champion() == version
        assert trainer.runs() == [job]
        assert client.get(f"/v1/models/{MODEL}/drift").json()["accuracy"]["overall"] is None
        assert (
            client.get(f"/v1/models/{MODEL}/drift?version=1").json()["accuracy"]["overall"]["n"]
            == 40
        )
    registry = Registry([tmp_path / "models"], tmp_path / "state" / "registry")
    assert registry.versions(MODEL) == [1, version]
    assert registry.aliases(MODEL) == {"champion": version, "previous": 1}
