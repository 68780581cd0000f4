"""200 promotions back and forth under load: nobody fails, nobody waits long, nothing is left behind."""

import os
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import live
import pytest
import toys

from models.registry import Registry

MODEL = "toy-text"
ROUNDS = 200
MEMORY = 1.05


class Caller(threading.Thread):
    """Sends a request every `pause` seconds and keeps what came of each."""

    def __init__(self, url: str, pause: float) -> None:
        super().__init__(daemon=True)
        self.taken: list[float] = []
        self.failed: list[str] = []
        self._url = url
        self._pause = pause
        self._done = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._done.wait(self._pause):
                begun = time.perf_counter()
                answer = client.post(f"/v1/models/{MODEL}/predict", json={"text": "good"})
                self.taken.append(time.perf_counter() - begun)
                if answer.status_code != 200:
                    self.failed.append(answer.text)

    def end(self) -> None:
        self._done.set()
        self.join(60)


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


def memory(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    below = [*live.children(pid, "service.engine.worker"), *live.children(pid, "service.frontend")]
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(memory(child) for child in below)


def under_load(url: str, work: Any) -> Caller:
    """What a caller met while `work` ran."""
    caller = Caller(url, 0.01)
    caller.start()
    try:
        work()
    finally:
        caller.end()
    return caller


@pytest.mark.system
@pytest.mark.parametrize("fresh", [False, True])
def test_promotions_back_and_forth_under_load(tmp_path: Path, fresh: bool):
    """`fresh`: the old version is not kept, so that every promotion starts an engine."""
    root = tmp_path / "models"
    for version in (1, 2):
        toys.text(root, version=version)
    Registry([root], tmp_path / "state" / "registry").promote(MODEL, 1, who="a test")
    more = {"keep_previous_s": "0"} if fresh else {}
    rounds = ROUNDS // 10 if fresh else ROUNDS
    with live.serving(root, tmp_path, serve=MODEL, **more) as service:
        url, pid = service.said, service.process.pid

        def promote(count: int) -> None:
            with httpx.Client(base_url=url, timeout=120) as client:  # making one costs 30 ms
                for number in range(count):
                    body = {"version": 2 - number % 2}
                    answer = client.post(f"/v1/models/{MODEL}/promotions", json=body)
                    assert answer.status_code == 200, answer.text
                    time.sleep(6 if fresh else 0.05)  # fresh: until the one before has gone

        promote(2)
        rest = under_load(url, lambda: time.sleep(10))
        before = memory(pid)
        swaps = under_load(url, lambda: promote(rounds))
        assert not swaps.failed
        figures = [round(1000 * value, 2) for value in (p99(rest.taken), p99(swaps.taken))]
        after = memory(pid)
        told = f"p99 {figures[0]} -> {figures[1]} ms, {before >> 20} -> {after >> 20} MB"
        (tmp_path / "told").write_text(told)
        assert figures[1] <= 2 * figures[0] + 2, told
        assert after <= MEMORY * before + (1 << 20), told
