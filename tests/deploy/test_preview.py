"""Pictures of dashboards: what Grafana would ask and show, from the same file."""

import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.grafana.boards import BOARDS, encoded
from deploy.grafana.preview import bars, charts, tables
from deploy.grafana.preview.asking import Failed, Prometheus, Series, Span, named
from deploy.grafana.preview.page import arranged, drawn
from deploy.grafana.preview.style import step_colour
from deploy.grafana.preview.units import written

SPAN = Span(1000.0, 1600.0, scrape=5.0)
STEPS = [{"value": None, "color": "green"}, {"value": 1, "color": "red"}]


class Stub:
    """Answers every query with one value for each of two models, and remembers what was asked."""

    def __init__(self, *models: str) -> None:
        self.asked: list[httpx.QueryParams] = []
        self.models = models
        self.client = httpx.Client(
            base_url="http://prometheus", transport=httpx.MockTransport(self.answer)
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        told = request.url.params
        self.asked.append(told)
        if request.url.path.endswith("/values"):
            return httpx.Response(200, json={"data": list(self.models)})
        if "query" not in told or told["query"] == "nonsense(":
            return httpx.Response(400, text="parse error")
        result = [
            {
                "metric": {"model": model, "version": "1", "signal": "s"},
                "value": [1600, "0.5"],
                "values": [[at, "0.5"] for at in (1000, 1005, 1010)],
            }
            for model in self.models
        ]
        return httpx.Response(200, json={"data": {"result": result}})


def test_variables_are_filled_in_as_grafana_does():
    stub = Stub("m")
    Prometheus(stub.client, SPAN).range('rate(x{model=~"$model"}[$__rate_interval])', "", "m")
    # 600 s in 240 points are 3 s each; never less than a scrape; four scrapes for a rate.
    assert stub.asked[0]["query"] == 'rate(x{model=~"m"}[20s])'
    assert stub.asked[0]["step"] == "5.0"


def test_a_refused_query_is_an_error_with_prometheus_words():
    with pytest.raises(Failed, match="parse error"):
        Prometheus(Stub("m").client, SPAN).instant("nonsense(", ".+")


@pytest.mark.parametrize(
    ("legend", "labels", "name"),
    [
        ("{{model}}/{{version}}", {"model": "m", "version": "2"}, "m/2"),
        ("{{model}} {{reason}}", {"model": "m"}, "m"),
        ("{{model}}", {}, "none"),
        ("queue", {}, "queue"),
    ],
)
def test_a_legend_holds_its_labels(legend: str, labels: dict[str, str], name: str):
    assert named(legend, labels) == name


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.00123, "s", "1.23 ms"),
        (1.5, "s", "1.5 s"),
        (7200, "s", "2 h"),
        (0.205, "percentunit", "20.5 %"),
        (12.0, "percent", "12 %"),
        (2048, "bytes", "2 KiB"),
        (12345, "short", "12.3 K"),
        (3.0, "reqps", "3 req/s"),
        (math.nan, "s", ""),
    ],
)
def test_figures_have_their_units(value: float, unit: str, text: str):
    assert written(value, unit) == text


def test_rows_of_a_table_are_merged_by_the_labels_that_they_share():
    one, two = {"model": "a"}, {"model": "b"}
    rows = tables.merged(
        [
            ("A", [(one, 1.0), (two, 2.0)]),
            ("B", [(two, 3.0)]),
            ("C", [({**one, "stage": "queue"}, 0.1)]),
        ]
    )
    assert rows == [
        {"model": "a", "Value #A": 1.0, "stage": "queue", "Value #C": 0.1},
        {"model": "b", "Value #A": 2.0, "Value #B": 3.0},
    ]


def test_a_bar_is_as_long_as_its_value_stays_the_same():
    series = Series("s", {}, [0, 5, 10, 30, 35], [1, 1, 2, 2, 2])
    assert bars.stretches(series, 5) == [(1, 0, 10), (2, 10, 15), (2, 30, 40)]


def test_a_line_has_a_gap_where_steps_are_missing():
    _, values = charts.broken(Series("s", {}, [0, 5, 10, 60, 65], [1, 2, 3, 4, 5]))
    assert [math.isnan(value) for value in values] == [False, False, False, True, False, False]


@given(st.floats(-10, 10))
def test_a_value_has_the_colour_of_the_last_threshold_that_it_reaches(value: float):
    assert step_colour(STEPS, value) == step_colour(STEPS, 1.0 if value >= 1 else 0.0)
    assert step_colour(STEPS, 1.0) != step_colour(STEPS, 0.999)


@given(st.integers(1, 7), st.integers(1, 4))
def test_repeated_panels_stand_beside_each_other_and_push_down_what_is_below(count: int, most: int):
    panels: list[dict[str, Any]] = [
        {"gridPos": {"x": 0, "y": 0, "w": 8, "h": 8}, "repeat": "model", "maxPerRow": most},
        {"gridPos": {"x": 0, "y": 8, "w": 24, "h": 4}},
    ]
    places = list(arranged(panels, [str(number) for number in range(count)]))
    cells = [
        (x, y)
        for place in places
        for x in range(place.left, place.left + place.width)
        for y in range(place.top, place.top + place.height)
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert [place.model for place in places] == [*(str(one) for one in range(count)), ".+"]


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_of_a_dashboard_is_asked_and_drawn(name: str):
    stub, said = Stub("a-cnn", "b-lstm"), list[str]()
    shown = drawn(json.loads(encoded(name)), Prometheus(stub.client, SPAN), said.append)
    document = json.loads(encoded(name))
    panels = [one for one in document["panels"] if one["type"] != "row"]
    asked = {told["query"] for told in stub.asked if "query" in told}
    for panel in panels:
        assert [one for one in said if one.startswith(panel["title"].partition("$")[0])]
        for target in panel["targets"]:
            wanted = target["expr"].replace("$__rate_interval", "20s")
            model = "a-cnn" if "repeat" in panel else ".+"
            assert wanted.replace("$model", model) in asked
    assert shown.empty == []
