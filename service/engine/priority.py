"""Loading beside engines that answer: at a low priority, and back again. It must not know what is loaded.

A process without privileges may lower its priority and never raise it. But on Linux a priority is a thread's, so what loads gets a
thread of its own; and where the kernel groups processes by session, it is the group's that counts, which may go both ways.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

NICE = 10
"""A tenth of the share that others get: enough to come to an end on a machine that is busy without a break."""
GROUP = Path("/proc/self/autogroup")
PATIENCE = 2.0
"""The kernel takes a change of a group ten times a second, from all processes together; one that is refused is tried again for so long (s)."""

T = TypeVar("T")


def lowered(work: Callable[[], T], *, leaves_threads: bool = False) -> T:
    """The result of `work`, run in a thread that others are preferred to.

    Threads that it starts would stay at its priority: where it `leaves_threads`, only the group's is lowered.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        if not leaves_threads:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again, where it is waited for
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="load")
    group(NICE)
    try:
        thread.start()
        thread.join()
    finally:
        group(0)
    return outcome.result()


def group(nice: int) -> None:
    """Set the priority of this session's processes, where the kernel has such a thing."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            GROUP.write_text(str(nice))
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return
        else:
            return
