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


def feed(channel: wire.Channel, data: bytes, piece: int = 1 << 20) -> None:
    """As a socket does: at most `piece` bytes at a time, into the buffer that the channel offers."""
    while data:
        room = channel.get_buffer(-1)
        count = min(piece, len(room), len(data))
        room[:count] = data[:count]
        channel.buffer_updated(count)
        data = data[count:]


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
    feed(channel, data, piece)
    assert seen == [(1, b""), (2, b""), (3, b"body")]


@pytest.mark.parametrize("piece", [1000, 65_536, 1 << 20])
async def test_bodies_larger_than_the_buffer_arrive_between_small_ones(piece: int):
    large = np.random.default_rng(0).integers(0, 255, 3 * wire.BUFFER, np.uint8).tobytes()
    data = await written(
        (wire.Cancel(1), [b"a"]), (wire.Cancel(2), [large]), (wire.Cancel(3), [b"b"])
    )
    seen = []
    channel = wire.Channel(
        wire.EngineMessage, lambda _, m, body: seen.append((m.id, bytes(body))), lambda _: None
    )
    channel.connection_made(Pipe())  # type: ignore[arg-type]
    feed(channel, data, piece)
    assert seen == [(1, b"a"), (2, large), (3, b"b")]


async def test_frames_arrive_whole_wherever_they_are_cut_in_two():
    data = await written(
        (wire.Cancel(1), [b"12345"]), (wire.Stats(2, {"a": 1}), ()), (wire.Cancel(3), [b"", b"6"])
    )
    for cut in range(len(data) + 1):
        seen: list[tuple[int, bytes]] = []
        channel = wire.Channel(
            wire.EngineMessage,
            lambda _, m, body, s=seen: s.append((m.id, bytes(body))),
            lambda _: None,
        )
        channel.connection_made(Pipe())  # type: ignore[arg-type]
        feed(channel, data[:cut])
        feed(channel, data[cut:])
        assert seen == [(1, b"12345"), (2, b""), (3, b"6")], cut


async def test_a_body_stays_as_it_was_when_later_frames_come():
    data = await written((wire.Cancel(1), [b"first"]), (wire.Cancel(2), [b"other"]))
    bodies: list[memoryview] = []
    channel = wire.Channel(
        wire.EngineMessage, lambda _, m, body: bodies.append(body), lambda _: None
    )
    channel.connection_made(Pipe())  # type: ignore[arg-type]
    for piece in (data[:30], data[30:], data):
        feed(channel, piece)
    assert list(map(bytes, bodies)) == [b"first", b"other", b"first", b"other"]


@pytest.mark.parametrize(
    ("header", "body", "ends"),
    [(wire.MAX_FRAME, 1, True), (1, wire.MAX_FRAME, True), (1, wire.MAX_FRAME - 1, False)],
)
async def test_a_frame_may_be_as_large_as_the_limit_and_no_larger(
    header: int, body: int, ends: bool
):
    pipe = Pipe()
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    channel.connection_made(pipe)  # type: ignore[arg-type]
    feed(channel, header.to_bytes(4, "little") + body.to_bytes(4, "little"))
    assert pipe.closed == ends


async def test_closing_sends_what_was_queued_first():
    pipe = Pipe()
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    channel.connection_made(pipe)  # type: ignore[arg-type]
    channel.send(wire.Cancel(1))
    channel.close()
    assert len(pipe.data) > 8
    assert pipe.closed
    assert not channel.open


async def test_a_frame_that_claims_to_be_huge_ends_the_connection():
    pipe = Pipe()
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    channel.connection_made(pipe)  # type: ignore[arg-type]
    feed(channel, b"\xff" * 8)
    assert pipe.closed


async def test_sending_after_the_end_does_nothing():
    lost = []
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lost.append)
    channel.connection_made(Pipe())  # type: ignore[arg-type]
    channel.connection_lost(None)
    channel.send(wire.Cancel(1))
    assert lost == [channel]


async def test_an_end_that_is_lost_holds_no_buffer_any_more():
    channel = wire.Channel(wire.EngineMessage, lambda *_: None, lambda _: None)
    assert len(channel.get_buffer(-1)) == wire.BUFFER
    channel.connection_lost(None)
    assert len(channel.get_buffer(-1)) == 0
