"""The committed models through the service: Triton's client gets what ONNX Runtime itself says, bit for bit."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import live
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton

from models import bundle
from models.registry import Registry
from service.api.values import NAMES
from service.settings import SEED

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # tritonclient leaves gevent's sockets to the collector


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live.serving(SEED, tmp_path_factory.mktemp("service")) as service:
        yield service.said


def directly(directory: Path, variant: str) -> ort.InferenceSession:
    """The variant's file in ONNX Runtime, with one thread like the engine's."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = directory / bundle.read(directory).variant(variant).file
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("model", Registry([SEED]).models())
def test_triton_clients_answers_are_onnx_runtimes(url: str, model: str):
    _, directory = Registry([SEED]).resolve(model)
    manifest = bundle.read(directory)
    samples, _ = bundle.read_samples(directory)
    report = httpx.get(f"{url}/v1/models/{model}").json()["versions"][0]["report"]
    session = directly(directory, report["variant"])
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        for row in range(4):
            one = {name: array[row : row + 1] for name, array in samples.items()}
            inputs = []
            for name, array in one.items():
                inputs.append(triton.InferInput(name, list(array.shape), NAMES[array.dtype.name]))
                inputs[-1].set_data_from_numpy(array)
            answer = client.infer(model, inputs)
            expected = session.run(None, one)
            for tensor, array in zip(manifest.outputs, expected, strict=True):
                np.testing.assert_array_equal(answer.as_numpy(tensor.name), array)
