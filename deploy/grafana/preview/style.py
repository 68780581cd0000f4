"""Colours and sizes of a page. It must not know what is drawn with them."""

from typing import Any

from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

NAMED = {
    "green": "#56A64B",
    "yellow": "#F2CC0C",
    "orange": "#FF780A",
    "red": "#E02F44",
    "blue": "#3274D9",
}
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#705DA0", "#8C564B"),
    *("#7F7F7F", "#17BECF", "#A0522D", "#4D4D4D", "#BCBD22", "#6A3D9A", "#B15928", "#1B9E77"),
)
PAGE, PAPER, FRAME, INK, FAINT = "#F0F2F4", "#FFFFFF", "#D5D9DE", "#24292E", "#6B747D"
SMALL, NORMAL = 7.5, 9.0
"""Points of text."""
BRIGHT = 0.68
LONGEST_LABELLED_S = 900.0


def colour(name: str) -> str:
    """A colour by its name at Grafana, or as it is."""
    return NAMED.get(name, name)


def ink(background: str) -> str:
    """What can be read on it."""
    red, green, blue = to_rgb(colour(background))
    return INK if 0.3 * red + 0.6 * green + 0.1 * blue > BRIGHT else "white"


def step_colour(steps: list[dict[str, Any]], value: float) -> str:
    """The colour of the last threshold that `value` reaches."""
    found = "green"
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            found = step["color"]
    return colour(found)


class Colours:
    """A colour for every name, the same on the whole page."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The colour of a series."""
        if name not in self._known:
            self._known[name] = PALETTE[len(self._known) % len(PALETTE)]
        return self._known[name]


def over_time(axes: Axes, start: float, end: float) -> None:
    """A time axis without a frame."""
    axes.set_xlim(day(start), day(end))
    exact = end - start <= LONGEST_LABELLED_S
    locator = dates.AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    locator.intervald[dates.MINUTELY] = [1, 2, 5, 10, 15, 30]
    axes.xaxis.set_major_locator(locator)
    form = dates.DateFormatter("%H:%M:%S" if exact else "%H:%M")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(form)
    axes.tick_params(labelsize=SMALL, colors=FAINT, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def day(seconds: float) -> float:
    """A time as matplotlib counts it."""
    return seconds / 86_400


def cut(text: str, most: int) -> str:
    """As many characters as there is room for."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
