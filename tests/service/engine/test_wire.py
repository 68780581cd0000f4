"""Frames and tensors survive the socket, in any pieces."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.engine import wire

ARRAYS = st.one_of(
    *(
        hnp.arrays(dtype, hnp.array_shapes(max_dims=3, min_side=0, max_side=4))
        for dtype in ("float32", "int64", "bool", "float16", "uint8")
    )
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_tensors_come_back_bit_for_bit(tensors: dict[str, np.ndarray]):
    heads, buffers = wire.pack(tensors)
    back = wire.unpack(heads, memoryview(b"".join(buffers)))
    assert list(back) == list(tensors)
    for name, array in tensors.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=9))
def test_strings_come_back(elements: list[bytes]):
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    heads, buffers = wire.pack({"s": array})
    assert wire.unpack(heads, memoryview(b"".join(buffers)))["s"].tolist() == elements


@pytest.mark.parametrize("data", [b"\x01", b"\x05\x00\x00\x00ab"])
def test_a_string_length_beyond_the_end_is_refused(data: bytes):
    with pytest.raises(ValueError, match=r"cut off|only 2"):
        wire.split_strings(memoryview(data))


class Pipe:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False

    def writelines(self, pieces: list[bytes]) -> None:
        self.data += b"".join(pieces)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def written(*messages: tuple) -> bytes:
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    pipe = Pipe()
    channel.connection_made(pipe)  # type: ignore[arg-type]
    for message, body in messages:
        channel.send(message, body)
    assert pipe.data == b"", "frames of one tick leave together, at its end"
    await asyncio.sleep(0)
    return pipe.data


@pytest.mark.parametrize("piece", [1, 3, 7, 10_000])
async def test_frames_arrive_whole_however_they_are_cut(piece: int):
    data = await written(
        (wire.Cancel(1), ()), (wire.Stats(2, {"a": 1}), ()), (wire.Cancel(3), [b"body"])
    )
    seen = []
    channel = wire.Channel(
        wire.EngineMessage, lambda _, m, body: seen.append((m.id, bytes(body))), lambda _: None
    )
    channel.connection_made(Pipe())  # type: ignore[arg-type]
    for start in range(0, len(data), piece):
        channel.data_received(data[start : start + piece])
    assert seen == [(1, b""), (2, b""), (3, b"body")]


async def test_a_frame_that_claims_to_be_huge_ends_the_connection():
    pipe = Pipe()
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    channel.connection_made(pipe)  # type: ignore[arg-type]
    channel.data_received(b"\xff" * 8)
    assert pipe.closed


async def test_sending_after_the_end_does_nothing():
    lost = []
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lost.append)
    channel.connection_made(Pipe())  # type: ignore[arg-type]
    channel.connection_lost(None)
    channel.send(wire.Cancel(1))
    assert lost == [channel]
