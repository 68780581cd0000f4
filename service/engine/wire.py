"""Frames on unix sockets: a msgpack header and raw tensor bytes, no pickle. It must not know what is asked or answered over it.

    frame   u32 header length | u32 body length | header (msgpack) | body
    body    the tensors that the header lists, one after another, row-major, little-endian;
            strings as u32 length + bytes, element by element

Both ends speak `Channel`: bytes in, typed messages out. Frames written in one loop tick leave in one write.
"""

import asyncio
import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec
import numpy as np

PROTOCOL = 1
MAX_FRAME = 1 << 30
BUFFER = 256 * 1024
"""Bytes of the buffer that a connection's frames arrive in."""
_PREFIX = struct.Struct("<II")
_LENGTH = struct.Struct("<I")


class Head(msgspec.Struct, array_like=True):
    """What a tensor's bytes cannot say of themselves. `dtype` is numpy's short form ("<f4"), "|O" for strings."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int


class Hello(msgspec.Struct, tag="hello", array_like=True):
    """The engine's first frame on every connection. `report`: what runs, on what, with which limits."""

    protocol: int
    report: dict[str, Any]


class Infer(msgspec.Struct, tag="infer", array_like=True):
    """Run `tensors`. `deadline` is in seconds of CLOCK_MONOTONIC, which all processes of a machine share."""

    id: int
    tensors: list[Head]
    outputs: list[str]
    deadline: float
    priority: int
    trace: tuple[str, str] | None = None
    """The span that asks, as traceparent and tracestate (W3C Trace Context); set where its trace is sampled."""


class Cancel(msgspec.Struct, tag="cancel", array_like=True):
    """Nobody waits for `id` any more."""

    id: int


class Result(msgspec.Struct, tag="result", array_like=True):
    """The answer to `id`. Times are in seconds."""

    id: int
    tensors: list[Head]
    queue: float
    compute: float
    batch_rows: int


class Traced(msgspec.Struct, array_like=True):
    """A traced request of a batch: the span that asked, when it arrived (s of CLOCK_MONOTONIC), and whether it alone failed."""

    trace: tuple[str, str]
    arrived: float
    failed: bool


class Ran(msgspec.Struct, tag="ran", array_like=True):
    """A batch has run, `whole` or in parts, in which requests were traced: told once, to one of those who asked. Moments as in `Traced`."""

    model: str
    version: int
    device: dict[str, str]
    bucket: str
    rows: int
    requests: int
    started: float
    ended: float
    whole: bool
    traced: list[Traced]


class Failure(msgspec.Struct, tag="error", array_like=True):
    """`id` has no answer. `kind` names one of the errors that `engine.client` raises."""

    id: int
    kind: str
    message: str
    retry_after: float = 0.0


class StatsRequest(msgspec.Struct, tag="stats?", array_like=True):
    """Ask for the engine's metrics."""

    id: int


class Stats(msgspec.Struct, tag="stats", array_like=True):
    """The engine's metrics: a `service.snapshots.Snapshot`, as plain data."""

    id: int
    snapshot: Any


class Hold(msgspec.Struct, tag="hold", array_like=True):
    """For tests: start no batch until `requests` requests are queued, so that a batch's members are certain."""

    requests: int


EngineMessage = Hello | Infer | Cancel | Result | Ran | Failure | StatsRequest | Stats | Hold

STRINGS = "|O"
dtype_of = functools.cache(np.dtype)
"""A dtype by its short form: looking it up costs less than making it."""

M = TypeVar("M")
Tensors = Mapping[str, np.ndarray]


def pack(tensors: Tensors) -> tuple[list[Head], list[bytes | memoryview]]:
    """Heads and buffers of `tensors`. Contiguous arrays are sent from where they lie, without a copy."""
    heads: list[Head] = []
    buffers: list[bytes | memoryview] = []
    for name, array in tensors.items():
        data = raw(array)
        heads.append(Head(name, array.dtype.str, array.shape, len(data)))
        buffers.append(data)
    return heads, buffers


def raw(array: np.ndarray) -> bytes | memoryview:
    """The bytes of `array` as they travel: where they lie, if they lie together."""
    if array.dtype.hasobject:
        return b"".join(map(with_length, array.ravel().tolist()))
    if not array.flags.c_contiguous:
        array = np.ascontiguousarray(array)
    return array.data.cast("B") if array.size else b""


def with_length(element: bytes | str) -> bytes:
    """A string as it travels. ONNX Runtime gives text where callers send bytes."""
    data = element.encode() if isinstance(element, str) else element
    return _LENGTH.pack(len(data)) + data


def unpack(heads: Sequence[Head], body: memoryview) -> dict[str, np.ndarray]:
    """The tensors in `body`, as views on it where the element type allows."""
    tensors, start = {}, 0
    for head in heads:
        data = body[start : start + head.size]
        start += head.size
        if head.dtype == STRINGS:
            elements = split_strings(data)
            flat = np.empty(len(elements), dtype=object)
            flat[:] = elements
        else:
            flat = np.frombuffer(data, dtype_of(head.dtype))
        tensors[head.name] = flat.reshape(head.shape)
    return tensors


def split_strings(data: memoryview) -> list[bytes]:
    """Elements of u32 length + bytes. Raises ValueError where a length points beyond the end."""
    elements, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise ValueError("a length is cut off")
        (size,) = _LENGTH.unpack_from(data, at)
        at += 4
        if at + size > len(data):
            raise ValueError(f"an element of {size} bytes has only {len(data) - at}")
        elements.append(bytes(data[at : at + size]))
        at += size
    return elements


class Channel(asyncio.BufferedProtocol, Generic[M]):
    """One end of a connection: messages out by `send`, messages in through `on_message`.

    `on_lost` is called once, whatever ended the connection. A body is copied once, out of the buffer that all
    frames arrive in; one that is larger than that is received where it stays.
    """

    def __init__(
        self,
        messages: Any,  # a Union of tagged Structs: not expressible as type[M]
        on_message: "Callable[[Channel[M], M, memoryview], None]",
        on_lost: "Callable[[Channel[M]], None]",
        on_open: "Callable[[Channel[M]], None]" = lambda channel: None,
    ) -> None:
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(messages)
        self._encoder = msgspec.msgpack.Encoder()
        self._on_message, self._on_lost, self._on_open = on_message, on_lost, on_open
        self._buffer = memoryview(bytearray(BUFFER))
        self._filled = 0
        self._large: memoryview | None = None
        self._out: list[bytes | memoryview] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.Transport, transport
        )  # uvloop's has the methods, not the class
        self._on_open(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return (self._buffer if self._large is None else self._large)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have arrived there."""
        self._filled += nbytes
        if self._large is None:
            self._take_frames()
        elif self._filled == len(self._large):
            frame, self._large, self._filled = self._large, None, 0
            header, _ = _PREFIX.unpack_from(frame)
            body = _PREFIX.size + header
            self._on_message(self, self._decoder.decode(frame[_PREFIX.size : body]), frame[body:])

    def _take_frames(self) -> None:
        """Every whole frame in the buffer; what is left moves to its beginning."""
        view, start = self._buffer, 0
        while self._filled - start >= _PREFIX.size:
            header, body = _PREFIX.unpack_from(view, start)
            begin = start + _PREFIX.size
            end = begin + header + body
            if header + body > MAX_FRAME:
                self.close()
                return
            if end - start > BUFFER:
                self._receive_large(view[start : self._filled], end - start)
                return
            if self._filled < end:
                break
            message = self._decoder.decode(view[begin : begin + header])
            # The one copy: tensors become views on it, aligned, and the buffer is free to move on.
            self._on_message(self, message, memoryview(bytes(view[begin + header : end])))
            start = end
        rest = self._filled - start
        if start and rest:
            view[:rest] = bytes(view[start : self._filled])
        self._filled = rest

    def _receive_large(self, begun: memoryview, size: int) -> None:
        """From now on the bytes go where the frame stays. numpy's memory, because nobody has to clear it first."""
        self._large = np.empty(size, np.uint8).data
        self._large[: len(begun)] = begun
        self._filled = len(begun)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        # Who holds this end may be a while in going, and its buffer is large.
        self._buffer, self._large = memoryview(b""), None
        self._on_lost(self)

    @property
    def open(self) -> bool:
        """Whether messages can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def backlog(self) -> int:
        """Bytes that the other end has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, message: Any, body: Sequence[bytes | memoryview] = ()) -> None:
        """Queue one frame; after the connection is gone this does nothing, `on_lost` has said so."""
        if not self.open:
            return
        header = self._encoder.encode(message)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(_PREFIX.pack(len(header), sum(map(len, body))) + header)
        self._out.extend(body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and self.open:
            self._transport.writelines(out)

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
