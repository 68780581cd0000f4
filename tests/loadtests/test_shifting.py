"""Traffic that changes part-way: how it is asked for, and what is sent before and after."""

import argparse
import io
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from live import PATIENCE
from PIL import Image

from loadtests import shifting
from loadtests.drift.pools import REPOSITORY
from loadtests.payloads import HEADER_LENGTH
from loadtests.shifting import Shift, parse, shifted, workloads
from models import bundle, tasks
from models.datasets import fashion
from models.errors import BundleError, DataError

IMAGE = tasks.ImageTask("image", 28, 28)
SERIES = tasks.SeriesTask("series", "lengths", ("x", "y"), 1, 300, 50.0)
TEXT = tasks.TextTask("ids", "mask", "tokenizer.json", 256)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "shift"),
    [
        ("dim:0.4@50%", Shift("dim", 0.4, 0.5)),
        ("dim", Shift("dim", 0.4, 0.5)),
        ("noise:0.1@25", Shift("noise", 0.1, 0.25)),
        ("people@0%", Shift("people", 0.0, 0.0)),
        ("tweets", Shift("tweets", 0.0, 0.5)),
    ],
)
def test_a_shift_is_read(text: str, shift: Shift) -> None:
    assert parse(text) == shift
    assert parse(str(shift)) == shift


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("fog", "no shift 'fog'; known: noise, dim, people, tweets, amazon, nyt"),
        ("dim:a", "'dim:a': 'a' is no number"),
        ("dim:2", "the amount lies in 0..1 and the time in 0..100%, not 2 and 50%"),
        ("dim@150%", "not 0.4 and 150%"),
        ("people:3", "'people' has no amount, 'people:3' gives 3"),
    ],
)
def test_a_mistake_is_named(text: str, fault: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        parse(text)
    assert fault in str(caught.value)


def test_a_dim_picture_has_less_light(rng: np.random.Generator) -> None:
    (after,) = shifted(IMAGE, [np.full((2, 2), 200, dtype=np.uint8)], Shift("dim", 0.4), rng)
    assert after.dtype == np.uint8
    assert (after == 80).all()


def test_noise_is_noise_on_everything(rng: np.random.Generator) -> None:
    picture = np.full((28, 28), 128, dtype=np.uint8)
    series = rng.standard_normal((100, 2)).astype(np.float32)
    text = "a film that nobody needs to see twice"
    for task, item in ((IMAGE, picture), (SERIES, series), (TEXT, text)):
        (after,) = shifted(task, [item], Shift("noise", 0.5), rng)
        assert not np.array_equal(after, item)


def test_a_shift_leaves_alone_what_it_is_not_about(rng: np.random.Generator) -> None:
    assert shifted(TEXT, ["a film"], Shift("people"), rng) == ["a film"]
    assert shifted(IMAGE, [1], Shift("tweets"), rng) == [1]


def test_a_model_without_a_test_set_is_refused() -> None:
    with pytest.raises(BundleError, match="no test set for nobody"):
        workloads(REPOSITORY, "nobody", "v1", Shift("dim"))


def test_pictures_of_both_interfaces_get_darker(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [np.full((28, 28), 200, dtype=np.uint8)]
    monkeypatch.setitem(shifting.SOURCES, "fashion-cnn", lambda: (pictures, "pictures"))
    before, after = workloads(REPOSITORY, "fashion-cnn", "v1", Shift("dim", 0.4))
    light = [
        np.asarray(Image.open(io.BytesIO(one.payloads[0].body))).mean() for one in (before, after)
    ]
    assert light == [200, 80]
    before, after = workloads(REPOSITORY, "fashion-cnn", "v2", Shift("dim", 0.4))
    for one, value in ((before, 200), (after, 80)):
        (payload,) = one.payloads
        pixels = np.frombuffer(payload.body[int(payload.headers[HEADER_LENGTH]) :], np.float32)
        assert pixels.mean() == pytest.approx(value / 255)


def test_texts_that_the_model_refuses_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["fine", " ", "word " * 400]
    monkeypatch.setitem(shifting.SOURCES, "sentiment-transformer", lambda: (texts, "texts"))
    before, _ = workloads(REPOSITORY, "sentiment-transformer", "v1", Shift("dim"))
    assert [json.loads(one.body) for one in before.payloads] == [{"text": "fine"}]
    assert before.labels == set(bundle.read(REPOSITORY / "sentiment-transformer" / "1").labels)


class Camera(BaseHTTPRequestHandler):
    """Answers every picture with the same label, and keeps how light each was."""

    protocol_version = "HTTP/1.1"
    light: ClassVar[list[float]] = []

    def do_GET(self) -> None:
        self.reply([{"name": "fashion-cnn"}])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.light.append(float(np.asarray(Image.open(io.BytesIO(body))).mean()))
        answer = {"label": "Bag", "probability": 1.0, "top": [{"label": "Bag", "probability": 1.0}]}
        times = {"decode": 0.1, "queue": 0.1, "compute": 0.1, "total": 0.3}
        self.reply(
            {"prediction_id": "1", "model": "fashion-cnn", "version": 1}
            | {"predictions": [answer], "timings_ms": times}
        )

    def reply(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Quiet."""


def test_locust_sends_the_test_set_and_then_the_shifted_one(tmp_path: Path) -> None:
    try:
        fashion.read("t10k")
    except DataError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        *(sys.executable, "-m", "loadtests", "--headless", "--users", "1", "--run-time", "4s"),
        *("--host", f"http://127.0.0.1:{server.server_port}", "--report", str(tmp_path)),
        *("--shift", "dim:0.1@50%"),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    brightest = 0.1 * 255 + 0.5  # of what has a tenth of its light
    assert max(Camera.light[:20]) > brightest
    assert Camera.light[-1] <= brightest
    page = next(tmp_path.rglob("report.html")).read_text()
    assert "shifted part-way: dim:0.1@50%" in page
