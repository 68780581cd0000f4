"""What all parts of a run share: how much is measured, the rows that were scored, and what was found. It must not know the parts."""

from collections.abc import Iterator
from typing import NamedTuple

from loadtests.drift import shifts
from loadtests.drift.found import Part
from loadtests.drift.material import Material
from loadtests.drift.pools import POOLS
from loadtests.drift.shifts import Shift

Steps = Iterator[tuple[int, int, str]]
"""(done, of, what comes next)."""


class Scale(NamedTuple):
    """How much is measured."""

    rows: dict[str, int]
    """At most, of a modality that is named."""
    resamples: int
    """Behind a profile. Fewer than 5,000 could not tell a p below .001, and nobody would ever be paged."""
    coarse: int
    """Behind a profile that has to tell .05 only."""
    splits: int
    most_splits: int
    """More than `splits` are tried until the rate of false alarms is known well enough, but no more than these."""
    windows: int
    """Of false alarms, in a split."""
    power_splits: int
    power_windows: int
    rivals: int
    """Splits in which the slower rivals are asked, too."""
    streams: int
    references: int
    """Each of which is watched for `days`."""
    days: float
    labels: int
    """Streams of labels."""
    injections: int
    evidently: int
    """Windows of each size without a shift that Evidently is asked about."""
    outside: int
    """Windows that a service evaluates without a shift."""
    seconds: int
    """Of one measurement of a service under load."""


FULL = Scale(
    rows={},
    resamples=10_000,
    coarse=2000,
    splits=20,
    most_splits=150,
    windows=50,
    power_splits=10,
    power_windows=4,
    rivals=20,
    streams=300,
    references=12,
    days=30,
    labels=300,
    injections=8,
    evidently=12,
    outside=100,
    seconds=8,
)
QUICK = Scale(
    rows={"images": 1000, "texts": 450},
    resamples=5000,
    coarse=1000,
    splits=2,
    most_splits=2,
    windows=20,
    power_splits=1,
    power_windows=2,
    rivals=1,
    streams=10,
    references=1,
    days=2,
    labels=4,
    injections=1,
    evidently=1,
    outside=3,
    seconds=1,
)


class Bench:
    """One run. `found` is that of the part that is being measured."""

    def __init__(self, scale: Scale, seed: int) -> None:
        self.scale, self.seed, self.found = scale, seed, Part()
        self.shifts = shifts.suites()
        self._materials: dict[str, Material] = {}

    def material(self, modality: str) -> Material:
        """A modality with its clean rows scored."""
        if modality not in self._materials:
            rows = self.scale.rows.get(modality)
            made = Material(modality, rows, self.scale.resamples, self.seed)
            self._materials[modality] = made
        self.found.sources[modality] = self._materials[modality].pool.source
        return self._materials[modality]

    def materials(self) -> list[Material]:
        """All modalities."""
        return [self.material(modality) for modality in POOLS]

    def of(self, modality: str) -> list[Shift]:
        """The shifts of a modality."""
        return [one for one in self.shifts if one.modality == modality]
