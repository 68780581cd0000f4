"""The load test itself, run by Locust as people run it, against a live service of toys under the real models' names."""

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import toys
from live import PATIENCE, serving

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
MODELS = ("fashion-cnn", "activity-lstm", "sentiment-transformer")
LONGER = ("--run-time", "3s")
"""Where everybody has to be answered, however busy the machine is."""


class Run(NamedTuple):
    """What a run of Locust left: its exit code, its statistics by (method, name), and what it logged."""

    code: int
    stats: dict[tuple[str, str], dict[str, Any]]
    log: str


def locust(url: str, repository: Path, *options: str, program: Sequence[str] | None = None) -> Run:
    command = [
        *(sys.executable, "-m", *(program or ["loadtests"]), "--host", url),
        *("--headless", "--users", "6", "--spawn-rate", "6", "--run-time", "1s", "--json"),
        *("--repository", str(repository), *options),
    ]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=repository.parent,
        timeout=PATIENCE,
    )
    stats = json.loads(done.stdout or "[]")
    return Run(done.returncode, {(s["method"], s["name"]): s for s in stats}, done.stderr)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("load") / "repository"
    for make, name in zip((toys.image, toys.series, toys.text), MODELS, strict=True):
        make(root, name)
    return root


@pytest.fixture(scope="module")
def url(repository: Path) -> Iterator[str]:
    with serving(repository, repository.parent) as service:
        yield service.said


def test_every_model_is_loaded_and_nothing_fails(url: str, repository: Path) -> None:
    run = locust(url, repository, *LONGER)
    assert run.code == 0, run.log
    assert sum(entry["num_failures"] for entry in run.stats.values()) == 0
    assert {name for method, name in run.stats if method == "POST"} == set(MODELS)
    for model in MODELS:
        sent = run.stats["POST", model]["num_requests"]
        assert sent > 0
        assert run.stats["queue", model]["num_requests"] == sent
        assert run.stats["compute", model]["num_requests"] == sent


def test_tensors_are_loaded_beside_and_all_is_reported(
    url: str, repository: Path, tmp_path: Path
) -> None:
    asked = ("--api", "both", "--users", "12", "--report", str(tmp_path / "load"))
    run = locust(url, repository, *LONGER, *asked)
    assert run.code == 0, run.log
    lines = {*MODELS, *(f"{model} (tensors)" for model in MODELS)}
    assert {name for method, name in run.stats if method == "POST"} == lines
    report = tmp_path / "load" / "latest" / "report.html"
    assert str(report.resolve()) in run.log
    assert "<div class=passed>" in report.read_text()
    summary = json.loads((report.parent / "summary.json").read_text())
    assert summary["passed"] is True
    assert summary["shape"] == "steady"
    for line in lines:
        assert summary["models"][line]["requests"] == run.stats["POST", line]["num_requests"]
        assert (summary["models"][line]["compute_ms"] is None) == line.endswith("(tensors)")


def test_every_threshold_that_does_not_hold_is_named_and_fails_the_run(
    url: str, repository: Path
) -> None:
    asked = ("--p50-ms", "0.001", "--p99-ms", "0.002", "--min-rps", "1e9")
    run = locust(url, repository, *LONGER, *asked)
    assert run.code == 1
    for model in MODELS:
        assert f"{model}: p50 is " in run.log
        assert f"{model}: p99 is " in run.log
    assert "at most 0.001 were asked for" in run.log
    assert "at most 0.002 were asked for" in run.log
    assert "requests/s were answered, at least 1e+09 were asked for" in run.log


def test_model_that_is_not_served_gets_no_users(repository: Path, tmp_path: Path) -> None:
    toys.image(tmp_path / "served", "fashion-cnn")
    with serving(tmp_path / "served", tmp_path) as service:
        run = locust(service.said, repository, *LONGER)
    assert run.code == 0, run.log
    assert {name for _, name in run.stats} == {"fashion-cnn"}
    assert "activity-lstm is not served" in run.log


def test_answer_with_a_label_the_manifest_lacks_is_a_failure(url: str, tmp_path: Path) -> None:
    directory = toys.image(tmp_path / "other", "fashion-cnn")
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dark"', '"dusk"'))
    for make, name in ((toys.series, MODELS[1]), (toys.text, MODELS[2])):
        make(tmp_path / "other", name)
    run = locust(url, tmp_path / "other", *LONGER)
    assert run.code == 1
    assert run.stats["POST", "fashion-cnn"]["num_failures"] > 0
    assert "'dark' is no label of the model" in run.log


def test_served_model_without_samples_fails_the_run(url: str, tmp_path: Path) -> None:
    toys.image(tmp_path / "partial", "fashion-cnn")
    run = locust(url, tmp_path / "partial")
    assert run.code == 1
    assert "activity-lstm cannot be asked" in run.log


def test_run_against_nothing_fails(repository: Path) -> None:
    run = locust("http://127.0.0.1:9", repository)
    assert run.code == 1
    assert "no request was sent" in run.log


@contextmanager
def stub(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A service that knows one model and answers to each prediction as told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            reply(self, 200, b'[{"name": "fashion-cnn"}]')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            """Tests say enough."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def half_refused_a_quarter_failed() -> Callable[[BaseHTTPRequestHandler], None]:
    body = {"predictions": [{"label": "dark"}], "timings_ms": {"queue": 0, "compute": 0}}
    numbers = itertools.count(1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = next(numbers)
        if asked % 2:
            reply(handler, 503, b"{}", **{"Retry-After": "0"})
        elif asked % 4:
            reply(handler, 500, b"a defect")
        else:
            reply(handler, 200, json.dumps(body).encode())

    return answer


def test_refusals_with_retry_after_are_counted_apart_from_failures(repository: Path) -> None:
    with stub(half_refused_a_quarter_failed()) as address:
        run = locust(address, repository)
    assert run.code == 1
    assert "requests were refused with Retry-After (" in run.log
    assert "requests failed (" in run.log
    assert run.stats["shed", "fashion-cnn"]["num_requests"] > 0
    assert run.stats["shed", "fashion-cnn"]["num_failures"] == 0
    assert run.stats["POST", "fashion-cnn"]["num_failures"] > 0


def test_as_many_may_fail_or_be_refused_as_is_said(repository: Path) -> None:
    with stub(half_refused_a_quarter_failed()) as address:
        run = locust(address, repository, "--max-shed-share", "0.6", "--max-failure-share", "0.4")
    assert run.stats["POST", "fashion-cnn"]["num_failures"] > 0
    assert run.code == 0, run.log


def test_refused_user_waits_as_long_as_it_is_told(repository: Path) -> None:
    with stub(lambda handler: reply(handler, 503, b"{}", **{"Retry-After": "9"})) as address:
        run = locust(address, repository, *LONGER)
    assert run.stats["shed", "fashion-cnn"]["num_requests"] == 6  # one for each user


def test_service_that_never_answers_fails_the_run(repository: Path) -> None:
    with stub(lambda handler: threading.Event().wait(5) and None) as address:
        run = locust(address, repository)
    assert run.code == 1
    assert "fashion-cnn: 6 users, and no answer to any came before the end" in run.log


def test_mistaken_plan_ends_before_anything_is_sent(repository: Path) -> None:
    run = locust("http://127.0.0.1:9", repository, "--shape", "soak")
    assert run.code == 1
    assert "1 s were asked for, these 3 stages need at least 10 s" in run.log


def test_the_file_alone_is_the_same_load_test(url: str, repository: Path) -> None:
    run = locust(url, repository, *LONGER, program=["locust", "-f", str(LOCUSTFILE)])
    assert run.code == 0, run.log
    assert {name for method, name in run.stats if method == "POST"} == set(MODELS)


def test_help_knows_every_option() -> None:
    command = [sys.executable, "-m", "loadtests", "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    for option in ("--headless", "--shape", "--p99-ms", "--max-shed-share", "--report"):
        assert option in done.stdout
    assert done.stdout.count("--spike-factor") == 1  # taken once, though two files ask for it
