"""All rows of one modality, scored once for every variant and kept; then any split of them and any window costs no model run.

pool -> variants -> Scored, in memory -> a split into reference and traffic -> Ours (a profile of the reference) -> windows
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from loadtests.drift.pools import CLEAN, POOLS, Pool, directory
from loadtests.drift.rows import Model, Scored
from loadtests.drift.shifts import Shift, draw, needed
from models import profile
from models.profile import About, Batch, Comparison, Profile, calibration, statistics
from models.profile.answers import EmbeddingSignals
from models.profile.comparison import chance

REFERENCE = 2 / 3
"""The share of the pool that becomes the reference."""
CHUNK = 200


class Ours:
    """Evergreen's own test: the profile of a reference, as it would lie in a bundle."""

    def __init__(self, model: Model, reference: Profile) -> None:
        self.profile = reference
        self._model = model
        self._embedding = EmbeddingSignals(model.manifest, reference.projection)

    def size(self, most: int) -> int:
        """The largest admitted window of up to `most` rows, or the smallest."""
        return max((n for n in self.profile.sizes if n <= most), default=self.profile.sizes[0])

    def bins(self, rows: Scored) -> np.ndarray:
        """uint8 [rows, signals]."""
        outputs = {self._model.name("embedding"): rows.embedding}
        directions = self._embedding.values(outputs, rows.size)
        return self.profile.bins(np.concatenate([rows.values, directions], axis=1))

    def compare(self, window: Scored) -> Comparison:
        """The verdict on one window."""
        counts = self.profile.counts(self.bins(window))
        return profile.compare(self.profile, counts, window.size)

    def p(self, window: Scored) -> float:
        """The joint p-value."""
        return self.compare(window).p

    def p_values(self, bins: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """What `compare` would say of many windows, without the figures of every signal. `windows` int [windows, n]: rows of `bins`."""
        counts = self.profile.counts
        return self.p_of(np.array([counts(bins[rows]) for rows in windows]), windows.shape[1])

    def p_of(self, counts: np.ndarray, n: int) -> np.ndarray:
        """The joint p-values of windows of n rows, an admitted size, from counts [windows, bins]."""
        null = next(one for one in self.profile.nulls if one.n == n)
        layout, moments = self.profile.layout, np.array([null.ks, null.triangular])
        reference = statistics.shares(layout.rectangle(self.profile.reference))
        found: list[float] = []
        for start in range(0, len(counts), CHUNK):
            live = statistics.shares(layout.rectangle(counts[start : start + CHUNK]))
            apart = statistics.both(live, reference, n, self.profile.rows)
            largest = calibration.evidence(layout, apart, moments).max(axis=-1)
            found += [chance(null, float(one)) for one in largest]
        return np.array(found)


class Split(NamedTuple):
    """Which rows are known, and which may come."""

    reference: np.ndarray
    traffic: np.ndarray


class Material:
    """One modality. `resamples`: behind a profile."""

    def __init__(self, modality: str, rows: int | None, resamples: int, seed: int) -> None:
        self.modality, self.resamples, self.seed = modality, resamples, seed
        self.pool: Pool = POOLS[modality](rows)
        self.model = Model(directory(self.pool.model), self.pool.variant)
        self._clean = self.pool.rows(CLEAN, self._rng(CLEAN))
        self._outputs = self.model.answers(self._clean)
        self.scored = {CLEAN: self.model.score(self._clean, self._outputs)}
        self._known: dict[tuple[int, int], tuple[Split, Ours]] = {}

    @property
    def clean(self) -> Scored:
        """The rows as they are."""
        return self.scored[CLEAN]

    def load(self, shifts: Sequence[Shift]) -> Iterator[str]:
        """Score the variants that are needed; says which comes next."""
        for variant in needed(list(shifts), self.modality):
            if variant not in self.scored:
                yield variant
                rows = self.pool.rows(variant, self._rng(variant))
                self.scored[variant] = self.model.score(rows, self.model.answers(rows))

    def split(self, number: int, resamples: int | None = None) -> tuple[Split, Ours]:
        """The split of this number, and the profile of its reference; the same at every call."""
        resamples = resamples or self.resamples
        if (number, resamples) not in self._known:
            order = self._rng("split", number).permutation(self.clean.size)
            cut = round(REFERENCE * len(order))
            split = Split(order[:cut], order[cut:])
            self._known[number, resamples] = split, self._build(split.reference, resamples)
        return self._known[number, resamples]

    def population(self, number: int, resamples: int | None = None) -> tuple[np.ndarray, Ours]:
        """Reference rows that were drawn from the pool as if it were everybody, and their profile.

        Then all of the pool, again and again, is new traffic: both are independent draws of the same population, as in a split, but
        this traffic never comes to an end, and what little of it a split has does not show.
        """
        size = round(REFERENCE * self.clean.size)
        drawn = self._rng("population", number).integers(self.clean.size, size=size)
        return drawn, self._build(drawn, resamples or self.resamples)

    def window(self, shift: Shift, split: Split, n: int, *number: int) -> Scored:
        """A window of traffic under a shift; another one for every number."""
        return draw(shift, self.scored, split.traffic, n, self._rng(shift.name, n, *number))

    def _build(self, reference: np.ndarray, resamples: int) -> Ours:
        batch = Batch(
            {name: array[reference] for name, array in self._clean.inputs.items()},
            {name: array[reference] for name, array in self._outputs.items()},
            self._clean.labels[reference],
        )
        about = About(self.pool.source, "", "", seed=self.seed, resamples=resamples)
        made = profile.build(self.model.manifest, self.model.directory, [batch], about)
        return Ours(self.model, made)

    def _rng(self, what: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *what.encode(), *numbers])
