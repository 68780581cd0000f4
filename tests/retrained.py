"""A service whose models are trained again by a stand-in: it copies a toy bundle, waits, or fails, as a file beside it says."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import live
import msgspec
import numpy as np
import onnx
import toys
from onnx import numpy_helper

from models import bundle

MODEL = "toy-text"

TRAINER = '''#!{python}
"""python -m models.train --job DIRECTORY, without the training."""
import json, pathlib, shutil, sys, time
if "--job" not in sys.argv:
    sys.exit(0)
here, job = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[-1])
told = json.loads((here / "plan.json").read_text())
with (here / "runs").open("a") as file:
    file.write(job.name + "\\n")
print("training", job.name, flush=True)
def progress(done):
    with (job / "progress.jsonl").open("a") as file:
        line = {{"at": time.time(), "stage": "fit", "done": done, "total": 4, "loss": 1 / (1 + done)}}
        file.write(json.dumps(line) + "\\n")
progress(1)
while told.get("until") and not pathlib.Path(told["until"]).exists():
    time.sleep(0.02)
progress(4)
result = {{"ok": "fail" not in told, "seconds": 0.1, "error": told.get("fail", "")}}
if told.get("silent"):
    sys.exit("no result")
if "bundle" in told:
    shutil.copytree(told["bundle"], job / "bundle", dirs_exist_ok=True)
(job / "result.tmp").write_text(json.dumps(result))
(job / "result.tmp").rename(job / "result.json")
'''

QUICK = {
    "models__toy_text__retraining__min_labels": "20",
    "models__toy_text__retraining__min_per_class": "5",
    "models__toy_text__retraining__trial": "none",
    "models__toy_text__retraining__watch_h": "0",
}
"""A policy that twenty labels satisfy, and no waiting."""


class Trainer:
    """The stand-in: `python` runs in the place of an interpreter with torch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "trainer"
        self.directory.mkdir()
        self.python = self.directory / "python"
        self.python.write_text(TRAINER.format(python=sys.executable))
        self.python.chmod(0o755)
        self.recipe = self.directory / "recipe.py"
        self.recipe.write_text("")
        self.plan(bundle=str(challenger(directory / "better", 1.0)))

    def plan(self, **told: Any) -> None:
        """What the next runs do."""
        (self.directory / "plan.json").write_text(json.dumps(told))

    def runs(self) -> list[str]:
        """The jobs that were run, a line for each time."""
        file = self.directory / "runs"
        return file.read_text().split() if file.exists() else []

    def settings(self, **more: str) -> dict[str, str]:
        """What a service needs to use it."""
        told = {
            "train_python": str(self.python),
            "models__toy_text__retraining__recipe": str(self.recipe),
        }
        return told | QUICK | more


def challenger(root: Path, unknown: float, good: float = 2.0) -> Path:
    """toy-text, to which words that it does not know are bad by `unknown`, and "good" is good by `good`."""
    directory = toys.text(root, version=9)
    path = directory / "model.fp32.onnx"
    model = onnx.load(path)
    table = np.array([[9, -9], [0, unknown], [good, 0], [0, 2]], dtype=np.float32)
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            tensor.CopyFrom(numpy_helper.from_array(table, "table"))
    onnx.save(model, path)
    inputs, _ = bundle.read_samples(directory)
    logits = table[inputs["input_ids"]].sum(axis=1)
    bundle.write_samples(directory, inputs, {"probabilities": toys.softmax(logits)})
    manifest = bundle.read(directory)
    (directory / bundle.MANIFEST).unlink()
    bundle.write(directory, msgspec.structs.replace(manifest, description="trained again"))
    return directory


class Client(httpx.Client):
    """A caller of one model."""

    def predict(self, *texts: str) -> str:
        answer = self.post(f"/v1/models/{MODEL}/predict", json={"texts": list(texts)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prediction_id"])

    def label(self, *labels: dict[str, Any]) -> None:
        answer = self.post(f"/v1/models/{MODEL}/feedback", json={"labels": list(labels)})
        assert answer.status_code == 200, answer.text
        assert answer.json()["accepted"] == len(labels), answer.text

    def teach(self, count: int = 40, *, offset: int = 0, source: str = "") -> None:
        """Words that the champion does not know and calls good: they are bad; and as many good ones."""
        told = []
        for i in range(offset, offset + count):
            bad = i % 2
            # No two rows are the same: they begin with a number, which says neither good nor bad.
            words = ["good bad" if c == "1" else "bad good" for c in f"{i:07b}"]
            text = " ".join([*words, *(["awful"] * 2 if bad else ["good"] * 2)])
            told.append((self.predict(text), "negative" if bad else "positive"))
        labels = [{"prediction_id": p, "label": said, "source": source} for p, said in told]
        for at in range(0, len(labels), 500):
            self.label(*labels[at : at + 500])

    def retrain(self, key: str | None = None, **order: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.post(f"/v1/models/{MODEL}/retrainings", json=order, headers=headers)

    def began(self, **order: Any) -> str:
        """The id of a new job."""
        answer = self.retrain(**order)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job: str) -> dict[str, Any]:
        answer = self.get(f"/v1/retrainings/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(self, job: str, *states: str) -> dict[str, Any]:
        """The job in one of these states."""

        def found() -> dict[str, Any] | None:
            told = self.job(job)
            if told["state"] in states:
                return told
            assert told["state"] not in OVER, told
            return None

        return dict(live.until(found, f"{states} of {job}"))

    def champion(self) -> int:
        return int(self.get(f"/v1/models/{MODEL}").json()["aliases"]["champion"])


OVER = ("succeeded", "rejected", "failed", "cancelled", "expired", "rolled_back")


@contextmanager
def service(
    directory: Path, trainer: Trainer, **settings: str
) -> Iterator[tuple[live.Program, Client]]:
    """A service of one toy model, and a caller of it."""
    models = directory / "models"
    if not models.exists():
        toys.text(models)
    with (
        live.serving(models, directory, **trainer.settings(**settings)) as program,
        Client(base_url=program.said, timeout=60) as client,
    ):
        yield program, client


PHASES = {
    "running": {},
    "awaiting_approval": {"models__toy_text__retraining__approval": "true"},
    "promoting": {
        "models__toy_text__retraining__trial": "shadow",
        "models__toy_text__retraining__trial_requests": "1",
        "models__toy_text__retraining__trial_s": "0",
    },
    "watching": {"models__toy_text__retraining__watch_h": "0.0001"},
}
"""A state that a job stays in until something is done, and the settings that make it."""


def stream(client: Client, job: str, last: int | None = None) -> Iterator[dict[str, Any]]:
    """The events of a job as they come, behind the event `last`."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with client.stream("GET", f"/v1/retrainings/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        number, kind = "", ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                number = value
            elif name == "event":
                kind = value
            elif name == "data":
                told = json.loads(value)
                assert (str(told["number"]), told["kind"]) == (number, kind)
                yield told
