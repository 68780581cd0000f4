"""/v2 against a running service, with the unmodified client library and with raw requests."""

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from models import bundle
from service.engine.config import Options
from service.engine.session import Session

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # tritonclient leaves gevent's sockets to the collector

IMAGES = np.random.default_rng(1).random((3, 1, 4, 4), dtype=np.float32)


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://"), network_timeout=30) as client:
        yield client


def tensor(name: str, array: np.ndarray, binary: bool, module=triton):
    given = module.InferInput(
        name,
        list(array.shape),
        {"float32": "FP32", "int64": "INT64", "int32": "INT32"}[array.dtype.name],
    )
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def expected(repository, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime itself says, same variant, same padding."""
    (answer,) = Session.load(repository / model / "1", Options()).run([inputs])
    return answer


def test_metadata_config_and_health(client: triton.InferenceServerClient):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy-image")
    assert client.is_model_ready("toy-image", "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("toy-series")
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [
        {"name": "series", "datatype": "FP32", "shape": [-1, -1, 2]},
        {"name": "lengths", "datatype": "INT32", "shape": [-1]},
    ]
    config = client.get_model_config("toy-series", "1")
    assert config["max_batch_size"] == 64
    assert config["input"][0] == {"name": "series", "data_type": "TYPE_FP32", "dims": [-1, 2]}


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("out", [None, True, False], ids=["unspecified", "binary", "json"])
def test_results_equal_onnx_runtimes_bit_for_bit(
    client, repository, binary_in: bool, out: bool | None
):
    outputs = (
        None
        if out is None
        else [triton.InferRequestedOutput(n, binary_data=out) for n in ("probabilities", "logits")]
    )
    answer = client.infer(
        "toy-image", [tensor("image", IMAGES, binary_in)], outputs=outputs, request_id="7"
    )
    assert answer.get_response()["id"] == "7"
    for name, array in expected(repository, "toy-image", {"image": IMAGES}).items():
        np.testing.assert_array_equal(answer.as_numpy(name), array)


def test_several_inputs_travel_together(client, repository):
    rows = {
        "series": np.random.default_rng(2).normal(size=(2, 5, 2)).astype(np.float32),
        "lengths": np.array([5, 3], np.int32),
    }
    answer = client.infer(
        "toy-series", [tensor(name, array, name == "series") for name, array in rows.items()]
    )
    np.testing.assert_array_equal(
        answer.as_numpy("probabilities"), expected(repository, "toy-series", rows)["probabilities"]
    )


def test_only_the_outputs_that_were_asked_for_come_back(client):
    answer = client.infer(
        "toy-image",
        [tensor("image", IMAGES, True)],
        outputs=[triton.InferRequestedOutput("logits")],
    )
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["logits"]


async def test_the_asyncio_client_works_too(url: str, repository):
    async with triton_aio.InferenceServerClient(url.removeprefix("http://")) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("toy-image"))["name"] == "toy-image"
        answer = await client.infer("toy-image", [tensor("image", IMAGES, True, triton_aio)])
        assert (
            answer.as_numpy("logits").tolist()
            == expected(repository, "toy-image", {"image": IMAGES})["logits"].tolist()
        )
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("nobody", [tensor("image", IMAGES, True, triton_aio)])


IMAGE = {"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [0.5] * 16}
TEXT = [
    {"name": n, "shape": [1, 2], "datatype": "INT64", "data": [2, 3]}
    for n in ("input_ids", "attention_mask")
]
LENGTHS = {"name": "lengths", "shape": [1], "datatype": "INT32", "data": [4]}
SERIES = {"name": "series", "shape": [1, 4, 2], "datatype": "FP32", "data": [0.0] * 8}

BAD = {
    "unknown model": ("nobody", [IMAGE], 404, "unknown model: 'nobody'"),
    "unknown version": ("toy-image/versions/9", [IMAGE], 404, "version 9"),
    "version that is no number": ("toy-image/versions/new", [IMAGE], 404, "version 'new'"),
    "unknown input": (
        "toy-image",
        [IMAGE | {"name": "picture"}],
        400,
        "unexpected input 'picture', the model takes image",
    ),
    "missing input": (
        "toy-text",
        TEXT[:1],
        400,
        "expected 2 inputs but got 1: 'attention_mask' is missing",
    ),
    "wrong type": (
        "toy-image",
        [IMAGE | {"datatype": "FP64"}],
        400,
        "'image' has type float64, the model takes float32",
    ),
    "wrong shape": (
        "toy-image",
        [IMAGE | {"shape": [1, 16]}],
        400,
        "shape [1, 16], the model takes [-1, 1, 4, 4]",
    ),
    "wrong fixed axis": ("toy-image", [IMAGE | {"shape": [2, 1, 2, 4]}], 400, "shape [2, 1, 2, 4]"),
    "no rows": (
        "toy-image",
        [IMAGE | {"shape": [0, 1, 4, 4], "data": []}],
        400,
        "shape [0, 1, 4, 4]",
    ),
    "too many rows": (
        "toy-image",
        [IMAGE | {"shape": [65, 1, 4, 4], "data": [0] * 1040}],
        413,
        "65 items, the limit is 64",
    ),
    "axes that disagree": (
        "toy-text",
        [TEXT[0], TEXT[1] | {"shape": [1, 1], "data": [1]}],
        400,
        "2 elements in 'input_ids' but 1 in",
    ),
    "too long": (
        "toy-text",
        [t | {"shape": [1, 17], "data": [1] * 17} for t in TEXT],
        400,
        "17 elements, the model takes 1 to 16",
    ),
    "too short": (
        "toy-series",
        [SERIES | {"shape": [1, 1, 2], "data": [0, 0]}, LENGTHS],
        400,
        "1 elements, the model takes 3 to 8",
    ),
    "length beyond the end": (
        "toy-series",
        [SERIES, LENGTHS | {"data": [5]}],
        400,
        "'lengths' holds 5 to 5, 'series' has 4",
    ),
    "length zero": ("toy-series", [SERIES, LENGTHS | {"data": [0]}], 400, "'lengths' holds 0 to 0"),
    "mask of zeros": (
        "toy-text",
        [TEXT[0], TEXT[1] | {"data": [0, 0]}],
        400,
        "'attention_mask' must hold ones, then zeros",
    ),
    "mask with a gap": (
        "toy-text",
        [
            t | {"shape": [1, 3], "data": d}
            for t, d in zip(TEXT, ([2, 2, 2], [1, 0, 1]), strict=True)
        ],
        400,
        "ones, then zeros",
    ),
    "mask that scales": (
        "toy-text",
        [TEXT[0], TEXT[1] | {"data": [10000, 1]}],
        400,
        "ones, then zeros",
    ),
    "unknown token": (
        "toy-text",
        [TEXT[0] | {"data": [2, 4]}, TEXT[1]],
        400,
        "holds 2 to 4, tokens are 0 to 3",
    ),
    "negative token": ("toy-text", [TEXT[0] | {"data": [-1, 2]}, TEXT[1]], 400, "holds -1 to 2"),
    "infinity": (
        "toy-image",
        [IMAGE | {"data": [1e39] * 16}],
        400,
        "input 'image': 'data' holds 1e+39, FP32 ends at 3.40282e+38",
    ),
    "count": (
        "toy-image",
        [IMAGE | {"data": [1]}],
        400,
        "'image' has 1 values, shape [1, 1, 4, 4] needs 16",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_with_both_numbers_and_the_next_request_is_answered(url: str, case: str):
    path, inputs, status, says = BAD[case]
    answer = httpx.post(f"{url}/v2/models/{path}/infer", json={"inputs": inputs})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert (
        httpx.post(f"{url}/v2/models/toy-image/infer", json={"inputs": [IMAGE]}).status_code == 200
    )


def test_an_unknown_output_is_refused(url: str):
    answer = httpx.post(
        f"{url}/v2/models/toy-image/infer", json={"inputs": [IMAGE], "outputs": [{"name": "y"}]}
    )
    assert (answer.status_code, "unexpected output 'y'" in answer.json()["error"]) == (400, True)


def test_the_content_type_is_not_asked_and_the_header_may_cover_all_json(url: str):
    body = json.dumps({"inputs": [IMAGE]}).encode()
    for headers in (
        {},
        {"Content-Type": "application/octet-stream"},
        {"Inference-Header-Content-Length": str(len(body))},
    ):
        answer = httpx.post(
            f"{url}/v2/models/toy-image/versions/1/infer", content=body, headers=headers
        )
        assert answer.status_code == 200
        assert answer.headers["Prediction-Id"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/nothing",
        "/v2/models/toy-image/nothing",
        "/v2/models/a%2Fb/infer",
        "/v2/models/../../etc",
    ],
)
def test_unknown_routes_answer_in_the_protocols_form(url: str, path: str):
    answer = httpx.get(url + path)
    assert answer.status_code in (404, 405)
    assert "error" in answer.json() or not answer.url.path.startswith("/v2")


def test_a_body_over_the_limit_is_413_in_the_protocols_form(url: str):
    answer = httpx.post(f"{url}/v2/models/toy-image/infer", content=b" " * 300_001)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


def test_every_committed_datatype_has_a_name_in_the_protocol(repository):
    for path in repository.glob("*/*/manifest.json"):
        manifest = bundle.read(path.parent)
        assert {t.dtype for t in (*manifest.inputs, *manifest.outputs)} <= {
            "float32",
            "int32",
            "int64",
        }
