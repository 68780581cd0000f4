"""Control's end: what front ends tell becomes verdicts and records, over restarts, over machines, and without a ledger."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import profiled
import pytest
import toys
from monitored import MODEL, NOW, feed, messages, monitoring

from models import bundle, profile
from service.errors import NotFound, Unavailable
from service.ledger.ledger import Ledger
from service.monitoring import payloads
from service.monitoring.monitor import Loaded, Monitor
from service.monitoring.observed import Observed, Rows, packed
from service.monitoring.watch import Watch
from service.settings import Settings


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return profiled.image(tmp_path_factory.mktemp("repository"))


async def test_a_version_that_saw_nothing_says_how_much_it_needs(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, _, _):
        told = one.report("toy-image", 1)
    assert (told.verdict, told.samples, told.window) == ("insufficient", 0, 500)
    assert "a first window takes 100" in told.reason
    assert told.reference is not None
    assert told.reference.sizes == (100, 200, 500)


async def test_quiet_traffic_is_told_with_n_thresholds_and_counts_for_plots(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path, directory) as (one, _, _):
        told = await feed(one, directory, 730)
    assert told.verdict == "quiet"
    assert (told.samples, told.waiting, told.calibrated_for) == (500, 30, "independent requests")
    assert [window.samples for window in told.windows] == [100, 200, 500]
    first = told.signals[0]
    assert [found.statistic for found in told.signals] == sorted(
        (found.statistic for found in told.signals), reverse=True
    )
    assert sum(first.live) == first.n == 500
    assert sum(first.reference) == profiled.ROWS
    assert len(first.live) == len(first.edges) + 2
    assert {(one.method, one.estimated) for one in told.estimates} == {
        ("cbpe", True),
        ("atc", True),
    }
    assert told.share == 0.5
    assert told.inputs.requests == told.inputs.sampled == 730
    assert told.inputs.invalid == {"undecodable": 37}


async def test_what_was_predicted_and_asked_is_kept(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, ledger, _):
        await feed(one, directory, 40)
        kept = list(await one._writer.run(lambda: list(ledger.payloads("toy-image", 0, NOW))))
        ids = [payload.id for payload, _ in kept]
        predictions = await one._writer.run(ledger.predictions, ids)
    images = profiled.pictures(np.random.default_rng(1), 40)
    shares = profiled.answers(images)["probabilities"]
    assert [one.label for one in predictions] == [int(shares[0].argmax()), int(shares[20].argmax())]
    assert {one.share for one in predictions} == {0.5}
    assert (payloads.decode(kept[1][0].data)["image"] == images[20]).all()


async def test_a_restart_gives_the_same_verdict_and_loses_no_row(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, _, _):
        before = await feed(one, directory, 730, shift=0.2)
    async with monitoring(tmp_path, directory) as (one, _, _):
        after = one.report("toy-image", 1)
        assert before.verdict == after.verdict == "drift"
        assert (after.since, after.samples, after.waiting) == (before.since, before.samples, 30)
        assert after.signals == before.signals
        assert after.windows == before.windows
        more = await feed(one, directory, 20, shift=0.2, seed=2, at=NOW - 2000)
        assert more.waiting == 0
    assert not (tmp_path / "monitoring.msgpack").exists()


async def test_the_first_rows_of_a_version_that_was_just_loaded_count(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path) as (one, _, running):
        assert list(one) == []
        running.append(Loaded(*MODEL, directory))
        assert (await feed(one, directory, 60)).waiting == 10


async def test_a_version_that_is_loaded_again_goes_on_and_every_block_counts(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path, directory) as (one, ledger, running):
        await feed(one, directory, 600)
        (loaded,) = running
        running.clear()
        await one.follow()
        running.append(loaded)
        await one.follow()
        told = await feed(one, directory, 500, shift=0.3, seed=2)
        assert (told.verdict, told.samples) == ("drift", 500)
        kept = await one._writer.run(ledger.blocks_after, *MODEL, profiled.reference().sha256)
    assert len(kept) == (600 + 500) / 50


async def test_another_profile_starts_its_own_windows(directory: Path, tmp_path: Path):
    async with monitoring(tmp_path, directory) as (one, _, _):
        await feed(one, directory, 500, shift=0.3)
    other = toys.image(tmp_path / "other")
    profile.write(other, msgspec.structs.replace(profiled.reference(), source="other rows"))
    async with monitoring(tmp_path, other) as (one, _, _):
        told = one.report("toy-image", 1)
        assert (told.verdict, told.samples) == ("insufficient", 0)
        mismatched = await feed(one, directory, 200)
        assert mismatched.samples == 0


async def test_machines_that_share_a_ledger_judge_alike_whatever_their_clocks_and_pace(
    directory: Path, tmp_path: Path
):
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    async with (
        monitoring(tmp_path / "one", directory, ledger_url=url) as (one, _, _),
        monitoring(tmp_path / "two", directory, ledger_url=url) as (two, ledger, _),
    ):
        await feed(one, directory, 350, shift=0.2)
        await one.follow()  # before the other one has seen anything
        for seed in range(2, 6):  # an hour behind, and it looks less often
            await feed(two, directory, 150, shift=0.2, seed=seed, at=NOW - 12_600)
            await feed(one, directory, 90, shift=0.2, seed=10 + seed)
            await one.follow()
        # Both writers have written before either reads.
        await asyncio.gather(*(m._writer.run(ledger.figures) for m in (one, two)))
        for machine in (one, two):
            await machine.follow()
        here, there = one.report("toy-image", 1), two.report("toy-image", 1)
        async with monitoring(tmp_path / "three", directory, ledger_url=url) as (three, _, _):
            later = three.report("toy-image", 1)
        written = await two._writer.run(ledger.evaluations, *MODEL)
    assert (here.verdict, here.samples) == ("drift", 500)
    for other in (there, later):
        assert {name: getattr(other, name) for name in SHOWN} == {
            name: getattr(here, name) for name in SHOWN
        }
    assert len({found.at for found in written}) == len(written)


SHOWN = ("verdict", "p", "samples", "begun_at", "ended_at", "signals", "windows")


async def test_a_machine_that_was_cut_off_comes_back_to_the_windows_of_all(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    url = f"sqlite:///{tmp_path}/shared.sqlite"
    async with (
        monitoring(tmp_path / "one", directory, ledger_url=url) as (one, ledger, _),
        monitoring(tmp_path / "two", directory, ledger_url=url) as (two, _, _),
    ):
        await feed(two, directory, 600)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "blocks_after", away)
            patch.setattr(ledger, "newest_blocks", away)
            patch.setattr(ledger, "add_evaluations", away)
            await one.follow()
            await feed(one, directory, 600, shift=0.3, seed=2)
            await one.follow()
            alone = one.report("toy-image", 1)
            assert (alone.verdict, alone.samples) == ("drift", 500)
        await asyncio.gather(*(m._writer.run(ledger.figures) for m in (one, two)))
        for machine in (one, two):
            await machine.follow()
        here, there = one.report("toy-image", 1), two.report("toy-image", 1)
    assert {name: getattr(here, name) for name in SHOWN} == {
        name: getattr(there, name) for name in SHOWN
    }


def away(*_: Any, **__: Any) -> Any:
    raise Unavailable("the ledger cannot be reached")


async def test_windows_are_judged_while_the_ledger_is_away(directory: Path, tmp_path: Path):
    class Away:
        """A writer whose ledger never answers."""

        def put(self, kind: str, records: list[Any]) -> int:
            return 0

        async def run(self, *_: Any, **__: Any) -> Any:
            raise Unavailable("the ledger cannot be reached")

    ledger, writer = Ledger.of(Settings(state=tmp_path)), Away()
    running = [Loaded(*MODEL, directory)]
    settings = Settings(state=tmp_path)
    one = Monitor(settings, ledger, writer, lambda _: 1, lambda: running, lambda: NOW)  # type: ignore[arg-type]
    await one.follow()
    for message in messages(directory, 600, shift=0.2):
        await one.take(message)
    await one.follow()
    assert one.report("toy-image", 1).verdict == "drift"
    ledger.close()


async def test_a_version_without_a_profile_is_counted_and_says_why_there_is_no_verdict(
    tmp_path: Path,
):
    plain = toys.image(tmp_path / "plain")
    async with monitoring(tmp_path, plain) as (one, _, _):
        known = Watch(bundle.read(plain), plain, None)
        images = profiled.pictures(np.random.default_rng(1), 4)
        ids = [f"00000000-0000-7000-8000-{i:012x}" for i in range(4)]
        found = known.look({"image": images}, profiled.answers(images))
        columns = [packed([0] * 4, "<u2"), packed([NOW] * 4, "<f8"), packed([0.5] * 4, "<f4")]
        rows = Rows("toy-image", 1, "", "v2", ids, *columns, *found)
        await one.take(msgspec.msgpack.encode(Observed("1", 1.0, [rows], [])))
        told = one.report("toy-image", 1)
        (seen,) = one
    assert (told.verdict, told.signals) == ("insufficient", [])
    assert "has no profile.json" in told.reason
    assert sum(seen.classes.values()) == 8


async def test_a_profile_that_cannot_be_read_is_a_reason_and_no_failure(tmp_path: Path):
    plain = toys.image(tmp_path / "plain")
    (plain / profile.FILE).write_bytes(b"{}")
    async with monitoring(tmp_path, plain) as (one, _, _):
        assert "its profile cannot be used" in one.report("toy-image", 1).reason


async def test_a_version_whose_files_have_gone_keeps_no_other_from_being_watched(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path) as (one, _, running):
        running += [Loaded("toy-gone", 1, tmp_path / "gone"), Loaded(*MODEL, directory)]
        await one.follow()
        assert [seen.model for seen in one] == ["toy-image"]


async def test_what_is_not_loaded_is_not_found_and_what_is_unloaded_is_forgotten(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path, directory) as (one, _, running):
        with pytest.raises(NotFound, match="'other'"):
            one.report("other", None)
        with pytest.raises(NotFound, match="version 7"):
            one.report("toy-image", 7)
        running.clear()
        await one.follow()
        with pytest.raises(NotFound):
            one.report("toy-image", None)
        await feed_unknown(one, directory)


async def feed_unknown(one: Monitor, directory: Path) -> None:
    """Rows of a version that has just gone are kept, and judge nothing."""
    for message in messages(directory, 20):
        await one.take(message)
    assert list(one) == []


async def test_the_window_is_a_setting_of_the_service_and_of_a_model(
    directory: Path, tmp_path: Path
):
    async with monitoring(tmp_path, directory, drift_window=200) as (one, _, _):
        assert one.report("toy-image", 1).window == 200
    settings = {"toy_image": msgspec.convert({"drift_window": 100}, type(Settings().model("x")))}
    async with monitoring(tmp_path, directory, models=settings) as (one, _, _):
        assert one.report("toy-image", 1).window == 100


async def test_rows_left_in_a_damaged_file_are_given_up(directory: Path, tmp_path: Path):
    (tmp_path / "monitoring.msgpack").write_bytes(b"\xc1")
    async with monitoring(tmp_path, directory) as (one, _, _):
        assert one.report("toy-image", 1).samples == 0
