"""What ONNX Runtime's exceptions mean for the engine. It must not import ONNX Runtime: classes and codes are told by their text.

Its classes derive from Exception itself and say little (most are Fail or RuntimeException); what happened stands in the message,
in the words of onnxruntime/core/framework/bfc_arena.cc and onnxruntime/core/providers/cuda/cuda_call.cc.
"""

import re

from service.errors import DeviceLost, EngineError, OutOfMemory

MOST_CHARACTERS = 300

_MEMORY = re.compile(
    r"Failed to allocate memory for requested buffer"
    r"|Available memory of \d+ is smaller than requested bytes of"
    r"|CUDA failure 2:|cudaErrorMemoryAllocation"
    r"|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
    r"|bad_alloc"
)
_DEVICE = re.compile(
    r"CUDA failure \d+:|CUDA error\b"
    # Statuses like NOT_SUPPORTED or BAD_PARAM are about the request; these are about the device.
    r"|(CUBLAS|CUDNN)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR|NOT_INITIALIZED)"
    r"|TensorRT EP execution context enqueue failed"
)
_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Load model from \S+ failed:")
"""Where a file lies is nobody's business but the operator's."""
_SOURCE = re.compile(r"\s*/\S+\.(?:cc|cpp|h):\d+ .*?\)\S*(?: const)?(?: \[with [^\]]*\])? ")
"""A file, a line and the signature of a C++ function, in front of the words."""


def lacks_memory(error: Exception) -> bool:
    """Whether something did not fit into memory."""
    return isinstance(error, MemoryError) or _MEMORY.search(str(error)) is not None


def classify(error: Exception) -> EngineError:
    """The error as the engine acts on it: a smaller batch, a new engine, or the caller's own failure."""
    text = str(error)
    if lacks_memory(error):
        return OutOfMemory(f"the batch did not fit into memory: {first_line(text)}")
    if _DEVICE.search(text):
        return DeviceLost(f"the device failed: {first_line(text)}")
    return EngineError(f"the model failed: {first_line(text)}")


def first_line(text: str) -> str:
    """What a caller is told of a message that may be pages long: without codes, and without ONNX Runtime's own source lines."""
    plain = _SOURCE.sub(" ", _CODE.sub("", text)).strip()
    return next(iter(plain.splitlines()), "without a word")[:MOST_CHARACTERS]
