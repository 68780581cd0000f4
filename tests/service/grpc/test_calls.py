"""gRPC against a running service, with the unmodified client library: what /v2 says is what is said here."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from live import children
from tritonclient.utils import InferenceServerException

from service.engine.config import Options
from service.engine.session import Session

IMAGES = np.random.default_rng(1).random((3, 1, 4, 4), dtype=np.float32)


@pytest.fixture
def client(service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.address) as client:
        yield client


def tensor(name: str, array: np.ndarray, module=triton):
    datatype = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}[array.dtype.name]
    given = module.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def expected(repository: Path, model: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime itself says."""
    (answer,) = Session.load(repository / model / "1", Options()).run([inputs])
    return answer


SENT = {
    "toy-image": {"image": IMAGES},
    "toy-series": {
        "series": np.random.default_rng(2).normal(size=(2, 5, 2)).astype(np.float32),
        "lengths": np.array([5, 3], np.int32),
    },
    "toy-text": {
        "input_ids": np.array([[2, 3, 2]], np.int64),
        "attention_mask": np.array([[1, 1, 0]], np.int64),
    },
}


@pytest.mark.parametrize("model", SENT)
def test_results_equal_onnx_runtimes_bit_for_bit(client, repository, model: str):
    answer = client.infer(model, [tensor(*one) for one in SENT[model].items()], request_id="7")
    assert answer.get_response().id == "7"
    for name, array in expected(repository, model, SENT[model]).items():
        np.testing.assert_array_equal(answer.as_numpy(name), array)


async def test_the_asyncio_client_works_too(service, repository):
    async with triton_aio.InferenceServerClient(service.address) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("toy-image")).name == "toy-image"
        answer = await client.infer("toy-image", [tensor("image", IMAGES, triton_aio)])
        wanted = expected(repository, "toy-image", {"image": IMAGES})["logits"]
        np.testing.assert_array_equal(answer.as_numpy("logits"), wanted)
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("nobody", [tensor("image", IMAGES, triton_aio)])


def test_metadata_and_configuration_are_those_of_http(service, client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("toy-series")
    assert client.is_model_ready("toy-series", "1")
    assert not client.is_model_ready("toy-series", "2")
    assert client.get_server_metadata(as_json=True) == httpx.get(f"{service.url}/v2").json()
    http = httpx.get(f"{service.url}/v2/models/toy-series").json()
    found = client.get_model_metadata("toy-series")
    for kind in ("inputs", "outputs"):
        described = [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
            for one in getattr(found, kind)
        ]
        assert described == http[kind]
    assert list(found.versions) == http["versions"]
    config = client.get_model_config("toy-series").config
    http = httpx.get(f"{service.url}/v2/models/toy-series/config").json()
    assert (config.name, config.backend) == (http["name"], http["backend"])
    assert config.max_batch_size == http["max_batch_size"]
    assert [list(one.dims) for one in config.input] == [one["dims"] for one in http["input"]]
    assert config.HasField("dynamic_batching")


BAD = {
    "an unknown model": ("nobody", {"image": IMAGES}),
    "an unknown version": ("toy-image/versions/9", {"image": IMAGES}),
    "an unknown input": ("toy-image", {"picture": IMAGES}),
    "a missing input": ("toy-series", {"lengths": np.array([3], np.int32)}),
    "a wrong type": ("toy-image", {"image": np.zeros((1, 1, 4, 4), np.int32)}),
    "a wrong shape": ("toy-image", {"image": np.zeros((1, 16), np.float32)}),
    "no rows": ("toy-image", {"image": np.zeros((0, 1, 4, 4), np.float32)}),
    "too many rows": ("toy-image", {"image": np.zeros((65, 1, 4, 4), np.float32)}),
    "NaN": ("toy-image", {"image": IMAGES * np.float32("nan")}),
}
CODES = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT", 413: "INVALID_ARGUMENT"}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_in_the_words_of_http(service, client, case: str):
    path, arrays = BAD[case]
    model, _, version = path.partition("/versions/")
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [tensor(*one) for one in arrays.items()], model_version=version)
    blobs = b"".join(array.tobytes() for array in arrays.values())
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": {"f": "FP32", "i": "INT32"}[array.dtype.kind],
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    head = httpx.Request("POST", "http://x", json={"inputs": inputs}).content
    http = httpx.post(
        f"{service.url}/v2/models/{path}/infer",
        content=head + blobs,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert caught.value.message() == http.json()["error"]
    assert caught.value.status() == f"StatusCode.{CODES[http.status_code]}"


def test_requests_at_the_same_time_are_each_answered_with_their_own(service, repository):
    rows = np.random.default_rng(3).random((8, 20, 1, 1, 4, 4), dtype=np.float32)

    def ask(mine: np.ndarray) -> list[np.ndarray]:
        with triton.InferenceServerClient(service.address) as client:
            return [
                client.infer("toy-image", [tensor("image", one)]).as_numpy("logits") for one in mine
            ]

    with concurrent.futures.ThreadPoolExecutor(len(rows)) as pool:
        answers = np.stack(list(map(np.stack, pool.map(ask, rows))))
    wanted = expected(repository, "toy-image", {"image": rows.reshape(-1, 1, 4, 4)})["logits"]
    np.testing.assert_allclose(answers.reshape(-1, 2), wanted, rtol=1e-6)


def test_requests_are_counted_beside_those_of_http(service, client):
    def counted() -> float:
        lines = httpx.get(f"{service.url}/metrics").text.splitlines()
        wanted = ('api="grpc"', 'model="toy-text"', 'status="ok"')
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("inference_requests_total") and all(one in line for one in wanted)
        )

    before = counted()
    client.infer("toy-text", [tensor(*one) for one in SENT["toy-text"].items()])
    assert counted() == before + 1


def test_a_call_in_the_background_calls_back(client):
    done: concurrent.futures.Future = concurrent.futures.Future()
    client.async_infer(
        "toy-image",
        [tensor("image", IMAGES)],
        callback=lambda result, error: done.set_result((result, error)),
    )
    result, error = done.result(live.PATIENCE)
    assert error is None
    assert result.as_numpy("logits").shape == (3, 2)


def test_a_killed_front_end_is_replaced_on_the_same_port(service):
    front_ends = children(service.program.process.pid, "service.frontend")
    os.kill(front_ends[0], signal.SIGKILL)

    def replaced() -> bool:
        now = children(service.program.process.pid, "service.frontend")
        return len(now) == 2 and front_ends[0] not in now

    live.until(replaced, "another front end")
    for _ in range(10):  # over connections of their own, which the kernel spreads

        def answered() -> bool:
            with triton.InferenceServerClient(service.address) as client:
                try:
                    return client.infer("toy-image", [tensor("image", IMAGES)]) is not None
                except InferenceServerException:
                    return False

        live.until(answered, "an answer")


def test_a_port_that_another_service_speaks_grpc_on_is_refused(service, repository, tmp_path: Path):
    port = service.address.rpartition(":")[2]
    command = [live.evergreen(), "serve", "--repository", str(repository), "--port", "0"]
    done = subprocess.run(
        [*command, "--grpc-port", port],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=live.environment(tmp_path),
        timeout=live.PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port} for gRPC" in re.sub(r"\s+", " ", done.stderr)


def test_sigterm_answers_what_was_accepted(repository: Path, tmp_path: Path):
    with live.serving(repository, tmp_path, grpc_port="0") as program:
        address = live.grpc_address(program)
        engine = live.engine_of(program.process.pid, "toy-image")
        with triton.InferenceServerClient(address) as client:
            done: concurrent.futures.Future = concurrent.futures.Future()
            with live.stopped(engine):
                client.async_infer(
                    "toy-image",
                    [tensor("image", IMAGES)],
                    callback=lambda result, error: done.set_result((result, error)),
                )
                live.until(lambda: in_flight(program.said) == 1, "a request in flight")
                program.process.send_signal(signal.SIGTERM)
                live.until(lambda: not listening(address), "the port to close")
            result, error = done.result(live.PATIENCE)
            assert error is None
            assert result.as_numpy("logits").shape == (3, 2)
        assert program.process.wait(live.PATIENCE) == 0


def in_flight(url: str) -> float:
    lines = httpx.get(f"{url}/metrics", timeout=live.PATIENCE).text.splitlines()
    found = [line for line in lines if line.startswith("inference_in_flight_requests{")]
    return sum(float(line.rpartition(" ")[2]) for line in found if 'api="grpc"' in line)


def listening(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True
