"""A front end's observing: who is chosen, what control is told, and that nothing of it reaches an answer."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import profiled
import pytest
import toys

from models import bundle, profile
from service.errors import Unavailable
from service.monitoring import observer as module
from service.monitoring.observed import Observed, column
from service.monitoring.observer import Observer, held
from service.monitoring.sampling import Shares
from service.monitoring.watch import Watch
from service.settings import ModelSettings, Settings

Counts = Mapping[str, tuple[int, Mapping[str, int]]]


@pytest.fixture
def pictures(tmp_path: Path) -> Watch:
    directory = profiled.image(tmp_path)
    return Watch(bundle.read(directory), directory, profile.read(directory))


class Control:
    """Control's end: what it was told. `fails`: it does not answer."""

    def __init__(self) -> None:
        self.told: list[Observed] = []
        self.fails = False
        self.counts: Counts = {}

    async def ask(self, what: str, body: bytes, seconds: float) -> None:
        assert what == "observed"
        if self.fails:
            raise Unavailable("control cannot be reached")
        self.told.append(msgspec.msgpack.decode(body, type=Observed))

    def ids(self) -> list[str]:
        return [one for message in self.told for rows in message.rows for one in rows.ids]


def observe(one: Observer, watch: Watch, rows: int, name: str = "id", api: str = "v2") -> bool:
    """A request of so many rows; whether it was chosen."""
    chosen = one.choose(watch, rows, api, name)
    if chosen is None:
        return False
    images = profiled.pictures(np.random.default_rng(rows), rows)
    one.put(chosen, range(rows), {"image": images}, profiled.answers(images))
    return True


def counts(one: Observer) -> dict[str, float]:
    return {
        sample.name.removeprefix("inference_monitor_"): sample.value
        for family in one.tally.collect()
        for sample in family.samples
    }


async def test_control_is_told_of_every_row_with_its_bins_and_what_was_predicted(pictures: Watch):
    one, control = Observer(Settings()), Control()
    async with one.telling(control.ask, dict):
        assert observe(one, pictures, 2, "first", "v1")
        assert observe(one, pictures, 3, "second")
        await one.ship()
    by_api = {rows.api: rows for message in control.told for rows in message.rows}
    rows = by_api["v2"]
    images = profiled.pictures(np.random.default_rng(3), 3)
    assert (rows.model, rows.version, rows.ids) == ("toy-image", 1, ["second"] * 3)
    assert column(rows.places, "<u2").tolist() == [0, 1, 2]
    assert (
        column(rows.bins, "u1", len(profiled.reference().signals)) == profiled.bins(images)
    ).all()
    shares = profiled.answers(images)["probabilities"]
    assert column(rows.labels, "<i4").tolist() == shares.argmax(axis=1).tolist()
    assert column(rows.confidences, "<f4").tolist() == shares.max(axis=1).tolist()
    assert column(rows.shares, "<f4").tolist() == [1.0] * 3
    assert [place for place, _, _ in rows.payloads] == [0, 1, 2]
    assert by_api["v1"].ids == ["first"] * 2


async def test_what_waits_when_the_front_end_ends_is_told_first(pictures: Watch):
    one, control = Observer(Settings()), Control()
    async with one.telling(control.ask, dict):
        for number in range(100):
            observe(one, pictures, 1, str(number))
    assert sorted(control.ids(), key=int) == [str(number) for number in range(100)]


def test_who_is_observed_is_decided_by_lot_alone(pictures: Watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Shares, "of", lambda self, model: 0.5)
    lots = iter([0.1, 0.6, 0.4999, 0.5] * 2 + [0.2])
    one = Observer(Settings(), lambda: next(lots))
    assert [observe(one, pictures, rows) for rows in (1, 1, 1, 1, 20, 20, 20, 20)] == [
        True,
        False,
        True,
        False,
    ] * 2
    chosen = one.choose(pictures, 1, "v1", "id")
    assert chosen is not None
    assert chosen.share == 0.5


def test_nothing_is_observed_where_the_setting_says_so(pictures: Watch):
    assert not observe(Observer(Settings(monitor=False)), pictures, 1)
    silent = Settings(models={"toy_image": ModelSettings(monitor=False)})
    assert not observe(Observer(silent), pictures, 1)
    assert Observer(Settings()).choose(None, 1, "v2", "id") is None


async def test_what_is_off_stays_off_when_control_asks_for_what_was_seen(pictures: Watch):
    one, control = Observer(Settings(monitor=False)), Control()
    async with one.telling(control.ask, dict):
        await one.ship()
        assert not observe(one, pictures, 1)
    assert (one.share, control.told) == (0.0, [])


async def test_a_full_ring_drops_and_counts(pictures: Watch, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ROWS", 10)
    one, control = Observer(Settings()), Control()
    assert [observe(one, pictures, 4) for _ in range(5)] == [True, True, True, False, False]
    assert counts(one)["sampled_total"] == 12
    assert counts(one)["dropped_total"] == 8
    async with one.telling(control.ask, dict):
        await one.ship()
        assert observe(one, pictures, 4)


async def test_a_request_that_cannot_be_looked_at_costs_its_own_rows_alone(pictures: Watch):
    one, control = Observer(Settings()), Control()
    async with one.telling(control.ask, dict):
        chosen = one.choose(pictures, 3, "v2", "odd")
        assert chosen is not None
        images = profiled.pictures(np.random.default_rng(1), 3)
        one.put(chosen, range(3), {"image": images}, {"probabilities": np.ones((2, 2), np.float32)})
        observe(one, pictures, 2, "good")
        await one.ship()
        assert counts(one)["dropped_total"] == 3
        assert control.ids() == ["good"] * 2


async def test_a_monitor_that_raises_ends_neither_the_answer_nor_its_thread(
    pictures: Watch, monkeypatch: pytest.MonkeyPatch
):
    one, control = Observer(Settings()), Control()
    broken: Callable[..., Any] = lambda *_: 1 / 0  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(module, "held", broken)
        assert observe(one, pictures, 2)
    assert counts(one)["dropped_total"] == 2
    async with one.telling(control.ask, dict):
        with monkeypatch.context() as patch:
            patch.setattr(one._drain, "look", broken)
            observe(one, pictures, 1, "lost")
            await one.ship()
        observe(one, pictures, 1, "seen")
        await one.ship()
    assert control.ids() == ["seen"]


async def test_while_control_is_away_rows_are_dropped_and_counted_and_later_ones_told(
    pictures: Watch,
):
    one, control = Observer(Settings()), Control()
    async with one.telling(control.ask, dict):
        control.fails = True
        observe(one, pictures, 5, "lost")
        await one.ship()
        control.fails = False
        observe(one, pictures, 1, "told")
        await one.ship()
    assert control.ids() == ["told"]
    assert counts(one)["dropped_total"] == 5


async def test_requests_and_invalid_inputs_are_told_once(pictures: Watch):
    one, control = Observer(Settings()), Control()
    invalid = {"undecodable": 1}
    control.counts = {"toy-image": (4, invalid)}
    async with one.telling(control.ask, lambda: control.counts):
        await one.ship()
        await one.ship()
        invalid["not_finite"] = 2
        control.counts = {"toy-image": (7, invalid)}
        observe(one, pictures, 3)
        await one.ship()
    told = [inputs for message in control.told for inputs in message.inputs]
    assert sum(one.requests for one in told) == 7
    assert [one.invalid for one in told if one.invalid] == [{"undecodable": 1}, {"not_finite": 2}]
    assert sum(one.sampled for one in told) == 3


async def test_no_input_is_kept_where_the_setting_says_so(pictures: Watch):
    one, control = Observer(Settings(payload_share=0.0)), Control()
    async with one.telling(control.ask, dict):
        observe(one, pictures, 20)
        await one.ship()
    assert [rows.payloads for message in control.told for rows in message.rows] == [[]]


async def test_models_without_a_profile_are_told_by_what_they_predicted(tmp_path: Path):
    directory = toys.image(tmp_path)
    plain = Watch(bundle.read(directory), directory, None)
    one, control = Observer(Settings()), Control()
    async with one.telling(control.ask, dict):
        observe(one, plain, 2)
        await one.ship()
    (rows,) = [rows for message in control.told for rows in message.rows]
    assert (rows.profile, rows.bins, len(column(rows.labels, "<i4"))) == ("", b"", 2)


def test_a_view_counts_as_all_that_it_keeps_in_memory():
    body = bytes(10_000)
    view = np.frombuffer(body, np.float32, 4, 100).reshape(2, 2)
    assert held(view) == 10_000
    assert held(view[0]) == 10_000
    assert held(np.zeros(8)) == 64


async def test_asking_for_what_was_seen_waits_for_what_is_on_its_way(pictures: Watch):
    one, control = Observer(Settings()), Control()
    began, go = asyncio.Event(), asyncio.Event()

    async def slow(what: str, body: bytes, seconds: float) -> None:
        began.set()
        await go.wait()
        await control.ask(what, body, seconds)

    async with one.telling(slow, dict):
        observe(one, pictures, 1, "on its way")
        first = asyncio.create_task(one.ship())
        await began.wait()
        second = asyncio.create_task(one.ship())
        await asyncio.sleep(0)
        assert not second.done()
        go.set()
        await asyncio.gather(first, second)
        assert control.ids() == ["on its way"]
