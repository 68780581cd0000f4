"""What one machine knows of one model: which of its versions run, what for, and until when. It must not start or end anything."""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from models.errors import BundleError
from models.registry import ModelState
from service.deployments import Deployment
from service.routing import Split


class Served:
    """One model. `running` is what the routing table names: version -> its engine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.champion: int | None = None
        """Who answers by default here; None while the model is not loaded."""
        self.seen: int | None = None
        """Whom the registry named when it was last followed."""
        self.running: dict[int, Deployment] = {}
        self.pinned: set[int] = set()
        """Versions that somebody loaded by their number."""
        self.split = Split()
        self.keep: dict[int, float] = {}
        """Until when (s of time.monotonic()) a version stays that has nothing to do any more."""
        self.starting: set[int] = set()
        self.failures: dict[int, str] = {}
        """Why a version is not served, or was sent away."""
        self.retry: dict[int, float] = {}
        """When a version that could not be followed is tried again."""
        self.note: str | None = None
        """What was last done to the split without being asked."""
        self.lock = asyncio.Lock()
        self.asked: object = None
        self.last: asyncio.Future[None] | None = None
        """The change that is last in line, and what it was asked as."""
        self._reaping: asyncio.TimerHandle | None = None

    @property
    def deployment(self) -> Deployment | None:
        """The champion's, while it answers."""
        one = None if self.champion is None else self.running.get(self.champion)
        return one if one is not None and one.ready else None

    def __contains__(self, one: Deployment) -> bool:
        """Whether requests may be routed to it."""
        return one in self.running.values()

    def needed(self) -> set[int]:
        """Versions that have something to do."""
        shares = (self.split.canary, self.split.shadow)
        found = {share.version for share in shares if share is not None} | self.pinned
        return found if self.champion is None else found | {self.champion}

    def withdraw(self, gone: Collection[int]) -> None:
        """Versions `gone` have nothing to do any more."""
        canary, shadow = self.split.canary, self.split.shadow
        self.split = Split(
            None if canary is None or canary.version in gone else canary,
            None if shadow is None or shadow.version in gone else shadow,
        )
        self.pinned -= set(gone)

    def promoted(self, version: int) -> None:
        """`version` is the champion: it gets the requests, and needs no share of them."""
        pinned = version in self.pinned
        self.withdraw([version])
        if pinned:
            self.pinned.add(version)
        self.failures.pop(version, None)
        self.retry.clear()

    def waits(self, version: int) -> bool:
        """Whether it is too early to try `version` again."""
        return time.monotonic() < self.retry.get(version, 0.0)

    def overdue(self, now: float) -> list[int]:
        """Versions that have stayed long enough."""
        return [number for number, until in self.keep.items() if until <= now]

    def reap_with(self, reap: Callable[[], object]) -> None:
        """Call `reap` when the next version has stayed long enough."""
        self.forget_reaping()
        if self.keep:
            delay = max(0.0, min(self.keep.values()) - time.monotonic())
            self._reaping = asyncio.get_running_loop().call_later(delay, reap)

    def forget_reaping(self) -> None:
        """Let what stays stay."""
        if self._reaping is not None:
            self._reaping.cancel()
            self._reaping = None

    def versions(self, state: ModelState | None) -> list[dict[str, Any]]:
        """Every version that is published or runs: version, state, reason."""
        known = {*(state.versions if state else ()), *self.running, *self.starting, *self.failures}
        return [{"version": number, **self._state(number)} for number in sorted(known)]

    def _state(self, number: int) -> dict[str, Any]:
        failure = self.failures.get(number)
        if (one := self.running.get(number)) is not None:
            target = one.target()
            return {"state": target.state, "reason": target.reason or failure}
        if number in self.starting:
            return {"state": "starting", "reason": None}
        return {"state": "available" if failure is None else "failed", "reason": failure}

    def described(
        self, state: ModelState | None, history: list[Any], problem: str | None = None
    ) -> dict[str, Any]:
        """All of it as plain data. `problem`: why the registry could not be asked."""
        aliases: dict[str, int] = {}
        try:
            aliases = dict(state.aliases) if state else {}
        except BundleError as error:
            problem = str(error)
        return {
            "name": self.name,
            "champion": self.champion,
            "previous": aliases.get("previous"),
            "aliases": aliases,
            "versions": self.versions(state),
            "canary": msgspec.to_builtins(self.split.canary),
            "shadow": msgspec.to_builtins(self.split.shadow),
            "note": self.note or problem,
            "history": msgspec.to_builtins(history),
        }
