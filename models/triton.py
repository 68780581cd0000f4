"""A Triton model's config.pbtxt: what it asks of the ONNX Runtime backend, as far as it can be had here. It must not know settings.

    <model>/config.pbtxt       read here
    <model>/<version>/         model.onnx, or the file that the configuration names
    <model>/warmup/            files that its warm-up names

    text -> pbtxt (fields with their lines) -> modelconfig (Triton's words) -> TritonConfig

What is not used is named in a warning. What is malformed, or for another backend, is refused.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from models import pbtxt
from models.bundle import BARE
from models.errors import BundleError
from models.modelconfig import (
    InstanceGroup,
    ModelConfig,
    Tensor,
    VersionPolicy,
    WarmUp,
    WarmUpTensor,
)
from models.pbtxt import Unused

FILE = "config.pbtxt"
WARM_UP = "warmup"
MOST_BYTES = 1 << 20
MOST_ELEMENTS = 1 << 28
DTYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_UINT16": "uint16",
    "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
    "TYPE_STRING": "object",
}
"""numpy's name of each data type; TYPE_BF16 has none."""

Provider = Literal["cpu", "cuda", "tensorrt"]


class TritonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a config.pbtxt asks. None where it says nothing.

    `max_batch_rows` is 0 where the model is not batched: its tensors have no batch axis. `warnings` name what is not kept.
    """

    max_batch_rows: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    file: str
    versions: VersionPolicy
    warmup: tuple[WarmUp, ...]
    max_delay_ms: float | None = None
    max_queue_rows: int | None = None
    instances: int | None = None
    threads: int | None = None
    provider: Provider | None = None
    warnings: tuple[str, ...] = ()


def read(path: Path) -> TritonConfig:
    """The configuration in the file at `path`. BundleError with file, line and reason when it cannot be one."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    if len(raw) > MOST_BYTES:
        raise BundleError(f"{path} has {len(raw):,} bytes, the limit is {MOST_BYTES:,}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BundleError(f"{path}, line {line}: it is not UTF-8") from error
    try:
        config, unused = pbtxt.convert(pbtxt.parse(text), ModelConfig)
    except pbtxt.Malformed as error:
        raise BundleError(f"{path}, line {error.line}: {error}") from error
    return understood(path, config, unused)


def understood(path: Path, config: ModelConfig, unused: list[Unused]) -> TritonConfig:
    """What `config` asks, where it can be had. BundleError where it is not for ONNX Runtime, or names a file elsewhere."""
    backend = config.backend or config.platform
    if backend not in ("", "onnxruntime", "onnxruntime_onnx"):
        raise BundleError(f"{path}: '{backend}' is not served here, only 'onnxruntime_onnx' is")
    file = config.default_model_filename or BARE
    for name in (file, *warm_up_files(config)):
        if name in (".", "..") or Path(name).name != name:
            raise BundleError(f"{path}: the file name '{name}' leaves the model's directory")
    warnings = [f"{path}, line {line}: '{name}' is not used here" for name, line in unused]
    warnings += [f"{path}: {sentence}" for sentence in not_kept(path.parent.name, config)]
    batching = config.dynamic_batching
    return TritonConfig(
        max_batch_rows=config.max_batch_size,
        inputs=config.input,
        outputs=config.output,
        file=file,
        versions=config.version_policy,
        warmup=config.model_warmup,
        max_delay_ms=batching.max_queue_delay_microseconds / 1000 or None,
        max_queue_rows=batching.default_queue_policy.max_queue_size or None,
        instances=sum(max(1, group.count) for group in chosen_groups(config)) or None,
        threads=threads_of(config),
        provider=provider_of(config),
        warnings=tuple(warnings),
    )


def warm_up_files(config: ModelConfig) -> Iterator[str]:
    """The files that the warm-up names."""
    for sample in config.model_warmup:
        yield from (one.value.input_data_file for one in sample.inputs if one.value.input_data_file)


def chosen_groups(config: ModelConfig) -> list[InstanceGroup]:
    """The instance groups that count: those on GPUs, where there are some beside others."""
    on_gpu = [group for group in config.instance_group if group.kind == "KIND_GPU"]
    return on_gpu or list(config.instance_group)


def provider_of(config: ModelConfig) -> Provider | None:
    """The provider that the instance groups and accelerators name."""
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    kinds = {group.kind for group in chosen_groups(config)}
    if kinds == {"KIND_CPU"}:
        return "cpu"
    if any(one.name == "tensorrt" for one in accelerators):
        return "tensorrt"
    return "cuda" if "KIND_GPU" in kinds else None


def threads_of(config: ModelConfig) -> int | None:
    """Threads of a run: the backend's parameter, where it is a positive number."""
    told = {one.key: one.value.string_value for one in config.parameters}
    threads = told.get("intra_op_thread_count", "")
    return int(threads) or None if threads.isascii() and threads.isdigit() else None


def not_kept(directory: str, config: ModelConfig) -> Iterator[str]:
    """A sentence for each thing that the configuration asks and that is done differently here."""
    if config.name not in ("", directory):
        yield f"the model is called '{directory}' as its directory is, not '{config.name}'"
    for tensor in (*config.input, *config.output):
        if tensor.reshape is not None:
            yield f"'{tensor.name}' is told in the graph's own shape {list(tensor.reshape.shape)}, its reshape is not applied"
    for parameter in config.parameters:
        if parameter.key != "intra_op_thread_count" or threads_of(config) is None:
            yield f"parameter '{parameter.key}' = '{parameter.value.string_value}' is not used here"
    yield from devices_not_kept(config)


def devices_not_kept(config: ModelConfig) -> Iterator[str]:
    """The part of `not_kept` that is about devices."""
    groups = chosen_groups(config)
    if len(groups) < len(config.instance_group):
        yield "instance groups that are not on a GPU are not used beside those that are"
    if any(group.gpus not in ((), (0,)) for group in groups):
        yield f"one GPU runs the model, not those in {[list(group.gpus) for group in groups]}"
    accelerators = config.optimization.execution_accelerators
    for name in (one.name for one in accelerators.cpu_execution_accelerator):
        yield f"accelerator '{name}' is not used here"
    for name in (one.name for one in accelerators.gpu_execution_accelerator):
        if name != "tensorrt" or provider_of(config) != "tensorrt":
            yield f"accelerator '{name}' is not used here"


def rows(sample: WarmUp, config: TritonConfig, model: Path) -> dict[str, np.ndarray]:
    """The inputs of one of `config`'s warm-up samples; `model` is the model's directory. BundleError names what cannot be had."""
    found = {}
    for one in sample.inputs:
        array = row(one.value, f"warm-up '{sample.name}', input '{one.key}'", model / WARM_UP)
        if config.max_batch_rows:
            array = np.repeat(array[None], max(1, sample.batch_size), axis=0)
        found[one.key] = array
    return found


def row(told: WarmUpTensor, name: str, directory: Path) -> np.ndarray:
    """One row of a warm-up input. Random numbers (floats below 1, integers below 10) are the same each time."""
    if (dtype := DTYPES.get(told.data_type)) is None:
        raise BundleError(f"{name}: {told.data_type} is not supported")
    if (elements := math.prod(told.dims)) > MOST_ELEMENTS:
        raise BundleError(f"{name} has {elements:,} elements, the limit is {MOST_ELEMENTS:,}")
    if told.input_data_file:
        return from_file(directory / told.input_data_file, dtype, elements).reshape(told.dims)
    if dtype == "object":
        return np.full(told.dims, b"", dtype)
    if not told.random_data:
        return np.zeros(told.dims, dtype)
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return random.random(told.dims).astype(dtype)
    return random.integers(0, 2 if dtype == "bool" else 10, told.dims).astype(dtype)


def from_file(path: Path, dtype: str, elements: int) -> np.ndarray:
    """Raw values, row-major and little-endian; strings as u32 length + bytes."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    if dtype == "object":
        return strings(path, raw, elements)
    needed = elements * np.dtype(dtype).itemsize
    if len(raw) != needed:
        raise BundleError(
            f"{path} has {len(raw):,} bytes, {elements:,} elements of {dtype} need {needed:,}"
        )
    return np.frombuffer(raw, dtype)


def strings(path: Path, raw: bytes, elements: int) -> np.ndarray:
    """`elements` strings, each behind its length."""
    array, at = np.full(elements, b"", dtype=object), 0
    for index in range(elements):
        size = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + size > len(raw):
            raise BundleError(f"{path} ends within string {index + 1} of {elements}")
        array[index] = raw[at + 4 : at + 4 + size]
        at += 4 + size
    if at != len(raw):
        raise BundleError(f"{path} has {len(raw) - at:,} bytes after its {elements} strings")
    return array
