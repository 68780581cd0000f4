"""The input tensors of one row as bytes, and back. Pure; it must not know what the tensors mean, or where the bytes are kept."""

import struct
import zlib

import msgspec
import numpy as np

from models.errors import DataError

LEVEL = 1
"""zlib's fastest: it is paid for every kept row."""
_LENGTH = struct.Struct("<I")

Row = dict[str, np.ndarray]
Packed = dict[str, tuple[str, tuple[int, ...], bytes]]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Packed)


def encode(row: Row) -> bytes:
    """`row`, tensors without a batch axis: name -> (dtype, shape, bytes), compressed."""
    packed: Packed = {
        name: (array.dtype.str, array.shape, raw(array)) for name, array in row.items()
    }
    return zlib.compress(_encoder.encode(packed), LEVEL)


def decode(data: bytes) -> Row:
    """What `encode` was given. DataError where it made something else."""
    try:
        packed = _decoder.decode(zlib.decompress(data))
        return {name: tensor(*one) for name, one in packed.items()}
    except (zlib.error, msgspec.MsgspecError, ValueError, TypeError, struct.error) as error:
        raise DataError(f"a kept input cannot be read: {error}") from error


def raw(array: np.ndarray) -> bytes:
    """The elements one after another; strings as u32 length + bytes each."""
    if not array.dtype.hasobject:
        return array.tobytes()
    elements = [one.encode() if isinstance(one, str) else one for one in array.ravel().tolist()]
    return b"".join(_LENGTH.pack(len(one)) + one for one in elements)


def tensor(dtype: str, shape: tuple[int, ...], data: bytes) -> np.ndarray:
    """The array that `raw` was given."""
    if not np.dtype(dtype).hasobject:
        return np.frombuffer(data, dtype).reshape(shape)
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        elements.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    flat = np.empty(len(elements), dtype=object)
    flat[:] = elements
    return flat.reshape(shape)
