"""Files by key: what the stores promise, each of them alike."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.errors import BundleError, RegistryUnavailable
from models.registry.objects import ObjectStore, opened
from models.registry.stores import LocalStore, Store


@pytest.fixture
def store(overlay: Path | str) -> Store:
    return opened(overlay)


def test_what_is_created_is_read_and_found(store: Store) -> None:
    assert store.find() == {}
    assert store.create("m/aliases/000001.json", b"one")
    assert store.read("m/aliases/000001.json") == b"one"
    assert list(store.find()) == list(store.find("m")) == ["m/aliases/000001.json"]
    assert list(store.find("m/aliases")) == ["m/aliases/000001.json"]
    assert store.find("other") == {}


def test_what_is_there_is_not_created_again(store: Store) -> None:
    assert store.create("m/aliases/000001.json", b"one")
    assert not store.create("m/aliases/000001.json", b"two")
    assert store.create("m/aliases/000001.json", b"one")  # it is as the caller wants it
    assert store.read("m/aliases/000001.json") == b"one"


def test_of_many_threads_one_creates(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        for number in range(5):
            made = list(
                pool.map(lambda n, k=f"m/x/{number}": store.create(k, b"%d" % n), range(16))
            )
            assert made.count(True) == 1
            assert store.read(f"m/x/{number}") == b"%d" % made.index(True)


def test_a_name_is_found_whole_and_never_as_the_beginning_of_another(store: Store) -> None:
    store.create("model/1/a", b"")
    store.create("model-2/1/a", b"")
    assert list(store.find("model")) == ["model/1/a"]


def test_files_lie_exactly_three_levels_deep(store: Store) -> None:
    for key in ("config", "m/config", "m/1/deep/er"):
        store.upload(key, Path(__file__))
    store.create("m/1/a", b"")
    assert list(store.find()) == ["m/1/a"]


def test_a_file_goes_in_and_out_unchanged(store: Store, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 50_000)  # above one chunk of any copy
    store.upload("m/1/file", source)
    store.download("m/1/file", target)
    assert target.read_bytes() == source.read_bytes()
    import hashlib

    assert store.digest("m/1/file") == hashlib.sha256(source.read_bytes()).hexdigest()


def test_what_is_not_there_cannot_be_read(store: Store, tmp_path: Path) -> None:
    store.create("m/1/a", b"")
    asks: list[Callable] = [
        store.read,
        store.digest,
        lambda key: store.download(key, tmp_path / "x"),
    ]
    for ask in asks:
        with pytest.raises(FileNotFoundError):
            ask("m/1/b")


def test_what_is_deleted_is_gone_and_may_be_deleted_again(store: Store) -> None:
    store.create("m/1/a", b"")
    store.delete("m/1/a")
    assert store.find() == {}
    store.delete("m/1/a")


def test_a_stamp_changes_with_the_file_and_only_with_it(store: Store, tmp_path: Path) -> None:
    store.create("m/1/a", b"one")
    first = store.find()["m/1/a"]
    assert store.find()["m/1/a"] == first
    source = tmp_path / "source"
    source.write_bytes(b"three")
    store.upload("m/1/a", source)
    assert store.find()["m/1/a"] != first


def test_a_lost_answer_is_no_lost_race(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client library asks again when an answer gets lost, and hears that the file exists."""
    store = ObjectStore(f"{bucket}/lost")
    pipe_file = store._files.pipe_file

    def twice(path: str, data: bytes, mode: str) -> None:
        pipe_file(path, data, mode=mode)
        pipe_file(path, data, mode=mode)

    monkeypatch.setattr(store._files, "pipe_file", twice)
    assert store.create("m/aliases/000001.json", b"mine")
    assert not store.create("m/aliases/000001.json", b"another's")


def test_a_listing_of_more_than_one_page_is_whole(bucket: str) -> None:
    store = ObjectStore(f"{bucket}/pages")
    store._files.pipe({f"{store._base}/m/x/{n}": b"" for n in range(1001)})
    assert len(store.find("m")) == 1001


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "simplecache::s3://b/x", "file:///tmp/x", "gs://b"]
)
def test_a_place_where_creating_is_not_one_step_is_refused(url: str) -> None:
    with pytest.raises(RegistryUnavailable, match=r"cannot hold a registry.*s3, s3a, memory"):
        opened(url)


def test_a_bucket_that_is_not_there_is_told(bucket: str) -> None:
    store = opened("s3://no-such-bucket-anywhere/x")
    with pytest.raises((RegistryUnavailable, FileNotFoundError)):
        store.create("m/1/a", b"")


# ------------------------------------------------------------------------------------------------------------------- on a disk


def test_half_a_creation_leaves_nothing_that_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", interrupted)
    store = LocalStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.create("m/1/a", b"data")
    assert list((tmp_path / "m" / "1").iterdir()) == []


def test_a_file_that_leads_outside_is_neither_read_nor_placed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    directory = tmp_path / "root" / "m" / "1"
    directory.mkdir(parents=True)
    (directory / "model.onnx").symlink_to(tmp_path / "secret")
    store = LocalStore(tmp_path / "root")
    for ask in (store.read, store.digest):
        with pytest.raises(BundleError, match=r"model\.onnx leads to .*secret, outside of .*root"):
            ask("m/1/model.onnx")
    with pytest.raises(BundleError, match="outside"):
        store.place("m/1")


def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts files: each a link to a directory beside it."""
    directory = tmp_path / "m" / "1"
    (directory / "..data").mkdir(parents=True)
    (directory / "..data" / "model.onnx").write_text("graph")
    (directory / "model.onnx").symlink_to("..data/model.onnx")
    store = LocalStore(tmp_path)
    assert list(store.find()) == ["m/1/model.onnx"]
    assert store.place("m/1") == directory
    assert store.read("m/1/model.onnx") == b"graph"


def test_nothing_is_written_through_a_link_that_leads_outside(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "m").symlink_to(tmp_path / "outside")
    store = LocalStore(tmp_path / "root")
    with pytest.raises(BundleError, match="outside of"):
        store.create("m/1/a", b"")
    with pytest.raises(BundleError, match="outside of"):
        store.upload("m/1/a", Path(__file__))
    (tmp_path / "outside" / "1").mkdir()
    (tmp_path / "outside" / "1" / "a").touch()
    with pytest.raises(BundleError, match="outside of"):
        store.delete("m/1/a")
    assert (tmp_path / "outside" / "1" / "a").exists()


def test_links_in_a_circle_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "a").symlink_to("a")
    (tmp_path / "m" / "2").symlink_to("2")
    assert LocalStore(tmp_path).find() == {}


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where a directory belongs")
    with pytest.raises(RegistryUnavailable, match="cannot be used: "):
        LocalStore(tmp_path).create("m/1/a", b"")


def test_a_directory_that_has_gone_is_missed_and_not_made_anew(tmp_path: Path) -> None:
    root = tmp_path / "root"
    store = LocalStore(root)
    assert store.find() == {}, "it was never there"
    assert store.create("m/aliases/1", b"one")
    root.rename(tmp_path / "away")
    for use in (store.find, lambda: store.create("m/aliases/2", b""), lambda: store.read("m/a/1")):
        with pytest.raises(RegistryUnavailable, match="has gone"):
            use()
    assert not root.exists()
    (tmp_path / "away").rename(root)
    assert list(store.find()) == ["m/aliases/1"]


def test_a_cache_that_was_emptied_is_made_anew(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "cache", lasting=False)
    assert store.create("m/1/a", b"one")
    shutil.rmtree(tmp_path / "cache")
    assert store.create("m/1/a", b"two")
