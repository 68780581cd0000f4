"""How champion, canary and shadow compare, read from everybody's counts. Pure: no clock, no I/O.

counts since the service started -> differences over a window -> error rate, p99, agreement -> a reason to end a canary, or none
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from service.settings import ModelSettings
from service.snapshots import Snapshot

BLAMELESS = frozenset(
    (
        "ok",
        "cancelled",
        "refused",
        "InputError",
        "Malformed",
        "TooLarge",
        "Undecodable",
        "NotFinite",
        "UnsupportedMedia",
        "NotFound",
        "ClientGone",
    )
)
"""Outcomes that say nothing against a version: it answered, or the caller asked what cannot be answered."""
SLOWER = 2.0
"""A canary may take this many times the champion's p99 where the settings give no limit."""
QUANTILE = 0.99


class Counts(NamedTuple):
    """Requests of a version, those that it failed, and how many were answered within each bound (s)."""

    requests: float = 0.0
    failed: float = 0.0
    within: tuple[tuple[float, float], ...] = ()

    def since(self, before: "Counts") -> "Counts":
        """What was counted after `before`."""
        earlier = dict(before.within)
        return Counts(
            self.requests - before.requests,
            self.failed - before.failed,
            tuple((bound, count - earlier.get(bound, 0.0)) for bound, count in self.within),
        )

    @property
    def error_rate(self) -> float:
        """Share of requests that failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def p99(self) -> float | None:
        """Seconds below which 99 % of the good answers stayed, by the bounds; None without any."""
        total = self.within[-1][1] if self.within else 0.0
        lower, below = 0.0, 0.0
        for bound, count in self.within:
            if total and count >= QUANTILE * total:
                if bound == float("inf"):
                    return lower
                inside = (QUANTILE * total - below) / (count - below) if count > below else 1.0
                return lower + (bound - lower) * inside
            lower, below = bound, count
        return None


class ShadowCounts(msgspec.Struct):
    """What a shadow did with its copies. Seconds are means of queue and compute over the same requests."""

    requests: int = 0
    dropped: int = 0
    failed: int = 0
    rows: int = 0
    agreement: float | None = None
    confidence_difference: float | None = None
    champion_s: float | None = None
    shadow_s: float | None = None


class Window:
    """A canary's counts beside its champion's, over the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, Counts, Counts]] = deque()

    def add(self, now: float, canary: Counts, champion: Counts) -> None:
        """What has been counted until `now` (s)."""
        self._seen.append((now, canary, champion))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._seconds:
            self._seen.popleft()

    def latest(self) -> tuple[Counts, Counts]:
        """(canary, champion) within the window."""
        if not self._seen:
            return Counts(), Counts()
        _, canary, champion = self._seen[0]
        _, later, more = self._seen[-1]
        return later.since(canary), more.since(champion)


def verdict(canary: Counts, champion: Counts, own: ModelSettings) -> str | None:
    """Why a canary has to end, or None."""
    if canary.requests < own.canary_min_requests:
        return None
    if canary.error_rate > max(own.canary_max_error_rate, champion.error_rate):
        return (
            f"{canary.error_rate:.1%} of {canary.requests:.0f} requests failed, "
            f"{own.canary_max_error_rate:.1%} are allowed and the champion has {champion.error_rate:.1%}"
        )
    p99, theirs = canary.p99, champion.p99
    if own.canary_max_p99_ms is not None:
        limit: float | None = own.canary_max_p99_ms / 1000
    else:
        enough = champion.requests >= own.canary_min_requests
        limit = SLOWER * theirs if theirs is not None and enough else None
    if p99 is not None and limit is not None and p99 > limit:
        return f"p99 is {1000 * p99:.1f} ms over {canary.requests:.0f} requests, {1000 * limit:.1f} ms are allowed"
    return None


def counts(page: Snapshot, model: str, version: int) -> Counts:
    """What everybody has counted of a version."""
    requests = failed = 0.0
    within: dict[float, float] = {}
    for name, labels, value in samples(page, model, version):
        if name == "inference_requests_total":
            requests += value
            failed += value if labels["status"] not in BLAMELESS else 0.0
        elif name == "inference_request_duration_seconds_bucket":
            bound = float(labels["le"])
            within[bound] = within.get(bound, 0.0) + value
    return Counts(requests, failed, tuple(sorted(within.items())))


def shadow_counts(page: Snapshot, model: str, version: int) -> ShadowCounts:
    """What everybody has counted of a shadow."""
    found = ShadowCounts()
    sums: dict[str, float] = {}
    for name, labels, value in samples(page, model, version):
        if name == "inference_shadow_requests_total":
            count_shadow(found, labels["status"], int(value))
        elif name.startswith("inference_shadow_") and "le" not in labels:
            key = name + labels.get("role", labels.get("agrees", ""))
            sums[key] = sums.get(key, 0.0) + value
    agreed, differed = (sums.get(f"inference_shadow_rows_total{x}", 0.0) for x in ("true", "false"))
    found.rows = int(agreed + differed)
    found.agreement = agreed / found.rows if found.rows else None
    found.confidence_difference = mean(sums, "confidence_difference")
    found.champion_s = mean(sums, "duration_seconds", "champion")
    found.shadow_s = mean(sums, "duration_seconds", "shadow")
    return found


def count_shadow(found: ShadowCounts, status: str, value: int) -> None:
    """Add copies of one outcome."""
    if status == "dropped":
        found.dropped += value
        return
    found.requests += value
    found.failed += value if status not in BLAMELESS else 0


def mean(sums: Mapping[str, float], name: str, role: str = "") -> float | None:
    """The mean of a histogram, None of one that is empty."""
    count = sums.get(f"inference_shadow_{name}_count{role}", 0.0)
    return sums[f"inference_shadow_{name}_sum{role}"] / count if count else None


def samples(page: Snapshot, model: str, version: int) -> Any:
    """The samples of one version."""
    wanted = (model, str(version))
    for family in page:
        for name, labels, value in family.samples:
            if (labels.get("model"), labels.get("version")) == wanted:
                yield name, labels, value
