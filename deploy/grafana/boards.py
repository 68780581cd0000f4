"""The two dashboards: which sections they have, what can be picked, and what is marked on the time axis. It must not know a query's parts."""

import json
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from deploy.grafana import (
    accuracy,
    answers,
    batches,
    callers,
    retraining,
    traffic,
    upkeep,
    versions,
)
from deploy.grafana.panels import BLUE, ORANGE, RED, SOURCE, Panel, Table, built
from deploy.grafana.promql import lately

Sections = Mapping[str, tuple[Panel | Table, ...]]

BOARDS: Mapping[str, Sections] = {
    "serving": {**answers.SECTIONS, **batches.SECTIONS, **versions.SECTIONS, **callers.SECTIONS},
    "models": {
        **traffic.SECTIONS,
        **accuracy.SECTIONS,
        **retraining.SECTIONS,
        **traffic.INTAKE,
        **upkeep.SECTIONS,
    },
}
WIDTH = 24
"""Columns of a page."""
FROM = {"serving": "now-30m", "models": "now-24h"}
MARKS = {
    "promoted": ("inference_model_promotions_total", BLUE),
    "taken back": ("inference_model_rollbacks_total", RED),
    "engine started again": ("inference_engine_restarts_total", ORANGE),
}
"""Events that explain a step in a line."""


def encoded(name: str) -> str:
    """A dashboard as the file that Grafana imports."""
    document = board(name).build()
    place(document.panels or [])
    return json.dumps(document, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def place(panels: Iterable[Any]) -> None:
    """From left to right, in lines as high as their highest panel. One that is repeated has a line of its own: Grafana fills it."""
    left, top, height = 0, 0, 0
    for panel in panels:
        at, alone = panel.grid_pos, getattr(panel, "repeat", None) or panel.type_val == "row"
        if alone or left + at.w > WIDTH:
            left, top, height = 0, top + height, 0
        at.x, at.y = left, top
        left, height = WIDTH if alone else left + at.w, max(height, at.h)


def board(name: str) -> dashboard.Dashboard:
    """A dashboard's builder. Panels stand from left to right, sections from top to bottom."""
    made = dashboard.Dashboard(f"Evergreen: {name}").uid(f"evergreen-{name}").tags(["evergreen"])
    made.time(FROM[name], "now").refresh("10s").editable().tooltip(DashboardCursorSync.CROSSHAIR)
    link = dashboard.DashboardLink("Evergreen").type(DashboardLinkType.DASHBOARDS)
    made.link(link.tags(["evergreen"]).keep_time(True).include_vars(True))
    made.with_variable(
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    )
    made.with_variable(models())
    for title, (counter, colour) in MARKS.items():
        mark = dashboard.AnnotationQuery().name(title).datasource(SOURCE).enable(True)
        made.annotation(mark.icon_color(colour).expr(lately(counter, "model", "1m")))
    number = count(1)
    for title, panels in BOARDS[name].items():
        made.with_row(dashboard.Row(title).id(next(number)))
        for panel in panels:
            made.with_panel(built(panel).id(next(number)))
    return made


def models() -> dashboard.QueryVariable:
    """Which models; all by default."""
    query: dict[str, Any] = {
        "query": "label_values(inference_model_ready, model)",
        "refId": "models",
    }
    variable = dashboard.QueryVariable("model").label("Model").datasource(SOURCE).query(query)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(".+").current(everything)
