"""Which versions there are, under one root or several, and where they lie."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import toys

from models import bundle
from models.errors import BundleError
from models.registry import Registry
from models.registry.stores import LocalStore


def test_models_are_named_in_order(tmp_path: Path) -> None:
    assert Registry([toys.repository(tmp_path)]).models() == ["toy-image", "toy-series", "toy-text"]


def test_without_a_version_the_newest_answers_and_ten_is_newer_than_nine(tmp_path: Path) -> None:
    for version in (10, 9, 2):
        toys.image(tmp_path, version=version)
    registry = Registry([tmp_path])
    assert list(registry.versions("toy-image")) == [2, 9, 10]
    assert registry.resolve("toy-image") == (10, tmp_path / "toy-image" / "10")
    assert registry.resolve("toy-image", 9) == (9, tmp_path / "toy-image" / "9")


def test_a_directory_without_a_manifest_is_no_version(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    registry = Registry([tmp_path])
    (directory / bundle.MANIFEST).unlink()
    assert registry.models() == []
    with pytest.raises(BundleError, match="an empty repository"):
        registry.resolve("toy-image")


def test_a_version_exists_as_soon_as_its_manifest_does(tmp_path: Path) -> None:
    registry = Registry([tmp_path])
    assert registry.models() == []
    toys.image(tmp_path)
    assert registry.models() == ["toy-image"]


@pytest.mark.parametrize(
    "name", ["latest", ".1.4711", "1a", "-1", "01", "0", "\uff11", "\u0661", "1 "]
)
def test_a_directory_that_is_no_number_is_no_version(tmp_path: Path, name: str) -> None:
    toys.image(tmp_path).rename(tmp_path / "toy-image" / name)
    assert Registry([tmp_path]).models() == []


def test_a_later_root_adds_versions(tmp_path: Path) -> None:
    seed, grown = tmp_path / "seed", tmp_path / "grown"
    toys.image(seed)
    toys.image(grown, version=2)
    toys.text(grown)
    registry = Registry([seed, grown])
    assert registry.models() == ["toy-image", "toy-text"]
    assert registry.resolve("toy-image", 1)[1] == seed / "toy-image" / "1"
    assert registry.resolve("toy-image") == (2, grown / "toy-image" / "2")


def test_a_later_root_never_replaces_a_version_of_an_earlier_one(tmp_path: Path) -> None:
    seed, grown = tmp_path / "seed", tmp_path / "grown"
    toys.image(seed)
    shutil.copytree(seed, grown)
    assert Registry([seed, grown]).resolve("toy-image", 1)[1] == seed / "toy-image" / "1"


def test_a_root_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    toys.image(tmp_path)
    assert Registry([tmp_path / "none", tmp_path]).models() == ["toy-image"]
    assert Registry([tmp_path / "none"]).models() == []


def test_an_unknown_model_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    registry = Registry([toys.repository(tmp_path)])
    with pytest.raises(BundleError, match="'other', only toy-image, toy-series, toy-text"):
        registry.resolve("other")


def test_an_unknown_version_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    toys.image(tmp_path)
    toys.image(tmp_path, version=3)
    with pytest.raises(BundleError, match="no version 2, only 1, 3"):
        Registry([tmp_path]).resolve("toy-image", 2)


@pytest.mark.parametrize("name", ["..", "*", "toy-*", "../seed/toy-image", ""])
def test_a_name_is_never_a_path_or_a_pattern(tmp_path: Path, name: str) -> None:
    toys.image(tmp_path / "seed")
    with pytest.raises(BundleError, match="there is no model"):
        Registry([tmp_path / "seed"]).resolve(name)


@pytest.mark.parametrize("what", ["toy-image", "toy-image/1", "toy-image/1/model.fp32.onnx"])
def test_a_version_that_leads_out_of_its_root_is_refused(tmp_path: Path, what: str) -> None:
    toys.image(tmp_path / "seed")
    inside, outside = tmp_path / "seed" / what, tmp_path / "outside"
    inside.rename(outside)
    inside.symlink_to(outside)
    registry = Registry([tmp_path / "seed"])
    with pytest.raises(BundleError, match=r"leads to .*outside.*, outside of .*seed"):
        registry.resolve("toy-image", 1)


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    toys.image(tmp_path / "seed")
    (tmp_path / "link").symlink_to(tmp_path / "seed")
    assert Registry([tmp_path / "link"]).resolve("toy-image")[0] == 1


def test_whatever_is_asked_of_one_look_each_root_is_listed_once_and_no_change_read_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2):
        toys.image(tmp_path / "seed", version=version)
    registry = Registry([tmp_path / "seed"], tmp_path / "overlay")
    for number in range(6):
        registry.promote("toy-image", 1 + number % 2, who="anna")
    counted: list[str] = []
    for name in ("find", "read"):
        real = getattr(LocalStore, name)

        def count(store: LocalStore, key: str = "", name: str = name, real: Any = real) -> Any:
            counted.append(name)
            return real(store, key)

        monkeypatch.setattr(LocalStore, name, count)
    fresh = Registry([tmp_path / "seed"], tmp_path / "overlay")
    look = fresh.look("toy-image")
    assert look.state.aliases == {"champion": 2, "previous": 1}
    assert [change.number for change in look.history(4)] == [3, 4, 5, 6]
    assert look.resolve() == (2, tmp_path / "seed" / "toy-image" / "2")
    assert (counted.count("find"), counted.count("read")) == (2, 4)
    registry.promote("toy-image", 1, who="anna")
    counted.clear()
    assert [change.number for change in fresh.look("toy-image").history(4)] == [4, 5, 6, 7]
    assert (counted.count("find"), counted.count("read")) == (2, 1)
