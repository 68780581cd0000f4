"""On CUDA: the model is really there, answers as on the CPU, replays graphs, and survives what does not fit."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import live
import numpy as np
import pytest

from service.engine.config import Gpu, Options
from service.engine.session import Session
from service.errors import OutOfMemory
from service.settings import SEED

Load = Callable[..., Session]


def probabilities(session: Session, *requests: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([answer["probabilities"] for answer in session.run(requests)])


def fastest(session: Session, rows: int, times: int = 50) -> float:
    """Seconds of a batch of the longest bucket."""
    request = session.example(session.buckets()[-1], rows)
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        session.run([request])
        taken.append(time.perf_counter() - begun)
    return min(taken)


def test_every_node_that_computes_is_on_the_device(directory: Path, load: Load):
    device = load(directory).report["device"]
    assert (device["provider"], device["reason"]) == ("cuda", None)
    assert device["nodes"]["cuda"] > 0


def test_every_bucket_and_size_answers_as_the_cpu_does(directory: Path, load: Load):
    session = load(directory)
    name = session.report["variant"]
    on_cpu = Session.load(directory, Options(provider="cpu", variant=name))
    for bucket in session.buckets():
        for rows in (1, 3, 8, 20):  # 20 is beyond what was warmed
            request = session.example(bucket, rows)
            difference = np.abs(probabilities(session, request) - probabilities(on_cpu, request))
            assert difference.max() < 1e-2, (bucket, rows)


def test_rows_of_one_caller_do_not_reach_the_next(directory: Path, load: Load):
    session = load(directory)
    example = session.example(session.buckets()[-1], 16)
    singles = [{name: array[n : n + 1] for name, array in example.items()} for n in range(16)]
    alone = [probabilities(session, single) for single in singles]
    for start, stop in ((0, 3), (3, 10), (10, 11), (11, 16)):
        together = probabilities(session, *singles[start:stop])
        np.testing.assert_allclose(together, np.concatenate(alone[start:stop]), atol=5e-3)


def test_small_models_replay_graphs_faster_than_they_launch(cnn: Path, load: Load):
    replayed, launched = load(cnn), load(cnn, gpu=Gpu(graphs=False))
    assert (replayed.report["device"]["graphs"], launched.report["cuda_graphs"]) == (None, 0)
    assert replayed.report["cuda_graphs"] >= 4
    quick, slow = fastest(replayed, 1), fastest(launched, 1)
    print(f"one row: {1e6 * quick:.0f} us replayed, {1e6 * slow:.0f} us launched")
    assert quick < slow


def test_an_lstm_is_not_replayed(load: Load):
    report = load(SEED / "activity-lstm" / "1").report
    assert (report["cuda_graphs"], "LSTM" in report["device"]["graphs"]) == (0, True)


def test_batches_pay(directory: Path, load: Load):
    session = load(directory, rows=32)
    one, many = fastest(session, 1), fastest(session, 32)
    print(f"{directory.parent.name}: 1 row {1e6 * one:.0f} us, 32 rows {1e6 * many:.0f} us")
    assert many < 16 * one


def test_two_instances_answer_at_the_same_time(cnn: Path, load: Load):
    session = load(cnn, gpu=Gpu(instances=2))
    requests = [session.example(session.buckets()[0], rows) for rows in range(1, 9)]
    alone = [probabilities(session, request) for request in requests]
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda one: probabilities(session, one), requests * 20))
    for answer, expected in zip(found, alone * 20, strict=True):
        np.testing.assert_allclose(answer, expected, atol=5e-3)


def test_a_batch_beyond_the_limit_is_out_of_memory_and_the_next_one_runs(cnn: Path, load: Load):
    session = load(cnn, gpu=Gpu(memory_mb=64))
    (bucket,) = session.buckets()
    before = probabilities(session, session.example(bucket, 1))
    with pytest.raises(OutOfMemory):
        session.run([session.example(bucket, 100_000)])
    np.testing.assert_allclose(
        probabilities(session, session.example(bucket, 1)), before, atol=1e-5
    )


def test_a_hidden_device_is_noticed():
    """In a process of its own: the driver looks at the variable once."""
    code = "from service.engine import providers; print(providers.why_no_cuda())"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={"CUDA_VISIBLE_DEVICES": "", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "NVIDIA driver" in said.stdout


def test_the_service_says_what_it_runs_on(repository: Path, tmp_path: Path):
    with live.serving(repository, tmp_path, provider="cuda") as service:
        for model in httpx.get(f"{service.said}/v1/models", timeout=live.PATIENCE).json():
            (version,) = model["versions"]
            assert version["report"]["device"]["provider"] == "cuda"
        metrics = httpx.get(f"{service.said}/metrics", timeout=live.PATIENCE).text
    assert 'inference_device_fallback{model="toy-text",version="1"} 0.0' in metrics
