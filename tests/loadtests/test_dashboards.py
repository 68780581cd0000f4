"""The program that makes something happen for the dashboards: its parts, and a short showing."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus import program

from loadtests.dashboards.prometheus import RULES, configuration
from loadtests.dashboards.scene import REPOSITORY, TEXTS, long_texts
from loadtests.dashboards.sender import LABELS_AT_ONCE, Row, Sender
from loadtests.payloads import to_json
from models import bundle, tasks
from models.datasets import reviews
from models.registry import Registry

ROOT = Path(__file__).parents[2]
ROW = to_json({"text": "good"})


def test_its_prometheus_runs_the_committed_rules_and_tells_nobody():
    text = configuration("127.0.0.1:1234", 3)
    assert '["127.0.0.1:1234"]' in text
    assert str(RULES) in text
    assert "scrape_timeout: 3s" in text
    assert "15s" not in text
    assert "alertmanagers" not in text


@pytest.mark.system
def test_promtool_takes_that_configuration(tmp_path: Path):
    file = tmp_path / "prometheus.yml"
    file.write_text(configuration("127.0.0.1:1234", 3))
    command = [program("promtool"), "check", "config", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_texts_of_the_crowd_are_long_and_fit_the_model():
    _, directory = Registry([REPOSITORY]).resolve(TEXTS)
    processor = tasks.processor(bundle.read(directory).task, directory)
    lengths = [len(processor.row(text)["input_ids"]) for text in long_texts()]
    usual = [len(processor.row(text)["input_ids"]) for text in reviews.rotten_tomatoes()[1].texts]
    assert sum(lengths) / len(lengths) > 4 * sum(usual) / len(usual)


async def test_a_sender_counts_answers_and_tells_what_rows_were():
    told: list[Any] = []
    asked = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        if request.url.path.endswith("feedback"):
            told.append(request.content)
            return httpx.Response(200, json={})
        asked += 1
        if asked % 2:
            return httpx.Response(503)
        return httpx.Response(200, json={"prediction_id": str(asked)})

    client = httpx.AsyncClient(base_url="http://service", transport=httpx.MockTransport(answer))
    async with client:
        sender = Sender(client, "m", [Row(ROW, "positive")], rate=10_000)
        task = asyncio.create_task(sender.run())
        async with asyncio.timeout(30):
            while len(told) < 2:
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sender.answered >= 2 * LABELS_AT_ONCE
    assert sender.failed > 0
    assert told[0].count(b"positive") == LABELS_AT_ONCE


@pytest.mark.system
def test_a_short_showing_draws_both_dashboards(tmp_path: Path):
    program("prometheus")
    times = ["--usual", "10", "--slow", "10", "--freed", "10"]
    command = [sys.executable, "-m", "loadtests.dashboards", *times, "--without-loop"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "they are gone" in done.stdout, done.stdout + done.stderr
    for name in ("serving", "models"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG"), done.stdout
