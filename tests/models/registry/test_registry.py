"""Publishing, and hearing what others wrote: the same on a directory, in memory and on S3."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import toys

from models import bundle
from models.errors import BundleError, Conflict, RegistryUnavailable
from models.registry import Registry, publishing
from models.registry.objects import opened
from models.registry.stores import LocalStore, Store

Opener = Callable[..., Registry]


def test_a_published_version_is_the_next_and_comes_back_as_it_was(
    registry: Registry, made: Path
) -> None:
    assert registry.publish(made, who="anna") == 2
    assert registry.versions("toy-image") == [1, 2]
    number, directory = registry.resolve("toy-image", 2)
    manifest = bundle.read(directory)
    assert (number, manifest.version) == (2, 2)
    bundle.verify(directory, manifest)
    assert manifest.files == bundle.read(made).files
    assert registry.manifest("toy-image", 2) == manifest


def test_publishing_never_changes_who_answers(registry: Registry, made: Path) -> None:
    registry.publish(made, who="anna")
    assert registry.resolve("toy-image")[0] == 1
    (change,) = registry.history("toy-image")
    assert (change.kind, change.after, change.who) == ("keep", 1, "anna")
    assert "version 2 is being published" in change.why


def test_the_first_version_of_a_new_model_answers_at_once(
    registry: Registry, tmp_path: Path
) -> None:
    assert registry.publish(toys.text(tmp_path / "other"), who="anna") == 1
    assert registry.models() == ["toy-image", "toy-text"]
    assert registry.aliases("toy-text") == {"champion": 1}
    assert registry.history("toy-text") == []


def test_a_damaged_bundle_is_refused_before_it_takes_a_number(
    registry: Registry, tmp_path: Path
) -> None:
    directory = toys.image(tmp_path / "damaged")
    (directory / "samples.npz").write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"samples\.npz has sha256"):
        registry.publish(directory, who="anna")
    assert registry.state("toy-image").taken == 1


def test_what_arrives_damaged_is_no_version(
    registry: Registry, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(registry._overlay), "digest", lambda *_: "0" * 64)
    with pytest.raises(BundleError, match=r"arrived with sha256 000000000000\.\.\., it was sent"):
        registry.publish(made, who="anna")
    assert registry.versions("toy-image") == [1]


@pytest.mark.parametrize("step", ["upload", "digest", "create"])
def test_a_publication_that_breaks_off_leaves_no_version_and_burns_its_number(
    open_registry: Opener, made: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = open_registry()
    number = registry.allocate("toy-image", who="anna")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(registry._overlay), step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            registry.publish(made, who="anna", version=number)
    assert registry.versions("toy-image") == [1]
    assert registry.resolve("toy-image")[0] == 1
    assert open_registry("two").publish(made, who="bert") == 3
    assert registry.versions("toy-image") == [1, 3]


def test_a_file_called_as_a_bare_version_is_none_while_it_is_being_published(
    registry: Registry, tmp_path: Path, made: Path
) -> None:
    number = registry.allocate("toy-image", who="anna")
    graph = made / "model.fp32.onnx"
    registry._overlay.upload(f"toy-image/{number}/model.onnx", graph)
    assert registry.versions("toy-image") == [1]
    registry._overlay.upload("toy-image/7/model.onnx", graph)  # nobody has claimed this one
    assert registry.versions("toy-image") == [1, 7]
    assert registry.resolve("toy-image")[0] == 1  # a version that declares itself comes first
    _, directory = registry.resolve("toy-image", 7)
    assert bundle.is_bare(directory)
    assert registry.manifest("toy-image", 7) is None
    assert registry.allocate("toy-image", who="anna") == 8


def test_a_model_of_bare_versions_alone_is_answered_by_the_newest(
    registry: Registry, made: Path
) -> None:
    for version in (2, 10):
        registry._overlay.upload(f"stranger/{version}/model.onnx", made / "model.fp32.onnx")
    assert registry.resolve("stranger")[0] == 10


def test_an_allocated_number_takes_one_bundle(registry: Registry, made: Path) -> None:
    number = registry.allocate("toy-image", who="anna", why="a retraining")
    assert registry.allocate("toy-image", who="bert") == number + 1
    assert registry.publish(made, who="anna", version=number) == number
    with pytest.raises(Conflict, match=f"version {number} of 'toy-image' is not free any more"):
        registry.publish(made, who="anna", version=number)
    with pytest.raises(Conflict, match="version 9 of 'toy-image' was never allocated"):
        registry.publish(made, who="anna", version=9)


def test_of_two_that_publish_one_number_the_second_is_told(registry: Registry, made: Path) -> None:
    number = registry.allocate("toy-image", who="anna")
    mine = publishing.prepared(made)
    publishing.finish(registry._overlay, mine, number)
    publishing.finish(registry._overlay, mine, number)  # the same once more is no conflict
    declared = msgspec.structs.replace(bundle.read(made), description="another toy")
    other = mine._replace(manifest=declared)
    with pytest.raises(Conflict, match=f"version {number} .* has been published by somebody else"):
        publishing.finish(registry._overlay, other, number)


def test_a_registry_without_an_overlay_is_read_only(seed: Path, made: Path) -> None:
    registry = Registry([seed])
    with pytest.raises(RegistryUnavailable, match="read-only: it has no overlay"):
        registry.publish(made, who="anna")
    with pytest.raises(RegistryUnavailable, match="read-only"):
        registry.promote("toy-image", 1, who="anna")
    assert registry.history("toy-image") == []
    assert registry.aliases("toy-image") == {"champion": 1}


def test_a_poll_sees_every_change_and_nothing_where_there_is_none(
    grown: Registry, open_registry: Opener, made: Path
) -> None:
    poller = open_registry("two")
    seen = poller.snapshot()
    assert poller.snapshot() == seen
    for change in (
        lambda: grown.promote("toy-image", 2, who="anna"),
        lambda: grown.publish(made, who="anna"),
        lambda: grown.rollback("toy-image", who="anna"),
        lambda: grown.remove("toy-image", 3, who="anna"),
    ):
        change()
        now = poller.snapshot()
        assert now != seen
        assert now["toy-image"].revision != seen["toy-image"].revision
        seen = now
    assert seen["toy-image"].aliases == {"champion": 1}


def test_a_poll_without_news_is_one_listing_and_reads_nothing(
    grown: Registry, open_registry: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller, asked = open_registry("two"), []
    kind = type(poller._overlay)
    for name in ("find", "read"):
        real = getattr(kind, name)

        def counted(self: Store, *args: str, real: Callable = real, name: str = name) -> object:
            if self is poller._overlay:
                asked.append(name)
            return real(self, *args)

        monkeypatch.setattr(kind, name, counted)
    poller.snapshot()
    assert asked == ["find", "read"]
    asked.clear()
    poller.snapshot()
    assert asked == ["find"]
    grown.promote("toy-image", 2, who="anna")
    asked.clear()
    assert poller.snapshot()["toy-image"].aliases["champion"] == 2
    assert asked == ["find", "read"]


def test_an_overlay_at_a_path_and_its_text_are_one(tmp_path: Path) -> None:
    assert isinstance(opened(str(tmp_path)), LocalStore)


def test_of_two_first_publications_at_once_the_one_that_ends_first_answers(
    open_registry: Callable[..., Registry],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = shutil.copytree(made, tmp_path / "fresh" / "1")
    bundle.write(other, msgspec.structs.replace(bundle.read(other), name="toy-new"))
    one, two, finish = open_registry("one"), open_registry("two"), publishing.finish
    earlier = one.allocate("toy-new", who="anna")

    def slow(*given: object) -> None:
        monkeypatch.setattr(publishing, "finish", finish)
        one.publish(other, who="anna", version=earlier)
        finish(*given)

    monkeypatch.setattr(publishing, "finish", slow)
    assert two.publish(other, who="bert") == earlier + 1
    assert one.aliases("toy-new") == {"champion": earlier}
    assert [change.kind for change in one.history("toy-new")] == ["keep"]


def test_an_empty_folder_where_a_log_was_is_a_mount_point_and_no_registry(
    seed: Path, made: Path, tmp_path: Path
) -> None:
    place, aside = tmp_path / "overlay", tmp_path / "aside"
    registry = Registry([seed], place)
    registry.publish(made, who="a test")
    registry.promote("toy-image", 2, who="a test")
    place.rename(aside)
    place.mkdir()
    changes: list[Callable[[], object]] = [
        registry.snapshot,
        lambda: registry.aliases("toy-image"),
        lambda: registry.allocate("toy-image", who="a test"),
        lambda: registry.promote("toy-image", 1, who="a test"),
    ]
    for change in changes:
        with pytest.raises(RegistryUnavailable, match=r"0 changes of who answers.* \d were there"):
            change()
    assert not list(place.iterdir()), "nothing may be begun where it was"
    place.rmdir()
    aside.rename(place)
    assert registry.aliases("toy-image")["champion"] == 2
