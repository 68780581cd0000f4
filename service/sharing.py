"""Work whose result serves everybody who asked before it began. It must not know what is worked out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Shared(Generic[Result]):
    """`work`, run once at a time. Who asks while it runs waits for the next run, which all of them share: what they know of must be in it."""

    def __init__(self, work: Callable[[], Awaitable[Result]]) -> None:
        self._work = work
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        """The result of a run that began after this was called; what the run raises is raised for everybody who shares it."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)  # who gives up takes it from nobody

    async def _run(self) -> Result:
        async with self._turn:
            self._next = None
            return await self._work()
