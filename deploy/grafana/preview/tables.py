"""Tables, as Grafana merges and arranges their columns. It must not ask anything."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deploy.grafana.preview.asking import Labels
from deploy.grafana.preview.bars import words
from deploy.grafana.preview.charts import CHARACTER, Box, Panel, inside, overridden
from deploy.grafana.preview.style import FAINT, INK, NORMAL, colour, cut, ink, step_colour
from deploy.grafana.preview.units import written

Answer = tuple[str, list[tuple[Labels, float]]]
"""A query's letter, and its values."""
Row = dict[str, Any]
ROW_HEIGHT = 0.27


def merged(answers: Sequence[Answer]) -> list[Row]:
    """Rows whose common labels are equal become one."""
    rows: list[Row] = []
    for letter, values in answers:
        for labels, value in values:
            told = {**labels, f"Value #{letter}": value}
            fits = (
                row for row in rows if all(row.get(key, mine) == mine for key, mine in told.items())
            )
            row = next(fits, None)
            if row is None:
                rows.append(told)
            else:
                row.update(told)
    return rows


def columns(panel: Panel, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(field, title) in the order of the panel."""
    arranged = panel["transformations"][-1]["options"]
    fields = {field for row in rows for field in row} - set(arranged["excludeByName"])
    order = arranged["indexByName"]
    return [
        (field, arranged["renameByName"].get(field, field))
        for field in sorted(fields, key=lambda field: (order.get(field, len(order)), field))
    ]


def draw(figure: Figure, box: Box, panel: Panel, answers: Sequence[Answer]) -> int:
    """The table within `box`; how many rows it has."""
    rows = merged(answers)
    shown = columns(panel, rows)
    rows.sort(key=lambda row: [str(row.get(field)) for field, _ in shown[:3]])
    left, bottom, width, height = box
    room = int((height - 0.3) / ROW_HEIGHT)
    if len(rows) > room:
        rows = [*rows[: room - 1], {shown[0][0]: f"and {len(rows) - room + 1} more"}]
    axes = inside(figure, (left + 0.1, bottom, width - 0.2, height))
    axes.set(xlim=(0, width - 0.2), ylim=(height, 0))
    axes.axis("off")
    texts = [[text(panel, field, title, row) for row in rows] for field, title in shown]
    wants = (
        [
            max(len(title), *(len(one) for one, _ in cells), 6) + 2
            for (_, title), cells in zip(shown, texts, strict=True)
        ]
        if rows
        else []
    )
    at = 0.0
    for (_, title), cells, want in zip(shown, texts, wants, strict=True):
        wide = (width - 0.2) * want / sum(wants)
        most = int(wide / CHARACTER)
        axes.text(at + 0.06, 0.16, cut(title, most), fontsize=NORMAL, color=FAINT, va="center")
        for number, (cell, shade) in enumerate(cells):
            top = 0.3 + number * ROW_HEIGHT
            if shade:
                axes.add_patch(Rectangle((at, top), wide - 0.03, ROW_HEIGHT - 0.03, color=shade))
            axes.text(
                at + 0.06,
                top + ROW_HEIGHT / 2 - 0.01,
                cut(cell, most),
                fontsize=NORMAL,
                color=ink(shade) if shade else INK,
                va="center",
            )
        at += wide
    return len(rows)


def text(panel: Panel, field: str, title: str, row: Row) -> tuple[str, str | None]:
    """What a cell says, and its background."""
    value = row.get(field)
    if not isinstance(value, float):
        return str(value or ""), None
    unit = overridden(panel, "unit").get(title, "short")
    if mapped := overridden(panel, "mappings").get(title):
        told = words({"mappings": mapped}).get(f"{value:g}")
        return (told["text"], colour(told["color"])) if told else (f"{value:g}", None)
    steps = overridden(panel, "thresholds").get(title, {}).get("steps")
    return written(value, unit), step_colour(steps, value) if steps else None
