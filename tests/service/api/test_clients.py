"""The Open Inference Protocol as the unmodified tritonclient speaks it, synchronous and asyncio: a line for each point of the contract."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import numpy as np
import onnx
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

# tritonclient leaves gevent's sockets to the collector
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
NUMPY = {
    name: np.dtype(object) if name == "BYTES" else helper.tensor_dtype_to_np_dtype(kind)
    for name, kind in TYPES.items()
}
ODD = ("stats", "ready", "versions", "with.dot")


def echo(path: Path, datatype: str) -> None:
    """A bare version that gives back what it gets."""
    path.mkdir(parents=True)
    tensors = [
        helper.make_tensor_value_info(name, TYPES[datatype], ["batch", "count"]) for name in "xy"
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "echo", *[[t] for t in tensors]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path / "model.onnx")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with an echo of every type, and some with odd names."""
    root = tmp_path_factory.mktemp("echoes")
    for datatype in TYPES:
        echo(root / f"echo-{datatype}" / "1", datatype)
    for name in ODD:
        echo(root / name / "1", "FP32")
    directory = tmp_path_factory.mktemp("service")
    with live.serving(root, directory, max_body_bytes="300000") as service:
        yield service.said


@pytest.fixture
def client(served: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.removeprefix("http://"), network_timeout=60) as one:
        yield one


def values(datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array([[b"a", b"", "\u00e4\u20ac".encode()]], dtype=object)
    if datatype == "BOOL":
        return np.array([[True, False, True]])
    if datatype.startswith("FP"):
        return np.array([[0.1, -1.5, 65504.0]], NUMPY[datatype])
    limits = np.iinfo(NUMPY[datatype])
    return np.array([[limits.min, 7, limits.max]], NUMPY[datatype])


def given(module, array: np.ndarray, datatype: str, binary: bool):
    one = module.InferInput("x", list(array.shape), datatype)
    one.set_data_from_numpy(array, binary_data=binary)
    return [one]


def outputs(module, form: bool | None):
    return None if form is None else [module.InferRequestedOutput("y", binary_data=form)]


FORMS = [None, True, False]


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("binary", [True, False])
def test_every_type_in_every_form_comes_back_bit_for_bit(client, datatype: str, binary: bool):
    if datatype == "FP16" and not binary:
        pytest.skip("this client sends FP16 as bytes alone; JSON numbers are tested below")
    array = values(datatype)
    for form in FORMS:
        answer = client.infer(
            f"echo-{datatype}",
            given(triton, array, datatype, binary),
            outputs=outputs(triton, form),
        )
        found = answer.as_numpy("y")
        if datatype == "BYTES":
            back = [one if isinstance(one, bytes) else one.encode() for one in found.ravel()]
            assert back == array.ravel().tolist()
        else:
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("datatype", TYPES)
async def test_the_asyncio_client_gets_the_same(served: str, datatype: str):
    array = values(datatype)
    async with triton_aio.InferenceServerClient(served.removeprefix("http://")) as client:
        answer = await client.infer(
            f"echo-{datatype}", given(triton_aio, array, datatype, True), model_version="1"
        )
        np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("binary", [True, False])
def test_bodies_may_be_compressed_both_ways(client, coding: str, form: bool | None, binary: bool):
    array = np.zeros((4, 1000), np.float32)
    array[:, ::7] = 0.5
    answer = client.infer(
        "echo-FP32",
        given(triton, array, "FP32", binary),
        outputs=outputs(triton, form),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(answer.as_numpy("y"), array)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_the_asyncio_client_compresses_too(served: str, coding: str):
    array = np.zeros((4, 1000), np.float32)
    async with triton_aio.InferenceServerClient(served.removeprefix("http://")) as client:
        answer = await client.infer(
            "echo-FP32",
            given(triton_aio, array, "FP32", True),
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )
        np.testing.assert_array_equal(answer.as_numpy("y"), array)


def body(array: np.ndarray, datatype: str = "FP32", **fields: object) -> bytes:
    tensor = {"name": "x", "shape": list(array.shape), "datatype": datatype, "data": array.tolist()}
    return json.dumps({"inputs": [tensor], **fields}).encode()


def test_an_answer_is_compressed_only_where_that_was_asked_for(served: str):
    content = body(np.zeros((4, 1000), np.float32))
    url = f"{served}/v2/models/echo-FP32/infer"
    for accepted, coding in (("identity", None), ("gzip", "gzip"), ("deflate;q=0.5", "deflate")):
        answer = httpx.post(url, content=content, headers={"Accept-Encoding": accepted})
        assert answer.headers.get("Content-Encoding") == coding
        assert len(answer.json()["outputs"][0]["data"]) == 4000
    described = httpx.get(f"{served}/v2/models/echo-FP32", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in described.headers


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_413_and_the_service_lives(served: str, coding: str, pack):
    url = f"{served}/v2/models/echo-FP32/infer"
    bomb = pack(bytes(100_000_000))
    assert len(bomb) < 300_000
    answer = httpx.post(url, content=bomb, headers={"Content-Encoding": coding})
    assert (answer.status_code, "more than 300,000 bytes" in answer.json()["error"]) == (413, True)
    assert httpx.get(f"{served}/v2/health/ready").status_code == 200


def test_an_unknown_coding_is_415_and_says_which_there_are(served: str):
    url = f"{served}/v2/models/echo-FP32/infer"
    answer = httpx.post(url, content=b"x", headers={"Content-Encoding": "br"})
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")


def test_fp16_may_be_json_numbers(served: str):
    answer = httpx.post(f"{served}/v2/models/echo-FP16/infer", content=body(values("FP16"), "FP16"))
    found = np.array(answer.json()["outputs"][0]["data"], np.float16)
    np.testing.assert_array_equal(found, values("FP16").ravel())


def test_bf16_is_refused_by_its_name(served: str):
    answer = httpx.post(f"{served}/v2/models/echo-FP32/infer", content=body(values("FP32"), "BF16"))
    assert (answer.status_code, "BF16" in answer.json()["error"]) == (400, True)


def test_a_body_may_be_the_tensor_alone(served: str):
    array = np.arange(5, dtype=np.float32)
    answer = httpx.post(
        f"{served}/v2/models/echo-FP32/infer",
        content=array.tobytes(),
        headers={"Inference-Header-Content-Length": "0"},
    )
    assert answer.status_code == 200, answer.text
    at = int(answer.headers["Inference-Header-Content-Length"])
    np.testing.assert_array_equal(np.frombuffer(answer.content[at:], np.float32), array)
    answer = httpx.post(
        f"{served}/v2/models/echo-BYTES/infer",
        content=b"a text",
        headers={"Inference-Header-Content-Length": "0"},
    )
    assert answer.content.endswith(b"a text")


@pytest.mark.parametrize("binary", [True, False])
def test_classes_come_instead_of_values(client, binary: bool):
    array = np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32)
    asked = [triton.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    answer = client.infer("echo-FP32", given(triton, array, "FP32", True), outputs=asked)
    found = [
        [one if isinstance(one, bytes) else one.encode() for one in row]
        for row in answer.as_numpy("y")
    ]
    assert found == [[b"0.700000:1", b"0.200000:2"], [b"0.500000:0", b"0.250000:1"]]


def test_classes_have_the_labels_of_the_manifest(url: str):
    inputs = [{"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [1.0] * 16}]
    wanted = [{"name": "logits", "parameters": {"classification": 1}}]
    answer = httpx.post(
        f"{url}/v2/models/toy-image/infer", json={"inputs": inputs, "outputs": wanted}
    )
    assert answer.json()["outputs"] == [
        {"name": "logits", "datatype": "BYTES", "shape": [1, 1], "data": ["10.000000:0:light"]}
    ]


@pytest.mark.parametrize("name", ODD)
def test_a_model_may_be_called_as_a_route_is(client, name: str):
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert client.get_model_metadata(name, "1")["name"] == name
    assert ("name" in client.get_model_metadata(name)) == (name != "stats")  # the route wins
    assert client.get_model_config(name, "1")["name"] == name
    array = np.ones((1, 2), np.float32)
    answer = client.infer(name, given(triton, array, "FP32", True))
    np.testing.assert_array_equal(answer.as_numpy("y"), array)
    (told,) = client.get_inference_statistics(name)["model_stats"]
    assert (told["name"], told["inference_stats"]["success"]["count"]) == (name, 1)


@pytest.mark.parametrize(
    "name", ["a model", "a/b", "a%2Fb", "..", "../etc/passwd", "%2e%2e", "ä", "stats/x"]
)
def test_other_names_are_unknown(client, name: str):
    assert not client.is_model_ready(name)
    with pytest.raises(InferenceServerException) as caught:
        client.get_model_metadata(name)
    assert "decoding" not in str(caught.value)
    with pytest.raises(InferenceServerException):
        client.infer(name, given(triton, values("FP32"), "FP32", True))


def test_statistics_count_what_this_client_asked(client):
    def told() -> dict:
        (one,) = client.get_inference_statistics("echo-INT8", "1")["model_stats"]
        return one

    before = told()
    array = np.ones((3, 2), np.int8)
    for _ in range(5):
        client.infer("echo-INT8", given(triton, array, "INT8", True))
    with pytest.raises(InferenceServerException):
        client.infer("echo-INT8", given(triton, array.astype(np.int16), "INT16", True))
    after = told()
    assert after["inference_count"] - before["inference_count"] == 15
    assert after["execution_count"] - before["execution_count"] == 5

    def grown(what: str) -> int:
        return after["inference_stats"][what]["count"] - before["inference_stats"][what]["count"]

    for what in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert grown(what) == 5, what
    assert grown("fail") == 1
    assert after["inference_stats"]["compute_infer"]["ns"] > 0
    names = {one["name"] for one in client.get_inference_statistics()["model_stats"]}
    assert {"echo-INT8", "echo-BYTES", *ODD} <= names


def test_the_index_names_every_version(client):
    entries = {one["name"]: one for one in client.get_model_repository_index()}
    assert entries["echo-FP32"] == {"name": "echo-FP32", "version": "1", "state": "READY"}
    assert {f"echo-{datatype}" for datatype in TYPES} <= set(entries)


def test_a_model_is_unloaded_and_loaded_again(client):
    client.unload_model("echo-UINT8", unload_dependents=True)
    assert not client.is_model_ready("echo-UINT8")
    states = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert states["echo-UINT8"] == "UNAVAILABLE"
    with pytest.raises(InferenceServerException, match="echo-UINT8"):
        client.infer("echo-UINT8", given(triton, values("UINT8"), "UINT8", True))
    client.load_model("echo-UINT8")
    assert client.is_model_ready("echo-UINT8")
    client.load_model("echo-UINT8", config=json.dumps({"max_batch_size": 4}))
    answer = client.infer("echo-UINT8", given(triton, values("UINT8"), "UINT8", True))
    np.testing.assert_array_equal(answer.as_numpy("y"), values("UINT8"))
    with pytest.raises(InferenceServerException, match="files cannot be sent"):
        client.load_model("echo-UINT8", config="{}", files={"file:1/model.onnx": b"x"})
    with pytest.raises(InferenceServerException, match="nobody"):
        client.load_model("nobody")


def test_trace_and_log_settings_are_honest(client):
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    with pytest.raises(InferenceServerException, match="cannot be switched on"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
    assert client.get_log_settings()["log_error"] is True
    with pytest.raises(InferenceServerException, match="log_level"):
        client.update_log_settings({"log_verbose_level": 3})


WRONG = {
    "a wrong type": lambda c: c.infer("echo-FP32", given(triton, values("FP64"), "FP64", True)),
    "an unknown output": lambda c: c.infer(
        "echo-FP32",
        given(triton, values("FP32"), "FP32", True),
        outputs=[triton.InferRequestedOutput("z")],
    ),
    "an unknown version": lambda c: c.get_model_config("echo-FP32", "7"),
    "an unknown model's statistics": lambda c: c.get_inference_statistics("nobody"),
    "shared memory": lambda c: c.get_system_shared_memory_status(),
    "a body over the limit": lambda c: c.infer(
        "echo-FP32", given(triton, np.zeros((1, 100_000), np.float32), "FP32", True)
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_every_error_is_a_sentence_that_the_client_shows(client, case: str):
    with pytest.raises(InferenceServerException) as caught:
        WRONG[case](client)
    assert "decoding" not in str(caught.value)
    assert len(caught.value.message()) > 8
