"""A Triton model's config.pbtxt: what it asks of the ONNX Runtime backend, as far as it can be had here. It must not know settings.

    <model>/config.pbtxt       read here
    <model>/<version>/         model.onnx, or the file that the configuration names
    <model>/*.txt              the names of an output's classes, where it names such a file

    text -> pbtxt (fields with their lines) -> modelconfig (Triton's words) -> TritonConfig

What is not used is named in a warning. What is malformed, for another backend, or would be answered wrongly, is refused.
"""

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from models import pbtxt
from models.bundle import BARE
from models.errors import BundleError
from models.modelconfig import InstanceGroup, ModelConfig, Tensor, VersionPolicy, WarmUp
from models.pbtxt import Converted

FILE = "config.pbtxt"
MOST_BYTES = 1 << 20
MOST_TENSORS = 1024
REFUSED = {
    "sequence_batching": "requests of one sequence are not kept together here",
    "ensemble_scheduling": "models are not joined here",
    "batch_input": "inputs that tell of a batch are not made here",
    "batch_output": "outputs that tell of a batch are not made here",
}
"""Fields without which answers would be wrong."""

Provider = Literal["cpu", "cuda", "tensorrt"]


class TritonConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a config.pbtxt asks. None where it says nothing.

    `max_batch_rows` is the most rows in a request; 0 where tensors have no batch axis. `priorities`: how many levels there are, and the one
    of requests that name none. `warnings` name what is not kept.
    """

    max_batch_rows: int | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    file: str = BARE
    versions: VersionPolicy | None = None
    warmup: tuple[WarmUp, ...] = ()
    priorities: tuple[int, int] | None = None
    max_delay_ms: float | None = None
    max_queue_rows: int | None = None
    instances: int | None = None
    threads: int | None = None
    provider: Provider | None = None
    warnings: tuple[str, ...] = ()


class Placement(NamedTuple):
    """What a listing of versions has to know: the file of a version, and which versions are served."""

    file: str = BARE
    versions: VersionPolicy | None = None


def read(path: Path) -> TritonConfig:
    """The configuration in the file at `path`. BundleError with file, line and reason when it cannot be one."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    return understood(path, parsed(path, raw))


def parsed(path: Path, raw: bytes) -> Converted[ModelConfig]:
    """The message in `raw`. BundleError names `path`, line and reason."""
    if len(raw) > MOST_BYTES:
        raise BundleError(f"{path} has {len(raw):,} bytes, the limit is {MOST_BYTES:,}")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BundleError(f"{path}, line {line}: it is not UTF-8") from error
    try:
        return pbtxt.convert(pbtxt.parse(text), ModelConfig)
    except pbtxt.Malformed as error:
        raise BundleError(f"{path}, line {error.line}: {error}") from error


def placement(path: Path) -> Placement:
    """As far as the file at `path` can be read: whoever loads a version tells what is wrong with it."""
    try:
        return placed(path.read_bytes())
    except (OSError, BundleError):
        return Placement()


@functools.lru_cache(maxsize=256)
def placed(raw: bytes) -> Placement:
    """The same of a file's bytes, which a registry that is looked at again and again parses once."""
    config = parsed(Path(FILE), raw).value
    return Placement(config.default_model_filename or BARE, config.version_policy)


def understood(path: Path, found: Converted[ModelConfig]) -> TritonConfig:
    """What a configuration asks, where it can be had. BundleError where it cannot, or must not: it names a file elsewhere."""
    config = found.value
    check(path, found)
    warnings = [
        f"{place(path, line)}: '{name}' is not used here"
        for name, line in found.unused
        if name not in REFUSED
    ]
    warnings += [
        f"{place(path, found.lines.of(at))}: {sentence}"
        for at, sentence in not_kept(path.parent.name, config)
    ]
    batching = config.dynamic_batching
    levels = (batching.priority_levels, batching.default_priority_level)
    return TritonConfig(
        max_batch_rows=most_rows(config),
        inputs=config.input,
        outputs=config.output,
        file=config.default_model_filename or BARE,
        versions=config.version_policy,
        warmup=config.model_warmup,
        priorities=levels if batching.priority_levels else None,
        max_delay_ms=batching.max_queue_delay_microseconds / 1000 or None,
        max_queue_rows=batching.default_queue_policy.max_queue_size or None,
        instances=sum(max(1, group.count) for group in chosen_groups(config)) or None,
        threads=threads_of(config),
        provider=provider_of(config),
        warnings=tuple(warnings),
    )


def place(path: Path, line: int) -> str:
    """Where something stands; line 0 stands for no line."""
    return f"{path}, line {line}" if line else str(path)


def most_rows(config: ModelConfig) -> int | None:
    """The most rows in a request. As in Triton, shapes that are told without it are whole; where nothing is told, the graph decides."""
    if isinstance(told := config.max_batch_size, int):
        return told
    return 0 if config.input or config.output else None


def check(path: Path, found: Converted[ModelConfig]) -> None:
    """BundleError where a configuration is not for ONNX Runtime, asks what would be answered wrongly, or contradicts itself."""
    config, lines = found.value, found.lines
    field = "backend" if config.backend else "platform"
    backend = config.backend or config.platform
    if backend not in ("", "onnxruntime", "onnxruntime_onnx"):
        raise BundleError(
            f"{place(path, lines.of(field))}: '{backend}' is not served here, only 'onnxruntime_onnx' is"
        )
    for name, line in found.unused:
        if name in REFUSED:
            raise BundleError(f"{place(path, line)}: '{name}' is not served, {REFUSED[name]}")
    for at, name in files(config):
        if name in (".", "..") or Path(name).name != name:
            raise BundleError(
                f"{place(path, lines.of(at))}: the file name '{name}' leaves the model's directory"
            )
    for at, tensor in tensors(config):
        if not fits(tensor):
            raise BundleError(
                f"{place(path, lines.of(at))}: '{tensor.name}' has dims {list(tensor.dims)}, "
                f"its reshape {list(tensor.inner)} holds another number of elements"
            )
    if (count := len(config.input) + len(config.output)) > MOST_TENSORS:
        raise BundleError(f"{path} tells of {count:,} tensors, the limit is {MOST_TENSORS:,}")
    batching = config.dynamic_batching
    levels, default = batching.priority_levels, batching.default_priority_level
    if levels and not 1 <= default <= levels:
        raise BundleError(
            f"{place(path, lines.of('dynamic_batching.priority_levels'))}: default_priority_level is {default}, "
            f"it must be 1 to {levels}, as priority_levels says"
        )


def fits(tensor: Tensor) -> bool:
    """Whether what callers send and what the graph takes have as many elements, and as many axes of any length."""
    told, inner = tensor.dims, tensor.inner
    return told.count(-1) == inner.count(-1) and math.prod(told) == math.prod(inner)


def tensors(config: ModelConfig) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, and its path."""
    for role, told in (("input", config.input), ("output", config.output)):
        for index, tensor in enumerate(told):
            yield f"{role}[{index}]", tensor


def files(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Every file that the configuration names, and the path of what names it."""
    if config.default_model_filename:
        yield "default_model_filename", config.default_model_filename
    for at, tensor in tensors(config):
        if tensor.label_filename:
            yield f"{at}.label_filename", tensor.label_filename
    for index, sample in enumerate(config.model_warmup):
        for one in sample.inputs:
            if one.value.input_data_file:
                yield f"model_warmup[{index}]", one.value.input_data_file


def labels(tensor: Tensor, model: Path) -> tuple[str, ...]:
    """The names of an output's classes, in their order; `model` is the model's directory. BundleError where its file cannot be read."""
    if not tensor.label_filename:
        return ()
    path = model / tensor.label_filename
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise BundleError(f"{path} has {size:,} bytes, the limit is {MOST_BYTES:,}")
        return tuple(line.strip() for line in path.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


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


def not_kept(directory: str, config: ModelConfig) -> Iterator[tuple[str, str]]:
    """A sentence for each thing that the configuration asks and that is done differently here, and the path of what asks it."""
    if config.name not in ("", directory):
        yield (
            "name",
            f"the model is called '{directory}' as its directory is, not '{config.name}'",
        )
    for index, parameter in enumerate(config.parameters):
        if parameter.key != "intra_op_thread_count" or threads_of(config) is None:
            told = f"parameter '{parameter.key}' = '{parameter.value.string_value}' is not used"
            yield f"parameters[{index}]", f"{told} here"
    batching = config.dynamic_batching
    levels, default = batching.priority_levels, batching.default_priority_level
    if default > 2 or levels - default > 1:
        told = (
            f"{levels} levels of priority become three: before {default}, {default}, and after it"
        )
        yield "dynamic_batching.priority_levels", told
    yield from devices_not_kept(config)


def devices_not_kept(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """The part of `not_kept` that is about devices."""
    groups = chosen_groups(config)
    if len(groups) < len(config.instance_group):
        told = "instance groups that are not on a GPU are not used beside those that are"
        yield "instance_group[0]", told
    if any(group.gpus not in ((), (0,)) for group in groups):
        told = f"one GPU runs the model, not those in {[list(group.gpus) for group in groups]}"
        yield "instance_group[0]", told
    accelerators = config.optimization.execution_accelerators
    at = "optimization.execution_accelerators"
    for index, one in enumerate(accelerators.cpu_execution_accelerator):
        yield (
            f"{at}.cpu_execution_accelerator[{index}]",
            f"accelerator '{one.name}' is not used here",
        )
    for index, one in enumerate(accelerators.gpu_execution_accelerator):
        if one.name != "tensorrt" or provider_of(config) != "tensorrt":
            yield (
                f"{at}.gpu_execution_accelerator[{index}]",
                f"accelerator '{one.name}' is not used here",
            )
