"""Files that other people exported, served from a folder with nothing else in it and asked by an unmodified client."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import numpy as np
import oddities as odd
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

BYTES = 4 << 30
"""What a request may ask `hungry` for: more than the engine may take."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a file of each kind, one of which nobody should load."""
    root = tmp_path_factory.mktemp("bare")
    for name, made in {
        "linear": odd.linear(),
        "recurrent": odd.recurrent(),
        "scalars": odd.four_outputs(),
        "words": odd.identity(odd.STRING),
        "valued": odd.valued(),
        "hungry": odd.hungry(),
        "elsewhere": odd.external("../../../etc/passwd"),
    }.items():
        odd.save(root, made, name)
    with live.serving(
        root, tmp_path_factory.mktemp("service"), provider="cpu", engine_memory_mb="2000"
    ) as service:
        yield service.said


@pytest.fixture
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def sent(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, binary_data=binary)
    return given


@pytest.mark.parametrize("binary", [True, False])
def test_rows_are_answered(client: triton.InferenceServerClient, binary: bool):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    answer = client.infer("linear", [sent("x", x, "FP32", binary)])
    expected = x @ np.arange(6, dtype=np.float32).reshape(3, 2) + np.float32([0.5, -0.5])
    np.testing.assert_allclose(answer.as_numpy("y"), expected)


@pytest.mark.parametrize("binary", [True, False])
def test_a_state_travels_from_answer_to_request_beside_a_scalar(
    client: triton.InferenceServerClient, binary: bool
):
    state = np.zeros((2, 1, 8), np.float32)
    for step in (1, 2, 3):
        given = [
            sent("input", np.ones((1, 100 * step), np.float32), "FP32", binary),
            sent("state", state, "FP32", binary),
            sent("sr", np.array(16000, np.int64), "INT64", binary),
        ]
        answer = client.infer("recurrent", given)
        state = answer.as_numpy("stateN")
        assert state.max() == step
        assert answer.as_numpy("output").shape == (1, 1)


@pytest.mark.parametrize("binary", [True, False])
def test_scalars_and_odd_names_travel(client: triton.InferenceServerClient, binary: bool):
    given = [
        sent("images:0", np.ones((3, 1, 2), np.float32), "FP32", binary),
        sent("count", np.array(5, np.int32), "INT32", binary),
    ]
    wanted = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("sum/total?", "scaled:0", "shape", "largest")
    ]
    answer = client.infer("scalars", given, outputs=wanted)
    assert (answer.as_numpy("sum/total?").shape, float(answer.as_numpy("sum/total?"))) == ((), 6)
    assert answer.as_numpy("scaled:0").max() == 5
    assert answer.as_numpy("shape").tolist() == [3, 1, 2]


@pytest.mark.parametrize("binary", [True, False])
def test_words_arrive_as_they_were_sent(client: triton.InferenceServerClient, binary: bool):
    words = np.array([["Grün", ""], ["a b", "日本"]], dtype=object)
    answer = client.infer("words", [sent("x", words, "BYTES", binary)])
    assert [word.decode() for word in answer.as_numpy("y").ravel()] == words.ravel().tolist()


def test_bytes_that_are_no_text_are_refused(client: triton.InferenceServerClient):
    with pytest.raises(InferenceServerException, match="'x': element 0 is not UTF-8"):
        client.infer("words", [sent("x", np.array([[b"\xff", b"a"]], object), "BYTES")])


def test_metadata_and_configuration_say_what_the_graph_says(client: triton.InferenceServerClient):
    told = client.get_model_metadata("recurrent")
    assert told["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "state", "datatype": "FP32", "shape": [2, -1, 8]},
        {"name": "sr", "datatype": "INT64", "shape": []},
    ]
    alone, together = (client.get_model_config(name) for name in ("recurrent", "linear"))
    assert alone["max_batch_size"] == 0
    assert "dynamic_batching" not in alone
    assert alone["input"][1] == {"name": "state", "data_type": "TYPE_FP32", "dims": [2, -1, 8]}
    assert together["max_batch_size"] == 64
    assert together["dynamic_batching"] == {}
    assert together["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    optional = client.get_model_config("valued")["input"][1]
    assert optional == {"name": "w", "data_type": "TYPE_FP32", "dims": [3], "optional": True}


def test_an_input_with_a_value_of_its_own_need_not_be_sent(client: triton.InferenceServerClient):
    x = sent("x", np.zeros(3, np.float32), "FP32")
    assert client.infer("valued", [x]).as_numpy("y").tolist() == [1, 2, 3]
    w = sent("w", np.ones(3, np.float32), "FP32")
    assert client.infer("valued", [x, w]).as_numpy("y").tolist() == [1, 1, 1]


def test_a_request_that_needs_more_memory_than_there_may_be_is_answered_and_the_next_one_is_too(
    client: triton.InferenceServerClient,
):
    for count in (BYTES // 4, 1 << 40):
        with pytest.raises(InferenceServerException, match="did not fit into memory"):
            client.infer("hungry", [sent("count", np.array([count]), "INT64")])
        assert (
            float(client.infer("hungry", [sent("count", np.array([9]), "INT64")]).as_numpy("y"))
            == 0
        )


def test_a_row_too_many_is_refused_and_a_time_axis_is_no_row(client: triton.InferenceServerClient):
    with pytest.raises(InferenceServerException, match="65 items, the limit is 64"):
        client.infer("linear", [sent("x", np.ones((65, 3), np.float32), "FP32")])
    given = [
        sent("images:0", np.ones((500, 1, 1), np.float32), "FP32"),
        sent("count", np.array(1, np.int32), "INT32"),
    ]
    assert client.infer("scalars", given).as_numpy("scaled:0").shape == (500, 1, 1)


def test_people_are_sent_to_the_other_api(url: str):
    answer = httpx.post(f"{url}/v1/models/linear/predict", json={"text": "a"})
    assert answer.status_code == 422
    assert (
        "'linear' takes tensors, of which only POST /v2/models/linear/infer"
        in answer.json()["detail"]
    )


def test_a_file_that_reads_others_is_not_loaded_and_says_why(url: str):
    answer = httpx.get(f"{url}/v1/models/elsewhere")
    (version,) = answer.json()["versions"]
    assert version["state"] == "failed"
    assert "'w' lies in another file ('../../../etc/passwd')" in version["reason"]


def test_the_report_says_what_was_decided_and_why(url: str):
    reports = {
        name: httpx.get(f"{url}/v1/models/{name}").json()["versions"][0]["report"]
        for name in ("linear", "recurrent")
    }
    assert reports["linear"]["together"]["allowed"]
    assert "equal answers together and apart" in reports["linear"]["together"]["reason"]
    assert reports["recurrent"]["together"] == {
        "allowed": False,
        "reason": "input 'state' has no free first axis: [2, 'batch', 8]",
    }


def test_the_command_line_shows_them(url: str, tmp_path: Path):
    environ = live.environment(tmp_path)
    done = subprocess.run(
        [live.evergreen(), "models", "--url", url],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("linear ")]
    assert line.split()[1:] == ["1*", "ready", "bare", "on", "cpu"]


def test_a_request_with_a_giant_shape_is_refused(url: str):
    body = {"inputs": [{"name": "x", "shape": [1 << 40, 3], "datatype": "FP32", "data": [1.0]}]}
    answer = httpx.post(f"{url}/v2/models/linear/infer", content=json.dumps(body))
    assert answer.status_code == 400
    assert "more than 1,073,741,824 elements" in answer.json()["error"]
