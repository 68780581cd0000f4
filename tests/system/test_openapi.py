"""Every route of the OpenAPI document, asked what its schema allows: an answer, or a refusal in a sentence."""

from pathlib import Path

import httpx
import live
import pytest
import schemathesis
import toys
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = 25
"""For each route: the whole takes under a minute."""
OURS = {500, 502}
"""501, 503 and 504 are refusals that say what there is instead, or when to come back."""


@pytest.mark.system
def test_every_route_answers_what_its_schema_allows_or_refuses_it_in_a_sentence(tmp_path: Path):
    toys.image(tmp_path / "models")
    toys.text(tmp_path / "models")
    with live.serving(tmp_path / "models", tmp_path) as service:
        document = schemathesis.openapi.from_url(f"{service.said}/docs/openapi.json")
        operations = [
            one.ok() for one in document.exclude(path_regex="^/docs").get_all_operations()
        ]
        assert len(operations) > 30
        for operation in operations:
            ask(operation)
        health = httpx.get(f"{service.said}/v2/health/live", timeout=live.PATIENCE)
        assert health.json() == {"live": True}
        assert "Traceback" not in service.output.read_text()


def ask(operation: schemathesis.APIOperation) -> None:
    """A few requests to one route; the smallest that is not answered as it should be is shown."""

    @given(operation.as_strategy(), st.sampled_from([None, "toy-text", "toy-image"]))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    def answered(case: schemathesis.Case, known: str | None) -> None:
        if known is not None and "name" in case.path_parameters:
            case.path_parameters["name"] = known
        response = case.call(timeout=live.PATIENCE)
        about = f"{case.as_curl_command()}: {response.status_code} {response.content[:300]!r}"
        assert response.status_code not in OURS, about
        if response.status_code >= 400 and case.method != "HEAD":
            assert "json" in response.headers["content-type"][0], about
            said = response.json()
            assert len(said.get("error") or said.get("detail") or "") > 8, about
        if response.status_code in (429, 503):
            assert int(response.headers["retry-after"][0]) >= 1, about

    answered()
