"""What runs is what the libraries can do, and every node is counted."""

import ctypes
from pathlib import Path

import pytest

from service.engine import native, providers
from service.engine.config import Options
from service.errors import SettingsError

NO_CUDA = "there is no NVIDIA driver"
NO_TENSORRT = "a TensorRT library cannot be loaded"


@pytest.fixture
def lacks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, tensorrt = request.param
    monkeypatch.setattr(providers, "why_no_cuda", lambda: cuda)
    monkeypatch.setattr(providers, "why_no_tensorrt", lambda: tensorrt)


@pytest.mark.parametrize(
    ("lacks", "asked", "taken", "reason"),
    [
        ((None, None), "auto", "cuda", None),
        ((None, None), "cuda", "cuda", None),
        ((None, None), "tensorrt", "tensorrt", None),
        ((None, None), "cpu", "cpu", None),
        ((None, NO_TENSORRT), "auto", "cuda", None),
        ((None, NO_TENSORRT), "tensorrt", "cuda", NO_TENSORRT),
        ((NO_CUDA, NO_TENSORRT), "tensorrt", "cpu", NO_CUDA),
        ((NO_CUDA, None), "cuda", "cpu", NO_CUDA),
        ((NO_CUDA, None), "auto", "cpu", NO_CUDA),
        ((NO_CUDA, None), "cpu", "cpu", None),
    ],
    indirect=["lacks"],
)
@pytest.mark.usefixtures("lacks")
def test_the_best_that_is_there_runs_and_strictly_only_what_was_named(
    asked: str, taken: str, reason: str | None
):
    assert providers.choose(asked, strict=False) == (taken, reason)
    if asked in ("auto", taken):
        assert providers.choose(asked, strict=True) == (taken, reason)
    else:
        with pytest.raises(SettingsError, match=f"provider '{asked}' was asked for, but {reason}"):
            providers.choose(asked, strict=True)


@pytest.mark.skipif(providers.why_no_cuda() is None, reason="this machine has CUDA")
def test_cuda_where_there_is_none_is_a_reason_or_in_strict_mode_an_error():
    provider, reason = providers.choose("cuda", strict=False)
    assert provider == "cpu"
    assert reason
    with pytest.raises(SettingsError, match="'cuda' was asked for, but"):
        providers.choose("cuda", strict=True)


@pytest.mark.skipif(providers.why_no_tensorrt() is None, reason="this machine has TensorRT")
def test_the_library_that_tensorrt_lacks_is_named():
    assert "libnvinfer.so.10" in str(providers.why_no_tensorrt())


def test_libraries_of_the_tensorrt_wheel_are_found_where_it_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    package = tmp_path / "tensorrt_libs"
    package.mkdir()
    for name in ("__init__.py", *providers.TENSORRT_LIBRARIES):
        (package / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, mode: asked.append(name))
    assert providers.why_no_tensorrt() is None
    assert [Path(name).parent for name in asked] == [package, package, Path(), Path()]


def test_nodes_are_counted_by_provider_and_kind(repository: Path):
    session = native.build(repository / "toy-text" / "1" / "model.fp32.onnx", "cpu", Options())
    assert providers.count_nodes(session) == {"cpu": 6}
    assert providers.operators(session, "cpu")["Gather"] == 1
    assert providers.operators(session, "cuda") == {}


def test_what_computes_beside_a_device_is_named_and_shapes_are_not(repository: Path):
    session = native.build(repository / "toy-text" / "1" / "model.fp32.onnx", "cpu", Options())
    assert providers.strays(session) == (
        "2 nodes that compute run on the CPU: 1 ReduceSum, 1 Softmax"
    )


def test_one_wheel_of_onnxruntime_is_installed():
    assert providers.clashing_wheels() is None
