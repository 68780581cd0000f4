"""Numbers beyond what the service's own links carry are refused in a sentence."""

from pathlib import Path

import pytest
from fronted import front_end

from service.settings import Settings

LARGE = str(10**30)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (f"/v1/retrainings/j/logs?offset={LARGE}", "'offset' is "),
        (f"/v1/models/m/drift?version={LARGE}", "'version' is "),
        (f"/v1/models/m/labels/wanted?version={LARGE}", "'version' is "),
    ],
)
async def test_a_number_beyond_64_bits_is_refused(tmp_path: Path, path: str, named: str):
    async with front_end(tmp_path, Settings()) as front:
        answer = await front.client.get(path)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


async def test_the_number_of_an_event_has_an_end(tmp_path: Path):
    async with front_end(tmp_path, Settings()) as front:
        headers = {"Last-Event-ID": "9" * 5_000}
        answer = await front.client.get("/v1/retrainings/j/events", headers=headers)
    assert answer.status_code == 422
