"""A process is kept running, its words are heard, and nothing that it says or fails to say stops that."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from service.engine import supervisor as supervisors
from service.engine.supervisor import Supervisor, describe

SOON = 60.0

CHILD = """
import asyncio, os, signal, sys, time
from service.engine.lifeline import Lifeline, Said
number, starts = int(sys.argv[1]), int(sys.argv[2])
line = Lifeline(number)

async def serve(report={}):
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    line.attend(ended.set)
    line.say(Said("ready", report=report))
    await ended.wait()
"""


class Child:
    """A supervised program: what each start of it does stands in `does` (the last for all that follow)."""

    def __init__(self, directory: Path) -> None:
        self.starts = 0
        self.does: list[str] = ["asyncio.run(serve())"]
        self.seen: list[tuple[str, str | None]] = []
        self._directory = directory
        self.supervisor = Supervisor("child", self.command, self.changed)

    def command(self, lifeline: int) -> list[str]:
        does = self.does[min(self.starts, len(self.does) - 1)]
        self.starts += 1
        name = f"child{self.starts}"
        (self._directory / f"{name}.py").write_text(f"{CHILD}\n{does}\n")
        return [name, str(lifeline), str(self.starts)]

    def changed(self, supervisor: Supervisor) -> None:
        self.seen.append((supervisor.state, supervisor.reason))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON):
            while not condition():
                await asyncio.sleep(0.01)

    async def ready(self, starts: int) -> None:
        await self.until(lambda: self.starts >= starts and self.supervisor.state == "ready")


Start = Callable[..., Awaitable[Child]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(supervisors, "BACKOFF_FIRST", 0.01)
    child = Child(tmp_path)

    async def start(*does: str) -> Child:
        child.does = list(does) or child.does
        child.supervisor.start()
        await asyncio.wait_for(child.supervisor.settled.wait(), SOON)
        return child

    yield start
    await child.supervisor.stop(SOON)
    assert child.supervisor.pid is None


async def test_a_child_that_is_ready_has_said_so_with_its_report(start: Start):
    child = await start('asyncio.run(serve({"a": [1, 2]}))')
    assert (child.supervisor.state, child.supervisor.report) == ("ready", {"a": [1, 2]})
    await child.supervisor.stop(SOON)
    assert [state for state, _ in child.seen] == ["starting", "ready", "stopped"]


async def test_a_report_may_be_long(start: Start):
    child = await start('asyncio.run(serve({"curve": "x" * 100_000}))')
    assert child.supervisor.report == {"curve": "x" * 100_000}


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("sys.exit(3)", "ended with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended with SIGSEGV"),
        ('line.say(Said(reason="the device has gone")); sys.exit(70)', "70: the device has gone"),
        ('line.say(Said("ready")); line.say(Said(reason="why")); sys.exit(1)', "exit code 1: why"),
        ("os.write(number, b'half a li')", "it said what cannot be understood"),
        ("os.write(number, b'nonsense\\n'); time.sleep(60)", "SIGKILL: it said what cannot be und"),
    ],
)
async def test_whatever_ends_a_child_another_is_started_and_the_reason_kept(
    start: Start, does: str, says: str
):
    child = await start(does, "asyncio.run(serve())")
    await child.ready(2)
    assert child.supervisor.restarts == 1
    assert any(says in (reason or "") for _, reason in child.seen)


async def test_the_reason_for_one_end_is_not_told_of_the_next(start: Start):
    child = await start(
        'line.say(Said("ready")); line.say(Said(reason="the first")); sys.exit(1)',
        'line.say(Said("ready")); sys.exit(2)',
        "asyncio.run(serve())",
    )
    await child.ready(3)
    (second,) = {reason for _, reason in child.seen if reason and "code 2" in reason}
    assert "the first" not in second


async def test_a_child_that_says_that_it_cannot_is_not_started_again(start: Start):
    child = await start('line.say(Said("failed", "no such model")); sys.exit(1)')
    assert (child.supervisor.state, child.supervisor.reason) == ("failed", "no such model")
    await child.supervisor.stop(SOON)
    assert (child.starts, child.supervisor.restarts) == (1, 0)


async def test_a_child_that_ends_again_and_again_before_it_is_ready_is_given_up(start: Start):
    child = await start("os.abort()")
    await child.until(lambda: child.supervisor.state == "failed")
    assert child.supervisor.reason is not None
    assert "SIGABRT; it ended 3 times before it was ready" in child.supervisor.reason
    assert (child.starts, child.supervisor.restarts) == (3, 2)


async def test_a_child_that_was_ready_once_is_never_given_up(start: Start):
    good, ends = "asyncio.run(serve())", "os.abort()"
    child = await start('line.say(Said("ready")); sys.exit(1)', *[ends] * 4, good)
    await child.ready(6)
    assert child.supervisor.restarts == 5


async def test_a_program_that_cannot_be_started_at_all_has_failed(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisors.sys, "executable", "/nowhere/python")
    child = await start()
    assert child.supervisor.state == "failed"
    assert "cannot start a process" in (child.supervisor.reason or "")


async def test_a_child_that_was_ready_and_falls_silent_is_replaced(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisors, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(supervisors, "BEAT_SECONDS", 0.5)
    beats = "import service.engine.lifeline as l; l.BEAT_SECONDS = 0.02; asyncio.run(serve())"
    child = await start(beats)
    first = child.supervisor.pid
    assert first is not None
    await asyncio.sleep(1.2)  # longer than silence is borne: it beats
    assert child.supervisor.pid == first
    os.kill(first, signal.SIGSTOP)
    await child.ready(2)
    assert child.supervisor.pid != first
    assert any("SIGKILL: it said nothing for 0.5 s" in (reason or "") for _, reason in child.seen)


async def test_a_child_that_is_starting_may_take_its_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisors, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(supervisors, "BEAT_SECONDS", 0.1)
    child = await start("time.sleep(0.5); line.say(Said('ready')); time.sleep(60)")
    assert (child.supervisor.state, child.starts) == ("ready", 1)


async def test_who_ignores_sigterm_is_killed_after_the_grace(start: Start):
    child = await start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); line.say(Said('ready')); time.sleep(60)"
    )
    async with asyncio.timeout(SOON):
        await child.supervisor.stop(0.1)
    assert child.supervisor.state == "stopped"
    assert child.starts == 1


async def test_a_child_that_has_stopped_can_be_ended(start: Start):
    child = await start()
    assert child.supervisor.pid
    os.kill(child.supervisor.pid, signal.SIGSTOP)
    async with asyncio.timeout(SOON):
        await child.supervisor.stop(0.1)
    assert child.supervisor.pid is None


async def test_stopping_between_two_starts_starts_nothing_more(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(supervisors, "BACKOFF_FIRST", 60.0)
    child = await start("sys.exit(1)")
    async with asyncio.timeout(SOON):
        await child.supervisor.stop(SOON)
    assert (child.starts, child.supervisor.state) == (1, "stopped")


def test_exit_codes_in_words():
    assert (describe(0), describe(70), describe(-9)) == ("exit code 0", "exit code 70", "SIGKILL")


async def test_secrets_of_control_are_told_only_to_whom_they_are_confided(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    for name in supervisors.SECRETS:
        monkeypatch.setenv(name, "a-secret")
    told = 'asyncio.run(serve({name: name in os.environ for name in ("PATH", *SECRETS)}))'
    told = f"SECRETS = {supervisors.SECRETS}\n{told}"
    child = await start(told)
    assert child.supervisor.report == {"PATH": True, **dict.fromkeys(supervisors.SECRETS, False)}
    await child.supervisor.stop(SOON)
    confided = ("EVERGREEN_TOKEN",)
    child.supervisor = Supervisor("child", child.command, child.changed, confided=confided)
    await start(told)
    known = [name for name in supervisors.SECRETS if child.supervisor.report[name]]
    assert known == ["EVERGREEN_TOKEN"]
