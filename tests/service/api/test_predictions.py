"""/v1 against a running service: good requests, and every bad one with its own answer."""

import concurrent.futures
import gzip
import io
import json
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def client(url: str):
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def picture(
    value: int, size: tuple[int, int] = (4, 4), mode: str = "L", kind: str = "PNG"
) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, value).convert(mode).save(file, kind)
    return file.getvalue()


def predict(client: httpx.Client, model: str, content: bytes, kind: str) -> httpx.Response:
    return client.post(
        f"/v1/models/{model}/predict", content=content, headers={"Content-Type": kind}
    )


def ask(client: httpx.Client, model: str, body: object) -> httpx.Response:
    return predict(client, model, json.dumps(body).encode(), "application/json")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(4, 4), (400, 300), (1, 1)])
def test_any_picture_is_classified(
    client: httpx.Client, kind: str, mode: str, size: tuple[int, int]
):
    answer = predict(client, "toy-image", picture(255, size, mode, kind), f"image/{kind.lower()}")
    assert answer.status_code == 200
    body = answer.json()
    assert body["predictions"][0]["label"] == "light"
    assert body["model"] == "toy-image"
    assert body["version"] == 1
    assert answer.headers["Prediction-Id"] == body["prediction_id"]
    assert set(body["timings_ms"]) == {"decode", "queue", "compute", "total"}


def test_a_form_may_hold_several_pictures(client: httpx.Client):
    files = [("file", ("a.png", picture(255))), ("file", ("b.png", picture(0)))]
    answer = client.post("/v1/models/toy-image/predict", files=files)
    assert [p["label"] for p in answer.json()["predictions"]] == ["light", "dark"]


def test_one_text_or_a_list_of_any_lengths_in_order(client: httpx.Client):
    assert (
        ask(client, "toy-text", {"text": "good film"}).json()["predictions"][0]["label"]
        == "positive"
    )
    texts = ["bad", "good good good bad", "bad bad " * 3, "good"] * 3
    labels = [p["label"] for p in ask(client, "toy-text", {"texts": texts}).json()["predictions"]]
    assert labels == ["negative", "positive", "negative", "positive"] * 3


def test_one_series_or_a_list_of_any_lengths_in_order(client: httpx.Client):
    up, down = [[1.0, 1.0]] * 5, [[-1.0, 0.0]] * 3
    assert ask(client, "toy-series", {"series": up}).json()["predictions"][0]["label"] == "up"
    labels = [
        p["label"]
        for p in ask(client, "toy-series", {"series": [up, down, up]}).json()["predictions"]
    ]
    assert labels == ["up", "down", "up"]


def test_probabilities_are_the_models_own(client: httpx.Client):
    answer = ask(client, "toy-text", {"text": "good good bad"}).json()["predictions"][0]
    expected = np.exp(4) / (np.exp(4) + np.exp(2))
    assert answer["probability"] == pytest.approx(expected, abs=1e-6)
    assert sum(ranked["probability"] for ranked in answer["top"]) == pytest.approx(1, abs=1e-5)


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60,000 x 60,000 pixels, with a checksum that fits."""
    png = picture(0)
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


JSON = "application/json"

BAD = {
    "no image": ("toy-image", b"no image at all", "image/png", 422, "not a PNG, JPEG or WebP"),
    "truncated image": ("toy-image", picture(9, (90, 90))[:-40], "image/png", 422, "damaged"),
    "bomb": ("toy-image", bomb(), "image/png", 413, "pixels, the limit is"),
    "empty image": ("toy-image", b"", "image/png", 400, "empty"),
    "image of another kind": ("toy-image", b"GIF89a", "image/gif", 415, "not 'image/gif'"),
    "JSON for an image": ("toy-image", b"{}", JSON, 415, "takes image/png"),
    "form without a file": (
        "toy-image",
        b"--x--\r\n",
        "multipart/form-data; boundary=x",
        422,
        "'file'",
    ),
    "no type": ("toy-text", b"{}", "", 415, "no type"),
    "text as text": ("toy-text", b"good", "text/plain", 415, "application/json"),
    "empty body": ("toy-text", b"", JSON, 400, "empty"),
    "no UTF-8": ("toy-text", b'{"text": "\xff\xfe"}', JSON, 400, "not JSON"),
    "numbers as strings": ("toy-series", b'{"series": [["1","2"]]}', JSON, 422, "series"),
    "no JSON": ("toy-text", b"{", JSON, 400, "not JSON"),
    "deep JSON": ("toy-text", b'{"text":' + b"[" * 100_000, JSON, 422, "Expected `str | null`"),
    "unknown field": ("toy-text", b'{"txt": "a"}', JSON, 422, "txt"),
    "neither text nor texts": ("toy-text", b"{}", JSON, 422, "either 'text'"),
    "number as text": ("toy-text", b'{"text": 1}', JSON, 422, "text"),
    "empty text": ("toy-text", b'{"text": "  "}', JSON, 422, "the text is empty"),
    "empty text in a list": (
        "toy-text",
        b'{"texts": ["a", ""]}',
        JSON,
        422,
        "item 1: the text is empty",
    ),
    "no texts": ("toy-text", b'{"texts": []}', JSON, 422, "no items"),
    "too many texts": (
        "toy-text",
        json.dumps({"texts": ["a"] * 65}).encode(),
        JSON,
        413,
        "65 items, the limit is 64",
    ),
    "ten thousand words": (
        "toy-text",
        json.dumps({"text": "good " * 10_000}).encode(),
        JSON,
        413,
        "50,000 characters, the limit is 1,024",
    ),
    "too many tokens": (
        "toy-text",
        json.dumps({"text": "good " * 17}).encode(),
        JSON,
        413,
        "17 tokens, the model takes at most 16",
    ),
    "text for a series": ("toy-series", b'{"text": "a"}', JSON, 422, "text"),
    "wrong channels": (
        "toy-series",
        b'{"series": [[1,2,3],[1,2,3],[1,2,3]]}',
        JSON,
        422,
        "3 channels, the model takes 2",
    ),
    "ragged": ("toy-series", b'{"series": [[1,2],[1],[1,2]]}', JSON, 422, "of equal length"),
    "too short": (
        "toy-series",
        b'{"series": [[1,2]]}',
        JSON,
        422,
        "1 samples, the model takes 3 to 8",
    ),
    "too long": (
        "toy-series",
        json.dumps({"series": [[1, 2]] * 9}).encode(),
        JSON,
        422,
        "9 samples",
    ),
    "empty series": ("toy-series", b'{"series": []}', JSON, 422, "empty"),
    "NaN": ("toy-series", b'{"series": [[NaN,1],[1,2],[1,2]]}', JSON, 400, "not JSON"),
    "infinite": (
        "toy-series",
        b'{"series": [[1e39,1],[1,2],[1,2]]}',
        JSON,
        422,
        "infinity, first at [0][0]",
    ),
    "strings": ("toy-series", b'{"series": [["a","b"]]}', JSON, 422, "series"),
    "unknown model": ("nobody", b"{}", JSON, 404, "'nobody' is not found"),
    "body over the limit": ("toy-text", b" " * 300_001, JSON, 413, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_own_answer_and_the_next_request_is_answered(
    client: httpx.Client, case: str
):
    model, content, kind, status, says = BAD[case]
    answer = predict(client, model, content, kind)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert says in problem["detail"]
    assert ask(client, "toy-text", {"text": "good"}).status_code == 200


def test_unknown_routes_and_verbs_are_problems_too(client: httpx.Client):
    for response, status in ((client.get("/v1/nothing"), 404), (client.delete("/v1/models"), 405)):
        assert response.status_code == status
        assert response.json()["status"] == status


def test_a_small_file_with_a_large_picture_does_not_hold_up_others(client: httpx.Client):
    file = io.BytesIO()
    Image.new("RGBA", (4900, 4900)).save(file, "WEBP", lossless=True)
    assert len(file.getvalue()) < 5000
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(predict, client, "toy-image", file.getvalue(), "image/webp")
        answers = 0
        while not slow.done():
            assert client.get("/v2/health/live").status_code == 200
            answers += 1
        assert slow.result().status_code == 200
    assert answers > 1  # the event loop went on while the picture was decoded


PACKED = {"gzip": gzip.compress, "deflate": zlib.compress, "GZIP": gzip.compress}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize(
    ("model", "content", "kind", "label"),
    [
        ("toy-image", picture(255), "image/png", "light"),
        ("toy-text", b'{"text": "good good"}', JSON, "positive"),
        ("toy-series", b'{"series": [[1,2],[1,2],[1,2]]}', JSON, "up"),
    ],
)
def test_a_body_may_be_compressed(
    client: httpx.Client, coding: str, model: str, content: bytes, kind: str, label: str
):
    headers = {"Content-Type": kind, "Content-Encoding": coding}
    url = f"/v1/models/{model}/predict"
    answer = client.post(url, content=PACKED[coding](content), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] == label


def test_a_form_may_be_compressed(client: httpx.Client):
    files = [("file", ("a.png", picture(255))), ("file", ("b.png", picture(0)))]
    form = client.build_request("POST", "/v1/models/toy-image/predict", files=files)
    headers = {"Content-Type": form.headers["Content-Type"], "Content-Encoding": "gzip"}
    answer = client.post(form.url, content=gzip.compress(form.read()), headers=headers)
    assert [p["label"] for p in answer.json()["predictions"]] == ["light", "dark"]


UNPACKABLE = {
    "a coding nobody knows": ("br", b"{}", 415, "'br' is not supported, known are gzip, deflate"),
    "two codings": ("gzip, gzip", gzip.compress(b"{}"), 415, "'gzip, gzip' is not supported"),
    "more than the limit": ("gzip", gzip.compress(b" " * 300_001), 413, "300,000 bytes when"),
    "a bomb": ("gzip", gzip.compress(bytes(200_000_000)), 413, "300,000 bytes when"),
    "not what it says": ("gzip", b'{"text": "good"}', 400, "the body is not gzip"),
    "cut off": ("deflate", zlib.compress(b'{"text": "good"}')[:-3], 400, "is cut off"),
    "nothing": ("gzip", b"", 400, "is cut off"),
}


@pytest.mark.parametrize("case", UNPACKABLE)
def test_what_cannot_be_unpacked_is_refused(client: httpx.Client, case: str):
    coding, content, status, says = UNPACKABLE[case]
    headers = {"Content-Type": JSON, "Content-Encoding": coding}
    answer = client.post("/v1/models/toy-text/predict", content=content, headers=headers)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    if status == 415:
        assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert ask(client, "toy-text", {"text": "good"}).status_code == 200
