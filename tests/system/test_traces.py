"""A real Prometheus on a service that traces: histograms lead to traces, and queries of Triton's dashboards find their data."""

import time
from pathlib import Path

import collector
import httpx
import live
import prometheus
import pytest

PREDICT = "/v1/models/toy-text/predict"
QUERIES = (
    "sum(increase(nv_inference_request_success[1m])) by (model)",
    'sum(rate(nv_inference_request_failure{reason="REJECTED"}[1m])) by (model)',
    "rate(nv_inference_count[1m]) / rate(nv_inference_exec_count[1m])",
    "rate(nv_inference_request_duration_us[1m]) / rate(nv_inference_request_success[1m])",
    "increase(nv_inference_queue_duration_us[1m]) / 1000",
    "increase(nv_inference_compute_infer_duration_us[1m]) / 1000",
    "avg(nv_inference_pending_request_count) by (model)",
)
"""From dashboards and autoscaling rules that people have."""

pytestmark = pytest.mark.system


def test_prometheus_keeps_the_traces_and_answers_tritons_queries(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with collector.collecting() as told:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", told.url)
        settings = {"serve": "toy-text", "trace": "true", "triton_metrics": "true"}
        with (
            live.serving(repository, tmp_path, **settings) as service,
            httpx.Client(base_url=service.said, timeout=live.PATIENCE) as client,
            prometheus.scraping(
                service.said, tmp_path, flags=("--enable-feature=exemplar-storage",)
            ) as url,
        ):

            def answered(query: str) -> list[dict]:
                assert client.post(PREDICT, json={"text": "good"}).status_code == 200
                found = client.get(f"{url}/api/v1/query", params={"query": query}).json()
                assert found["status"] == "success", found
                return [one for one in found["data"]["result"] if one["value"][1] != "NaN"]

            for query in QUERIES:
                for one in live.until(lambda: answered(query), query):  # noqa: B023 - called here
                    assert one["metric"]["model"] == "toy-text"

            def shown() -> set[str]:
                now = time.time()
                asked = {
                    "query": "inference_request_duration_seconds_bucket",
                    "start": str(now - 600),
                    "end": str(now + 1),
                }
                found = client.get(f"{url}/api/v1/query_exemplars", params=asked).json()["data"]
                return {e["labels"]["trace_id"] for one in found for e in one["exemplars"]}

            traces = live.until(shown, "a trace beside a histogram")
            name = "POST /v1/models/{name}/predict"
            assert {one.trace for one in told.wait(name, traces.pop())} != set()
