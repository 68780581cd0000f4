"""The panels of the committed dashboards, and their queries."""

import json
from pathlib import Path
from typing import Any

from deploy.grafana.boards import BOARDS

GRAFANA = Path(__file__).parents[1] / "deploy" / "grafana"


def panels(name: str) -> list[dict[str, Any]]:
    document = json.loads((GRAFANA / f"{name}.json").read_text())
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets(*names: str) -> list[tuple[str, str, str]]:
    """(panel, query, legend) of every query on the dashboards with these names, on all without one."""
    return [
        (p["title"], t["expr"], t.get("legendFormat", ""))
        for name in names or BOARDS
        for p in panels(name)
        for t in p["targets"]
    ]
