"""Small plots as inline SVG: bars beside bars, a line over time. Pure; colours are the page's classes, so that it may be light or dark."""

import math
import time
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 300, 90
LONG, TALL = 640, 170
LEFT, BOTTOM, TOP = 52, 22, 10


def histogram(reference: Sequence[int], live: Sequence[int], edges: Sequence[float]) -> str:
    """Shares by bin: the reference as broad bars, live traffic as narrow ones before them. The last bin holds rows without a value."""
    shown = len(live) if live[-1] or reference[-1] else len(live) - 1
    usual, now = shares(reference)[:shown], shares(live)[:shown]
    most = max([*usual, *now, 1e-9])
    step = WIDTH / max(shown, 1)
    parts = [
        bar("usual", index * step + 0.06 * step, 0.88 * step, share / most)
        + bar("live", index * step + 0.3 * step, 0.4 * step, now[index] / most)
        for index, share in enumerate(usual)
    ]
    names = f"{edges[0]:.4g} to {edges[-1]:.4g}" if edges else "one value"
    title = f"from {names}; share of rows, up to {most:.1%}"
    box = f"0 0 {WIDTH} {HEIGHT}"
    return f'<svg viewBox="{box}" role="img"><title>{escape(title)}</title>{"".join(parts)}</svg>'


def shares(counts: Sequence[int]) -> list[float]:
    """Counts as parts of their sum."""
    total = sum(counts) or 1
    return [count / total for count in counts]


def bar(kind: str, x: float, width: float, share: float) -> str:
    """One bar of a histogram, `share` of its height."""
    height = share * (HEIGHT - 2)
    return f'<rect class="{kind}" x="{x:.1f}" y="{HEIGHT - height:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


class Axes:
    """Values over time, from `low` to `high`; times are seconds since 1970."""

    def __init__(self, times: Sequence[float], low: float, high: float) -> None:
        self._begin = min(times, default=0.0)
        self._span = max(max(times, default=1.0) - self._begin, 1.0)
        self._low, self._height = low, max(high - low, 1e-9)

    def x(self, at: float) -> float:
        """Where a time lies."""
        return LEFT + (LONG - LEFT - 8) * (at - self._begin) / self._span

    def y(self, value: float) -> float:
        """Where a value lies, at the edge if it is beyond."""
        inside = min(max((value - self._low) / self._height, 0.0), 1.0)
        return TALL - BOTTOM - (TALL - BOTTOM - TOP) * inside

    def line(self, kind: str, points: Sequence[tuple[float, float]]) -> str:
        """Values joined, each with a dot."""
        where = [f"{self.x(at):.1f},{self.y(value):.1f}" for at, value in points]
        dots = "".join(
            f'<circle class="{kind}" cx="{one.partition(",")[0]}" cy="{one.partition(",")[2]}" r="2"/>'
            for one in where
        )
        return f'<polyline class="{kind}" points="{" ".join(where)}"/>{dots}'

    def level(self, value: float, text: str, kind: str = "level") -> str:
        """A line across, named at the left."""
        y = self.y(value)
        return (
            f'<line class="{kind}" x1="{LEFT}" x2="{LONG - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
        )

    def dates(self) -> str:
        """The first and the last time."""
        first, last = (clock(at) for at in (self._begin, self._begin + self._span))
        return (
            f'<text x="{LEFT}" y="{TALL - 4}">{first}</text>'
            f'<text x="{LONG - 8}" y="{TALL - 4}" text-anchor="end">{last}</text>'
        )


def p_over_time(points: Sequence[tuple[float, float]], levels: dict[str, float]) -> str:
    """The joint p of every evaluation, on a logarithmic scale, with the levels below which something is said."""
    lowest = min([*levels.values(), *(p for _, p in points), 1e-3]) / 3
    axes = Axes([at for at, _ in points], math.log10(lowest), 0.0)
    drawn = [axes.level(math.log10(p), f"{name} {p:g}") for name, p in levels.items()]
    drawn.append(axes.level(0.0, "1", "frame"))
    drawn.append(axes.line("live", [(at, math.log10(max(p, lowest))) for at, p in points]))
    return plot("joint p of each window over time", [*drawn, axes.dates()])


def accuracy_over_time(points: Sequence[tuple[float, int, float]], floor: float | None) -> str:
    """The share of right answers by labels, in the order in which they came; `floor` is what is put up with."""
    lowest = min([share for _, _, share in points] + ([] if floor is None else [floor]))
    axes = Axes([at for at, _, _ in points], max(0.0, lowest - 0.05), 1.0)
    drawn = [axes.level(1.0, "100 %", "frame")]
    if floor is not None:
        drawn.append(axes.level(floor, f"{floor:.0%}"))
    drawn.append(axes.line("live", [(at, share) for at, _, share in points]))
    return plot("accuracy by labels over time", [*drawn, axes.dates()])


def plot(title: str, parts: Sequence[str]) -> str:
    """A plot over time."""
    box = f"0 0 {LONG} {TALL}"
    return f'<svg class="long" viewBox="{box}" role="img"><title>{escape(title)}</title>{"".join(parts)}</svg>'


def clock(at: float) -> str:
    """A time, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
