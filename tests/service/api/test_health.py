"""Probes, as load balancers send them."""

import httpx
import pytest


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
def test_a_probe_may_be_get_or_head(url: str, path: str):
    told, asked = httpx.get(url + path), httpx.head(url + path)
    assert (told.status_code, asked.status_code) == (200, 200)
    assert asked.headers["Content-Length"] == told.headers["Content-Length"]
    assert (bool(told.content), asked.content) == (True, b"")


def test_nothing_else_probes(url: str):
    refused = httpx.post(f"{url}/v2/health/ready")
    assert (refused.status_code, refused.json()["error"]) == (405, "Method Not Allowed")
    assert set(refused.headers["Allow"].replace(" ", "").split(",")) >= {"GET", "HEAD"}
