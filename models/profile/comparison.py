"""A window of traffic against the profile: one joint test, and which signals moved, by how much.

The joint test's p is the share of windows without any shift in which some signal lies at least as far out. Each signal's own p is
corrected for the number of signals in the same way, so any signal below alpha is one that moved. All of it holds for independent requests.
"""

import math

import msgspec
import numpy as np

from models.profile import calibration, statistics
from models.profile.profile import Null, Profile, Signal
from models.profile.signals import Kind

ALPHA = 0.05


class SignalReport(msgspec.Struct, frozen=True):
    """One signal in a window of `n` rows. `statistic` in deviations of chance; beyond `threshold` it moved (joint alpha .05).

    `shift`: by how many of the reference's deviations the mean moved, with its sign; None for classes. `w1` is in the signal's unit.
    """

    name: str
    kind: Kind
    statistic: float
    threshold: float
    p: float
    n: int
    shift: float | None
    ks: float
    psi: float
    js: float
    w1: float


class Comparison(msgspec.Struct, frozen=True):
    """The joint test of a window, and its signals with the strongest evidence first."""

    p: float
    samples: int
    reference: int
    signals: tuple[SignalReport, ...]


def compare(profile: Profile, counts: np.ndarray, n: int) -> Comparison:
    """Flat counts of `n` rows against the profile, by the null of the admitted size nearest to n. ValueError beyond the admitted sizes."""
    if not profile.sizes[0] <= n <= profile.sizes[-1]:
        raise ValueError(f"a window of {n} rows, this reference admits {profile.sizes}")
    null = min(profile.nulls, key=lambda one: abs(math.log(one.n / n)))
    layout, m = profile.layout, profile.rows
    p = statistics.shares(layout.rectangle(counts))
    q = statistics.shares(layout.rectangle(profile.reference))
    moments = np.array([null.ks, null.triangular])
    found = calibration.evidence(layout, statistics.both(p, q, n, m), moments)
    live, reference = profile.by_signal(counts), profile.by_signal(profile.reference)
    order = np.argsort(-found, kind="stable")
    reports = tuple(
        report(profile.signals[i], null, float(found[i]), live[i], reference[i]) for i in order
    )
    return Comparison(chance(null, float(found.max())), n, m, reports)


def chance(null: Null, statistic: float) -> float:
    """The share of windows without a shift whose largest statistic is at least this. Never below what resampling can tell."""
    p, values = np.array(null.largest).T
    if statistic < values[0]:
        return 1.0
    return float(np.exp(np.interp(statistic, values, np.log(p))))


def at(null: Null, alpha: float) -> float:
    """The statistic that is exceeded in a share `alpha` of windows."""
    p, values = np.array(null.largest).T
    return float(np.interp(-np.log(alpha), -np.log(p), values))


def report(
    signal: Signal, null: Null, statistic: float, live: np.ndarray, reference: np.ndarray
) -> SignalReport:
    """The figures of one signal."""
    p, q = statistics.shares(live), statistics.shares(reference)
    middles = centres(signal)
    known, usual = statistics.shares(live[:-1]), statistics.shares(reference[:-1])
    mean = float(usual @ middles)
    deviation = math.sqrt(max(float(usual @ np.square(middles - mean)), 1e-24))
    return SignalReport(
        signal.name,
        signal.kind,
        statistic,
        at(null, ALPHA),
        chance(null, statistic),
        int(live.sum()),
        (float(known @ middles) - mean) / deviation if signal.ordered else None,
        float(np.abs(np.cumsum(p - q)).max()),
        float(statistics.psi(live, reference)),
        float(statistics.jensen_shannon(p, q)),
        statistics.wasserstein(known, usual, middles),
    )


def centres(signal: Signal) -> np.ndarray:
    """The middle of each bin but NaN's; the outermost are taken at their edge."""
    edges = np.array(signal.edges, dtype=np.float64)
    if not len(edges):
        return np.zeros(1)
    return np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
