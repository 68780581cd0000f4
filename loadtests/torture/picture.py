"""What became of requests, second by second: a strip for each scenario, with its faults, and readiness beneath it."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from loadtests.torture.found import Bin, Found, Report

FAULT = "#444444"
KINDS = {
    "right": ("right", "#2e7d5b"),
    "refused": ("refused", "#e0a030"),
    "unreached": ("not connected: it was ended", "#c8ccd0"),
    "other": ("wrong, lost or cut", "#c0392b"),
}
"""The kinds of a stretch's requests, with their names and colours."""
WIDTH, HEIGHT = 11.0, 1.25
MOST = 240
"""Columns of a strip."""


def draw(report: Report, file: Path) -> None:
    """The picture as SVG, the same for the same figures."""
    found = [one for one in report.found if one.courses]
    if not found:
        return
    figure = Figure(figsize=(WIDTH, HEIGHT * len(found) + 0.7), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(found), 1))
    for each, one in zip(axes, found, strict=True):
        strip(each, one)
    axes[-1].set_xlabel("seconds; dashed lines: faults and their ends")
    handles = [Patch(color=colour, label=label) for label, colour in KINDS.values()]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    with mpl.rc_context({"svg.hashsalt": "torture", "svg.fonttype": "path"}):
        figure.savefig(file, metadata={"Date": None})


def strip(axes: Axes, one: Found) -> None:
    """One scenario."""
    wide = max(len(course) for course in one.courses.values())
    group = max(1, -(-wide // MOST))
    width = group * one.bin_s
    starts = np.arange(-(-wide // group) + 1) * width
    floor = np.zeros(len(starts))
    for what, (_, colour) in KINDS.items():
        each = [summed(course, what, group, len(starts)) for course in one.courses.values()]
        height = np.sum(each, axis=0) / width
        if height.any():
            top = floor + height
            axes.fill_between(starts, floor, top, step="post", color=colour, linewidth=0)
        floor = floor + height
    for fault in one.faults:
        axes.axvline(fault.at, color=FAULT, linewidth=0.7, linestyle=(0, (3, 2)))
    axes.set_xlim(0, max(one.seconds, width))
    axes.set_title(one.name, loc="left", fontsize=9)
    axes.set_ylabel("requests/s", fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def summed(course: list[Bin], what: str, group: int, count: int) -> np.ndarray:
    """Answers of one kind in each column."""
    values = np.zeros(group * count)
    values[: len(course)] = [getattr(one, what) for one in course]
    total: np.ndarray = values.reshape(count, group).sum(axis=1)
    return total
