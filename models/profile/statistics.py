"""How far a window's counts lie from the reference's, per signal. Arrays are counts [..., signals, bins] as Layout.rectangle gives them.

Two statistics decide, because they see different things: ks (Kolmogorov-Smirnov on the bins) a change of level, triangular (symmetric
chi-squared) a change of shape and of classes. Both are taken to a power that makes their chance distribution nearly normal, so that
signals can be compared. The others (PSI, Jensen-Shannon, Wasserstein) are reported because people ask for them by name.
"""

import numpy as np

TINY = 1e-12


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their signal."""
    total: np.ndarray = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    return total


def both(p: np.ndarray, q: np.ndarray, n: int, m: int) -> np.ndarray:
    """[2, ..., signals]: ks and triangular of shares [..., signals, bins] of n and of m rows.

    ks is (s^2 D^2)^(1/3) with D the largest distance of the two distribution functions and s^2 = nm / (n + m); triangular is
    (s^2 sum (p - q)^2 / ((p + q) / 2))^(1/3), where a bin that both leave empty adds nothing.
    """
    apart = p - q
    distance = np.abs(np.cumsum(apart, axis=-1)).max(axis=-1)
    terms = np.square(apart) / np.maximum((p + q) / 2, TINY)
    return np.cbrt(n * m / (n + m) * np.stack([np.square(distance), terms.sum(axis=-1)]))


def one_row(n: int, m: int) -> np.ndarray:
    """[2]: ks and triangular of a window in which a single row differs from what all others hold."""
    return np.cbrt(n * m / (n + m) * np.array([1 / n**2, 2 / n]))


def psi(live: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Population stability index of two arrays of counts [..., bins], half a row added to each bin that one of them has."""
    there = (live + reference) > 0
    p, q = (shares((counts + 0.5) * there) for counts in (live, reference))
    found: np.ndarray = ((p - q) * np.log((p + TINY) / (q + TINY))).sum(axis=-1)
    return found


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of shares: the square root of the divergence in bits, 0 to 1."""
    middle = (p + q) / 2 + TINY

    def divergence(a: np.ndarray) -> np.ndarray:
        part: np.ndarray = (a * np.log2((a + TINY) / middle)).sum(axis=-1)
        return part

    found: np.ndarray = np.sqrt(np.maximum((divergence(p) + divergence(q)) / 2, 0))
    return found


def wasserstein(p: np.ndarray, q: np.ndarray, centres: np.ndarray) -> float:
    """How far values moved on average, in the signal's unit, from shares [bins] at `centres` [bins]."""
    return float((np.abs(np.cumsum(p - q))[:-1] * np.diff(centres)).sum())
