"""What is published and how: bare files, other names, progress, and signatures that come afterwards. In every kind of overlay."""

from collections.abc import Callable
from pathlib import Path

import pytest

from models import bundle
from models.errors import BundleError
from models.registry import Registry, prepared, publishing
from models.registry.states import PUBLISHED

Opener = Callable[..., Registry]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "found.onnx"
    path.write_bytes(b"a graph, as far as a registry knows" * 100_000)
    return path


def test_a_bare_file_is_a_version_once_it_is_whole(
    registry: Registry, open_registry: Opener, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = publishing.finish

    def watched(*what) -> None:
        assert open_registry("two").versions("bare") == []
        finish(*what)

    monkeypatch.setattr(publishing, "finish", watched)
    assert registry.publish(prepared(file, "bare"), who="anna") == 1
    number, directory = open_registry("two").resolve("bare")
    assert (number, bundle.is_bare(directory)) == (1, True)
    assert (directory / bundle.BARE).read_bytes() == file.read_bytes()
    assert registry.manifest("bare", 1) is None


@pytest.mark.parametrize("overlay", ["memory", "s3"], indirect=True)
def test_a_bare_file_that_was_changed_in_the_store_is_refused(
    registry: Registry, open_registry: Opener, file: Path, tmp_path: Path
) -> None:
    registry.publish(prepared(file, "bare"), who="anna")
    (tmp_path / "other").write_bytes(b"another graph")
    registry._overlay.upload("bare/1/model.onnx", tmp_path / "other")
    with pytest.raises(BundleError, match=rf"'model\.onnx' has sha256 .*{PUBLISHED} says"):
        open_registry("two").resolve("bare")


def test_who_looks_on_hears_every_byte(registry: Registry, made: Path) -> None:
    heard: dict[str, int] = {}
    registry.publish(made, who="anna", sent=heard.__setitem__)
    sizes = {name: (made / name).stat().st_size for name in bundle.read(made).files}
    assert heard == sizes


def test_a_signature_comes_afterwards_and_changes_nothing_else(
    registry: Registry, open_registry: Opener, made: Path
) -> None:
    number = registry.publish(made, who="anna")
    other = open_registry("two")
    _, unsigned = other.resolve("toy-image", number)
    before = other.state("toy-image").versions[number]
    assert (before.signed, (unsigned / bundle.SIGNATURE).exists()) == (False, False)
    for words in (b"one", b"another"):
        registry.sign("toy-image", number, words)
        after = other.state("toy-image").versions[number]
        assert (after.signed, after.stamp != before.stamp) == (True, True)
        _, signed = other.resolve("toy-image", number)
        assert (signed / bundle.SIGNATURE).read_bytes() == words
        bundle.verify(signed, bundle.read(signed))
        before = after


def test_a_version_of_the_seed_is_signed_where_it_lies(registry: Registry, seed: Path) -> None:
    registry.sign("toy-image", 1, b"a signature")
    assert (seed / "toy-image" / "1" / bundle.SIGNATURE).read_bytes() == b"a signature"


def test_what_is_not_there_is_not_signed(registry: Registry) -> None:
    for model, version in (("toy-image", 9), ("nobody", 1), ("../toy-image", 1)):
        with pytest.raises(BundleError):
            registry.sign(model, version, b"a signature")
