"""What an engine process is told when it is started. It must not know ONNX Runtime: control writes it, too."""

import msgspec

from models.triton import TritonConfig
from service.engine.calibration import Sizes
from service.settings import Provider

GENTLY = "gently"
"""Said behind the configuration: load at a low priority, others are answering."""


class Gpu(msgspec.Struct, frozen=True):
    """How a GPU is used, where one runs the model. `instances` is for the GPU what `Options.instances` is for the CPU.

    `engines`: a directory where TensorRT's engines are kept; `most_rows`: the largest request, for which they are built.
    """

    instances: int = 1
    memory_mb: int | None = None
    tf32: bool = True
    graphs: bool = True
    engines: str | None = None
    most_rows: int = 64


class Options(msgspec.Struct, frozen=True):
    """How a version is run. `threads` are the intra-op threads of each of `instances` runs at a time.

    A batch holds at most `max_batch_rows` rows (measured at the first load where it is None) and
    `max_batch_tokens` rows x padded length; a run that takes longer than `hang_limit_s` ends the engine.
    `curves`: a directory where measured batch times are kept. An engine takes at most `memory_mb` of memory (a share of the
    machine's where it is None), loads no file of more than `max_model_mb`, and nothing that none of `trusted_keys` vouches for, if there are any.
    `triton`: a Triton configuration, where there is one.
    """

    provider: Provider = "auto"
    strict: bool = False
    variant: str | None = None
    instances: int = 1
    threads: int = 1
    spinning: bool = False
    gpu: Gpu = Gpu()
    max_batch_rows: int | None = None
    max_batch_tokens: int = 16_384
    max_queue_rows: int = 1024
    max_delay_ms: float = 0.0
    hang_limit_s: float = 30.0
    curves: str | None = None
    memory_mb: int | None = None
    max_model_mb: int = 2048
    triton: TritonConfig | None = None
    trusted_keys: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """One engine. `lifeline` is a socket's number: reports go out on it, and its end means `stop`.

    `inherited`: the batch times of the version that this one replaces.
    """

    model: str
    version: int
    directory: str
    socket: str
    lifeline: int
    options: Options
    inherited: tuple[Sizes, ...] = ()
