"""What a challenger does before it answers everybody: beside the champion, with copies of requests or some of them. It must not know jobs.

loaded as a shadow that gets nothing -> shadow or canary -> enough requests for long enough -> passed, or a reason against it
"""

from typing import Literal, NamedTuple

from service import traffic
from service.errors import Unavailable
from service.retraining.options import Retraining
from service.retraining.place import Place
from service.routing import Share, Split
from service.served import Served
from service.steering import MOST_FAILED

Role = Literal["shadow", "canary"]


class Seen(NamedTuple):
    """Requests that a version has had, and those that it failed."""

    requests: int
    failed: int


class Standing(NamedTuple):
    """How a trial stands: `against` is "" once it is passed, a reason where it is not, None while that is not known."""

    against: str | None
    requests: int = 0


class Trials:
    """Challengers of one machine."""

    def __init__(self, place: Place) -> None:
        self._lifecycle, self._figures = place.lifecycle, place.figures
        self._before: dict[tuple[str, int], Seen] = {}

    async def load(self, model: str, version: int) -> None:
        """Have an engine for it, beside the champion's. Refused says why it cannot be served, Unavailable that another is tried now."""
        served = self._lifecycle.of(model)
        if served is not None and version in served.running and version in served.needed():
            return
        await self._share(model, "shadow", Share(version, 0.0))

    async def step(self, model: str, version: int, options: Retraining, seconds: float) -> Standing:
        """Begin it, or look how it stands. `seconds`: since it began."""
        if options.trial == "none":
            return Standing("")
        served = self._lifecycle.of(model)
        if served is None:
            raise Unavailable(f"'{model}' is not loaded")
        key = (model, version)
        share: Share | None = getattr(served.split, options.trial)
        if share is None or share.version != version or share.percent == 0:
            if key in self._before and share is None:
                ended = f"its {options.trial} was ended by hand"
                return Standing(served.failures.get(version) or ended)
            await self._share(model, options.trial, Share(version, options.trial_percent))
        seen = await self._seen(model, version, options.trial)
        before = self._before.setdefault(key, seen)
        found = Seen(seen.requests - before.requests, seen.failed - before.failed)
        if found.failed > max(1, MOST_FAILED * found.requests):
            why = f"it failed {found.failed} of {found.requests} requests of its trial"
            return Standing(why, found.requests)
        enough = found.requests >= options.trial_requests and seconds >= options.trial_s
        return Standing("" if enough else None, found.requests)

    async def end(self, model: str, version: int) -> None:
        """Take its requests away; nobody needs its engine any more, unless it is the champion."""
        self._before.pop((model, version), None)
        served = self._lifecycle.of(model)
        if served is None:
            return
        split = without(served.split, version)
        if split != served.split:
            await self._lifecycle.share(model, split)

    async def _share(self, model: str, role: Role, share: Share) -> None:
        """Give it a share of its own. Unavailable where another version has that role."""
        served = self._lifecycle.of(model) or Served(model)
        split = without(served.split, share.version)
        if (other := getattr(split, role)) is not None:
            raise Unavailable(f"version {other.version} is the {role} of '{model}' now", 5.0)
        shared = Split(share, split.shadow) if role == "canary" else Split(split.canary, share)
        await self._lifecycle.share(model, shared)

    async def _seen(self, model: str, version: int, role: Role) -> Seen:
        page = await self._figures()
        if role == "shadow":
            copies = traffic.shadow_counts(page, model, version)
            return Seen(copies.requests, copies.failed)
        counts = traffic.counts(page, model, version)
        return Seen(int(counts.requests), int(counts.failed))


def without(split: Split, version: int) -> Split:
    """The split without a version."""
    canary, shadow = split.canary, split.shadow
    return Split(
        None if canary is not None and canary.version == version else canary,
        None if shadow is not None and shadow.version == version else shadow,
    )
