"""Publishing and saying who answers: the same on a directory, in memory and on S3."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import toys

from models import bundle
from models.errors import BundleError, Conflict, InputError, RegistryUnavailable
from models.registry import Registry, publishing
from models.registry.objects import opened
from models.registry.stores import LocalStore, Store

Opener = Callable[..., Registry]


def put(store: Store, key: str, data: bytes, folder: Path) -> None:
    """Write a file as a careless hand would: over what is there."""
    source = folder / "careless"
    source.write_bytes(data)
    store.upload(key, source)


# ------------------------------------------------------------------------------------------------------------------- publishing


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


# ------------------------------------------------------------------------------------------------------------------ who answers


@pytest.fixture
def grown(registry: Registry, made: Path) -> Registry:
    """Versions 1 (seed, champion), 2 and 3."""
    registry.publish(made, who="anna")
    registry.publish(made, who="anna")
    return registry


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


# ---------------------------------------------------------------------------------------------------------- damage and its limits


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


# --------------------------------------------------------------------------------------------------------------------- removing


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


# ---------------------------------------------------------------------------------------------------------------------- polling


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
