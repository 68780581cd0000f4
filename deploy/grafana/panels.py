"""One panel: what a page says about it, and how Grafana wants it, by Grafana's own builders. It must not know what is asked."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from grafana_foundation_sdk.builders import common as parts
from grafana_foundation_sdk.builders import (
    dashboard,
    prometheus,
    statetimeline,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    MatcherConfig,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GREY, GREEN, YELLOW, ORANGE, RED, BLUE = (*("#8e8e8e", "green", "yellow", "orange", "red", "blue"),)

Query = tuple[str, str]
"""PromQL, and the legend of its series."""
Steps = tuple[tuple[float, str], ...]
"""From each value on, a colour; below the first it is green."""
Words = Mapping[int, tuple[str, str]]
"""What a value is called, and its colour."""
NONE: Mapping[Any, Any] = {}
Kind = Literal["lines", "stack", "states", "cells"]


class Panel(NamedTuple):
    """One chart. `note` says what a reader should think when it moves. `colours` are by legend; `band`: two legends with the space between filled."""

    title: str
    note: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    steps: Steps = ()
    words: Words = NONE
    colours: Mapping[str, str] = NONE
    band: tuple[str, str] | None = None
    least: float | None = 0
    most: float | None = None
    each_model: bool = False


class Column(NamedTuple):
    """One column of a table: what it is called, and where its values come from. A `label` shows a label of the answer instead of the value."""

    title: str
    query: str
    unit: str = "short"
    steps: Steps = ()
    words: Words = NONE
    label: str | None = None


class Table(NamedTuple):
    """A row for each model, version or whatever else the labels `keys` tell apart."""

    title: str
    note: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    width: int = 24
    height: int = 6


def built(panel: Panel | Table) -> Any:
    """The builder of a panel."""
    if isinstance(panel, Table):
        return rows(panel)
    made: Any = {"lines": lines, "stack": stack, "states": states, "cells": cells}[panel.kind](
        panel
    )
    if panel.each_model:
        made.repeat("model").repeat_direction("h").max_per_row(24 // panel.width)
    for number, (expr, legend) in enumerate(panel.queries):
        query = prometheus.Dataquery().ref_id(letter(number)).datasource(SOURCE)
        made.with_target(query.expr(expr).legend_format(legend).range())
    return made


def letter(number: int) -> str:
    """How Grafana calls the queries of a panel."""
    return chr(ord("A") + number)


def titled(made: Any, panel: Panel | Table) -> Any:
    """What every panel has."""
    made.title(panel.title).description(panel.note).datasource(SOURCE)
    return made.span(panel.width).height(panel.height)


def lines(panel: Panel) -> timeseries.Panel:
    """Values over time; steps are dashed lines."""
    made: timeseries.Panel = titled(timeseries.Panel(), panel)
    made.unit(panel.unit).fill_opacity(8).show_points(common.VisibilityMode.NEVER)
    legend = parts.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
    made.legend(legend.display_mode(common.LegendDisplayMode.LIST).calcs(["lastNotNull"]))
    made.tooltip(parts.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    if panel.least is not None:
        made.min(panel.least)
    if panel.most is not None:
        made.max(panel.most)
    if panel.steps:
        style = parts.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made.thresholds(thresholds(panel.steps)).thresholds_style(style)
    for name, colour in panel.colours.items():
        fixed = {"mode": "fixed", "fixedColor": colour}
        made.override_by_name(name, [DynamicConfigValue("color", fixed)])
    if panel.band:
        high, low = panel.band
        fill = [("custom.fillBelowTo", low), ("custom.fillOpacity", 25), ("custom.lineWidth", 0)]
        made.override_by_name(high, [DynamicConfigValue(*one) for one in fill])
        made.override_by_name(low, [DynamicConfigValue("custom.lineWidth", 0)])
    return made


def stack(panel: Panel) -> timeseries.Panel:
    """Values over time, one upon the other."""
    made = lines(panel).fill_opacity(70).line_width(0)
    return made.stacking(parts.StackingConfig().group("A").mode(common.StackingMode.NORMAL))


def states(panel: Panel) -> statetimeline.Panel:
    """For each series a bar over time, whose parts have words."""
    made: statetimeline.Panel = titled(statetimeline.Panel(), panel)
    made.mappings(mappings(panel.words)).show_value(common.VisibilityMode.AUTO).fill_opacity(80)
    made.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    return made.legend(parts.VizLegendOptions().show_legend(False)).row_height(0.8)


def cells(panel: Panel) -> statushistory.Panel:
    """For each series a row of coloured cells: a heat map whose rows have names."""
    made: statushistory.Panel = titled(statushistory.Panel(), panel)
    made.unit(panel.unit).thresholds(thresholds(panel.steps)).fill_opacity(90).row_height(0.9)
    made.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    return made.show_value(common.VisibilityMode.NEVER).max_data_points(60)


def rows(panel: Table) -> table.Panel:
    """A table: the answers of all columns merged by their labels, in the columns' order."""
    made: table.Panel = titled(table.Panel(), panel)
    hidden, names, order = {"Time": True}, {}, {key: at for at, key in enumerate(panel.keys)}
    for number, column in enumerate(panel.columns):
        query = prometheus.Dataquery().ref_id(letter(number)).datasource(SOURCE)
        made.with_target(query.expr(column.query).instant().format(PromQueryFormat.TABLE))
        value = f"Value #{letter(number)}"
        if column.label:
            hidden[value] = True
        field = column.label or value
        names[field], order[field] = column.title, len(order)
        made.with_override(*shown(column))
    arranged = {"excludeByName": hidden, "renameByName": names, "indexByName": order}
    made.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    return made.with_transformation(DataTransformerConfig(id_val="organize", options=arranged))


def shown(column: Column) -> tuple[MatcherConfig, list[DynamicConfigValue]]:
    """A column's unit, words and colours."""
    told = [DynamicConfigValue("unit", column.unit)]
    if column.words:
        told.append(DynamicConfigValue("mappings", mappings(column.words)))
    if column.steps:
        told.append(DynamicConfigValue("thresholds", thresholds(column.steps).build()))
    if column.words or column.steps:
        told.append(DynamicConfigValue("custom.cellOptions", {"type": "color-background"}))
    return MatcherConfig(id_val="byName", options=column.title), told


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Green below the first step, then each step's colour."""
    found = [Threshold(None, GREEN), *(Threshold(value, colour) for value, colour in steps)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def mappings(words: Words) -> list[ValueMapping]:
    """Values as words."""
    found = {
        str(value): ValueMappingResult(text=text, color=colour, index=at)
        for at, (value, (text, colour)) in enumerate(words.items())
    }
    return [ValueMap(options=found)]
