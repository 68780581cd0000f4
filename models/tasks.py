"""Pre- and post-processing as a manifest declares it: bytes, series and text -> tensors; tensors -> predictions.

Training and serving both go through here, so the two cannot differ. It must not know torch, ONNX Runtime or the web.

    an image, a series, a text  -> Processor.row -> {input name: array without a batch axis}
    rows of equal shapes        -> stack         -> {input name: array [rows, ...]}
    probabilities [classes]     -> prediction    -> label, probability, top k
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tokenizers import Tokenizer

from models.errors import BundleError, InputError, Malformed, NotFinite, TooLarge, Undecodable

Row = dict[str, np.ndarray]

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 25_000_000
"""More, in one picture or in a request's pictures together, are refused before they are decoded: 100 MB of RGBA."""
MAX_CHARACTERS_PER_TOKEN = 64
"""Texts far beyond what the model takes are refused before the tokenizer spends time on them."""


class ImageTask(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="kind"
):
    """Classify a picture. Row: `input` float32 [channels, height, width], grey or RGB, 0..1.

    The picture is turned upright (EXIF), laid on black where it is transparent, scaled so that its
    longer side fits, and centred on black. A picture of exactly the model's size passes unchanged.
    """

    input: str
    height: int
    width: int
    channels: int = 1


class SeriesTask(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="series", tag_field="kind"
):
    """Classify a time series. Rows: `input` float32 [time, channels], `lengths` int32 [] = time."""

    input: str
    lengths: str
    channels: tuple[str, ...]
    minimum: int
    maximum: int
    rate_hz: float


class TextTask(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="kind"
):
    """Classify a text. Rows: `ids` and `mask` int64 [tokens], special tokens included."""

    ids: str
    mask: str
    tokenizer: str
    maximum: int


class TensorTask(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="tensors", tag_field="kind"
):
    """Tensors in, tensors out: nothing is known of what they mean, so /v2 alone can ask for it."""


Task = ImageTask | SeriesTask | TextTask | TensorTask


class Processor(Protocol):
    """What a task declares, ready for use. `row` and `check` raise InputError where something cannot be."""

    def row(self, item: object) -> Row:
        """One item as tensors without a batch axis."""
        ...

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Whether tensors [rows, ...] of the declared types and shapes also hold values that rows could hold."""
        ...

    def weight(self, item: object) -> int:
        """Roughly how many bytes `row` will go through, told without going through them."""
        ...


def processor(task: Task, directory: Path) -> Processor:
    """The processor that `task` declares; files that it needs lie in the bundle's `directory`."""
    match task:
        case ImageTask():
            return ImageProcessor(task)
        case SeriesTask():
            return SeriesProcessor(task)
        case TextTask():
            return TextProcessor(task, directory / task.tokenizer)
        case TensorTask():
            return TensorProcessor()


class ImageProcessor:
    """Encoded pictures (PNG, JPEG, WebP) or uint8 arrays [height, width(, channels)] -> rows."""

    def __init__(self, task: ImageTask) -> None:
        self.task = task

    def row(self, item: object) -> Row:
        if isinstance(item, bytes | bytearray | memoryview):
            picture = self._decode(bytes(item))
        elif isinstance(item, np.ndarray) and item.dtype == np.uint8:
            picture = Image.fromarray(item)
        else:
            raise InputError(f"an image is bytes or a uint8 array, not {type(item).__name__}")
        array = np.asarray(self._fit(picture), dtype=np.float32) / np.float32(255)
        channels_first = array[None] if self.task.channels == 1 else array.transpose(2, 0, 1)
        return {self.task.input: np.ascontiguousarray(channels_first)}

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Any finite pixel is one."""

    def weight(self, item: object) -> int:
        """Four bytes a pixel, from the header alone: a small file can hold a large picture."""
        if isinstance(item, bytes):
            with (
                contextlib.suppress(Exception),
                Image.open(io.BytesIO(item), formats=IMAGE_FORMATS) as picture,
            ):
                return 4 * picture.width * picture.height
        return 0

    def _decode(self, data: bytes) -> Image.Image:
        if not data:
            raise Malformed("the body is empty, an image was expected")
        try:
            picture = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        except UnidentifiedImageError as error:
            raise Undecodable("the body is not a PNG, JPEG or WebP image") from error
        except Image.DecompressionBombError as error:
            raise TooLarge(f"the image has too many pixels, the limit is {MAX_PIXELS:,}") from error
        except Exception as error:
            raise Undecodable(f"the image cannot be read: {error}") from error
        if (pixels := picture.width * picture.height) > MAX_PIXELS:
            raise TooLarge(
                f"the image has {picture.width} x {picture.height} = {pixels:,} pixels, "
                f"the limit is {MAX_PIXELS:,}"
            )
        try:
            # JPEG can be decoded at a fraction of its size, where that is still more than is needed.
            picture.draft(None, (4 * self.task.width, 4 * self.task.height))
            picture.load()
            return ImageOps.exif_transpose(picture)
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        except Exception as error:
            raise Undecodable(f"the {picture.format} image is damaged: {error}") from error

    def _fit(self, picture: Image.Image) -> Image.Image:
        task = self.task
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            ground = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(ground, picture)
        if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
            # Pillow clips 16-bit grey at 255 instead of scaling it.
            picture = Image.fromarray((np.asarray(picture, dtype=np.uint32) >> 8).astype(np.uint8))
        picture = picture.convert("L" if task.channels == 1 else "RGB")
        if picture.size == (task.width, task.height):
            return picture
        return ImageOps.pad(picture, (task.width, task.height), Image.Resampling.LANCZOS)


class SeriesProcessor:
    """Numbers [time][channels] -> rows."""

    def __init__(self, task: SeriesTask) -> None:
        self.task = task

    def row(self, item: object) -> Row:
        task, wanted = self.task, len(self.task.channels)
        try:
            # Too large a number becomes an infinity, which is refused below by its place.
            with np.errstate(over="ignore"):
                array = np.asarray(item)
                if array.dtype.kind not in "iuf":
                    raise ValueError("not numbers")
                array = array.astype(np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"a series is a list of samples of {wanted} numbers each, all of equal length"
            ) from error
        if array.ndim != 2:
            raise InputError(f"a series has 2 axes (time, channels), this one has {array.ndim}")
        time, channels = array.shape
        if channels != wanted:
            names = ", ".join(task.channels)
            raise InputError(
                f"the series has {channels} channels, the model takes {wanted} ({names})"
            )
        if not task.minimum <= time <= task.maximum:
            seconds = f"{task.minimum / task.rate_hz:g} to {task.maximum / task.rate_hz:g} s"
            raise InputError(
                f"the series has {time} samples, the model takes {task.minimum} to {task.maximum} "
                f"({seconds} at {task.rate_hz:g} Hz)"
            )
        if not np.isfinite(array).all():
            step, channel = np.argwhere(~np.isfinite(array))[0]
            raise NotFinite(f"the series holds NaN or an infinity, first at [{step}][{channel}]")
        return {task.input: array, task.lengths: np.array(time, dtype=np.int32)}

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Every length within the series: 1 to its samples."""
        lengths, samples = tensors[self.task.lengths], tensors[self.task.input].shape[1]
        if lengths.min() < 1 or lengths.max() > samples:
            raise InputError(
                f"input '{self.task.lengths}' holds {lengths.min()} to {lengths.max()}, "
                f"'{self.task.input}' has {samples} samples"
            )

    def weight(self, item: object) -> int:
        return 100 * len(item) if isinstance(item, list) else 0


class TextProcessor:
    """Texts -> token rows, with the tokenizer that the bundle carries."""

    def __init__(self, task: TextTask, tokenizer: Path) -> None:
        self.task = task
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{tokenizer}: {error}") from error
        # The file may ask for both; a cut text would be answered as if it had been read whole.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._last_token = self._tokenizer.get_vocab_size() - 1

    def row(self, item: object) -> Row:
        if not isinstance(item, str):
            raise InputError(f"a text is a string, not {type(item).__name__}")
        if not item.strip():
            raise InputError("the text is empty")
        most = self.task.maximum * MAX_CHARACTERS_PER_TOKEN
        if len(item) > most:
            raise TooLarge(f"the text has {len(item):,} characters, the limit is {most:,}")
        encoding = self._tokenizer.encode(item)
        if (count := len(encoding.ids)) > self.task.maximum:
            raise TooLarge(
                f"the text has {count:,} tokens, the model takes at most {self.task.maximum}"
            )
        return {
            self.task.ids: np.array(encoding.ids, dtype=np.int64),
            self.task.mask: np.array(encoding.attention_mask, dtype=np.int64),
        }

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Known tokens; a mask of ones, then zeros. Other masks would scale attention, and a batch's int8 with it."""
        ids, mask = tensors[self.task.ids], tensors[self.task.mask]
        if ids.min() < 0 or ids.max() > self._last_token:
            raise InputError(
                f"input '{self.task.ids}' holds {ids.min()} to {ids.max()}, tokens are 0 to {self._last_token}"
            )
        least, most = mask.min(), mask.max()
        if least == 1 == most:
            return
        rising = (mask[:, 1:] > mask[:, :-1]).any()
        if least < 0 or most > 1 or rising or not mask[:, 0].all():
            raise InputError(f"input '{self.task.mask}' must hold ones, then zeros, in every row")

    def weight(self, item: object) -> int:
        return len(item) if isinstance(item, str) else 0


class TensorProcessor:
    """Nothing can be made into tensors here, and any values may be in them."""

    def row(self, item: object) -> Row:
        raise InputError("the model takes tensors, which only /v2 can bring")

    def check(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Any value is one."""

    def weight(self, item: object) -> int:
        return 0


def stack(rows: Sequence[Row]) -> Row:
    """Rows of equal shapes as one batch: every array gains a first axis of len(rows)."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class Ranked(msgspec.Struct, frozen=True):
    """One label with its probability."""

    label: str
    probability: float


class Prediction(msgspec.Struct, frozen=True):
    """What a classifier says of one item: the likeliest label, and the runners-up in `top`."""

    label: str
    probability: float
    top: list[Ranked]


def prediction(probabilities: np.ndarray, labels: Sequence[str], top: int = 3) -> Prediction:
    """Read one row of probabilities [classes]."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    ranked = [Ranked(labels[i], round(float(probabilities[i]), 6)) for i in order]
    return Prediction(ranked[0].label, ranked[0].probability, ranked)


def shape_key(row: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """What two rows must share to be stacked."""
    return tuple(array.shape for array in row.values())
