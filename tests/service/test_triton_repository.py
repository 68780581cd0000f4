"""A repository of Triton's, served as it lies: what is for ONNX Runtime answers by its configuration, the rest is named with its reason."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
import tritons
from tritonclient.utils import InferenceServerException

SERVED = (
    "densenet_onnx", "densenet_rows", "named", "simple", "simple_int8", "simple_string", "versions", "warmed",
)  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Program]:
    root = tritons.repository(tmp_path_factory.mktemp("repository"))
    with live.serving(root, tmp_path_factory.mktemp("service"), provider="cpu") as program:
        yield program


@pytest.fixture
def client(program: live.Program) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(program.said.removeprefix("http://")) as client:
        yield client


def sent(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def test_what_is_for_onnx_runtime_is_ready_and_the_rest_says_why_not(
    client: triton.InferenceServerClient,
):
    index = client.get_model_repository_index()
    ready = [(one["name"], one["version"]) for one in index if one["state"] == "READY"]
    assert sorted(ready) == sorted([*((name, "1") for name in SERVED), ("versions", "2")])
    for name, says in tritons.UNSERVED.items():
        (one,) = [one for one in index if one["name"] == name]
        assert one["state"] == "UNAVAILABLE"
        assert says in one["reason"]
        assert not client.is_model_ready(name)


def test_what_is_left_out_is_logged_and_what_is_not_used_has_its_line(program: live.Program):
    lines = program.output.read_text().splitlines()
    log = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert any("line 9: 'input[0].format' is not used here" in line for line in log)
    assert any("line 5: 5 levels of priority become three" in line for line in log)
    assert any(line.startswith("broken is not served: ") for line in log)


@pytest.mark.parametrize(("name", "datatype"), [("simple", "INT32"), ("simple_int8", "INT8")])
@pytest.mark.parametrize("binary", [True, False])
def test_tritons_first_example_works(
    client: triton.InferenceServerClient, name: str, datatype: str, binary: bool
):
    one = np.arange(16, dtype=datatype.lower())[None]
    other = np.full_like(one, -1)
    given = [sent("INPUT0", one, datatype, binary), sent("INPUT1", other, datatype, binary)]
    answer = client.infer(name, given, request_id="1")
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), one + other)
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT1"), one - other)


def test_words_are_answered_by_rows(client: triton.InferenceServerClient):
    words = np.array([[str(n) for n in range(16)]] * 2, object)
    given = [sent("INPUT0", words, "BYTES"), sent("INPUT1", words, "BYTES")]
    answer = client.infer("simple_string", given).as_numpy("OUTPUT0")
    assert answer[1].tolist() == [f"{n}{n}".encode() for n in range(16)]


def test_metadata_and_configuration_are_as_the_file_has_them(client: triton.InferenceServerClient):
    told = client.get_model_metadata("simple")
    assert [one["name"] for one in told["inputs"]] == ["INPUT0", "INPUT1"]
    assert told["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 16]}
    config = client.get_model_config("simple")
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (8, [16])
    told = client.get_model_metadata("densenet_onnx")
    assert told["inputs"] == [{"name": "data_0", "datatype": "FP32", "shape": [3, 2, 2]}]
    assert told["outputs"] == [{"name": "fc6_1", "datatype": "FP32", "shape": [4]}]
    config = client.get_model_config("densenet_onnx")
    assert (config["max_batch_size"], config["output"][0]["dims"]) == (0, [4])
    assert "dynamic_batching" not in config
    assert client.get_model_metadata("densenet_rows")["outputs"][0]["shape"] == [-1, 4]
    assert client.get_model_config("densenet_rows")["max_batch_size"] == 1


@pytest.mark.parametrize("rows", [(), (1,)])
def test_a_picture_is_reshaped_for_the_graph_and_its_classes_have_names(
    client: triton.InferenceServerClient, rows: tuple[int, ...]
):
    name = "densenet_rows" if rows else "densenet_onnx"
    given = [sent("data_0", np.ones((*rows, 3, 2, 2), np.float32), "FP32")]
    answer = client.infer(name, given).as_numpy("fc6_1")
    assert answer.shape == (*rows, 4)
    assert answer.ravel().tolist() == [0, 12, 24, 36]
    wanted = [triton.InferRequestedOutput("fc6_1", class_count=2)]
    classes = client.infer(name, given, outputs=wanted).as_numpy("fc6_1")
    assert classes.shape == (*rows, 2)
    assert classes.ravel().tolist() == [b"36.000000:3:TIGER SHARK", b"24.000000:2:WHITE SHARK"]


def test_the_graphs_own_shape_is_refused_where_callers_are_told_another(
    client: triton.InferenceServerClient,
):
    with pytest.raises(InferenceServerException, match=r"\[1, 3, 2, 2\], the model takes \[3, 2"):
        client.infer("densenet_onnx", [sent("data_0", np.ones((1, 3, 2, 2), np.float32), "FP32")])


def test_a_number_for_each_row_gets_the_axis_that_is_told(client: triton.InferenceServerClient):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert client.infer("named", [sent("x", x, "FP32")]).as_numpy("y").tolist() == [[3], [12]]


@pytest.mark.parametrize(("name", "most"), [("simple", 8), ("densenet_rows", 1)])
def test_more_rows_than_max_batch_size_are_refused_with_both_numbers(
    client: triton.InferenceServerClient, name: str, most: int
):
    rows = most + 1
    if name == "simple":
        given = [sent(one, np.zeros((rows, 16), np.int32), "INT32") for one in ("INPUT0", "INPUT1")]
    else:
        given = [sent("data_0", np.ones((rows, 3, 2, 2), np.float32), "FP32")]
    with pytest.raises(InferenceServerException, match=f"has {rows} rows, .* at most {most} "):
        client.infer(name, given)


def test_the_policys_versions_answer_and_the_newest_of_them_by_default(
    client: triton.InferenceServerClient,
):
    given = [sent("x", np.ones((1, 2), np.float32), "FP32")]
    for version, factor in (("1", 1), ("2", 2), ("", 2)):
        answer = client.infer("versions", given, model_version=version).as_numpy("y")
        assert answer.tolist() == [[factor, factor]]
    assert client.get_model_metadata("versions")["versions"] == ["1", "2"]
    with pytest.raises(InferenceServerException, match="version 3 is not found"):
        client.infer("versions", given, model_version="3")


def test_a_model_that_is_loaded_again_comes_with_the_policys_versions(
    client: triton.InferenceServerClient,
):
    client.unload_model("versions")
    assert not client.is_model_ready("versions")
    client.load_model("versions")
    assert [client.is_model_ready("versions", number) for number in ("1", "2", "3")] == [
        True, True, False,
    ]  # fmt: skip
    assert client.get_model_metadata("versions")["versions"] == ["1", "2"]


def test_levels_of_priority_are_the_models_own(client: triton.InferenceServerClient):
    x = [sent("x", np.ones((1, 2), np.float32), "FP32")]
    for level in (0, 1, 3, 5, 6, 1 << 40):
        client.infer("versions", x, priority=level)
    one = [sent("x", np.ones((1, 3), np.float32), "FP32")]
    with pytest.raises(InferenceServerException, match="'priority' is 4, known are 0, 1, 2, 3"):
        client.infer("named", one, priority=4)


def test_a_configuration_sent_with_a_load_lies_over_the_file(client: triton.InferenceServerClient):
    told = {
        "max_batch_size": 0,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [1, 3]}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [1]}],
    }
    client.load_model("named", config=json.dumps(told))
    try:
        assert client.get_model_config("named")["max_batch_size"] == 0
        assert client.get_model_metadata("named")["inputs"][0]["shape"] == [1, 3]
        x = np.ones((1, 3), np.float32)
        assert client.infer("named", [sent("x", x, "FP32")]).as_numpy("y").tolist() == [3]
    finally:
        client.unload_model("named")
        client.load_model("named")
    assert client.get_model_config("named")["max_batch_size"] == 16


def test_a_load_of_what_is_not_served_says_why(client: triton.InferenceServerClient):
    for name in ("simple_identity", "simple_sequence", "mismatched"):
        with pytest.raises(InferenceServerException) as caught:
            client.load_model(name)
        assert tritons.UNSERVED[name] in caught.value.message()


def test_batches_are_counted_by_size_and_failures_take_time(client: triton.InferenceServerClient):
    def told() -> dict:
        (one,) = client.get_inference_statistics("simple")["model_stats"]
        return one

    def count(stats: dict, rows: int) -> int:
        found = [b for b in stats["batch_stats"] if b["batch_size"] == rows]
        return found[0]["compute_infer"]["count"] if found else 0

    before = told()
    given = [sent(name, np.zeros((5, 16), np.int32), "INT32") for name in ("INPUT0", "INPUT1")]
    for _ in range(3):
        client.infer("simple", given)
    with pytest.raises(InferenceServerException):
        client.infer("simple", given[:1])
    after = told()
    assert count(after, 5) - count(before, 5) == 3
    assert after["inference_count"] - before["inference_count"] == 15
    assert after["last_inference"] > before["last_inference"]
    assert (
        after["inference_stats"]["fail"]["count"] - before["inference_stats"]["fail"]["count"] == 1
    )
    assert after["inference_stats"]["fail"]["ns"] > before["inference_stats"]["fail"]["ns"]


@pytest.mark.parametrize("extra", ["other", "both"])
def test_a_model_that_the_settings_name_stops_the_start(
    extra: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    root = tritons.repository(tmp_path / "repository")
    names = {"other": "simple_identity", "both": "simple,broken"}[extra]
    wanted = {"other": "tensorflow_savedmodel", "both": "max_batch_size: Expected"}[extra]
    with (
        pytest.raises(AssertionError, match=wanted),
        live.serving(root, tmp_path, serve=names),
    ):
        pass


def test_where_nothing_can_be_served_the_start_is_stopped(tmp_path: Path):
    tritons.add(tmp_path / "repository", "broken", "input {", tritons.onnx(tritons.scaled(1)))
    with (
        pytest.raises(AssertionError, match="line 1: '}' is missing"),
        live.serving(tmp_path / "repository", tmp_path),
    ):
        pass


def test_the_index_over_grpc_is_the_same(tmp_path: Path):
    root = tmp_path / "repository"
    tritons.add(root, "simple", tritons.pair("TYPE_INT32"), tritons.onnx(tritons.add_sub(6)))
    tritons.add(root, "other", 'backend: "python"', {"1/model.py": b"pass"})
    tritons.add(root, "versions", tritons.VERSIONS, tritons.onnx(tritons.scaled(2)))
    with (
        live.serving(root, tmp_path, grpc_port="0", provider="cpu") as program,
        triton_grpc.InferenceServerClient(live.grpc_address(program)) as client,
    ):
        assert client.is_server_ready()
        index = client.get_model_repository_index(as_json=True)["models"]
        config = client.get_model_config("simple", as_json=True)["config"]
        given = triton_grpc.InferInput("x", [1, 2], "FP32")
        given.set_data_from_numpy(np.ones((1, 2), np.float32))
        answer = client.infer("versions", [given], priority=5).as_numpy("y")
        stats = client.get_inference_statistics("versions", as_json=True)["model_stats"][0]
    (other,) = [one for one in index if one["name"] == "other"]
    assert other["state"] == "UNAVAILABLE"
    assert "'python' is not served here" in other["reason"]
    assert "version" not in other
    assert config["max_batch_size"] == 8
    assert answer.tolist() == [[2, 2]]
    assert stats["batch_stats"][0]["batch_size"] == "1"
    assert int(stats["last_inference"]) > 0


@pytest.mark.parametrize("kind", ["system", "cuda"])
def test_shared_memory_is_refused_with_a_sentence(client: triton.InferenceServerClient, kind: str):
    for ask in ("status", "unregister"):
        call = getattr(client, {
            "status": f"get_{kind}_shared_memory_status",
            "unregister": f"unregister_{kind}_shared_memory",
        }[ask])  # fmt: skip
        with pytest.raises(InferenceServerException, match="shared memory is not supported"):
            call()


def test_the_page_of_metrics_has_batches_by_rows(program: live.Program):
    page = httpx.get(f"{program.said}/metrics").text
    assert 'inference_batches_total{model="simple"' in page
