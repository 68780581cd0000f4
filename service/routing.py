"""Which version answers, and over which socket: the table that control numbers, and a front end's use of it.

control: Table 7 -> Router.apply -> connections and processors are ready -> acknowledged 7
request: Router.target -> Router.infer -> EngineClient.infer
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.errors import EvergreenError
from service.engine import wire
from service.engine.client import Answer, EngineClient
from service.engine.lanes import NORMAL
from service.engine.supervisor import SILENCE_SECONDS
from service.errors import DeadlineExceeded, EngineError, EngineLost, NotFound, Unavailable
from service.opening import Opened, open_version

RECONNECT_SECONDS = 0.2
WORD_SECONDS = 0.8
"""An engine that says nothing for so long is not ready, although its supervisor waits longer before it is replaced."""


class Target(msgspec.Struct, frozen=True):
    """One version and how to reach it. `socket` is set while `state` is ready."""

    model: str
    version: int
    directory: str
    state: Literal["starting", "ready", "failed", "stopped"]
    socket: str | None = None
    reason: str | None = None
    report: dict[str, Any] = {}


class Share(msgspec.Struct, frozen=True):
    """A version and the percentage of a model's requests that it gets, or gets copies of."""

    version: int
    percent: float


class Split(msgspec.Struct, frozen=True):
    """Who gets requests beside the champion: `canary` in its place, `shadow` as copies whose answers nobody gets."""

    canary: Share | None = None
    shadow: Share | None = None


class Table(msgspec.Struct, frozen=True):
    """What every front end routes by. `champions` maps each model to the version that answers by default."""

    number: int = 0
    ready: bool = False
    draining: bool = False
    champions: dict[str, int] = {}
    targets: tuple[Target, ...] = ()
    splits: dict[str, Split] = {}
    """Models whose champion does not get every request alone."""


class Router:
    """A front end's view of the table, with an open connection to every engine that is ready."""

    def __init__(self) -> None:
        self.table = Table()
        self.on_ran: Callable[[wire.Ran], None] = lambda ran: None
        """Hears what engines say of batches in which traced requests ran."""
        self.canaries: dict[str, Share] = {}
        self.shadows: dict[str, Share] = {}
        self._targets: dict[tuple[str, int], Target] = {}
        self._clients: dict[str, EngineClient] = {}
        self._opened: dict[str, Opened] = {}
        self.routed = asyncio.Event()
        """Set once the first table has been applied: before that, nobody can say which models there are."""
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[EngineClient] = set()
        """Connections that the table no longer names, each open until what it carries has been answered."""
        self._applied = asyncio.Condition()
        self._applying = asyncio.Lock()

    async def apply(self, raw: Any) -> int:
        """Take over a table (as plain data); returns its number once requests are routed by it."""
        table = msgspec.convert(raw, Table)
        async with self._applying:
            if table.number <= self.table.number:
                return self.table.number
            await asyncio.gather(*map(self._open, table.targets))
            self.table = table
            self._targets = {(target.model, target.version): target for target in table.targets}
            split = table.splits.items()
            self.canaries = {name: one.canary for name, one in split if one.canary is not None}
            self.shadows = {name: one.shadow for name, one in split if one.shadow is not None}
            self._leave_others({target.socket for target in table.targets})
        self.routed.set()
        async with self._applied:
            self._applied.notify_all()
        return table.number

    def models(self) -> Mapping[str, int]:
        """Every model that is served, with its champion."""
        return self.table.champions

    def target(self, model: str, version: int | None = None) -> Target:
        """The version that answers for `model`. NotFound when there is none such."""
        wanted = self.table.champions.get(model) if version is None else version
        target = None if wanted is None else self._targets.get((model, wanted))
        if target is None:
            about = "" if version is None else f" version {version}"
            raise NotFound(f"Request for unknown model: '{model}'{about} is not found")
        return target

    def divert(self, target: Target, client: Callable[[], str]) -> Target:
        """The model's canary in place of `target`, for its share of clients: always the same ones. `client` tells who asks."""
        canary = self.canaries.get(target.model)
        if canary is None or place(target.model, client()) >= canary.percent:
            return target
        instead = self._targets.get((target.model, canary.version))
        return instead if instead is not None and self.answers(instead) else target

    def find(self, model: str, version: str | None) -> Target:
        """`target`, for a version as a path names it: a decimal integer."""
        if version is None:
            return self.target(model)
        if not (version.isascii() and version.isdecimal() and len(version) < 10):
            raise NotFound(
                f"Request for unknown model: '{model}' version '{version[:40]}' is not found"
            )
        return self.target(model, int(version))

    def opened(self, target: Target) -> Opened:
        """What `target` declares. Unavailable until it has been loaded once."""
        opened = self._opened.get(target.directory)
        if opened is None:
            raise unavailable(target)
        return opened

    def has_opened(self, target: Target) -> bool:
        """Whether `opened` would answer."""
        return target.directory in self._opened

    def answers(self, target: Target) -> bool:
        """Whether a request to `target` would be taken right now."""
        client = self._clients.get(target.socket or "")
        return client is not None and not client.lost.is_set()

    async def hear(self, target: Target) -> None:
        """Returns once the engine of `target` has said a word. Unavailable when it is not there, or has stopped and says none."""
        client = self._client(target)
        try:
            await asyncio.wait_for(client.stats(), WORD_SECONDS)
        except TimeoutError as error:
            name = f"{target.model}/{target.version}"
            raise Unavailable(f"the engine of {name} says nothing", SILENCE_SECONDS) from error

    async def infer(
        self,
        target: Target,
        tensors: wire.Tensors,
        outputs: list[str],
        deadline: float,
        priority: int = NORMAL,
    ) -> Answer:
        """Run on `target`'s engine. A request in flight when its engine ends is run once more on the replacement.

        Raises Unavailable (with the time to wait), DeadlineExceeded or EngineError.
        """
        # The target was chosen before the body was read; its engine may have been replaced since.
        target = self._targets.get((target.model, target.version), target)
        client = self._client(target)
        try:
            return await self._run(client, tensors, outputs, deadline, priority)
        except EngineLost:
            replacement = await self._replacement(target, client, deadline)
        try:
            return await self._run(replacement, tensors, outputs, deadline, priority)
        except EngineLost as error:
            raise EngineError("the engine ended twice while it ran this request") from error

    def close(self) -> None:
        """End every connection."""
        self._leave_others(set())
        for client in self._leaving:
            client.close()
        self._leaving.clear()

    async def _run(
        self,
        client: EngineClient,
        tensors: wire.Tensors,
        outputs: list[str],
        deadline: float,
        priority: int,
    ) -> Answer:
        try:
            return await client.infer(tensors, outputs, deadline, priority)
        finally:
            if client in self._leaving:
                self._leave(client)

    def _client(self, target: Target) -> EngineClient:
        if not self.answers(target):
            raise unavailable(target)
        return self._clients[target.socket or ""]

    async def _replacement(
        self, target: Target, lost: EngineClient, deadline: float
    ) -> EngineClient:
        """The client of the engine that control starts in place of the one that ended."""

        def decided() -> bool:
            now = self._targets.get((target.model, target.version))
            if now is None or now.state == "failed":
                return True
            return self.answers(now) and self._clients[now.socket or ""] is not lost

        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._applied:
                await self._applied.wait_for(decided)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "the engine ended, and its replacement was not there before the deadline"
            ) from error
        return self._client(self._targets.get((target.model, target.version), target))

    async def _open(self, target: Target) -> None:
        known = self._opened.get(target.directory)
        try:
            self._opened[target.directory] = await asyncio.to_thread(
                open_version, Path(target.directory), target.report, known
            )
        except EvergreenError:
            return  # the engine reports the same damage, with its reason
        if target.socket is not None and target.socket not in self._keepers:
            await self._connect(target.socket)
            self._keepers[target.socket] = asyncio.create_task(self._keep(target.socket))

    async def _connect(self, socket: str) -> None:
        # Refused: the engine has ended, control is about to say so, and until then its keeper tries again.
        with contextlib.suppress(OSError, EngineLost):
            self._clients[socket] = await EngineClient.connect(socket, on_ran=self._ran)

    def _ran(self, ran: wire.Ran) -> None:
        self.on_ran(ran)

    async def _keep(self, socket: str) -> None:
        """Connect again whenever the connection is lost, for as long as the table names this socket."""
        while True:
            if client := self._clients.get(socket):
                await client.lost.wait()
            await asyncio.sleep(RECONNECT_SECONDS)
            await self._connect(socket)
            async with self._applied:
                self._applied.notify_all()

    def _leave_others(self, kept: set[str | None]) -> None:
        for socket in [socket for socket in self._keepers if socket not in kept]:
            self._keepers.pop(socket).cancel()
            if client := self._clients.pop(socket, None):
                self._leave(client)

    def _leave(self, client: EngineClient) -> None:
        """Close `client` now, or when the last request on it has been answered; no other begins."""
        if client.pending:
            self._leaving.add(client)
        else:
            self._leaving.discard(client)
            client.close()


def place(model: str, client: str) -> float:
    """Where a client stands among all, 0 to 100, in an order of its own for every model. A larger share keeps those of a smaller one."""
    digest = hashlib.blake2b(f"{model}\0{client}".encode(), digest_size=8).digest()
    return 100 * int.from_bytes(digest) / 2**64


def unavailable(target: Target) -> Unavailable:
    """Why `target` does not answer, and when it should: its last loading time from now."""
    name = f"{target.model}/{target.version}"
    match target.state:
        case "failed":
            return Unavailable(f"{name} could not be loaded: {target.reason}", 30)
        case "starting":
            return Unavailable(f"{name} is loading", 2)
        case _:
            seconds = float(target.report.get("load_seconds", 1.0))
            return Unavailable(
                f"{name} lost its engine; another is being started", math.ceil(seconds + 1)
            )
