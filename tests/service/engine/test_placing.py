"""The whole way of a model onto a device, with the CPU's provider in the device's place."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from service.engine import native, placing, providers
from service.engine.config import Gpu, Options
from service.engine.session import Session
from service.errors import SettingsError

Built = list[tuple[str, bool]]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """Whoever builds a session for CUDA gets one of the CPU; all that were built, with or without graphs."""
    made: Built = []
    real = native.build

    def build(
        path: Path,
        provider: str,
        options: Options,
        tensorrt: Mapping[str, str] | None = None,
        graphs: bool = False,
    ) -> ort.InferenceSession:
        made.append((provider, graphs))
        return real(path, "cpu", options)

    monkeypatch.setattr(native, "build", build)
    monkeypatch.setattr(placing, "DEVICE", "cpu")
    monkeypatch.setattr(providers, "why_no_cuda", lambda: None)
    monkeypatch.setattr(providers, "why_no_tensorrt", lambda: None)
    return made


@pytest.fixture
def text(repository: Path) -> Path:
    return repository / "toy-text" / "1"


def test_a_device_runs_what_the_cpu_runs(built: Built, text: Path):
    alone = Session.load(text, Options(provider="cpu"))
    session = Session.load(text, Options(provider="cuda", gpu=Gpu(instances=2)))
    session.warm_up(dict.fromkeys(session.buckets(), 4))
    requests = [session.example(session.buckets()[1], rows) for rows in (1, 3, 4, 9)]
    expected = [alone.run([request])[0]["probabilities"] for request in requests]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda request: session.run([request])[0], requests * 5))
    for answer, right in zip(answers, expected * 5, strict=True):
        np.testing.assert_allclose(answer["probabilities"], right, rtol=1e-6)
    assert built == [("cpu", False), ("cuda", False), ("cuda", False)]
    assert session.report["instances"] == 2
    assert session.report["device"]["tf32"] is True


def test_what_computes_on_the_cpu_is_the_devices_reason(built: Built, text: Path):
    device = Session.load(text, Options(provider="cuda")).report["device"]
    assert device["provider"] == "cuda"
    assert device["reason"] == device["graphs"]
    assert "1 ReduceSum, 1 Softmax" in device["reason"]


@pytest.mark.parametrize("asked", ["cuda", "auto"])
def test_strictly_nothing_may_compute_there(built: Built, text: Path, asked: str):
    options = Options(provider=asked, strict=True)
    if asked == "auto":
        assert Session.load(text, options).report["device"]["provider"] == "cuda"
    else:
        with pytest.raises(SettingsError, match="'cuda' was asked for, but 2 nodes that compute"):
            Session.load(text, options)


def test_graphs_are_captured_while_loading_and_counted(
    built: Built, text: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(native, "why_no_graphs", lambda *_: None)
    session = Session.load(text, Options(provider="cuda"))
    session.warm_up({session.buckets()[0]: 3})
    assert built == [("cuda", False), ("cuda", True)]
    # The sixteen kept rows of the self-test (eight tokens wide), then 1, 2 and 4 rows of four.
    assert session.report["cuda_graphs"] == 4
    assert session.report["device"]["graphs"] is None


def test_onnx_runtimes_own_refusal_of_graphs_is_a_reason(
    built: Built, text: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(native, "why_no_graphs", lambda *_: None)
    without = native.build

    def build(
        path: Path,
        provider: str,
        options: Options,
        tensorrt: Mapping[str, str] | None = None,
        graphs: bool = False,
    ) -> ort.InferenceSession:
        if graphs:
            raise providers.Misplaced("This session cannot use the graph capture feature")
        return without(path, provider, options, tensorrt)

    monkeypatch.setattr(native, "build", build)
    report = Session.load(text, Options(provider="cuda")).report
    assert report["device"]["graphs"] == "This session cannot use the graph capture feature"


def test_on_the_cpu_instances_share_one_session(built: Built, text: Path):
    report = Session.load(text, Options(provider="cpu", instances=2)).report
    assert (report["instances"], built) == (2, [("cpu", False)])
    assert report["device"]["tf32"] is None
