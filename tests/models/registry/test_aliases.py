"""Saying who answers, and what becomes of a damaged log: the same on a directory, in memory and on S3."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.errors import BundleError, Conflict, InputError
from models.registry import Registry, publishing
from models.registry.stores import Store

Opener = Callable[..., Registry]


def put(store: Store, key: str, data: bytes, folder: Path) -> None:
    """Write a file as a careless hand would: over what is there."""
    source = folder / "careless"
    source.write_bytes(data)
    store.upload(key, source)


def test_a_promotion_is_seen_by_every_machine_and_written_down(
    grown: Registry, open_registry: Opener
) -> None:
    began = datetime.now(UTC)
    grown.promote("toy-image", 2, if_champion=1, who="anna", why="half a point better", force=True)
    other = open_registry("two")
    assert other.aliases("toy-image") == {"champion": 2, "previous": 1}
    assert other.resolve("toy-image")[0] == 2
    assert other.resolve("toy-image", "previous")[0] == 1
    last = other.history("toy-image")[-1]
    assert (last.kind, last.alias, last.before, last.after) == ("promote", "champion", 1, 2)
    assert (last.who, last.why, last.forced) == ("anna", "half a point better", True)
    assert last.when.endswith("+00:00")
    assert began - timedelta(seconds=1) < datetime.fromisoformat(last.when) <= datetime.now(UTC)


def test_a_promotion_that_expects_another_champion_changes_nothing(grown: Registry) -> None:
    before = grown.state("toy-image")
    with pytest.raises(Conflict, match="the champion of 'toy-image' is version 1, not 2"):
        grown.promote("toy-image", 3, if_champion=2, who="anna")
    assert grown.state("toy-image") == before


def test_whoever_writes_second_is_told_both_changes(
    grown: Registry, open_registry: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = grown.state("toy-image")
    open_registry("two").promote("toy-image", 2, who="bert")
    monkeypatch.setattr(grown, "_model_now", lambda _: stale)
    said = r"\(promote champion 1 -> 3\), but bert came first \(promote champion 1 -> 2\)"
    with pytest.raises(Conflict, match=said):
        grown.promote("toy-image", 3, if_champion=1, who="anna")


def test_one_cannot_promote_what_is_not_there(grown: Registry) -> None:
    with pytest.raises(BundleError, match="'toy-image' has no version 9, only 1, 2, 3"):
        grown.promote("toy-image", 9, who="anna")
    with pytest.raises(BundleError, match="there is no model 'other', only toy-image"):
        grown.promote("other", 1, who="anna")


def test_promoting_the_champion_keeps_the_previous(grown: Registry) -> None:
    grown.promote("toy-image", 2, who="anna")
    grown.promote("toy-image", 2, who="anna")
    assert grown.aliases("toy-image") == {"champion": 2, "previous": 1}


def test_a_challenger_that_wins_is_one_no_longer(grown: Registry) -> None:
    grown.set_alias("toy-image", "challenger", 3, who="anna")
    grown.promote("toy-image", 2, who="anna")
    assert grown.aliases("toy-image")["challenger"] == 3
    grown.promote("toy-image", 3, who="anna")
    assert grown.aliases("toy-image") == {"champion": 3, "previous": 2}


def test_a_rollback_brings_the_previous_back_and_only_once(grown: Registry) -> None:
    grown.promote("toy-image", 3, who="anna")
    with pytest.raises(Conflict, match="is version 3, not 2"):
        grown.rollback("toy-image", if_champion=2, who="bert")
    change = grown.rollback("toy-image", if_champion=3, who="bert", why="slow")
    assert (change.kind, change.before, change.after) == ("rollback", 3, 1)
    assert grown.aliases("toy-image") == {"champion": 1}
    with pytest.raises(Conflict, match=r"nothing to go back to: version 1 is its champion"):
        grown.rollback("toy-image", who="carl")


def test_an_alias_of_ones_own_comes_and_goes(grown: Registry) -> None:
    grown.set_alias("toy-image", "night-run", 2, who="anna")
    assert grown.resolve("toy-image", "night-run")[0] == 2
    change = grown.clear_alias("toy-image", "night-run", who="anna")
    assert (change.kind, change.before, change.after) == ("clear", 2, None)
    with pytest.raises(BundleError, match="has no night-run, only champion"):
        grown.clear_alias("toy-image", "night-run", who="anna")
    with pytest.raises(BundleError, match="has no night-run, only champion"):
        grown.resolve("toy-image", "night-run")


def test_champion_and_previous_are_not_set_by_hand(grown: Registry) -> None:
    for alias in ("champion", "previous"):
        with pytest.raises(InputError, match=f"'{alias}' is set by promote and rollback"):
            grown.set_alias("toy-image", alias, 2, who="anna")
    with pytest.raises(InputError, match="always has a champion"):
        grown.clear_alias("toy-image", "champion", who="anna")


def test_a_reason_has_a_length(grown: Registry) -> None:
    with pytest.raises(InputError, match="'why' has 2001 characters, 2000 are allowed"):
        grown.promote("toy-image", 2, who="anna", why="x" * 2001)


def test_a_champion_whose_files_are_gone_is_an_error_and_never_another_version(
    grown: Registry,
) -> None:
    grown.promote("toy-image", 3, who="anna")
    publishing.delete(grown._overlay, "toy-image", 3)
    with pytest.raises(
        BundleError,
        match=r"version 3 of 'toy-image', its champion, is not there any more, only 1, 2",
    ):
        grown.resolve("toy-image")
    assert grown.resolve("toy-image", 2)[0] == 2
    grown.promote("toy-image", 2, who="bert")
    assert grown.resolve("toy-image")[0] == 2
    with pytest.raises(BundleError, match="its previous, is not there any more"):
        grown.rollback("toy-image", who="bert")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "JSON is malformed|Input data was truncated"),
        (b"\xff\xfe", "aliases/000002.json"),
        (b"{}", "missing required field"),
    ],
)
def test_a_damaged_last_change_is_named_and_the_one_before_is_not_taken_for_it(
    grown: Registry, tmp_path: Path, data: bytes, said: str
) -> None:
    grown.promote("toy-image", 2, who="anna")
    key = "toy-image/aliases/000002.json"
    put(grown._overlay, key, data, tmp_path)
    for ask in (grown.resolve, grown.aliases):
        with pytest.raises(BundleError, match=rf"aliases/000002\.json: .*({said})|{said}"):
            ask("toy-image")
    with pytest.raises(BundleError, match=r"aliases/000002\.json"):
        grown.promote("toy-image", 3, who="anna")
    assert grown.resolve("toy-image", 3)[0] == 3  # whoever names a version still gets it
    assert grown.models() == ["toy-image"]
    assert "toy-image" in grown.snapshot()
    grown._overlay.delete(key)  # the way out: take the damaged change back by hand
    assert grown.aliases("toy-image") == {"champion": 1}


def test_a_change_under_another_number_is_damaged(grown: Registry, tmp_path: Path) -> None:
    first = grown._overlay.read("toy-image/aliases/000001.json")
    put(grown._overlay, "toy-image/aliases/000002.json", first, tmp_path)
    with pytest.raises(BundleError, match=r"000002\.json says that it is change 1"):
        grown.aliases("toy-image")


@pytest.mark.parametrize("aliases", [{"champion": 0}, {"../x": 1}, {"champion": -3}])
def test_a_change_that_names_what_cannot_be_is_damaged(
    grown: Registry, tmp_path: Path, aliases: dict
) -> None:
    key = "toy-image/aliases/000001.json"
    written = json.loads(grown._overlay.read(key))
    put(grown._overlay, key, json.dumps(written | {"aliases": aliases}).encode(), tmp_path)
    with pytest.raises(BundleError, match=r"000001\.json: alias"):
        grown.aliases("toy-image")


def test_an_earlier_change_may_be_damaged_or_missing(
    grown: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for version in (2, 3, 2):
        grown.promote("toy-image", version, who="anna")
    put(grown._overlay, "toy-image/aliases/000002.json", b"{", tmp_path)
    grown._overlay.delete("toy-image/aliases/000003.json")
    assert grown.aliases("toy-image") == {"champion": 2, "previous": 3}
    assert [change.number for change in grown.history("toy-image")] == [1, 4]
    assert "000002.json" in caplog.text
    assert grown.promote("toy-image", 3, who="anna").number == 5


def test_a_change_written_by_a_later_program_is_read(grown: Registry, tmp_path: Path) -> None:
    key = "toy-image/aliases/000001.json"
    written = json.loads(grown._overlay.read(key)) | {"signed": "by somebody"}
    put(grown._overlay, key, json.dumps(written).encode(), tmp_path)
    assert grown.aliases("toy-image") == {"champion": 1}
