"""Buffers that stay: on the CPU's provider they hold to the same rules as on a device, but for the graphs themselves."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models import bundle
from service.engine import binding, native
from service.engine.binding import Bench, Bound, Pool, Shared
from service.engine.config import Options
from service.engine.latency import Bucket
from service.engine.layout import Layout, Tensors

NAMES = ("probabilities",)


class Model:
    """A toy as benches see it."""

    def __init__(self, directory: Path) -> None:
        manifest = bundle.read(directory)
        kept, _ = bundle.read_samples(directory)
        self.layout = Layout(manifest)
        self.session = native.build(directory / "model.fp32.onnx", "cpu", Options())
        self.shared = Shared(self.session, self.layout)
        self.example = partial(self.layout.example, kept)

    def bench(self, graphs: bool = False) -> Bench:
        return Bench(self.session, self.layout, "cpu", self.example, graphs)


@pytest.fixture(scope="module", params=["toy-text", "toy-series", "toy-image"])
def model(repository: Path, request: pytest.FixtureRequest) -> Model:
    return Model(repository / request.param / "1")


@pytest.fixture(scope="module")
def text(repository: Path) -> Model:
    return Model(repository / "toy-text" / "1")


def tokens(*ids: int) -> Tensors:
    row = np.array([ids], dtype=np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def bucket_of(model: Model) -> Bucket:
    return model.layout.bucket(model.example(Bucket(8, ((1, 4, 4),)), 1))


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
def test_buffers_give_the_answers_of_a_plain_run(model: Model, rows: int):
    """Different rows after one another, so that nothing of the batch before may be left."""
    bench = model.bench()
    everything = model.example(bucket_of(model), 16)
    for start in (0, 7, 3):
        requests = [
            {name: array[n : n + 1] for name, array in everything.items()}
            for n in range(start, start + rows)
        ]
        (bound,) = bench.run(requests, rows, NAMES)
        (plain,) = model.shared.run(requests, rows, NAMES)
        np.testing.assert_allclose(bound, plain, rtol=1e-6)
        assert len(bound) == rows


def test_an_answer_stays_when_the_buffers_are_used_again(text: Model):
    bench = text.bench()
    (first,) = bench.run([tokens(2, 2)], 1, NAMES)
    kept = first.copy()
    bench.run([tokens(3, 3, 3)], 1, NAMES)
    np.testing.assert_array_equal(first, kept)


def test_rows_are_rounded_up_so_that_few_shapes_are_ever_seen(text: Model):
    assert [binding.rounded(rows) for rows in (1, 2, 3, 4, 5, 64)] == [1, 2, 4, 4, 8, 64]
    bench = text.bench()
    for rows in (3, 4):
        bench.run([tokens(2)] * rows, rows, NAMES)
    assert list(bench._bound) == [(Bucket(4), 4)]


def test_nothing_is_prepared_after_the_load(text: Model):
    pool = Pool([bench := text.bench()])
    pool.run([tokens(2)], 1, NAMES)
    assert pool.close() == 0
    (answer,) = pool.run([tokens(2)] * 3, 3, NAMES)
    assert len(bench._bound) == 1
    assert answer.shape == (3, 2)


def test_outputs_of_unknown_shape_are_left_to_onnx_runtime(
    text: Model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text.layout, "output_shapes", lambda *_: {"probabilities": None})
    bound = Bound(text.session, text.layout, "cpu", (Bucket(4), 2))
    (first,) = bound.run([tokens(2, 2), tokens(3)], 2, NAMES)
    kept = first.copy()
    (second,) = bound.run([tokens(3), tokens(2, 2)], 2, NAMES)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(second, kept[::-1])


def test_each_place_has_a_graph_of_its_own_number(text: Model, monkeypatch: pytest.MonkeyPatch):
    numbers = []
    real = binding.run_options
    monkeypatch.setattr(binding, "run_options", lambda n: numbers.append(n) or real(n))
    pool = Pool([text.bench(graphs=True)])
    for rows in (1, 2, 1):
        pool.run([tokens(2)] * rows, rows, NAMES)
    assert numbers == [binding.NO_GRAPH, 1, 2]
    assert pool.close() == 2


def test_graphs_are_captured_and_replayed_by_one_thread(
    text: Model, monkeypatch: pytest.MonkeyPatch
):
    seen = set()
    real = Bound.run

    def watched(
        self: Bound, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> list[np.ndarray]:
        seen.add(threading.get_ident())
        return real(self, requests, rows, names)

    monkeypatch.setattr(Bound, "run", watched)
    pool = Pool([text.bench(graphs=True)])
    pool.run([tokens(2)], 1, NAMES)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: pool.run([tokens(2)], 1, NAMES), range(8)))
    assert len(seen) == 1
    with pytest.raises(Exception, match=r"out of (data )?bounds"):
        pool.run([tokens(999)], 1, NAMES)


def test_a_graph_that_replays_the_captured_rows_is_not_used(
    text: Model, monkeypatch: pytest.MonkeyPatch
):
    """As one would that reads an input on the host: whatever comes, it answers what it was captured with."""
    real = Bound.run

    def stale(
        self: Bound, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> list[np.ndarray]:
        answers = real(self, requests, rows, names)
        if self._options.get_run_config_entry("gpu_graph_id") == str(binding.NO_GRAPH):
            return answers
        return self.__dict__.setdefault("captured", answers)

    monkeypatch.setattr(Bound, "run", stale)
    bench = text.bench(graphs=True)
    for ids in ((2, 2), (3, 3), (2, 3)):
        (answer,) = bench.run([tokens(*ids)], 1, NAMES)
        np.testing.assert_array_equal(answer, text.shared.run([tokens(*ids)], 1, NAMES)[0])
    assert bench.captured == 0


def test_no_two_threads_are_on_one_bench(text: Model, monkeypatch: pytest.MonkeyPatch):
    busy: set[int] = set()
    together: list[int] = []
    meet = threading.Barrier(2, timeout=10)
    real = Bench.run

    def watched(
        self: Bench, requests: Sequence[Tensors], rows: int, names: Sequence[str]
    ) -> Sequence[np.ndarray]:
        assert id(self) not in busy
        busy.add(id(self))
        meet.wait()
        together.append(len(busy))
        meet.wait()
        busy.remove(id(self))
        return real(self, requests, rows, names)

    pool = Pool([text.bench(), text.bench()])
    monkeypatch.setattr(Bench, "run", watched)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: pool.run([tokens(2)], 1, NAMES), range(8)))
    assert together == [2] * 8
    assert len(answers) == 8


def test_a_bench_is_free_again_after_a_failure(text: Model):
    pool = Pool([text.bench()])
    for _ in range(2):
        with pytest.raises(Exception, match=r"out of (data )?bounds"):
            pool.run([tokens(999)], 1, NAMES)
    (answer,) = pool.run([tokens(2)], 1, NAMES)
    assert answer.shape == (1, 2)


def test_warming_up_reaches_every_bench_at_every_size(text: Model):
    benches = [text.bench(), text.bench()]
    pool = Pool(benches)
    for rows in pool.sizes(6):
        pool.run([text.example(Bucket(4), rows)], rows, NAMES)
    for bench in benches:
        assert [rows for _, rows in bench._bound] == [1, 2, 4, 8]
    assert text.shared.sizes(6) == [1, 6]
    assert text.shared.sizes(1) == [1]
