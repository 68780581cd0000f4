"""What an engine process is told when it is started. It must not know ONNX Runtime: control writes it, too."""

from typing import Literal

import msgspec

Provider = Literal["auto", "cuda", "cpu"]


class Options(msgspec.Struct, frozen=True):
    """How a version is run. `threads` are the intra-op threads of each of `instances` runs at a time."""

    provider: Provider = "auto"
    strict: bool = False
    variant: str | None = None
    instances: int = 1
    threads: int = 1
    max_batch_rows: int = 8
    max_queue_rows: int = 1024


class Config(msgspec.Struct, frozen=True):
    """One engine. `lifeline` is a socket's number: reports go out on it, and its end means `stop`."""

    model: str
    version: int
    directory: str
    socket: str
    lifeline: int
    options: Options
