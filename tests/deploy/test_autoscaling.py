"""How many replicas there are: by what the service counts, with queries that Prometheus takes, and with one owner of the number."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kustomized import overlay
from prometheus import CONFIG, program

from service.metrics import EngineMetrics
from service.snapshots import snapshot
from service.tallies import FrontEndMetrics


def scaled() -> dict[str, Any]:
    spec: dict[str, Any] = overlay("autoscaling")["ScaledObject", "evergreen"]["spec"]
    return spec


def queries() -> list[str]:
    return [trigger["metadata"]["query"] for trigger in scaled()["triggers"]]


def test_nobody_else_says_how_many_there_are():
    found, spec = overlay("autoscaling"), scaled()
    assert "replicas" not in found["Deployment", spec["scaleTargetRef"]["name"]]["spec"]
    assert 2 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_the_service_counts_what_is_asked_for():
    counted = {
        family.name
        for registry in (EngineMetrics("m", 1).registry, FrontEndMetrics().registry)
        for family in snapshot(registry)
    }
    for query in queries():
        read = {
            re.sub("_(bucket|total)$", "", name) for name in re.findall(r"inference_\w+", query)
        }
        assert read <= counted
        assert read


def test_the_queries_are_about_the_job_that_prometheus_calls_evergreen():
    (job,) = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    assert all(f'{{job="{job["job_name"]}"}}' in query for query in queries())


@pytest.mark.parametrize("name", ["queue", "p99"])
def test_prometheus_takes_the_query(name: str, tmp_path: Path):
    (trigger,) = [one for one in scaled()["triggers"] if one["name"] == name]
    rule = {"record": "evergreen:asked", "expr": trigger["metadata"]["query"]}
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": [rule]}]}))
    done = subprocess.run([program("promtool"), "check", "rules", path], check=False)
    assert done.returncode == 0
    assert float(trigger["metadata"]["threshold"]) > 0
