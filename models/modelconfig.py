"""Triton's ModelConfig message: the part of it that means something here, in Triton's words. It must not know what is made of it.

What a configuration has beside these fields is told by `pbtxt.convert`.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Axis = Annotated[int, msgspec.Meta(ge=-1, le=1 << 31)]
Kind = Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU", "KIND_MODEL"]
DataType = Literal[
    "TYPE_BOOL",
    "TYPE_UINT8",
    "TYPE_UINT16",
    "TYPE_UINT32",
    "TYPE_UINT64",
    "TYPE_INT8",
    "TYPE_INT16",
    "TYPE_INT32",
    "TYPE_INT64",
    "TYPE_FP16",
    "TYPE_FP32",
    "TYPE_FP64",
    "TYPE_STRING",
    "TYPE_BF16",
]

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


class Reshape(msgspec.Struct, frozen=True):
    """The shape that the graph has where it is not the one that callers are told."""

    shape: tuple[Axis, ...] = ()


class Tensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """An input or output. `dims` are without the batch axis where `max_batch_size` is above 0; -1 is an axis of any length.

    `label_filename`: a file in the model's directory with a line for each class.
    """

    name: str
    data_type: DataType
    dims: tuple[Axis, ...]
    reshape: Reshape | None = None
    optional: bool = False
    label_filename: str = ""

    @property
    def inner(self) -> tuple[int, ...]:
        """The shape of the graph's tensor, without the batch axis."""
        return self.dims if self.reshape is None else self.reshape.shape


class Latest(msgspec.Struct, frozen=True):
    """The newest versions."""

    num_versions: Annotated[int, msgspec.Meta(ge=1)] = 1


class All(msgspec.Struct, frozen=True):
    """Every version."""


class Specific(msgspec.Struct, frozen=True):
    """These versions."""

    versions: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()


class VersionPolicy(msgspec.Struct, frozen=True):
    """Which versions are served; one of the three is set."""

    latest: Latest | None = None
    all: All | None = None
    specific: Specific | None = None

    def chosen(self, available: Iterable[int]) -> list[int]:
        """Those of `available` that are served, oldest first."""
        known = sorted(available)
        if self.all is not None:
            return known
        if self.specific is not None:
            return [version for version in known if version in self.specific.versions]
        return known[-(self.latest or Latest()).num_versions :]


class InstanceGroup(msgspec.Struct, frozen=True):
    """Runs at a time on one kind of device."""

    name: str = ""
    kind: Kind = "KIND_AUTO"
    count: Count = 1
    gpus: tuple[Count, ...] = ()


class QueuePolicy(msgspec.Struct, frozen=True):
    """How long the queue may be."""

    max_queue_size: Count = 0


class DynamicBatching(msgspec.Struct, frozen=True):
    """How requests become batches."""

    max_queue_delay_microseconds: Count = 0
    priority_levels: Count = 0
    default_priority_level: Count = 0
    default_queue_policy: QueuePolicy = QueuePolicy()


class Accelerator(msgspec.Struct, frozen=True):
    """What runs parts of the graph faster."""

    name: str


class Accelerators(msgspec.Struct, frozen=True):
    """By device."""

    gpu_execution_accelerator: tuple[Accelerator, ...] = ()
    cpu_execution_accelerator: tuple[Accelerator, ...] = ()


class Optimization(msgspec.Struct, frozen=True):
    """How the graph is made faster."""

    execution_accelerators: Accelerators = Accelerators()


class Text(msgspec.Struct, frozen=True):
    """The value of a parameter."""

    string_value: str = ""


class Parameter(msgspec.Struct, frozen=True):
    """An entry of the backend's parameters."""

    key: str
    value: Text = Text()


class WarmUpTensor(msgspec.Struct, frozen=True):
    """Values of one input: zeros, random ones, or those of a file in <model>/warmup/."""

    data_type: DataType
    dims: tuple[Count, ...]
    zero_data: bool = False
    random_data: bool = False
    input_data_file: str = ""


class WarmUpInput(msgspec.Struct, frozen=True):
    """An entry of a sample's inputs."""

    key: str
    value: WarmUpTensor


class WarmUp(msgspec.Struct, frozen=True):
    """A request that is run `count` times before the model is ready. Its inputs are one row, repeated `batch_size` times."""

    name: str
    batch_size: Count = 0
    inputs: tuple[WarmUpInput, ...] = ()
    count: Count = 0


class ModelConfig(msgspec.Struct, frozen=True):
    """The whole message."""

    name: str = ""
    platform: str = ""
    backend: str = ""
    default_model_filename: str = ""
    max_batch_size: Count | UnsetType = UNSET
    input: tuple[Tensor, ...] = ()
    output: tuple[Tensor, ...] = ()
    version_policy: VersionPolicy | None = None
    instance_group: tuple[InstanceGroup, ...] = ()
    dynamic_batching: DynamicBatching = DynamicBatching()
    optimization: Optimization = Optimization()
    parameters: tuple[Parameter, ...] = ()
    model_warmup: tuple[WarmUp, ...] = ()
