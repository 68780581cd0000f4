"""Lines and stacks over time, as Grafana's time series panel draws them. It must not ask anything."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from deploy.grafana.preview.asking import NONE, Series
from deploy.grafana.preview.style import (
    FAINT,
    INK,
    SMALL,
    Colours,
    colour,
    cut,
    day,
    over_time,
)
from deploy.grafana.preview.units import written

LINE_HEIGHT, CHARACTER = 0.155, 0.056
"""Inches of a legend's line, and of a character in it."""
MOST_LINES = 3
"""Lines of a legend."""

Panel = dict[str, Any]
Box = tuple[float, float, float, float]
"""Left, bottom, width and height in inches."""


def draw(
    figure: Figure, box: Box, panel: Panel, series: Sequence[Series], colours: Colours
) -> Axes:
    """The chart within `box`, its legend below it. The axes are returned for marks."""
    defaults = panel["fieldConfig"]["defaults"]
    stacked = "stacking" in defaults.get("custom", {})
    fixed = overridden(panel, "color")
    picked = {
        one.name: colour(fixed[one.name]["fixedColor"])
        if one.name in fixed
        else colours.of(one.name)
        for one in series
    }
    left, bottom, width, height = box
    columns, shown = arranged(series, width)
    lines = -(-len(shown) // columns) if shown else 0
    under = 0.24 + LINE_HEIGHT * lines
    axes = inside(figure, (left + 0.62, bottom + under, width - 0.72, height - under))
    if stacked:
        stack(axes, series, picked)
    else:
        plot(axes, panel, series, picked)
    finish(axes, defaults)
    legend(axes, shown, picked, columns, defaults.get("unit", "short"), (width, height - under))
    return axes


def inside(figure: Figure, box: Box) -> Axes:
    """Axes at a place in inches."""
    across, up = figure.get_size_inches()
    left, bottom, width, height = box
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def overridden(panel: Panel, what: str) -> dict[str, Any]:
    """A property by the name of the series that has its own."""
    return {
        rule["matcher"]["options"]: prop["value"]
        for rule in panel["fieldConfig"]["overrides"]
        for prop in rule["properties"]
        if prop["id"] == what
    }


def plot(axes: Axes, panel: Panel, series: Sequence[Series], colours: dict[str, str]) -> None:
    """Lines, and what is filled between two of them."""
    band = overridden(panel, "custom.fillBelowTo")
    widths = overridden(panel, "custom.lineWidth")
    by_name = {one.name: one for one in series}
    for name, low in band.items():
        if name in by_name and low in by_name:
            fill(axes, by_name[name], by_name[low], colours[name])
    for one in series:
        times, values = broken(one)
        axes.plot(times, values, color=colours[one.name], linewidth=widths.get(one.name, 1.3))


def fill(axes: Axes, high: Series, low: Series, shade: str) -> None:
    """The space between two series, where both have values."""
    below = dict(zip(low.times, low.values, strict=True))
    both = [
        (at, value, below[at])
        for at, value in zip(high.times, high.values, strict=True)
        if at in below
    ]
    if both:
        times, top, bottom = (list(column) for column in zip(*both, strict=True))
        axes.fill_between(
            [day(at) for at in times], bottom, top, color=shade, alpha=0.18, linewidth=0
        )


def broken(one: Series) -> tuple[list[float], list[float]]:
    """A line's points, with a gap where steps are missing."""
    gaps = [later - earlier for earlier, later in pairwise(one.times)]
    usual = min(gaps, default=1.0)
    times, values = [], []
    for at, value, gap in zip(one.times, one.values, [*gaps, usual], strict=True):
        times.append(day(at))
        values.append(value)
        if gap > 1.5 * usual:
            times.append(day(at + usual))
            values.append(float("nan"))
    return times, values


def stack(axes: Axes, series: Sequence[Series], colours: dict[str, str]) -> None:
    """Areas one upon the other; what has no value counts as none."""
    times = sorted({at for one in series for at in one.times})
    below = np.zeros(len(times))
    for one in series:
        known = dict(zip(one.times, one.values, strict=True))
        above = below + np.nan_to_num([known.get(at, 0.0) for at in times])
        axes.fill_between(
            [day(at) for at in times],
            below,
            above,
            color=colours[one.name],
            alpha=0.75,
            linewidth=0,
        )
        below = above


def finish(axes: Axes, defaults: dict[str, Any]) -> None:
    """Scale, unit, grid and thresholds."""
    unit = defaults.get("unit", "short")
    low, high = axes.get_ylim()
    if "min" in defaults:
        low, high = defaults["min"], 1.08 * high if high > 0 else 1
    axes.set_ylim(low, defaults.get("max", high))
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is not None and step["value"] <= axes.get_ylim()[1]:
            axes.axhline(
                step["value"], color=colour(step["color"]), linewidth=0.9, linestyle=(0, (6, 3))
            )
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.grid(axis="y", color="#E7EAED", linewidth=0.7)
    axes.set_axisbelow(True)


def arranged(series: Sequence[Series], width: float) -> tuple[int, list[Series]]:
    """The columns of a legend, and what it shows: where there is not room for all, the largest."""
    longest = max((len(one.name) for one in series), default=1) + 11
    columns = max(1, min(len(series) or 1, int(width / (CHARACTER * min(longest, 46)))))
    room = columns * MOST_LINES
    series = [one for one in series if one.name != NONE] or series
    if len(series) <= room:
        return columns, list(series)
    largest = sorted(series, key=lambda one: -max(one.values))[: room - 1]
    return columns, [*sorted(largest), Series(f"and {len(series) - room + 1} more", {}, [], [])]


def legend(
    axes: Axes,
    shown: Sequence[Series],
    colours: dict[str, str],
    columns: int,
    unit: str,
    size: tuple[float, float],
) -> None:
    """Names with their last values, below the time axis."""
    width, height = size
    most = int(width / columns / CHARACTER) - 4
    handles, names = [], []
    for one in shown:
        last = f"  {written(one.values[-1], unit)}" if one.values else ""
        handles.append(Line2D([], [], color=colours.get(one.name, "none"), linewidth=2.5))
        names.append(cut(one.name, most - len(last)) + last)
    axes.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(-0.5 / (width - 0.72), -0.2 / height),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.0,
        handletextpad=0.5,
        columnspacing=1.2,
        labelspacing=0.25,
        borderpad=0,
    )


def mark(axes: Axes, times: Sequence[float], shade: str) -> None:
    """Events, as lines from top to bottom."""
    for at in times:
        axes.axvline(day(at), color=colour(shade), linewidth=0.9, linestyle=(0, (2, 2)))


def span(axes: Axes, start: float, end: float) -> None:
    """The time that is shown, whatever has values in it."""
    over_time(axes, start, end)
    if not axes.lines and not axes.collections:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color=FAINT)
