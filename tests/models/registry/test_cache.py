"""Local copies of what lies in an object store: whole, verified, and there while the store is not."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import live
import pytest
import s3
import toys

from models import bundle
from models.errors import BundleError, RegistryUnavailable
from models.registry import Registry, objects


@pytest.fixture
def overlay() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def fetched(registry: Registry, made: Path) -> Path:
    """The copy of version 2."""
    registry.publish(made, who="anna")
    return registry.resolve("toy-image", 2)[1]


def replaced(registry: Registry, key: str, data: bytes, folder: Path) -> None:
    source = folder / "other"
    source.write_bytes(data)
    registry._overlay.upload(key, source)


def downloads(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that are downloaded from here on."""
    keys: list[str] = []
    real = registry._overlay.download

    def counted(key: str, target: Path) -> None:
        keys.append(key)
        real(key, target)

    monkeypatch.setattr(registry._overlay, "download", counted)
    return keys


def test_a_copy_is_fetched_once(
    registry: Registry, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = downloads(registry, monkeypatch)
    assert registry.resolve("toy-image", 2)[1] == fetched
    assert keys == []


def test_what_the_seed_holds_is_never_fetched(registry: Registry, seed: Path) -> None:
    assert registry.resolve("toy-image", 1)[1] == seed / "toy-image" / "1"


@pytest.mark.parametrize("how", ["longer", "same size", "missing", "no record"])
def test_a_copy_that_was_touched_is_fetched_again(
    registry: Registry, fetched: Path, how: str
) -> None:
    path = fetched / "model.fp32.onnx"
    if how == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    elif how == "same size":
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(1, 1))
    elif how == "missing":
        path.unlink()
    else:
        (fetched / ".fetched.json").write_bytes(b"{")
    assert registry.resolve("toy-image", 2)[1] == fetched
    bundle.verify(fetched, bundle.read(fetched))


def test_a_version_that_differs_from_the_copy_is_fetched_again(
    registry: Registry, fetched: Path, tmp_path: Path
) -> None:
    manifest = (fetched / bundle.MANIFEST).read_bytes()
    replaced(
        registry, "toy-image/2/manifest.json", manifest.replace(b"a toy", b"2nd toy"), tmp_path
    )
    registry.resolve("toy-image", 2)
    assert bundle.read(fetched).description == "2nd toy"


def test_what_arrives_with_another_sha256_is_refused_and_leaves_nothing(
    registry: Registry, made: Path, tmp_path: Path
) -> None:
    registry.publish(made, who="anna")
    replaced(registry, "toy-image/2/model.fp32.onnx", b"not what was published", tmp_path)
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx has sha256"):
        registry.resolve("toy-image", 2)
    folder = next((tmp_path / "cache" / "one").iterdir()) / "toy-image"
    assert {path.name for path in folder.iterdir()} == {"aliases", ".2.lock"}


def test_a_version_that_misses_a_file_is_refused(registry: Registry, made: Path) -> None:
    registry.publish(made, who="anna")
    registry._overlay.delete("toy-image/2/samples.npz")
    with pytest.raises(BundleError, match="toy-image/2 is not whole"):
        registry.resolve("toy-image", 2)


def test_a_version_that_says_it_is_another_is_refused(
    registry: Registry, fetched: Path, tmp_path: Path
) -> None:
    manifest = (fetched / bundle.MANIFEST).read_bytes()
    other = manifest.replace(b'"version": 2', b'"version": 3')
    replaced(registry, "toy-image/2/manifest.json", other, tmp_path)
    with pytest.raises(BundleError, match="toy-image/2 holds toy-image/3"):
        registry.resolve("toy-image", 2)


def test_what_a_killed_fetch_left_is_swept_away(registry: Registry, made: Path) -> None:
    registry.publish(made, who="anna")
    folder = registry._cache.directory / "toy-image"
    (folder / ".2.0123456789").mkdir(parents=True)
    (folder / ".2.0123456789" / "model.fp32.onnx").write_bytes(b"half")
    registry.resolve("toy-image", 2)
    assert {path.name for path in folder.iterdir()} == {"aliases", "2", ".2.lock"}


def test_two_stores_never_share_copies(seed: Path, made: Path, tmp_path: Path) -> None:
    found = set()
    for url in ("memory://a-b", "memory://a/b"):
        registry = Registry([], url, tmp_path / "cache")
        registry.publish(made, who="anna")
        found.add(registry.resolve("toy-image")[1])
    assert len(found) == 2


def test_a_remote_overlay_needs_a_cache(seed: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="needs a local directory for copies"):
        Registry([seed], "memory://x")


# ------------------------------------------------------------------------------------------------------- when the store is away


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[live.Program]:
    """A server of its own, for a test that ends it."""
    with s3.serving(tmp_path) as program:
        for name, value in {**s3.CREDENTIALS, "AWS_ENDPOINT_URL": program.said}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(objects, "RETRIES", 1)
        kind = fsspec.get_filesystem_class("s3")
        kind.clear_instance_cache()
        yield program
        kind.clear_instance_cache()


def test_while_the_store_is_away_what_was_fetched_is_used_and_the_rest_is_an_error(
    server: live.Program,
    seed: Path,
    made: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    toys.series(seed)
    overlay, cache = f"s3://{s3.BUCKET}/away", tmp_path / "cache"
    registry = Registry([seed], overlay, cache)
    for _ in range(2):
        registry.publish(made, who="anna")
    registry.promote("toy-image", 2, who="anna")
    registry.snapshot()
    _, directory = registry.resolve("toy-image")
    server.process.terminate()
    server.process.wait()

    for one in (
        registry,
        Registry([seed], overlay, cache),
    ):  # the same process, and one that starts now
        caplog.clear()
        assert one.resolve("toy-image") == (2, directory)
        assert "what was fetched before is used" in caplog.text
        assert one.resolve("toy-image", "previous")[0] == 1
        assert one.resolve("toy-series")[0] == 1
        assert one.models() == ["toy-image", "toy-series"]
        assert one.manifest("toy-image").version == 2
        with pytest.raises(RegistryUnavailable, match=f"the registry {overlay} cannot be used"):
            one.resolve("toy-image", 3)  # published, never fetched here
    for ask in (
        registry.snapshot,
        lambda: registry.promote("toy-image", 1, who="anna"),
        lambda: registry.publish(made, who="anna"),
        lambda: registry.history("toy-image"),
        lambda: registry.resolve("never-asked-for"),
    ):
        with pytest.raises(RegistryUnavailable, match="cannot be used"):
            ask()
    fresh = Registry([seed], overlay, tmp_path / "another machine")
    with pytest.raises(RegistryUnavailable, match="cannot be used"):
        fresh.resolve("toy-image")  # the seed has it, but nobody here knows who answers


def test_the_copy_of_a_removed_version_goes_once_nobody_uses_it(
    registry: Registry, made: Path, fetched: Path
) -> None:
    registry.publish(made, who="anna")
    kept = registry.resolve("toy-image", 3)[1]
    registry.tidy(registry.snapshot(), ())
    assert fetched.is_dir()  # it has not been removed
    registry.remove("toy-image", 2, who="anna")
    registry.tidy(registry.snapshot(), [("toy-image", 2)])
    assert fetched.is_dir()
    registry.tidy(registry.snapshot(), [("toy-image", 3)])
    registry.tidy(registry.snapshot(), [("toy-image", 3)])
    left = {path.name for path in fetched.parent.iterdir()}
    assert left == {"3", ".3.lock", "aliases"}
    assert registry.resolve("toy-image", 3)[1] == kept
