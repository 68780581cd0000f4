"""ONNX Runtime's exceptions are told apart by their words: the real ones where a CPU can raise them, recorded ones elsewhere."""

from pathlib import Path

import numpy as np
import pytest
import toys
from onnx import TensorProto, helper

from service.engine import failures, native
from service.engine.config import Options
from service.errors import DeviceLost, EngineError, OutOfMemory


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that repeats a number as often as it is told."""
    path = tmp_path_factory.mktemp("wide") / "wide.onnx"
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
    ]
    made = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "wide"])]
    toys.save(path, [helper.make_node("Expand", ["x", "shape"], ["y"])], given, made, [])
    return path


@pytest.mark.parametrize(
    ("times", "dtype", "kind"),
    [
        (2**40, np.float32, OutOfMemory),
        (2**62, np.float32, EngineError),  # its size cannot even be computed
        (1, np.float16, EngineError),
    ],
)
def test_what_onnx_runtime_raises_here(
    wide: Path, times: int, dtype: type, kind: type[EngineError]
):
    session = native.build(wide, "cpu", Options())
    with pytest.raises(Exception, match="ONNXRuntimeError") as raised:
        session.run(None, {"x": np.zeros((1, 1), dtype), "shape": np.array([1, times])})
    assert type(failures.classify(raised.value)) is kind


# The words of microsoft/onnxruntime issues 22702, 16307 (bfc_arena.cc), of BFCArena under gpu_mem_limit, and of
# issue 26312 and pykeio/ort 321 (cuda_call.cc: "CUDA failure N: words ; GPU=0 ; hostname ; file ; line ; expr").
ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'/fc1/Conv' "
    "Status Message: \n/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) "
)
CALL = (
    " ; GPU=0 ; hostname=10cb601a4a05 ; file=/onnxruntime_src/onnxruntime/core/providers/cuda/gpu_data_transfer.cc ; line=63 "
    "; expr=cudaMemcpyAsync(dst_data, src_data, bytes, cudaMemcpyHostToDevice, stream);"
)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ARENA + "Failed to allocate memory for requested buffer of size 939524096", OutOfMemory),
        (
            ARENA + "Available memory of 512 is smaller than requested bytes of 939524096",
            OutOfMemory,
        ),
        ("CUDA failure 2: out of memory" + CALL, OutOfMemory),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED" + CALL, OutOfMemory),
        ("CUDA failure 700: an illegal memory access was encountered" + CALL, DeviceLost),
        ("CUDA failure 719: unspecified launch failure" + CALL, DeviceLost),
        ("CUDA failure 214: uncorrectable ECC error encountered" + CALL, DeviceLost),
        ("CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED" + CALL, DeviceLost),
        ("CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED" + CALL, DeviceLost),
        ("CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED" + CALL, EngineError),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions", EngineError),
        ("", EngineError),
    ],
)
def test_words_say_what_the_engine_has_to_do(text: str, kind: type[EngineError]):
    assert type(failures.classify(RuntimeError(text))) is kind


def test_pythons_own_lack_of_memory_counts():
    assert isinstance(failures.classify(MemoryError()), OutOfMemory)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            ARENA + "Failed to allocate memory for requested buffer of size 939524096",
            "Non-zero status code returned while running Conv node. Name:'/fc1/Conv' Status Message: "
            "Failed to allocate memory for requested buffer of size 939524096",
        ),
        (
            "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions",
            "Got invalid dimensions",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: /onnxruntime_src/onnxruntime/core/"
            "providers/cpu/nn/string_normalizer.cc:99 onnxruntime::StringNormalizer::Locale::Locale(const std::string&)::<lambda()> "
            "Failed to construct locale with name:en_US",
            "Exception during initialization: Failed to construct locale with name:en_US",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from /home/me/m.onnx failed:Unsupported model IR version: 99",
            "Unsupported model IR version: 99",
        ),
        ("", "without a word"),
    ],
)
def test_neither_codes_nor_source_lines_nor_places_are_told(text: str, told: str):
    assert failures.first_line(text) == told


def test_callers_are_told_one_line():
    told = str(failures.classify(RuntimeError("first" + "x" * 999 + "\nsecond")))
    assert told.startswith("the model failed: first")
    assert "second" not in told
    assert len(told) < 350
