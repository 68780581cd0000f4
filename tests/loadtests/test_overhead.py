"""What is sent, what stands in for Evergreen, what a process costs, and the arithmetic behind `python -m loadtests.overhead`."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import live
import numpy as np
import pytest

from loadtests.compare import files, load, measure, rows
from loadtests.compare.contenders import EVERGREEN, ROOT, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.measure import Subject
from loadtests.compare.processes import MARK, TICKS, Tree
from loadtests.compare.serving import free_port, serving
from loadtests.lengths.policies import Planned
from loadtests.overhead import __main__ as program
from loadtests.overhead import (
    bodies,
    buckets,
    found,
    measuring,
    report,
    run,
    standins,
    trivial,
)
from loadtests.overhead.found import CNN, TEXT, TRIVIAL, Found, Raw, Sample
from loadtests.overhead.run import Options, Step
from models import bundle
from service.api import tensors
from service.api.infer import Answer, Said

ROW = {"image": np.arange(4, dtype=np.float32).reshape(1, 2, 2), "n": np.array([7])}
CONSTANTS = {
    "binary": Answer("id", b'{"outputs":[]}\0\0', 14),
    "JSON": Answer("id", b'{"outputs":[{}]}', None),
}


def sample(server: str = "evergreen", **changed: Any) -> Sample:
    given = {
        "round": 1,
        "form": "binary",
        "model": CNN,
        "variant": "fp32",
        "concurrency": 32,
        "requests": 1000,
        "failures": 0,
        "per_second": 1000.0,
        "p50_ms": 5.0,
        "p99_ms": 9.0,
        "cpu_us": 100.0,
    }
    return Sample(server=server, **(given | changed))


def raw(**changed: Any) -> Raw:
    given = {"round": 1, "model": TEXT, "variant": "fp32", "batches": "buckets"}
    return Raw(**(given | {"rows_per_second": 500.0, "p50_ms": 2.0} | changed))


def empty(**changed: Any) -> Found:
    return Found(date="2026-01-01", machine={}, options={}, versions={}, **changed)


@pytest.mark.parametrize("form", bodies.FORMS)
def test_a_request_is_read_by_the_service_as_the_row_that_it_was(form: bodies.Form) -> None:
    sent = bodies.sent(ROW, form)
    asked, given = tensors.parse(sent.body, sent.headers.get(bodies.HEADER))
    assert {name: array.tolist() for name, array in given.items()} == {
        name: array.tolist() for name, array in ROW.items()
    }
    assert asked.outputs == ("probabilities",)
    assert asked.binary["probabilities"] == (form == "binary")
    assert (bodies.HEADER in sent.headers) == (form == "binary")


def test_an_answer_of_either_form_is_read() -> None:
    assert bodies.probabilities(b'{"outputs":[{"data":[0.5,0.25]}]}', None) == [0.5, 0.25]
    binary = b'{"outputs":[{}]}' + np.array([0.5, 0.25], np.float32).tobytes()
    assert bodies.probabilities(binary, 16) == [0.5, 0.25]


def test_an_answer_without_probabilities_is_told() -> None:
    with pytest.raises(NotMeasured, match="no probabilities"):
        bodies.probabilities(b'{"error":"full"}', None)


def test_bodies_with_any_bytes_are_one_record_each(tmp_path: Path) -> None:
    load.write(tmp_path / "b", [bodies.Sent(b"a\n\0b", 1), bodies.Sent(b"{}")])
    assert (tmp_path / "b").read_bytes() == b"4 1\na\n\0b2 0\n{}"


@pytest.mark.skipif(load.available() is not None, reason="wrk is not installed")
def test_wrk_sends_binary_and_json_bodies_whole_with_their_headers(tmp_path: Path) -> None:
    got: list[tuple[str | None, str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["Content-Type"], self.headers[bodies.HEADER], body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the test reads what it needs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sent = [bodies.sent(ROW, form) for form in bodies.FORMS]
    load.write(tmp_path / "b", sent)
    try:
        url = f"http://127.0.0.1:{server.server_port}/x"
        load.send(url, tmp_path / "b", 1, seconds=1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert set(got) == {
        ("application/octet-stream", str(sent[0].head), sent[0].body),
        ("application/json", None, sent[1].body),
    }


def test_constants_are_read_as_they_were_written(tmp_path: Path) -> None:
    standins.write(tmp_path / "c", CONSTANTS)
    assert standins.read(tmp_path / "c") == CONSTANTS


def test_the_bare_application_reads_all_of_the_body_before_it_answers() -> None:
    said: list[Any] = []
    parts = [{"body": b"a", "more_body": True}, {"body": b"b", "more_body": False}]

    async def receive() -> Any:
        said.append("read")
        return parts.pop(0)

    async def send(message: Any) -> None:
        said.append(message.get("body", message.get("status")))

    asyncio.run(standins.Bare(CONSTANTS)({"path": "/constant/JSON"}, receive, send))
    assert said == ["read", "read", 200, CONSTANTS["JSON"].body]


def test_the_hot_route_answers_by_the_form_in_its_path() -> None:
    route = standins.ConstantRoute(CONSTANTS, 100)
    target = route.find("binary", None)
    assert asyncio.run(route.answer(target, Said(None, None, None), b"")) == CONSTANTS["binary"]


@pytest.mark.parametrize("kind", standins.KINDS)
def test_every_standin_runs_answers_both_forms_and_ends(kind: str, tmp_path: Path) -> None:
    standins.write(tmp_path / standins.CONSTANTS, CONSTANTS)
    job = Job(
        *("JSON", "fp32", tmp_path / "m.onnx", tmp_path, tmp_path, tmp_path),
        *(f"overhead{kind}{os.getpid()}", free_port(), True),
    )
    contender = standins.contender(kind)
    with serving(contender, job, {"inputs": []}) as server:
        process = measuring.front_end(server.tree, contender)
        assert process in server.tree.alive()
        for form, constant in CONSTANTS.items():
            url = contender.url(job._replace(model=form))
            found = httpx.post(url, content=b"x" * 3000, timeout=live.PATIENCE)
            assert (found.status_code, found.content) == (200, constant.body)
    assert Tree(job.token).alive() == {}


def test_the_front_end_is_known_by_its_command_among_evergreens_processes() -> None:
    token = f"frontend{os.getpid()}"
    wait = [sys.executable, "-c", "import time; time.sleep(60)"]
    others = [[*wait, name] for name in ("service.frontend", "service.engine.worker")]
    started = [subprocess.Popen(command, env=os.environ | {MARK: token}) for command in others]
    try:
        assert measuring.front_end(Tree(token), EVERGREEN) == started[0].pid
        with pytest.raises(NotMeasured, match="2 processes"):
            measuring.front_end(Tree(token), standins.contender("bare"))
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_the_cost_of_one_process_grows_with_its_own_work() -> None:
    before = measuring.ticks(os.getpid())
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert (measuring.ticks(os.getpid()) - before) / TICKS >= 0.15


def test_ratios_are_taken_within_a_round_of_the_same_form_and_load() -> None:
    samples = [
        *(sample(cpu_us=100.0), sample("bare", cpu_us=50.0)),
        *(sample(cpu_us=90.0, round=2), sample("bare", cpu_us=30.0, round=2)),
        *(sample("bare", cpu_us=1.0, form="JSON"), sample(concurrency=1), sample(round=3)),
    ]
    assert found.against(samples, "binary", "bare", found.cpu) == [2.0, 3.0]


def test_a_server_that_refuses_requests_is_not_compared() -> None:
    samples = [sample(failures=11), sample("bare")]
    assert found.against(samples, "binary", "bare", found.cpu) == []
    assert sample(failures=10).usable


def test_added_latency_is_a_difference_to_the_same_file_one_row_at_a_time() -> None:
    results = empty(
        samples=[sample(concurrency=1, p50_ms=1.0), sample(p50_ms=9.0)],
        raw=[
            raw(model=CNN, batches="alone", p50_ms=0.25),
            raw(model=CNN, batches="alone", variant="int8", p50_ms=0.9),
        ],
    )
    assert found.added(results, CNN, "binary") == [0.75]


def test_the_share_is_of_the_loop_in_buckets_of_the_same_file_and_round() -> None:
    results = empty(
        samples=[sample(model=TEXT, form="JSON", per_second=450.0)],
        raw=[raw(), raw(round=2, rows_per_second=1.0), raw(batches="alone", rows_per_second=2.0)],
    )
    assert found.share(results, "fp32") == [0.9]


def test_every_line_has_its_target_and_what_was_not_measured_is_not_met() -> None:
    results = empty(samples=[sample(cpu_us=221.0), sample("bare", cpu_us=100.0)], raw=[raw()])
    lines = found.judged(results)
    assert [(one.target, one.at_most, one.met) for one in lines] == [
        (2.2, True, False),
        (3.5, True, None),
        (0.70, False, None),
        (0.90, False, None),
    ]


def test_requests_a_second_are_judged_with_the_trivial_model_and_cpu_with_the_cnn() -> None:
    results = empty(
        samples=[
            *(sample(per_second=400.0), sample(model=TRIVIAL, per_second=800.0, cpu_us=50.0)),
            *(sample("litestar"), sample("bare", cpu_us=40.0)),
        ]
    )
    values = [one.value for one in found.judged(results)]
    assert values == [2.5, None, 0.8]


def test_what_has_no_target_is_a_figure_of_either_model() -> None:
    results = empty(
        samples=[
            *(sample(), sample("hot", per_second=4000.0, cpu_us=25.0)),
            sample(model=TRIVIAL, per_second=2000.0, cpu_us=50.0),
        ]
    )
    figures = found.figures(results)
    assert [one.value for one in figures] == [0.25, 4.0, 0.5, 2.0]
    assert [one.what.partition(":")[0] for one in figures] == [CNN, CNN, TRIVIAL, TRIVIAL]


def test_the_trivial_model_takes_and_gives_what_the_cnn_does(tmp_path: Path) -> None:
    source = files.COMMITTED / CNN / "1"
    directory = trivial.publish(source, tmp_path)
    theirs, ours = bundle.read(source), bundle.read(directory)
    bundle.verify(directory, ours)
    same = ("task", "labels", "inputs", "outputs", "padding", "version")
    assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    assert len(TRIVIAL) == len(CNN)
    for told, kept in zip(bundle.read_samples(directory), bundle.read_samples(source), strict=True):
        assert {k: (v.shape, v.dtype) for k, v in told.items()} == {
            k: (v.shape, v.dtype) for k, v in kept.items()
        }


def test_the_trivial_model_is_published_in_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    directory = trivial.publish(files.COMMITTED / CNN / "1", tmp_path)
    (directory / "left.over").touch()
    assert trivial.publish(files.COMMITTED / CNN / "1", tmp_path) == directory
    assert not (directory / "left.over").exists()


def test_the_trivial_model_is_served_and_answers_as_many_bytes_as_the_cnn(tmp_path: Path) -> None:
    file = files.find(CNN, "fp32")
    assert file is not None
    given, _ = bundle.read_samples(file.path.parent)
    pictures = [{name: array[i : i + 1] for name, array in given.items()} for i in range(8)]
    requests = [rows.request(row) for row in pictures]
    expected = rows.answers(file.path, pictures)
    cnn = Subject(file, pictures, "samples", requests, expected)
    lengths = []
    for subject in (cnn, trivial.subject(cnn, tmp_path)):
        with measuring.evergreen(subject) as running:  # compares the answers in both forms
            answer = measuring.ask(running, "binary", 0)
            lengths.append((len(answer.body), answer.header_length))
    assert lengths[0] == lengths[1]


def test_answers_of_the_trivial_model_tell_pictures_apart(tmp_path: Path) -> None:
    directory = trivial.publish(files.COMMITTED / CNN / "1", tmp_path)
    _, told = bundle.read_samples(directory)
    answers = told[rows.OUTPUT]
    gaps = np.abs(answers[:, None] - answers[None]).max(axis=2)
    assert gaps[~np.eye(len(answers), dtype=bool)].min() > 10 * measure.CLOSE


def test_batches_are_filled_by_repetition_and_count_for_their_own_rows() -> None:
    full, weights = buckets.filled([Planned([1, 2, 3], 16), Planned([4], 16), Planned([5], 32)])
    assert full == [Planned([1, 2, 3], 16), Planned([4, 4, 4], 16), Planned([5], 32)]
    assert weights == [3, 1, 1]


def test_the_loops_pace_is_that_of_the_rows_own_mixture() -> None:
    full = [Planned([0, 1], 16), Planned([2, 2], 16)]
    # Three rows at 0.1 s each, however often each batch ran.
    paced = buckets.pace([[0.2, 0.2, 0.2], [0.2]], full, [2, 1])
    assert paced.rows_per_second == pytest.approx(10)
    # A slow batch that stands for one row of eleven weighs one eleventh.
    paced = buckets.pace([[0.1], [1.0]], [Planned([0] * 10, 16), Planned([1], 99)], [10, 1])
    assert paced.rows_per_second == pytest.approx(10)


def test_the_loop_runs_every_batch_and_warms_up_every_shape_once() -> None:
    runs: list[int] = []
    batches = [{"ids": np.zeros((1, length))} for length in (16, 16, 32)]
    taken = buckets.timed(lambda batch: runs.append(batch["ids"].shape[1]), batches, 0.0)
    assert runs == [16, 32, 16, 16, 32]
    assert [len(one) for one in taken] == [1, 1, 1]


def test_both_models_and_every_standin_begin_a_round_and_none_is_left_out() -> None:
    (group,) = run.steps(Options(parts=("front-end",)), set())
    assert {(one.model, one.server) for one in group} == {
        *((CNN, "evergreen"), (TRIVIAL, "evergreen")),
        *((CNN, kind) for kind in standins.KINDS),
    }
    assert {run.rotated(group, number)[0] for number in range(5)} == set(group)
    assert sorted(run.rotated(group, 3)) == sorted(group)


def test_what_is_not_there_is_measured_with_what_is() -> None:
    there = {(CNN, "fp32"), ("activity-lstm", "fp32"), (TEXT, "int8")}
    flat = [step for group in run.steps(Options(), there) for step in group]
    assert Step("latency", TEXT, "int8") in flat
    assert [step for step in flat if step.part == "share"] == [Step("share", TEXT, "int8")]


def test_only_a_whole_run_replaces_the_published_results() -> None:
    published = ROOT / "loadtests" / "results"
    assert program.parse([])[1] == published
    assert program.parse(["--seconds", "1"])[1] != published
    assert program.parse(["--parts", "share"])[1] != published


def test_the_page_shows_every_server_and_verdict() -> None:
    results = empty(
        samples=[sample(), sample("bare", cpu_us=50.0, failures=3)],
        raw=[raw(caps={"16": 8})],
    )
    results.verdicts, results.figures = found.judged(results), found.figures(results)
    page = report.markdown(results)
    assert f"judged with `{TRIVIAL}`" in page
    assert "| **evergreen** | fashion-cnn fp32 | binary | 32 | 1,000 | 5.00 | 9.00 | 100 |" in page
    assert "| bare | a constant | binary | 32 | 1,000 (3 failed) | 5.00 | 9.00 | 50 |" in page
    assert "**2.00x**" in page
    assert "16: 8" in page
