"""A real Prometheus and a real Alertmanager: traffic moves, a rule fires, the webhook arrives, and a training runs once, however often it is told."""

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import httpx
import live
import numpy as np
import profiled
import prometheus
import pytest
from prometheus_client.parser import text_string_to_metric_families

MODEL = "toy-image"
TOKEN = "a-token-for-alertmanager"
POLICY = f"models__{MODEL.replace('-', '_')}__retraining__"
ROWS, REQUESTS = 20, 4
"""Of a request, and how many of them are labelled."""
TRAINING = """#!/bin/sh
# Stands in for the Python that trains, which would take minutes: it writes down that it ran.
test "$1" = -c && exit 0
echo "$4" >> {runs}
echo '{{"ok": false, "seconds": 1, "error": "no data"}}' > "$4/result.json"
"""

pytestmark = pytest.mark.system


class Service(contextlib.AbstractContextManager["Service"]):
    """A service, and those who use it."""

    def __init__(self, url: str) -> None:
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._rng = np.random.default_rng(1)

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def send(self, rows: int, shift: float) -> str:
        """Pictures that are brighter by `shift`; the prediction's id."""
        images = profiled.pictures(self._rng, rows, shift)
        given = {"name": "image", "datatype": "FP32", "shape": list(images.shape)}
        body = {"inputs": [given | {"data": images.ravel().tolist()}]}
        answer = self.client.post(f"/v2/models/{MODEL}/infer", json=body)
        assert answer.status_code == 200, answer.text
        return answer.headers["Prediction-Id"]

    def until(self, verdict: str, shift: float) -> None:
        """Send until that is the verdict on the traffic."""
        for _ in range(100):
            self.send(ROWS, shift)
            if self.ask(f"/v1/models/{MODEL}/drift")["verdict"] == verdict:
                return
        raise AssertionError(f"the verdict never was '{verdict}'")

    def label(self, prediction: str) -> None:
        """Every row of a request, half of them as one class."""
        labels = [
            {"prediction_id": prediction, "row": row, "label": ("light", "dark")[row % 2]}
            for row in range(ROWS)
        ]
        answer = self.client.post(f"/v1/models/{MODEL}/feedback", json={"labels": labels})
        assert answer.json()["accepted"] == ROWS, answer.text

    def jobs(self, *, suppressed: bool) -> list[dict[str, Any]]:
        """Triggers that the policy did not let through, or those that it did."""
        found = self.ask(f"/v1/retrainings?model={MODEL}")
        return [one for one in found if (one["state"] == "suppressed") == suppressed]

    def ask(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()


def told(alertmanager: str, name: str) -> float:
    """How many webhooks Alertmanager has sent, or how many of them failed."""
    text = httpx.get(f"{alertmanager}/metrics", timeout=live.PATIENCE).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels.get("integration") == "webhook"
    )


def sent(alertmanager: str) -> float:
    return told(alertmanager, "alertmanager_notifications_total")


def test_an_alert_that_is_told_again_and_again_is_one_training(tmp_path: Path):
    prometheus.program("prometheus")
    prometheus.program("prometheus-alertmanager", "prometheus-alertmanager")
    repository, runs = tmp_path / "repository", tmp_path / "runs"
    profiled.image(repository)
    python, recipe = tmp_path / "python", tmp_path / "recipe.py"
    python.write_text(TRAINING.format(runs=runs))
    python.chmod(0o755)
    recipe.write_text("")
    settings = {
        "drift_window": "200",
        "observe_rows_per_s": "100000",
        "monitor_cpu_share": "1",
        "token": TOKEN,
        "train_python": str(python),
        f"{POLICY}recipe": str(recipe),
        f"{POLICY}min_labels": str(REQUESTS * ROWS // 2),
        f"{POLICY}min_per_class": "0",
    }
    with (
        live.serving(repository, tmp_path, **settings) as serving,
        prometheus.alerting(serving.said, tmp_path, TOKEN) as alertmanager,
        prometheus.scraping(serving.said, tmp_path, alertmanager),
        Service(serving.said) as service,
    ):
        # Of the first rows the inputs are kept; soon there are too many in a second.
        first = [service.send(ROWS, shift=0.15) for _ in range(REQUESTS)]
        service.until("drift", shift=0.15)
        live.until(lambda: sent(alertmanager) >= 3, "a notification, again and again")
        assert not service.jobs(suppressed=False)
        refused = service.jobs(suppressed=True)
        assert {one["trigger"]["kind"] for one in refused} == {"alert"}
        assert all("0 labels with kept rows" in one["reason"] for one in refused)
        # Inputs and outputs moved: an alert for each, kept once.
        seen = [one["trigger"]["evidence"] for one in refused]
        assert len({(one["alertname"], one.get("kind")) for one in seen}) == len(seen)

        for prediction in first:
            service.label(prediction)
        live.until(lambda: ended(service.jobs(suppressed=False)), "a run")
        heard = sent(alertmanager)
        live.until(lambda: sent(alertmanager) >= heard + 5, "more notifications")
        (job,) = service.jobs(suppressed=False)
        assert (job["state"], job["reason"]) == ("failed", "no data")
        assert job["trigger"]["evidence"]["alertname"].startswith("Model")
        assert len(runs.read_text().split()) == 1

        service.until("quiet", shift=0.0)
        live.until(lambda: "ModelDrift" not in firing(alertmanager), "the end of the alert")
        heard = sent(alertmanager)
        live.until(lambda: sent(alertmanager) > heard, "word of it")
        assert len(service.jobs(suppressed=False)) == 1
        assert told(alertmanager, "alertmanager_notifications_failed_total") == 0


def firing(alertmanager: str) -> set[str]:
    found = httpx.get(f"{alertmanager}/api/v2/alerts", timeout=live.PATIENCE).json()
    return {one["labels"]["alertname"] for one in found}


def ended(jobs: list[dict[str, Any]]) -> bool:
    return bool(jobs) and jobs[0]["state"] == "failed"


def test_the_committed_configuration_is_what_alertmanager_reads(tmp_path: Path):
    tool = prometheus.program("amtool", "prometheus-alertmanager")
    done = subprocess.run(
        [tool, "check-config", str(prometheus.ALERTING)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (["alertname=ModelDrift", "action=retrain", "model=m"], "retrain,people"),
        (["alertname=ModelInputsInvalid", "model=m"], "people"),
    ],
)
def test_only_what_asks_for_a_training_goes_to_the_service(labels: list[str], receivers: str):
    tool = prometheus.program("amtool", "prometheus-alertmanager")
    command = [tool, "config", "routes", "test", f"--config.file={prometheus.ALERTING}", *labels]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == receivers
