"""Records are written soon and off the path, wait while the ledger is away, and are counted when they are lost."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import ledgers
import live
import pytest

from service.errors import Unavailable
from service.ledger import writer as writing
from service.ledger.ledger import Ledger
from service.ledger.records import Erased, Prediction
from service.ledger.writer import Writer

OF = (ledgers.MODEL, ledgers.VERSION)


class Held(Ledger):
    """A ledger whose writes can be made to wait, or to fail."""

    def begin(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.batches: list[int] = []
        self.failed = 0

    def add_predictions(self, records: Any) -> None:
        assert self.go.wait(live.PATIENCE)
        if self.error is not None:
            self.failed += 1
            raise self.error
        self.batches.append(len(records))
        super().add_predictions(records)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    ledger = Held.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    assert isinstance(ledger, Held)
    ledger.begin()
    yield ledger
    ledger.go.set()
    ledger.close()


@pytest.fixture
async def writer(held: Held) -> AsyncIterator[Writer]:
    writer = Writer(held)
    yield writer
    held.go.set()
    await writer.close()


async def until(found: Callable[[], Any], what: str) -> None:
    """The loop goes on meanwhile."""
    await asyncio.to_thread(live.until, found, what)


async def test_records_are_written_without_being_waited_for(writer: Writer, held: Held) -> None:
    made = ledgers.predictions(3)
    assert writer.put("predictions", made) == 3
    writer.put("payloads", [ledgers.payload(one) for one in made])
    writer.put("blocks", [ledgers.block(1, 1.0)])
    await until(lambda: writer.written()["blocks"], "the last of them")
    assert writer.written() == {"predictions": 3, "payloads": 3, "blocks": 1, "evaluations": 0}
    assert held.figures().payloads == 3


async def test_a_call_sees_what_was_put_before_it(writer: Writer, held: Held) -> None:
    made = ledgers.predictions(700)
    writer.put("predictions", made)
    labels = [ledgers.label(one) for one in made]
    assert await writer.run(held.add_labels, labels) == ["accepted"] * 700


async def test_what_comes_meanwhile_is_written_together(writer: Writer, held: Held) -> None:
    held.go.clear()
    writer.put("predictions", ledgers.predictions(1))
    for _ in range(6):
        writer.put("predictions", ledgers.predictions(100))
    held.go.set()
    await writer.run(held.figures)
    assert sum(held.batches) == 601
    assert len(held.batches) <= 3
    assert max(held.batches) <= writing.AT_ONCE


async def test_what_finds_no_room_is_dropped_and_counted(held: Held) -> None:
    writer = Writer(held, room=10 * writing.RECORD_BYTES)
    held.go.clear()
    assert writer.put("predictions", ledgers.predictions(4)) == 4
    assert writer.put("predictions", ledgers.predictions(8)) == 6
    assert writer.put("blocks", [ledgers.block(1, 1.0)]) == 1, "each kind has room of its own"
    held.go.set()
    await writer.run(held.figures)
    assert writer.put("predictions", ledgers.predictions(10)) == 10
    await writer.close()
    assert writer.dropped()["predictions"] == 2
    assert writer.written()["predictions"] == held.figures().predictions == 20


async def test_a_large_payload_takes_its_size(held: Held) -> None:
    writer = Writer(held, room=10_000)
    held.go.clear()
    [made] = ledgers.predictions()
    writer.put("predictions", [made])
    assert writer.put("payloads", [ledgers.payload(made, bytes(9_000))] * 2) == 1
    assert writer.put("payloads", [ledgers.payload(made, bytes(10_001))]) == 0
    held.go.set()
    await writer.close()
    assert writer.dropped()["payloads"] == 2


async def test_records_wait_for_a_ledger_that_is_away(
    writer: Writer, held: Held, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.01)
    held.error = Unavailable("the disk is full")
    made = ledgers.predictions(5)
    writer.put("predictions", made)
    await until(lambda: held.failed > 2, "another try")
    writer.put("predictions", ledgers.predictions(2))
    assert await writer.run(held.figures) is not None, "calls go on: reading may be possible"
    held.error = None
    await until(lambda: writer.written()["predictions"] == 7, "what waited")
    assert writer.dropped()["predictions"] == 0
    assert caplog.text.count("the disk is full") == 1, "an outage is told once"


async def test_a_ledger_that_is_away_is_not_asked_with_every_put(
    writer: Writer, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.error = Unavailable("away")
    writer.put("predictions", ledgers.predictions(1))
    await until(lambda: "away" in caplog.text, "the warning")
    held.error = AssertionError("it was asked again at once")
    writer.put("predictions", ledgers.predictions(writing.AT_ONCE))
    await writer.run(held.figures)
    assert "asked again" not in caplog.text
    held.error = None


async def test_what_was_put_is_known_to_be_written_or_known_to_wait(
    writer: Writer, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.0)
    held.error = Unavailable("it is away")
    writer.put("predictions", ledgers.predictions(3))
    with pytest.raises(Unavailable, match="what was observed waits"):
        await writer.flush()
    assert (writer.away, writer.waiting()["predictions"]) == (True, 3)
    held.error = None
    await writer.flush()
    assert (writer.away, writer.waiting()["predictions"]) == (False, 0)
    assert held.figures().predictions == 3


async def test_records_that_cannot_be_written_do_not_stop_others(
    writer: Writer, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Prediction("none", 0, *OF, at=0.0, label=0, confidence=0.0, share=1.0, api="v1")
    writer.put("predictions", [broken])
    await writer.run(held.figures)
    writer.put("predictions", ledgers.predictions(2))
    await writer.run(held.figures)
    assert writer.dropped()["predictions"] == 1
    assert writer.written()["predictions"] == 2
    assert [one.levelno for one in caplog.records] == [logging.ERROR]


async def test_what_a_call_raises_arrives(writer: Writer) -> None:
    def fail() -> None:
        raise Unavailable("no", 7.0)

    with pytest.raises(Unavailable) as raised:
        await writer.run(fail)
    assert raised.value.retry_after == 7.0


async def test_too_many_calls_are_refused(writer: Writer) -> None:
    go, begun = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go.wait(live.PATIENCE)

    first = asyncio.create_task(writer.run(wait))
    await asyncio.to_thread(begun.wait)
    waiting = [asyncio.create_task(writer.run(time.time)) for _ in range(writing.CALLS)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="64 calls"):
        await writer.run(time.time)
    go.set()
    assert await first
    assert len(await asyncio.gather(*waiting)) == writing.CALLS


async def test_a_call_that_nobody_waits_for_any_more_is_not_made(writer: Writer) -> None:
    go, begun = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait(live.PATIENCE)

    made: list[int] = []
    first = asyncio.create_task(writer.run(wait))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(writer.run(made.append, 1))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go.set()
    await first
    await writer.run(made.append, 2)
    assert made == [2]


async def test_all_that_is_too_old_is_taken_away(writer: Writer, held: Held) -> None:
    made = ledgers.predictions(4500, at=1.0)
    await writer.run(held.add_predictions, made)
    await writer.expire()
    assert held.figures().predictions == 0
    assert held.expire(time.time()) == Erased()


async def test_closing_writes_what_waits(held: Held) -> None:
    writer = Writer(held)
    held.go.clear()
    writer.put("predictions", ledgers.predictions(1))
    writer.put("predictions", ledgers.predictions(1200))
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    held.go.set()
    await closing
    assert held.figures().predictions == 1201
    assert writer.put("predictions", ledgers.predictions(3)) == 0
    assert writer.dropped()["predictions"] == 3
    with pytest.raises(Unavailable, match="closing"):
        await writer.run(held.figures)


async def test_closing_counts_what_cannot_be_written(held: Held) -> None:
    writer = Writer(held)
    held.error = Unavailable("away")
    writer.put("predictions", ledgers.predictions(9))
    await writer.close()
    assert writer.dropped()["predictions"] == 9
    assert writer.written()["predictions"] == 0


async def test_every_thread_may_put(writer: Writer, held: Held) -> None:
    made = [ledgers.predictions(50) for _ in range(8)]
    threads = [threading.Thread(target=writer.put, args=("predictions", one)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await writer.run(held.figures)
    assert held.figures().predictions == 400
