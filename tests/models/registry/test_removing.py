"""Versions that go, and what was left behind: the same on a directory, in memory and on S3."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from models.errors import BundleError, Conflict
from models.registry import Registry, publishing
from models.registry.stores import Store

Opener = Callable[..., Registry]


def test_a_removed_version_is_gone_and_its_number_never_comes_back(
    grown: Registry, made: Path
) -> None:
    change = grown.remove("toy-image", 3, who="anna", why="wrong labels")
    assert (change.kind, change.before, change.removed) == ("remove", 3, (3,))
    assert grown.versions("toy-image") == [1, 2]
    assert not grown._overlay.find("toy-image/3")
    with pytest.raises(BundleError, match="has no version 3 any more, only 1, 2"):
        grown.resolve("toy-image", 3)
    assert grown.publish(made, who="anna") == 4


def test_the_number_of_a_removed_bare_version_never_comes_back(
    registry: Registry, made: Path
) -> None:
    registry._overlay.upload("toy-image/7/model.onnx", made / "model.fp32.onnx")
    registry.remove("toy-image", 7, who="anna")
    assert registry.publish(made, who="anna") == 8


def test_what_an_alias_names_or_the_seed_holds_is_not_removed(grown: Registry) -> None:
    grown.promote("toy-image", 2, who="anna")
    grown.promote("toy-image", 3, who="anna")
    with pytest.raises(Conflict, match="version 2 of 'toy-image' is its previous"):
        grown.remove("toy-image", 2, who="anna")
    with pytest.raises(
        Conflict, match=r"version 1 of 'toy-image' lies in .*seed, which is read-only"
    ):
        grown.remove("toy-image", 1, who="anna")
    grown.clear_alias("toy-image", "previous", who="anna")
    grown.remove("toy-image", 2, who="anna")
    assert grown.versions("toy-image") == [1, 3]


def test_a_removal_is_decided_before_the_files_go(
    grown: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "delete", lambda *_: None)  # as if it had died here
        grown.remove("toy-image", 3, who="anna")
    assert grown._overlay.find("toy-image/3")
    assert grown.versions("toy-image") == [1, 2]
    with pytest.raises(BundleError, match="has no version 3 any more"):
        grown.promote("toy-image", 3, who="anna")
    assert grown.clean(who="anna") == [("toy-image", 3)]
    assert not grown._overlay.find("toy-image/3")


def test_pruning_keeps_the_newest_and_what_is_named(grown: Registry, made: Path) -> None:
    for _ in range(3):
        grown.publish(made, who="anna")
    grown.set_alias("toy-image", "challenger", 3, who="anna")
    assert grown.prune("toy-image", 2, who="anna") == [2, 4]
    assert grown.versions("toy-image") == [1, 3, 5, 6]


def test_what_never_ended_is_cleaned_up_once_it_is_old(registry: Registry, made: Path) -> None:
    number = registry.allocate("toy-image", who="anna")
    registry._overlay.upload(f"toy-image/{number}/model.fp32.onnx", made / "model.fp32.onnx")
    assert registry.clean(who="bert") == []
    assert registry.clean(who="bert", older=timedelta(0)) == [("toy-image", number)]
    assert not registry._overlay.find(f"toy-image/{number}")
    assert registry.clean(who="bert", older=timedelta(0)) == []
    with pytest.raises(Conflict, match="is not free any more"):
        registry.publish(made, who="anna", version=number)


def test_a_publisher_that_was_given_up_meanwhile_is_told(
    registry: Registry, open_registry: Opener, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = publishing.finish

    def slow(store: Store, what: publishing.Publication, version: int) -> None:
        open_registry("two").clean(who="bert", older=timedelta(0))
        finish(store, what, version)

    monkeypatch.setattr(publishing, "finish", slow)
    with pytest.raises(Conflict, match="version 2 of 'toy-image' was given up before"):
        registry.publish(made, who="anna")
    assert registry.versions("toy-image") == [1]
