"""Two rivals made of SciPy's two-sample Kolmogorov-Smirnov test. They must not know what a row was made from.

any column   every signal on its own, an alarm where any p-value is below alpha: what a loop over columns does
BBSDs        the softmax outputs, each on its own, alpha divided by their number (Rabanser et al. 2019: the best there)
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from loadtests.drift.rows import Scored

ANY_COLUMN, BBSDS = "any column KS", "BBSDs"


class Columns(NamedTuple):
    """A reference's columns, sorted, as SciPy would do at every window, and how the smallest p-value is judged."""

    columns: np.ndarray
    read: Callable[[Scored], np.ndarray]
    times: int

    def p(self, window: Scored) -> float:
        """The window's p-value: the smallest of the columns', times what it is corrected by."""
        found = self.read(window)
        smallest = min(
            float(stats.ks_2samp(theirs, ours, method="asymp").pvalue)
            for theirs, ours in zip(self.columns.T, found.T, strict=True)
        )
        return min(1.0, smallest * self.times)


def any_column(reference: Scored) -> Columns:
    """Over all signals, without a correction."""
    return Columns(np.sort(reference.values, axis=0), lambda window: window.values, 1)


def bbsds(reference: Scored) -> Columns:
    """Over the softmax outputs, with Bonferroni's."""
    classes = reference.probabilities.shape[1]
    columns = np.sort(reference.probabilities, axis=0)
    return Columns(columns, lambda window: window.probabilities, classes)
