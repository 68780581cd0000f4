"""A whole dashboard as one picture: its panels in their places, repeated ones for each model. It must not know Prometheus' API."""

import datetime
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from deploy.grafana.preview import bars, charts, tables
from deploy.grafana.preview.asking import POINTS, Prometheus, Series
from deploy.grafana.preview.charts import Box, Panel
from deploy.grafana.preview.style import (
    FAINT,
    FRAME,
    INK,
    NORMAL,
    PAGE,
    PAPER,
    SMALL,
    Colours,
    colour,
    over_time,
)

ACROSS, UP, GAP, HEAD = 0.69, 0.29, 0.08, 0.55
"""Inches of a column and of a line of the grid, between panels, and of the page's head."""
COLUMNS, TITLE = 24, 0.27
MOST_CELLS = 60


class Place(NamedTuple):
    """A panel, where it stands in the grid, and the models that it is for."""

    panel: Panel
    left: int
    top: int
    width: int
    height: int
    model: str


class Drawn(NamedTuple):
    """The picture, and the panels that had nothing to show."""

    figure: Figure
    empty: list[str]


def drawn(document: dict[str, Any], prometheus: Prometheus, said: Callable[[str], None]) -> Drawn:
    """Ask and draw. `said` hears of each panel."""
    models = sorted(prometheus.values("inference_model_ready", "model"))
    places = list(arranged(document["panels"], models))
    lines = max(place.top + place.height for place in places)
    figure = Figure(figsize=(ACROSS * COLUMNS, HEAD + UP * lines), facecolor=PAGE)
    page = Page(figure, prometheus, marks(document, prometheus))
    page.head(document)
    for place in places:
        said(page.title(place))
        page.put(place)
    return Drawn(figure, page.empty)


def arranged(panels: list[Panel], models: list[str]) -> Iterator[Place]:
    """Where everything stands once what is repeated has been."""
    pushed = 0
    for panel in panels:
        at = panel["gridPos"]
        if "repeat" not in panel:
            yield Place(panel, at["x"], at["y"] + pushed, at["w"], at["h"], ".+")
            continue
        across = min(panel["maxPerRow"], len(models)) or 1
        width = COLUMNS // int(across)
        for number, model in enumerate(models):
            line, column = divmod(number, int(across))
            yield Place(
                panel, column * width, at["y"] + pushed + line * at["h"], width, at["h"], model
            )
        pushed += max((len(models) - 1) // int(across), 0) * at["h"]


def marks(document: dict[str, Any], prometheus: Prometheus) -> list[tuple[str, str, list[float]]]:
    """(name, colour, times) of the events that are marked."""
    found = []
    for one in document["annotations"]["list"]:
        series = prometheus.range(one["expr"], "", ".+")
        found.append((one["name"], one["iconColor"], [one.times[0] for one in series if one.times]))
    return found


class Page:
    """A figure on which panels are put."""

    def __init__(
        self, figure: Figure, prometheus: Prometheus, events: list[tuple[str, str, list[float]]]
    ) -> None:
        self.empty: list[str] = []
        self._figure, self._prometheus, self._events = figure, prometheus, events
        self._colours = Colours()
        self._across, self._up = figure.get_size_inches()

    def title(self, place: Place) -> str:
        """The panel's title with its model."""
        return str(place.panel["title"]).replace("$model", place.model)

    def head(self, document: dict[str, Any]) -> None:
        """The name of the dashboard, the time that is shown, what is marked."""
        span = self._prometheus.span
        begins, ends = (datetime.datetime.fromtimestamp(at, datetime.UTC) for at in span[:2])
        self._text(0.12, 0.24, document["title"], size=14, weight="bold")
        told = f"{begins:%Y-%m-%d %H:%M:%S} to {ends:%H:%M:%S} UTC, every panel's own queries"
        self._text(3.0, 0.24, told, size=NORMAL, color=FAINT)
        for number, (name, shade, times) in enumerate(self._events):
            self._text(
                9.2 + 2.3 * number,
                0.24,
                f"┊ {name}: {len(times)}",
                size=NORMAL,
                color=colour(shade),
            )

    def put(self, place: Place) -> None:
        """One panel."""
        left, top = ACROSS * place.left, HEAD + UP * place.top
        if place.panel["type"] == "row":
            self._text(left + 0.12, top + 0.17, place.panel["title"], size=11, weight="bold")
            return
        box = (
            left + GAP / 2,
            self._up - top - UP * place.height + GAP / 2,
            ACROSS * place.width - GAP,
            UP * place.height - GAP,
        )
        self._frame(box)
        self._text(left + 0.14, top + 0.17, self.title(place), size=NORMAL, weight="bold")
        x, y, width, height = box
        if not self._fill(place, (x, y + 0.04, width, height - TITLE - 0.06)):
            self.empty.append(self.title(place))

    def _fill(self, place: Place, box: Box) -> bool:
        """Whether there was anything to show."""
        panel, span = place.panel, self._prometheus.span
        if panel["type"] == "table":
            told = [
                (one["refId"], self._prometheus.instant(one["expr"], place.model))
                for one in panel["targets"]
            ]
            return tables.draw(self._figure, box, panel, told) > 0
        if panel["type"] == "timeseries":
            series = self._ask(place, POINTS)
            axes = charts.draw(self._figure, box, panel, series, self._colours)
            for _, shade, times in self._events:
                charts.mark(axes, times, shade)
            charts.span(axes, span.start, span.end)
            return bool(series)
        points = MOST_CELLS if panel["type"] == "status-history" else POINTS
        series = self._ask(place, points)
        axes = bars.draw(self._figure, box, panel, series, span, points)
        over_time(axes, span.start, span.end)
        return bool(series)

    def _ask(self, place: Place, points: int) -> list[Series]:
        """All series of a panel."""
        return [
            one
            for query in place.panel["targets"]
            for one in self._prometheus.range(
                query["expr"], query["legendFormat"], place.model, points
            )
        ]

    def _frame(self, box: Box) -> None:
        left, bottom, width, height = box
        self._figure.add_artist(
            FancyBboxPatch(
                (left / self._across, bottom / self._up),
                width / self._across,
                height / self._up,
                boxstyle="square,pad=0",
                facecolor=PAPER,
                edgecolor=FRAME,
                linewidth=0.8,
                zorder=-1,
            )
        )

    def _text(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text at inches from the page's left and top."""
        told: dict[str, Any] = {"color": INK, "va": "center", "size": SMALL, **how}
        self._figure.text(left / self._across, 1 - top / self._up, text, **told)
