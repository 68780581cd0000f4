"""Watches what canaries and shadows do: ends a canary that breaks its limits, and lets a candidate answer copies before it is promoted.

It must not know HTTP, or how a version is loaded.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from models.errors import EvergreenError
from service import traffic
from service.comparison import AGREEMENT
from service.deployments import Deployment
from service.errors import Refused
from service.lifecycle import Lifecycle
from service.metrics import ControlMetrics
from service.routing import Share, Split
from service.served import Served
from service.settings import Settings
from service.snapshots import Snapshot
from service.traffic import ShadowCounts, Window

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often canaries are judged."""
COPIES = 32
"""Copies of real requests that a candidate has to answer before it is promoted, where so many come."""
MIRROR_SECONDS = 5.0
"""The longest that is waited for them."""
QUIET_SECONDS = 0.5
"""A model that gets no request in this time has no traffic to copy."""
MIRROR_LOOK_SECONDS = 0.1
MOST_FAILED = 0.05
"""Share of copies that a candidate may fail: one may meet a bad moment of a busy machine."""

Figures = Callable[[], Awaitable[Snapshot]]


class Steering:
    """`figures` gives what all front ends have counted by now; `publish` puts a table into effect."""

    def __init__(
        self,
        settings: Settings,
        figures: Figures,
        publish: Callable[[], Awaitable[None]],
        metrics: ControlMetrics,
    ) -> None:
        self._settings = settings
        self._figures = figures
        self._publish = publish
        self._metrics = metrics
        self._windows: dict[tuple[str, int], Window] = {}

    async def watch(self, lifecycle: Lifecycle) -> None:
        """Judge every canary now and again, for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.judge(lifecycle)
            except EvergreenError as error:
                log.warning("canaries could not be judged: %s", error)

    async def judge(self, lifecycle: Lifecycle) -> None:
        """Look at every canary once; end those that break a limit."""
        canaries = {
            (one.name, one.split.canary.version): one
            for one in lifecycle
            if one.split.canary is not None and one.split.canary.percent > 0
        }
        self._windows = {key: one for key, one in self._windows.items() if key in canaries}
        if not canaries:
            return
        page = await self._figures()
        for (model, version), served in canaries.items():
            own = self._settings.model(model)
            window = self._windows.setdefault((model, version), Window(own.canary_window_s))
            champion = traffic.counts(page, model, served.champion or 0)
            window.add(time.monotonic(), traffic.counts(page, model, version), champion)
            if (why := traffic.verdict(*window.latest(), own)) is not None:
                await lifecycle.end_canary(model, version, why)

    async def mirror(self, served: Served, candidate: Deployment) -> None:
        """Let `candidate` answer copies of the champion's requests, where there are any. Refused says what speaks against it."""
        version = candidate.version
        if served.deployment is None or version in served.running:
            return  # it has answered real requests already
        before = traffic.shadow_counts(await self._figures(), served.name, version)
        split, served.split = served.split, Split(served.split.canary, Share(version, 100.0))
        served.running[version] = candidate
        try:
            await self._publish()
            found = await self._copies(served, candidate, before)
        finally:
            if served.split.shadow is not None and served.split.shadow.version == version:
                served.split = Split(served.split.canary, split.shadow)
            served.running.pop(version, None)
        if (why := against(found)) is not None:
            raise Refused(f"{served.name}/{version}: {why}")

    async def _copies(
        self, served: Served, candidate: Deployment, before: ShadowCounts
    ) -> ShadowCounts:
        """What it did with the copies that came within a few seconds."""
        begun = time.monotonic()
        while True:
            await asyncio.sleep(MIRROR_LOOK_SECONDS)
            now = traffic.shadow_counts(await self._figures(), served.name, candidate.version)
            found = later(now, before)
            waited = time.monotonic() - begun
            if candidate.supervisor.restarts or not candidate.ready:
                reason = candidate.supervisor.reason
                raise Refused(
                    f"{served.name}/{candidate.version} ended on a copy of a real request: {reason}"
                )
            if found.requests >= COPIES or waited > MIRROR_SECONDS:
                return found
            if waited > QUIET_SECONDS and not found.requests and not found.dropped:
                return found

    async def figures(self, served: Served) -> dict[str, Any]:
        """What canary and shadow of a model did, as plain data."""
        canary, shadow = served.split.canary, served.split.shadow
        if canary is None and shadow is None:
            return {"canary": None, "shadow": None}
        page = await self._figures()
        told: dict[str, Any] = {"canary": None, "shadow": None}
        if canary is not None:
            window = self._windows.get((served.name, canary.version))
            both = window.latest() if window else (traffic.Counts(), traffic.Counts())
            told["canary"] = msgspec.to_builtins(canary) | {
                "requests": int(both[0].requests),
                "error_rate": both[0].error_rate,
                "p99_s": both[0].p99,
                "champion_error_rate": both[1].error_rate,
                "champion_p99_s": both[1].p99,
            }
        if shadow is not None:
            counted = traffic.shadow_counts(page, served.name, shadow.version)
            told["shadow"] = msgspec.to_builtins(shadow) | msgspec.to_builtins(counted)
        return told

    def show(self, lifecycle: Lifecycle) -> None:
        """Bring the shares on the metrics page up to date."""
        self._metrics.traffic.clear()
        for served in lifecycle:
            for role in ("canary", "shadow"):
                share: Share | None = getattr(served.split, role)
                if share is not None:
                    labels = (served.name, str(share.version), role)
                    self._metrics.traffic.labels(*labels).set(share.percent)


def later(now: ShadowCounts, before: ShadowCounts) -> ShadowCounts:
    """What was counted after `before`, as far as a verdict needs it."""
    rows = now.rows - before.rows
    agreed = (now.agreement or 0.0) * now.rows - (before.agreement or 0.0) * before.rows
    return ShadowCounts(
        now.requests - before.requests,
        now.dropped - before.dropped,
        now.failed - before.failed,
        rows,
        agreed / rows if rows else None,
    )


def against(found: ShadowCounts) -> str | None:
    """What copies of real requests say against a candidate, or None."""
    if found.failed > max(1, MOST_FAILED * found.requests):
        return f"it failed {found.failed} of {found.requests} copies of real requests"
    if found.rows >= COPIES / 2 and found.agreement is not None and found.agreement < AGREEMENT:
        return (
            f"it agrees with the champion on {found.agreement:.0%} of {found.rows} rows of real requests, "
            f"{AGREEMENT:.0%} are needed"
        )
    return None
