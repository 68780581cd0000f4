"""From traffic that moves to a verdict on harm, as an operator sees it: over HTTP, on the command line, and over a restart."""

import contextlib
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import live
import numpy as np
import profiled
import pytest
import toys
from click.testing import CliRunner, Result
from prometheus_client.parser import text_string_to_metric_families

from service.cli import cli

MODEL = "toy-image"
WINDOW = "200"


class Traffic(contextlib.AbstractContextManager["Traffic"]):
    """Sends pictures in requests of 20 rows, and knows what was answered to which."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=60)
        self._rng = np.random.default_rng(1)

    def __exit__(self, *error: object) -> None:
        self.client.close()

    def send(self, rows: int, shift: float = 0.0) -> list[tuple[str, int, str]]:
        """(prediction, row, what was answered) of `rows` pictures."""
        sent = []
        for _ in range(rows // 20):
            images = profiled.pictures(self._rng, 20, shift)
            body = {
                "inputs": [
                    {
                        "name": "image",
                        "datatype": "FP32",
                        "shape": list(images.shape),
                        "data": images.ravel().tolist(),
                    }
                ]
            }
            answer = self.client.post(f"/v2/models/{MODEL}/infer", json=body)
            assert answer.status_code == 200, answer.text
            told = answer.json()
            outputs = {one["name"]: one for one in told["outputs"]}
            shares = np.array(outputs["probabilities"]["data"]).reshape(20, 2)
            names = [("light", "dark")[index] for index in shares.argmax(1)]
            sent += [(answer.headers["Prediction-Id"], row, name) for row, name in enumerate(names)]
        return sent

    def label(self, rows: list[tuple[str, int, str]], wrong: float = 0.0) -> None:
        """Label rows as they were answered, but for a share of them."""
        labels = [
            {
                "prediction_id": prediction,
                "row": row,
                "label": other(answer) if self._rng.random() < wrong else answer,
            }
            for prediction, row, answer in rows
        ]
        for at in range(0, len(labels), 1000):
            answer = self.client.post(
                f"/v1/models/{MODEL}/feedback", json={"labels": labels[at : at + 1000]}
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["accepted"] == len(labels[at : at + 1000])

    def drift(self) -> dict[str, Any]:
        answer = self.client.get(f"/v1/models/{MODEL}/drift")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def conclusion(self) -> str:
        return str(self.drift()["conclusion"]["kind"])

    def until(self, verdict: str, rows: int = 100, shift: float = 0.0) -> dict[str, Any]:
        """Send until that is the verdict on the traffic; the account then."""
        for _ in range(40):
            self.send(rows, shift)
            if (told := self.drift())["verdict"] == verdict:
                return told
        raise AssertionError(self.drift()["conclusion"])

    def gauge(self, name: str) -> float:
        return next(
            sample.value
            for family in text_string_to_metric_families(self.client.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and sample.labels.get("model") == MODEL
        )


def other(label: str) -> str:
    return "dark" if label == "light" else "light"


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["drift", *arguments, "--url", url], catch_exceptions=False)


@pytest.mark.system
def test_a_drift_is_benign_or_harmful_by_its_labels(tmp_path: Path):
    models = tmp_path / "models"
    profiled.image(models)
    settings = {"drift_window": WINDOW, "observe_rows_per_s": "100000", "monitor_cpu_share": "1"}
    with live.serving(models, tmp_path, **settings) as service, Traffic(service.said) as traffic:
        usual = traffic.send(600)
        live.until(lambda: traffic.conclusion() == "fine", "a verdict on usual traffic")
        traffic.label(usual)
        assert traffic.drift()["harm"]["verdict"] == "harmless"

        told = traffic.until("drift", shift=0.15)
        assert told["conclusion"]["kind"] == "watch"
        moved = [one["name"] for one in told["signals"] if one["moved"]]
        assert moved
        wanted = traffic.client.get(f"/v1/models/{MODEL}/labels/wanted").json()["wanted"]
        assert wanted[0]["why"] == "drift"
        assert traffic.drift()["harm"]["verdict"] == "unknown", "older labels tell nothing of it"

        drifted = traffic.send(400, shift=0.15)
        traffic.label(drifted)
        told = traffic.drift()
        assert told["conclusion"]["kind"] == "benign drift"
        check_command_line(service.said, tmp_path)

        traffic.label(traffic.send(100, shift=0.15), wrong=0.5)
        told = traffic.drift()
        assert told["conclusion"]["kind"] == "harmful"
        assert told["harm"]["since_drift"]["verdict"] == "harmful"
        assert traffic.gauge("inference_quality_harmful") == 1
        assert traffic.gauge("inference_quality_evidence_log") > 4.6
        labelled = told["accuracy"]["overall"]
    with live.serving(models, tmp_path, **settings) as service, Traffic(service.said) as again:
        live.until(lambda: again.conclusion() == "harmful", "what was known before the restart")
        assert again.drift()["accuracy"]["overall"] == labelled


def check_command_line(url: str, directory: Path) -> None:
    shown = run(url, "show", MODEL)
    assert shown.exit_code == 0, shown.output
    for part in ("benign drift", "brightness", "█", "moved", "harmless", "newest labels"):
        assert part in shown.output
    told = json.loads(run(url, "show", MODEL, "--json").output)
    assert told["conclusion"]["kind"] == "benign drift"
    path = directory / "report.html"
    assert run(url, "report", MODEL, "--output", str(path)).exit_code == 0
    page = path.read_text()
    assert page.count("<figure>") == len(told["signals"])
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.system
def test_inputs_that_cannot_be_are_a_fault_of_the_data(tmp_path: Path):
    models = tmp_path / "models"
    profiled.image(models)
    with live.serving(models, tmp_path) as service, Traffic(service.said) as traffic:
        traffic.send(2200)
        for _ in range(20):
            answer = traffic.client.post(
                f"/v1/models/{MODEL}/predict", content=b"", headers={"Content-Type": "image/png"}
            )
            assert answer.status_code == 400
        live.until(lambda: traffic.conclusion() == "data fault", "the fault")


@pytest.mark.system
def test_a_version_without_a_profile_gets_one_and_is_watched_from_then_on(tmp_path: Path):
    models, rows = tmp_path / "models", tmp_path / "usual.npz"
    toys.image(models)
    np.savez(rows, image=profiled.pictures(np.random.default_rng(5), 800))
    settings = {"drift_window": WINDOW, "observe_rows_per_s": "100000", "monitor_cpu_share": "1"}
    environ = {"EVERGREEN_STATE": str(tmp_path / "state"), "EVERGREEN_REPOSITORY": str(models)}
    with live.serving(models, tmp_path, **settings) as service, Traffic(service.said) as traffic:
        assert "no profile.json" in traffic.drift()["reason"]
        asked = ["drift", "profile", MODEL, "--from", str(rows), "--promote", "--json"]
        made = CliRunner().invoke(cli, [*asked, "--url", service.said], env=environ)
        assert made.exit_code == 0, made.output
        told = json.loads(made.stdout)
        assert (told["version"], told["rows"], told["sizes"]) == (2, 800, [100, 200])
        assert told["state"]["champion"] == 2

        live.until(lambda: traffic.drift()["reference"] is not None, "the profile to be watched")
        assert traffic.drift()["reference"]["source"] == "usual.npz"
        traffic.until("quiet")
        traffic.until("drift", shift=0.3)


@pytest.mark.system
def test_labels_from_many_callers_at_once_are_each_counted_once(tmp_path: Path):
    models = tmp_path / "models"
    toys.image(models)
    with (
        live.serving(models, tmp_path, front_ends="2", observe_rows_per_s="100000") as service,
        Traffic(service.said) as traffic,
    ):
        rows = traffic.send(400)
        failed: list[BaseException] = []

        def again() -> None:
            labels = [
                {"prediction_id": one, "row": row, "label": answer} for one, row, answer in rows
            ]
            try:
                url = f"{service.said}/v1/models/{MODEL}/feedback"
                answer = httpx.post(url, json={"labels": labels}, timeout=60)
                accepted.append(answer.json()["accepted"])
            except BaseException as error:  # noqa: BLE001 - shown below
                failed.append(error)

        accepted: list[int] = []
        threads = [threading.Thread(target=again) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert sum(accepted) == 400
        assert traffic.drift()["accuracy"]["overall"]["n"] == 400
