"""The demonstration as one picture: accuracy, verdict and version over the same time. It must not show anything else."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loadtests.demo.found import Found, Look
from loadtests.plots import BLUE, GREEN, ORANGE, VERMILION

NEWEST = 60
"""Answers behind every point of the accuracy."""
COLOURS = {
    "insufficient": "#BBBBBB",
    "fine": GREEN,
    "watch": ORANGE,
    "benign drift": ORANGE,
    "data fault": VERMILION,
    "harmful": VERMILION,
}
ACTS = {
    "usual": "usual traffic",
    "unusual": "unusual traffic",
    "afterwards": "both, after the loop",
}


def drawn(found: Found) -> Figure:
    """The picture."""
    figure = Figure(figsize=(9.0, 5.2), layout="constrained")
    accuracy, verdict, version = figure.subplots(3, 1, sharex=True, height_ratios=[4, 0.8, 1.4])
    accuracies(accuracy, found)
    conclusions(verdict, found.looks)
    versions(version, found.looks)
    version.set_xlabel("seconds")
    figure.suptitle(f"{found.model}: {found.unusual}", fontsize=11)
    return figure


def accuracies(axes: Axes, found: Found) -> None:
    """The share of right answers among the newest ones, each act in its place."""
    times = np.array([one.at for one in found.answers])
    right = np.array([one.right for one in found.answers], dtype=float)
    sums = np.cumsum(np.insert(right, 0, 0.0))
    last = np.arange(1, len(right) + 1)
    first = np.maximum(0, last - NEWEST)
    axes.plot(times, (sums[last] - sums[first]) / (last - first), color=BLUE)
    for index, (act, begins) in enumerate(starts(found)):
        axes.axvline(begins, color="#BBBBBB", linewidth=0.8)
        axes.annotate(
            ACTS[act],
            (begins, 0.02 + 0.06 * (index % 2)),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(ylabel=f"accuracy of {NEWEST} answers", ylim=(0, 1.02))


def starts(found: Found) -> list[tuple[str, float]]:
    """When each act began."""
    seen: dict[str, float] = {}
    for one in found.answers:
        seen.setdefault(one.act, one.at)
    return list(seen.items())


def conclusions(axes: Axes, looks: Sequence[Look]) -> None:
    """What the service concluded, as a band."""
    for kind, begins, ends in spans(looks, lambda look: look.conclusion):
        axes.axvspan(begins, ends, color=COLOURS[kind], alpha=0.8, linewidth=0)
        if ends - begins > 6:
            axes.annotate(kind, ((begins + ends) / 2, 0.5), ha="center", va="center", fontsize=7)
    axes.set(ylabel="verdict", yticks=[], ylim=(0, 1))


def versions(axes: Axes, looks: Sequence[Look]) -> None:
    """Who answered."""
    for version, begins, ends in spans(looks, lambda look: look.version):
        axes.hlines(version, begins, ends, color=BLUE, linewidth=3)
    numbers = sorted({look.version for look in looks})
    axes.set(ylabel="version", yticks=numbers, ylim=(numbers[0] - 0.5, numbers[-1] + 0.5))


def spans(looks: Sequence[Look], of: Any) -> list[tuple[Any, float, float]]:
    """Stretches of looks that say the same: (what, from, to)."""
    found: list[tuple[Any, float, float]] = []
    for look, after in pairwise(looks):
        if found and found[-1][0] == of(look):
            found[-1] = (found[-1][0], found[-1][1], after.at)
        else:
            found.append((of(look), look.at, after.at))
    return found
