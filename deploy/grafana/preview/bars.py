"""Rows of coloured bars over time: states with words, and cells of a heat map. It must not ask anything."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deploy.grafana.preview.asking import Series, Span
from deploy.grafana.preview.charts import CHARACTER, Box, Panel, inside
from deploy.grafana.preview.style import INK, SMALL, colour, cut, day, ink, step_colour

THIN = 0.055
"""The share of a panel's width that a word needs for each of its characters is more than that by far: shorter bars have none."""


def draw(
    figure: Figure, box: Box, panel: Panel, series: Sequence[Series], span: Span, points: int
) -> Axes:
    """The bars within `box`, names on their left."""
    left, bottom, width, height = box
    longest = max((len(one.name) for one in series), default=1)
    room = min(0.12 + CHARACTER * longest, 0.42 * width)
    axes = inside(figure, (left + room, bottom + 0.24, width - room - 0.1, height - 0.24))
    rows, step = list(reversed(series)), span.step(points)
    axes.set_xlim(day(span.start), day(span.end))
    defaults = panel["fieldConfig"]["defaults"]
    for at, one in enumerate(rows):
        if panel["type"] == "status-history":
            cells(axes, at, one, step, defaults["thresholds"]["steps"])
        else:
            states(axes, at, one, step, words(defaults))
    axes.set_ylim(-0.5, max(len(rows), 1) - 0.5)
    names = [cut(one.name, int(room / CHARACTER)) for one in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=SMALL, color=INK)
    return axes


def words(defaults: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What values are called, and their colours."""
    return {
        value: told
        for mapping in defaults.get("mappings", [])
        for value, told in mapping["options"].items()
    }


def states(
    axes: Axes, row: int, one: Series, step: float, known: dict[str, dict[str, str]]
) -> None:
    """One bar for each stretch of equal values."""
    for value, begins, ends in stretches(one, step):
        told = known.get(f"{value:g}", {"text": f"{value:g}", "color": "#8e8e8e"})
        bar(axes, row, begins, ends, colour(told["color"]), 0.72)
        first, last = axes.get_xlim()
        if day(ends - begins) > THIN * len(told["text"]) / 4 * (last - first):
            middle = day((begins + ends) / 2)
            axes.text(
                middle,
                row,
                told["text"],
                ha="center",
                va="center",
                fontsize=SMALL,
                color=ink(told["color"]),
                clip_on=True,
            )


def cells(axes: Axes, row: int, one: Series, step: float, steps: list[dict[str, Any]]) -> None:
    """A cell for each value."""
    for at, value in zip(one.times, one.values, strict=True):
        bar(axes, row, at, at + step, step_colour(steps, value), 0.9)


def stretches(one: Series, step: float) -> list[tuple[float, float, float]]:
    """(value, from, to) of equal values that follow each other."""
    found: list[tuple[float, float, float]] = []
    for at, value in zip(one.times, one.values, strict=True):
        if found and found[-1][0] == value and at - found[-1][2] < 0.5 * step:
            found[-1] = (value, found[-1][1], at + step)
        else:
            found.append((value, at, at + step))
    return found


def bar(axes: Axes, row: int, begins: float, ends: float, shade: str, height: float) -> None:
    """One rectangle."""
    axes.broken_barh(
        [(day(begins), day(ends - begins))], (row - height / 2, height), color=shade, linewidth=0
    )
