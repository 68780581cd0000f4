"""A bounded queue between two threads, without a lock: one end puts, the other takes. It must not know what goes through it."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Ring(Generic[T]):
    """Bounded in rows and in bytes: what waits here holds on to memory that somebody else would free.

    Whether there is room depends on what is there, not on what comes, so that large requests are dropped no more often than small ones;
    the last one in may exceed the bounds.
    """

    def __init__(self, rows: int, size: int) -> None:
        self._most_rows, self._most_bytes = rows, size
        self._waiting: deque[tuple[T, int, int]] = deque()
        # Each figure has one writer.
        self._rows_put = self._bytes_put = 0
        self._rows_taken = self._bytes_taken = 0

    @property
    def full(self) -> bool:
        """Whether nothing more is taken in."""
        return (
            self._rows_put - self._rows_taken >= self._most_rows
            or self._bytes_put - self._bytes_taken >= self._most_bytes
        )

    def put(self, item: T, rows: int, size: int) -> bool:
        """Put `item`, which counts as so many rows and bytes; False when there is no room."""
        if self.full:
            return False
        self._rows_put += rows
        self._bytes_put += size
        self._waiting.append((item, rows, size))
        return True

    def take(self, rows: int) -> list[T]:
        """The oldest items that hold at most `rows`, and one at least; empty when nothing waits."""
        taken: list[T] = []
        held = 0
        while self._waiting and (not taken or held + self._waiting[0][1] <= rows):
            item, count, size = self._waiting.popleft()
            taken.append(item)
            held += count
            self._rows_taken += count
            self._bytes_taken += size
        return taken
