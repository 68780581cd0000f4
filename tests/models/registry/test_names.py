"""What may become part of a path: nothing that could lead elsewhere, however it is spelled."""

import string
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models import bundle
from models.errors import BundleError, EvergreenError
from models.registry import Registry, names

SAFE = set(string.ascii_letters + string.digits + "._-")

nasty = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="./\\%2Fa~*?[]\0\n\r\t ", max_size=20),
    st.from_regex(r"(\.\./)+[a-z]+", fullmatch=True),
    st.sampled_from(["toy-image", "1"]).flatmap(
        lambda name: st.sampled_from(
            [f"{name}\n", f"{name}/", f"../{name}", f"{name}\0", f" {name}"]
        )
    ),
)


def refused(gate: Callable[[str], str], name: str) -> str:
    """What `gate` says of `name`: a short, printable sentence, or nothing where it lets it in."""
    try:
        assert gate(name) == name
    except EvergreenError as error:
        said = str(error)
    else:
        return ""
    assert said.isprintable()
    assert len(said) < 900
    return said


@given(nasty)
@example("..")
@example("%2e%2e%2f")
@example("/etc/passwd")
@example("toy-image\n")
@example("toy\u2010image")
@example("\uff54oy")
@example("a" * 129)
@example("")
def test_a_model_is_called_what_one_directory_can_be(name: str) -> None:
    if said := refused(names.model, name):
        assert said.startswith("there is no model ")
    else:
        assert set(name) <= SAFE
        assert 1 <= len(name) <= 128
        assert name[0] not in "._-"
        assert Path("/root", name).resolve() == Path("/root") / name


@given(nasty)
@example("toy-image\n")
def test_a_manifest_names_what_one_directory_can_be(name: str) -> None:
    try:
        msgspec.convert(name, bundle.Name)
    except msgspec.ValidationError:
        assert refused(names.model, name)
    else:
        assert not refused(names.model, name)


@given(nasty)
@example("champion\n")
@example("1")
def test_an_alias_is_called_what_no_version_is(name: str) -> None:
    if not refused(names.alias, name):
        assert set(name) <= set(string.ascii_lowercase + string.digits + "-")
        assert name[0].isalpha()


@given(st.one_of(st.integers(), st.booleans(), st.floats(), st.text(max_size=5), st.none()))
def test_a_version_is_an_integer_from_one(number: object) -> None:
    try:
        names.version(number)  # type: ignore[arg-type]
    except BundleError:
        assert type(number) is not int or not 1 <= number <= names.MOST
    else:
        assert type(number) is int
        assert 1 <= number <= names.MOST


@given(st.integers(1, names.MOST))
def test_the_name_of_an_entry_is_its_number_and_back(number: int) -> None:
    assert names.entry_number(names.entry(number)) == number


@pytest.mark.parametrize(
    "name", ["17.json", "000000.json", "0000017.json", "000017.json\n", "\u0661" * 6 + ".json", "x"]
)
def test_what_is_called_otherwise_is_no_entry(name: str) -> None:
    assert names.entry_number(name) is None


@given(nasty.filter(lambda name: not names.MODEL.fullmatch(name)))
def test_every_entrance_refuses_such_a_name(name: str) -> None:
    registry = Registry([Path(__file__).parent], Path(__file__).parent / "nowhere")
    entrances: list[Callable] = [
        registry.versions,
        registry.state,
        registry.aliases,
        registry.history,
        registry.resolve,
        registry.manifest,
        lambda n: registry.allocate(n, who="test"),
        lambda n: registry.promote(n, 1, who="test"),
        lambda n: registry.rollback(n, who="test"),
        lambda n: registry.set_alias(n, "challenger", 1, who="test"),
        lambda n: registry.clear_alias(n, "challenger", who="test"),
        lambda n: registry.remove(n, 1, who="test"),
        lambda n: registry.prune(n, 1, who="test"),
    ]
    for entrance in entrances:
        with pytest.raises(BundleError, match="there is no model"):
            entrance(name)
    assert not (Path(__file__).parent / "nowhere").exists()


@pytest.mark.parametrize("version", [0, -1, True, 10**9, "../1", "1", "%2e"])
def test_every_entrance_refuses_such_a_version(seed: Path, version: object) -> None:
    registry = Registry([seed], seed.parent / "overlay")
    with pytest.raises(BundleError):
        registry.resolve("toy-image", version)  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        registry.promote("toy-image", version, who="test")  # type: ignore[arg-type]
    with pytest.raises(BundleError):
        registry.remove("toy-image", version, who="test")  # type: ignore[arg-type]
