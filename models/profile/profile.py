"""The reference profile of a model version: what its signals look like on held-out rows, and how much windows of such rows differ by chance.

    values float32 [rows, signals] -> bins uint8 [rows, signals] -> counts int64 [all bins of all signals], which add up

It is one readable file in the bundle. Comparing with it needs no rows: neither the reference's nor the traffic's.
"""

import functools
import hashlib
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from models.errors import BundleError
from models.profile.answers import Projection
from models.profile.estimate import Estimate
from models.profile.signals import Kind

FILE = "profile.json"


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signal's reference: bin i holds the values from edges[i-1] up to below edges[i]; a last bin holds NaN. `counts` has all of them.

    `ordered`: neighbouring bins are alike, which is not so for classes.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    ordered: bool = True

    def __post_init__(self) -> None:
        if len(self.counts) not in (0, len(self.edges) + 2):
            raise ValueError(
                f"signal '{self.name}' has {len(self.counts)} counts for {len(self.edges)} edges"
            )


class Null(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What chance does in windows of `n` rows, by resampling whole rows of the reference.

    `ks` and `triangular`: (mean, deviation) of each signal's statistic, transformed as models.profile.statistics says.
    `largest`: (p, value): the largest of all standardised statistics exceeds `value` in a share `p` of windows.
    """

    n: int
    ks: tuple[tuple[float, float], ...]
    triangular: tuple[tuple[float, float], ...]
    largest: tuple[tuple[float, float], ...]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """The reference of one version. `rows` is M, `source` says which rows they were, `variant` whose answers, `resamples` how many windows gave each null."""

    model: str
    version: int
    source: str
    rows: int
    data_sha256: str
    seed: int
    resamples: int
    created_at: str
    signals: tuple[Signal, ...]
    nulls: tuple[Null, ...]
    projection: Projection | None = None
    estimate: Estimate | None = None
    variant: str | None = None
    format: Literal[1] = 1

    def __post_init__(self) -> None:
        for null in self.nulls:
            if not len(null.ks) == len(null.triangular) == len(self.signals):
                raise ValueError(
                    f"the null of {null.n} rows is not that of {len(self.signals)} signals"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The window sizes that this reference is large enough for."""
        return tuple(null.n for null in self.nulls)

    @property
    def names(self) -> tuple[str, ...]:
        """The signals, in the order of every row of values."""
        return tuple(signal.name for signal in self.signals)

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the profile as its file holds it: counts belong together where it is the same."""
        return hashlib.sha256(encoded(self)).hexdigest()

    @functools.cached_property
    def layout(self) -> "Layout":
        """Where each bin lies."""
        return Layout(self.signals)

    @functools.cached_property
    def reference(self) -> np.ndarray:
        """The reference's own counts, flat."""
        return np.concatenate([signal.counts for signal in self.signals]).astype(np.int64)

    def bins(self, values: np.ndarray) -> np.ndarray:
        """uint8 [rows, signals]: the bin of each value [rows, signals]."""
        return self.layout.bins(values)

    def counts(self, bins: np.ndarray) -> np.ndarray:
        """int64 [all bins of all signals]: how often each was hit."""
        return self.layout.counts(bins)

    def by_signal(self, counts: np.ndarray) -> list[np.ndarray]:
        """Flat counts, cut into one array per signal."""
        return np.split(counts, self.layout.offsets[1:])


class Layout:
    """The bins of all signals in one flat array, and as a rectangle [signals, most bins] that is zero where a signal has fewer."""

    def __init__(self, signals: tuple[Signal, ...]) -> None:
        sizes = np.array([len(signal.edges) + 2 for signal in signals])
        self.offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.total = int(sizes.sum())
        self.ordered = np.array([signal.ordered for signal in signals])
        self.last = (sizes - 1).astype(np.uint8)
        self._shape = (len(signals), int(sizes.max()))
        # NaN where a signal has no more edges: no value reaches it.
        self.edges = np.full((len(signals), self._shape[1] - 2), np.nan, np.float32)
        for row, signal in zip(self.edges, signals, strict=True):
            row[: len(signal.edges)] = signal.edges
        rows, columns = np.repeat(np.arange(len(sizes)), sizes), np.arange(self.total)
        self._places = rows * self._shape[1] + columns - np.repeat(self.offsets, sizes)

    def bins(self, values: np.ndarray) -> np.ndarray:
        """uint8 [rows, signals]."""
        reached = (values[:, :, None] >= self.edges).sum(axis=2, dtype=np.uint8)
        found: np.ndarray = np.where(np.isnan(values), self.last, reached)
        return found

    def counts(self, bins: np.ndarray) -> np.ndarray:
        """int64 [total]."""
        return np.bincount((bins + self.offsets).ravel(), minlength=self.total)

    def rectangle(self, counts: np.ndarray) -> np.ndarray:
        """Flat counts [..., total] as [..., signals, most bins]."""
        spread = np.zeros((*counts.shape[:-1], self._shape[0] * self._shape[1]), np.float32)
        spread[..., self._places] = counts
        return spread.reshape(*counts.shape[:-1], *self._shape)


def file(variant: str | None = None) -> str:
    """What the profile is called: FILE, or the name of a variant that has its own."""
    return FILE if variant is None else f"profile.{variant}.json"


def read(directory: Path, variant: str | None = None) -> Profile | None:
    """The profile in a bundle's directory, if it has one: the variant's own, else the one for all. BundleError where it cannot be one."""
    names = (file(variant), FILE)
    path = next((directory / name for name in names if (directory / name).is_file()), None)
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Profile)
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"{path}: {error}") from error


def write(directory: Path, profile: Profile, variant: str | None = None) -> None:
    """Put the profile into a bundle's directory, as that of one variant or of all. The manifest, which hashes it, is to be written afterwards."""
    (directory / file(variant)).write_bytes(encoded(profile))


def encoded(profile: Profile) -> bytes:
    """The profile as its file holds it: a line for each field, signal and null."""
    told = msgspec.to_builtins(profile)
    return b"{\n" + b",\n".join(lines(name, value) for name, value in told.items()) + b"\n}\n"


def lines(name: str, value: object) -> bytes:
    """One field; where it is a list, one line for each of its items."""
    start = b"  " + msgspec.json.encode(name) + b": "
    if not isinstance(value, list | tuple):
        return start + msgspec.json.encode(value)
    return start + b"[\n    " + b",\n    ".join(map(msgspec.json.encode, value)) + b"\n  ]"
