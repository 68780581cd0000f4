"""A child's end of its lifeline, the socket pair that its supervisor holds the other end of: reports out, `stop` in.

What is said are JSON lines: a state with a report, the reason for an end that is near, or nothing but that the loop still turns.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Literal

import msgspec

BEAT_SECONDS = 1.0


class Said(msgspec.Struct, omit_defaults=True):
    """One line."""

    state: Literal["ready", "failed"] | None = None
    reason: str | None = None
    report: dict[str, Any] = {}


class Lifeline:
    """Opened from the number that the supervisor gave."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)

    def say(self, said: Said) -> None:
        """Tell the supervisor. Once nobody listens this does nothing."""
        with contextlib.suppress(OSError):
            self._socket.sendall(msgspec.json.encode(said) + b"\n")

    def attend(self, gone: Callable[[], None]) -> None:
        """From now on say regularly that the event loop turns, and call `gone` when the supervisor has gone."""
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._heard, gone)
        self._beat()

    def _beat(self) -> None:
        self.say(Said())
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _heard(self, gone: Callable[[], None]) -> None:
        # One that is killed before it has read everything leaves an error in place of an end, and it is told once.
        with contextlib.suppress(ConnectionError):
            if self._socket.recv(1024):
                return
        asyncio.get_running_loop().remove_reader(self._socket)
        gone()
