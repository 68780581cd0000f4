"""What a caller may send, what is made of it, and the sentence that says why something else was refused."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from models import tasks
from models.errors import BundleError, InputError, Malformed, TooLarge

GREY = tasks.ImageProcessor(tasks.ImageTask("image", 28, 28))
COLOUR = tasks.ImageProcessor(tasks.ImageTask("image", 20, 30, 3))
SERIES = tasks.SeriesProcessor(
    tasks.SeriesTask("series", "lengths", ("ax", "ay", "az"), 4, 12, 2.0)
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tasks.TextProcessor:
    directory = toys.text(tmp_path_factory.mktemp("text"))
    task = tasks.TextTask("input_ids", "attention_mask", "tokenizer.json", 16)
    return tasks.TextProcessor(task, directory / "tokenizer.json")


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header says that it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# Images


@given(
    st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16"]),
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(tasks.IMAGE_FORMATS),
)
@settings(max_examples=80, deadline=None)
def test_a_picture_of_any_size_mode_and_format_becomes_the_declared_shape(
    mode: str, width: int, height: int, kind: str
) -> None:
    if mode == "I;16":
        wide = np.random.default_rng(0).integers(0, 2**16, (height, width))
        picture = Image.fromarray(wide.astype(np.uint16))
        kind = "PNG"
    else:
        picture = Image.fromarray(noise(height, width, 3)).convert(mode)
    if kind == "JPEG" and mode in ("RGBA", "LA", "P"):
        picture = picture.convert("RGB")
    if kind == "PNG" and mode == "CMYK":
        kind = "JPEG"
    for processor, shape in ((GREY, (1, 28, 28)), (COLOUR, (3, 20, 30))):
        row = processor.row(encoded(picture, kind))["image"]
        assert row.shape == shape
        assert row.dtype == np.float32
        assert row.flags.c_contiguous
        assert 0 <= row.min() <= row.max() <= 1


def test_a_picture_of_the_models_size_passes_unchanged() -> None:
    pixels = noise(28, 28)
    for item in (pixels, encoded(Image.fromarray(pixels))):
        row = GREY.row(item)["image"]
        np.testing.assert_array_equal(row[0], pixels.astype(np.float32) / np.float32(255))


def test_a_colour_picture_of_the_models_size_passes_unchanged_channels_first() -> None:
    pixels = noise(20, 30, 3)
    row = COLOUR.row(encoded(Image.fromarray(pixels)))["image"]
    np.testing.assert_array_equal(row, pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def test_bytes_may_come_as_bytes_bytearray_or_memoryview() -> None:
    data = encoded(Image.fromarray(noise(28, 28)))
    rows = [GREY.row(kind(data))["image"] for kind in (bytes, bytearray, memoryview)]
    np.testing.assert_array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[0], rows[2])


def test_a_single_pixel_fills_the_picture() -> None:
    row = GREY.row(encoded(Image.new("L", (1, 1), 200)))["image"]
    np.testing.assert_allclose(row, 200 / 255, atol=1e-6)


def test_a_wide_picture_is_centred_on_black_and_keeps_its_proportions() -> None:
    row = GREY.row(encoded(Image.new("L", (56, 28), 255)))["image"][0]
    np.testing.assert_array_equal(row[:7], 0)
    np.testing.assert_array_equal(row[21:], 0)
    np.testing.assert_allclose(row[7:21], 1, atol=1e-6)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    wide = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    row = GREY.row(encoded(Image.fromarray(wide)))["image"][0]
    np.testing.assert_allclose(row, wide / 65535, atol=1 / 250)


def test_a_transparent_palette_is_laid_on_black() -> None:
    picture = Image.new("P", (28, 28), 1)
    picture.putpalette([255, 255, 255, 255, 255, 255])
    picture.paste(0, (0, 0, 14, 28))
    row = GREY.row(encoded(picture, transparency=0))["image"][0]
    np.testing.assert_array_equal(row[:, :14], 0)
    np.testing.assert_array_equal(row[:, 14:], 1)


def test_half_transparent_white_is_half_bright() -> None:
    row = GREY.row(encoded(Image.new("RGBA", (28, 28), (255, 255, 255, 128))))["image"]
    np.testing.assert_allclose(row, 128 / 255, atol=1 / 255)


def test_a_cmyk_jpeg_is_read_in_its_colours() -> None:
    picture = Image.new("RGB", (30, 20), (250, 0, 0)).convert("CMYK")
    red, green, blue = COLOUR.row(encoded(picture, "JPEG", quality=95))["image"].mean((1, 2))
    assert red > 0.9
    assert max(green, blue) < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_picture_is_turned_upright(orientation: int) -> None:
    upright = np.zeros((28, 28), dtype=np.uint8)
    upright[:14, :14] = 255
    upright[:14, 14:] = 100
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    row = GREY.row(encoded(stored, "PNG", exif=exif))["image"][0]
    np.testing.assert_array_equal(row, upright.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("data", [b"hello", b"%PDF-1.7", b"GIF89a", b"\0" * 100, b"\x89PNG"])
def test_what_is_no_image_is_refused_and_the_formats_are_named(data: bytes) -> None:
    with pytest.raises(InputError, match="PNG, JPEG or WebP") as caught:
        GREY.row(data)
    assert not isinstance(caught.value, TooLarge | Malformed)


def test_another_image_format_is_refused() -> None:
    for kind in ("GIF", "BMP", "TIFF"):
        with pytest.raises(InputError, match="PNG, JPEG or WebP"):
            GREY.row(encoded(Image.new("L", (28, 28)), kind))


def test_an_empty_body_is_malformed() -> None:
    with pytest.raises(Malformed, match="empty"):
        GREY.row(b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_refused_as_damaged(kind: str, share: float) -> None:
    data = encoded(Image.fromarray(noise(64, 64)), kind)
    with pytest.raises(InputError, match=f"(the {kind} image is damaged|cannot be read)"):
        GREY.row(data[: int(share * len(data))])


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_refused_or_read_and_raise_nothing_else(data: bytes, at: int) -> None:
    whole = bytearray(encoded(Image.fromarray(noise(16, 16)), "JPEG"))
    whole[at : at + len(data)] = data
    with contextlib.suppress(InputError):
        assert GREY.row(bytes(whole))["image"].shape == (1, 28, 28)


def test_a_picture_that_claims_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    data = png_claiming(50_000, 50_000)
    assert len(data) < 100
    with pytest.raises(TooLarge, match="25,000,000"):
        GREY.row(data)


@pytest.mark.filterwarnings(  # Pillow warns from 89 megapixels on, before our own limit speaks
    "ignore:Image size .* exceeds limit:PIL.Image.DecompressionBombWarning"
)
@pytest.mark.parametrize(("width", "height"), [(8000, 5001), (10_000, 10_000)])
def test_too_many_pixels_are_refused_with_both_numbers(width: int, height: int) -> None:
    with pytest.raises(TooLarge) as caught:
        GREY.row(png_claiming(width, height))
    assert f"{width * height:,}" in str(caught.value)
    assert "25,000,000" in str(caught.value)


@pytest.mark.parametrize("item", ["text", 5, None, [[1, 2]], np.zeros((28, 28))])
def test_an_image_is_neither_text_nor_numbers(item: object) -> None:
    with pytest.raises(InputError, match=f"not {type(item).__name__}"):
        GREY.row(item)


# Series


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(4, 12), st.just(3)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_a_series_arrives_as_it_was_sent_with_its_length(series: np.ndarray) -> None:
    for item in (series, series.tolist()):
        row = SERIES.row(item)
        np.testing.assert_array_equal(row["series"], series)
        assert row["series"].dtype == np.float32
        assert row["lengths"].dtype == np.int32
        assert row["lengths"].shape == ()
        assert int(row["lengths"]) == len(series)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_wrong_channels_are_refused_with_both_numbers_and_the_names(channels: int) -> None:
    with pytest.raises(InputError, match=f"has {channels} channels, the model takes 3 .ax, ay, az"):
        SERIES.row([[0.0] * channels] * 6)


@pytest.mark.parametrize("time", [1, 3, 13, 500])
def test_a_series_too_short_or_too_long_is_refused_with_all_numbers(time: int) -> None:
    with pytest.raises(
        InputError, match=rf"has {time} samples, the model takes 4 to 12 \(2 to 6 s at 2 Hz\)"
    ):
        SERIES.row([[0.0] * 3] * time)


@pytest.mark.parametrize("time", [4, 12])
def test_the_shortest_and_the_longest_series_are_taken(time: int) -> None:
    assert SERIES.row([[0.0] * 3] * time)["series"].shape == (time, 3)


@pytest.mark.parametrize(
    "item",
    [
        [[1, 2, 3]] * 4 + [[1, 2]],
        [["a", "b", "c"]] * 5,
        [[None, {}, 3]] * 5,
        {"series": 1},
        "1 2 3",
    ],
)
def test_ragged_lists_and_things_that_are_no_numbers_are_refused(item: object) -> None:
    with pytest.raises(InputError, match="a series is a list of samples of 3 numbers each"):
        SERIES.row(item)


@pytest.mark.parametrize(("item", "axes"), [([1.0] * 6, 1), (3.0, 0), ([[[1.0] * 3] * 6], 3)])
def test_a_series_of_the_wrong_rank_is_refused_with_both_numbers(item: object, axes: int) -> None:
    with pytest.raises(InputError, match=f"has 2 axes .time, channels., this one has {axes}"):
        SERIES.row(item)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_refused_with_its_place(value: float) -> None:
    series = np.zeros((6, 3))
    series[4, 2] = value
    with pytest.raises(InputError, match=r"first at \[4\]\[2\]"):
        SERIES.row(series)


def test_an_empty_series_is_refused() -> None:
    for item in ([], [[]], np.zeros((0, 3))):
        with pytest.raises(InputError):
            SERIES.row(item)


# Texts


def test_a_text_becomes_ids_and_a_mask_without_padding(texts: tasks.TextProcessor) -> None:
    row = texts.row("good film bad")
    np.testing.assert_array_equal(row["input_ids"], [2, 1, 3])
    np.testing.assert_array_equal(row["attention_mask"], [1, 1, 1])
    assert {array.dtype for array in row.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("text", ["", " ", "\n\t  ", "\u00a0\u2003"])
def test_a_text_of_spaces_is_empty(texts: tasks.TextProcessor, text: str) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        texts.row(text)


@pytest.mark.parametrize("words", [17, 100])
def test_too_many_tokens_are_refused_with_both_numbers(
    texts: tasks.TextProcessor, words: int
) -> None:
    with pytest.raises(TooLarge, match=f"has {words} tokens, the model takes at most 16"):
        texts.row("good " * words)


def test_the_longest_text_is_taken_whole(texts: tasks.TextProcessor) -> None:
    assert len(texts.row("good " * 16)["input_ids"]) == 16


def test_ten_thousand_words_are_refused_before_the_tokenizer_runs(
    texts: tasks.TextProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "_tokenizer", None)
    with pytest.raises(TooLarge, match="has 50,000 characters, the limit is 1,024"):
        texts.row("good " * 10_000)


@pytest.mark.parametrize("item", [b"good", 5, None, ["good"]])
def test_a_text_is_a_string(texts: tasks.TextProcessor, item: object) -> None:
    with pytest.raises(InputError, match=f"not {type(item).__name__}"):
        texts.row(item)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_string_is_a_row_or_is_refused(texts: tasks.TextProcessor, text: str) -> None:
    try:
        row = texts.row(text)
    except InputError:
        return
    assert 1 <= len(row["input_ids"]) <= 16


def test_a_damaged_tokenizer_is_the_bundles_fault(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    task = tasks.TextTask("ids", "mask", "tokenizer.json", 16)
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(BundleError, match=r"tokenizer\.json"):
            tasks.processor(task, directory)


# Rows and answers


def test_each_task_gets_its_processor(tmp_path: Path) -> None:
    directory = toys.text(tmp_path)
    text = tasks.TextTask("ids", "mask", "tokenizer.json", 16)
    assert isinstance(tasks.processor(GREY.task, tmp_path), tasks.ImageProcessor)
    assert isinstance(tasks.processor(SERIES.task, tmp_path), tasks.SeriesProcessor)
    assert isinstance(tasks.processor(text, directory), tasks.TextProcessor)


@given(
    st.lists(
        arrays.arrays(np.float32, (4, 3), elements=st.floats(-9, 9, width=32)),
        min_size=1,
        max_size=6,
    )
)
def test_a_row_that_is_stacked_never_changes(series: list[np.ndarray]) -> None:
    rows = [SERIES.row(one) for one in series]
    batch = tasks.stack(rows)
    assert batch["series"].shape == (len(rows), 4, 3)
    assert batch["lengths"].shape == (len(rows),)
    for index, row in enumerate(rows):
        for name, array in row.items():
            np.testing.assert_array_equal(batch[name][index], array)
            assert batch[name].dtype == array.dtype


def test_rows_share_a_key_exactly_when_their_shapes_are_equal() -> None:
    short, long = SERIES.row([[0.0] * 3] * 4), SERIES.row([[1.0] * 3] * 5)
    assert tasks.shape_key(short) == tasks.shape_key(SERIES.row([[2.0] * 3] * 4))
    assert tasks.shape_key(short) != tasks.shape_key(long)


@given(
    arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(0, 1, width=32)),
    st.integers(1, 12),
)
def test_a_prediction_lists_the_likeliest_labels_first(shares: np.ndarray, top: int) -> None:
    labels = [f"class {i}" for i in range(len(shares))]
    said = tasks.prediction(shares, labels, top)
    assert len(said.top) == min(top, len(shares))
    assert said.label == said.top[0].label == labels[int(shares.argmax())]
    assert said.probability == round(float(shares.max()), 6)
    probabilities = [ranked.probability for ranked in said.top]
    assert probabilities == sorted(probabilities, reverse=True)


def test_equal_probabilities_are_listed_in_the_labels_order() -> None:
    said = tasks.prediction(np.full(4, 0.25, np.float32), "abcd")
    assert [ranked.label for ranked in said.top] == ["a", "b", "c"]
