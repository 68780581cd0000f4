"""Which shifts are tried, and how a window of traffic under one is drawn. Pure; it must not know who tells drift.

Shift = a variant of the rows x the share of rows that it hits x which classes come at all
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from loadtests.drift import pools
from loadtests.drift.pools import ADVERSARIAL, CLEAN, FOREIGN, UNSEEN
from loadtests.drift.rows import Scored
from loadtests.drift.suites import corruptions, pictures, series, texts
from models.datasets import reviews

SHARES = (0.1, 0.5, 1.0)
ZERO = 0
"""The class that is knocked out, or left alone."""


class Shift(NamedTuple):
    """One kind of changed traffic."""

    modality: str
    suite: str
    name: str
    variant: str = CLEAN
    share: float = 1.0
    """Of the rows, that the variant hits."""
    removed: float = 0.0
    """Of class ZERO."""
    only: bool = False
    """Only class ZERO comes."""


def rabanser() -> list[Shift]:
    """The suite of Rabanser et al. 2019: ten kinds of shift at three shares."""
    names = [*pictures.CHANGES, ADVERSARIAL]
    found = [
        Shift("images", "rabanser", f"{name} {share:g}", name, share)
        for name in names
        for share in SHARES
    ]
    for share in SHARES:
        knocked = f"knock-out {share:g}"
        found += [
            Shift("images", "rabanser", knocked, removed=share),
            Shift(
                *("images", "rabanser", f"image medium 0.5 + {knocked}", "image medium", 0.5),
                removed=share,
            ),
            Shift(
                *("images", "rabanser", f"one class + image medium {share:g}"),
                *("image medium", share),
                only=True,
            ),
        ]
    return found


def corrupted() -> list[Shift]:
    """Fifteen corruptions of every picture."""
    return [Shift("images", "corruptions", name, name) for name in corruptions.CHANGES]


def sensors() -> list[Shift]:
    """What happens to sensors, and people who were never seen."""
    names = [*series.CHANGES, UNSEEN]
    return [
        Shift("series", "series", f"{name} {share:g}", name, share)
        for name in names
        for share in (0.5, 1.0)
    ]


def writing() -> list[Shift]:
    """What happens to texts, and texts from elsewhere."""
    found = [Shift("texts", "texts", name, name) for name in texts.CHANGES if name not in MIXED]
    found += [Shift("texts", "texts", f"{name} 0.2", name, 0.2) for name in MIXED]
    found += [
        Shift("texts", "texts", f"{name} {share:g}", name, share)
        for name in reviews.DOMAINS
        for share in (0.3, 1.0)
    ]
    return found


MIXED = ("other language",)
"""Comes beside the usual, in a fifth of the rows."""


def suites() -> list[Shift]:
    """All of them."""
    return [*rabanser(), *corrupted(), *sensors(), *writing()]


def needed(chosen: list[Shift], modality: str) -> list[str]:
    """The variants that shifts of a modality are made of."""
    found = dict.fromkeys(one.variant for one in chosen if one.modality == modality)
    return [name for name in found if name != CLEAN]


def draw(
    shift: Shift,
    scored: Mapping[str, Scored],
    traffic: np.ndarray,
    n: int,
    rng: np.random.Generator,
) -> Scored:
    """`n` rows of traffic under a shift. `scored`: by variant, all rows of the pool; `traffic`: the row numbers that may come.

    Rows come once, unless there are fewer than are drawn: a class alone may have fewer than a window.
    """
    clean = scored[CLEAN]
    chosen = pick(kept(shift, clean.labels[traffic], rng), n, rng)
    rows = traffic[chosen]
    hit = np.zeros(n, dtype=bool)
    hit[rng.permutation(n)[: round(shift.share * n)]] = True
    if shift.variant == CLEAN or not hit.any():
        return clean.rows(rows)
    changed = scored[shift.variant]
    other = rows
    if shift.variant in FOREIGN:
        other = pick(np.arange(changed.size), n, rng)
    return mixed(clean.rows(rows), changed.rows(other), hit)


def mixed(clean: Scored, changed: Scored, hit: np.ndarray) -> Scored:
    """`changed` where a row was hit."""
    pairs = zip(clean, changed, strict=True)
    return Scored(*(np.where(hit if a.ndim == 1 else hit[:, None], b, a) for a, b in pairs))


def kept(shift: Shift, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of the rows that may come."""
    if shift.only:
        return np.flatnonzero(labels == ZERO)
    gone = (labels == ZERO) & (rng.random(len(labels)) < shift.removed)
    return np.flatnonzero(~gone)


def pick(places: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` of them."""
    return rng.choice(places, n, replace=n > len(places))


def clean(modality: str) -> Shift:
    """Nothing has changed."""
    return Shift(modality, "clean", pools.CLEAN)
