"""The committed models' accuracy, recomputed from outside: held-out rows over HTTP, against what the manifests say."""

import concurrent.futures
import io
import os
from collections.abc import Callable, Iterable, Iterator

import httpx
import live
import numpy as np
import pytest
from PIL import Image

from models import bundle
from models.datasets import fashion, reviews, watch
from models.errors import DataError
from models.registry import Registry
from service.settings import SEED

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live.serving(SEED, tmp_path_factory.mktemp("service")) as service:
        yield service.said


def held_out(load: Callable[[], object]):
    """The data, or a skip with the reason; on CI it must be there."""
    try:
        return load()
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def answered(client: httpx.Client, model: str, **body: object) -> list[str]:
    response = client.post(f"/v1/models/{model}/predict", **body)
    assert response.status_code == 200, response.text
    return [prediction["label"] for prediction in response.json()["predictions"]]


def accuracy(url: str, model: str, requests: Iterable[dict], labels: Iterable[str]) -> float:
    """The share of right labels when `requests` are sent by four clients."""
    with (
        httpx.Client(base_url=url, timeout=60) as client,
        concurrent.futures.ThreadPoolExecutor(4) as pool,
    ):
        found = [
            label
            for part in pool.map(lambda body: answered(client, model, **body), requests)
            for label in part
        ]
    return float(np.mean([a == b for a, b in zip(found, labels, strict=True)]))


def stated(model: str) -> tuple[float, int]:
    """(accuracy of the served variant, n) that the manifest says."""
    manifest = bundle.read(Registry([SEED]).resolve(model)[1])
    return manifest.variant("int8").accuracy, manifest.metrics["accuracy"].n


def assert_as_stated(found: float, model: str) -> None:
    """Within 0.3 points or 3 rows, whichever is larger."""
    expected, n = stated(model)
    assert abs(found - expected) <= max(0.003, 3 / n) + 1e-9, (found, expected)


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def test_fashion_cnn_on_the_official_test_pictures_as_png(url: str):
    _, test = held_out(fashion.load)
    forms = (
        [("file", (f"{i}.png", png(image))) for i, image in enumerate(test.images[s : s + 50])]
        for s in range(0, 10_000, 50)
    )
    labels = [fashion.LABELS[label] for label in test.labels]
    found = accuracy(url, "fashion-cnn", ({"files": files} for files in forms), labels)
    assert found >= 0.93
    assert_as_stated(found, "fashion-cnn")


def test_activity_lstm_on_the_time_split(url: str):
    windows = held_out(lambda: watch.windows(watch.parts()[1], 200))
    bodies = ({"json": {"series": series.tolist()}} for series in windows.series)
    found = accuracy(
        url, "activity-lstm", bodies, [watch.LABELS[label] for label in windows.labels]
    )
    assert found >= 0.985
    assert_as_stated(found, "activity-lstm")


def test_sentiment_transformer_on_the_held_out_sentences(url: str):
    _, test = held_out(reviews.rotten_tomatoes)
    bodies = ({"json": {"text": text}} for text in test.texts)
    found = accuracy(
        url, "sentiment-transformer", bodies, [reviews.LABELS[label] for label in test.labels]
    )
    assert found >= 0.82
    assert_as_stated(found, "sentiment-transformer")


def test_sentiment_transformer_on_the_second_test_set(url: str):
    sentences = held_out(reviews.vader)
    bodies = ({"json": {"text": text}} for text in sentences.texts)
    found = accuracy(
        url, "sentiment-transformer", bodies, [reviews.LABELS[label] for label in sentences.labels]
    )
    assert found >= 0.845
