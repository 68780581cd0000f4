"""200 promotions back and forth under load: nobody fails, and nothing is left behind. What they cost: `python -m loadtests.promotions`."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import live
import pytest
import toys

from models.registry import Registry

MODEL = "toy-text"
ROUNDS = 200
FRESH_ROUNDS = 10
"""Each waits until the old version has gone, which is let linger."""
PAUSE = 0.005
MEMORY = 1.05
SLACK = 1 << 20
"""Bytes: a heap grows by pages."""


class Caller(threading.Thread):
    """Sends a request every PAUSE seconds and keeps what came of each."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.seen: dict[Any, int] = {}
        self._url = url
        self._done = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._done.wait(PAUSE):
                answer = client.post(f"/v1/models/{MODEL}/predict", json={"text": "good"})
                good = answer.status_code == 200
                key = answer.json()["version"] if good else answer.text
                self.seen[key] = self.seen.get(key, 0) + 1

    def end(self) -> None:
        self._done.set()
        self.join(60)


@contextmanager
def under_load(url: str) -> Iterator[Caller]:
    """What a caller meets while the block runs."""
    caller = Caller(url)
    caller.start()
    try:
        yield caller
    finally:
        caller.end()


def processes(pid: int) -> list[int]:
    """A process and those that it has started."""
    return [
        pid,
        *live.children(pid, "service.engine.worker"),
        *live.children(pid, "service.frontend"),
    ]


def memory(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in processes(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.system
@pytest.mark.parametrize("fresh", [False, True])
def test_promotions_back_and_forth_under_load(tmp_path: Path, fresh: bool):
    """`fresh`: the old version is not kept, so that every promotion starts an engine."""
    root = tmp_path / "models"
    for version in (1, 2):
        toys.text(root, version=version)
    Registry([root], tmp_path / "state" / "registry").promote(MODEL, 1, who="a test")
    more = {"keep_previous_s": "0"} if fresh else {}
    rounds = FRESH_ROUNDS if fresh else ROUNDS
    engines = 1 if fresh else 2
    with (
        live.serving(root, tmp_path, serve=MODEL, **more) as service,
        httpx.Client(base_url=service.said, timeout=120) as client,
    ):
        pid = service.process.pid

        def settled() -> bool:
            return len(live.children(pid, "service.engine.worker")) == engines

        def promote(count: int) -> None:
            for number in range(count):
                body = {"version": 2 - number % 2}
                answer = client.post(f"/v1/models/{MODEL}/promotions", json=body)
                assert answer.status_code == 200, answer.text
                live.until(settled, "the end of the version before")

        with under_load(service.said):
            promote(2)
        before = memory(pid)
        with under_load(service.said) as caller:
            promote(rounds)
        after = memory(pid)
        view = client.get(f"/v1/models/{MODEL}").json()
    assert set(caller.seen) == {1, 2}, caller.seen
    assert after <= MEMORY * before + SLACK, f"{before >> 20} -> {after >> 20} MB"
    assert view["aliases"] == {"champion": 1, "previous": 2}
    states = {one["version"]: one["state"] for one in view["versions"]}
    assert states == {1: "ready", 2: "available" if fresh else "ready"}
    assert view["history"][-1]["number"] == rounds + 3
