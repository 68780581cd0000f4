"""Starting and ending a server, with small programs in the place of peers."""

import os
import sys
import textwrap
from pathlib import Path

import pytest

from loadtests.compare import serving
from loadtests.compare.contenders import Contender, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.processes import Tree

ECHO = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 500 if b"bad" in body else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def contender(source: str) -> Contender:
    program = textwrap.dedent(source)
    return Contender(
        "echo", ("echo",), lambda job: [sys.executable, "-c", program, str(job.port)], "/"
    )


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        *("m", "fp32", tmp_path / "m.onnx", tmp_path, tmp_path, tmp_path),
        *(f"serving{os.getpid()}", serving.free_port(), True),
    )


def test_a_server_answers_and_then_nothing_of_it_is_left(job: Job) -> None:
    with serving.serving(contender(ECHO), job, {"a": 1}) as server:
        answers = serving.ask(server.url, [{"n": n} for n in range(20)], concurrency=8)
        assert answers == [{"n": n} for n in range(20)]
        assert len(server.tree.alive()) == 2
    assert Tree(job.token).alive() == {}


def test_an_error_inside_ends_the_server_all_the_same(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt), serving.serving(contender(ECHO), job, {"a": 1}):
        raise KeyboardInterrupt
    assert Tree(job.token).alive() == {}


def test_a_server_that_ends_at_the_start_is_told_with_its_last_words(job: Job) -> None:
    source = "import sys; print('no licence found'); sys.exit(3)"
    with (
        pytest.raises(NotMeasured, match="code 3 at the start: no licence found"),
        serving.serving(contender(source), job, {}),
    ):
        pass


def test_a_program_that_is_not_there_is_told(job: Job) -> None:
    missing = Contender("none", ("none",), lambda job: [str(job.scratch / "none")], "/")
    with pytest.raises(NotMeasured, match="cannot be started"), serving.serving(missing, job, {}):
        pass


def test_a_server_that_never_answers_well_is_given_up(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "START_S", 5.0)
    with (
        pytest.raises(NotMeasured, match="did not answer within 5 s, last with: 500"),
        serving.serving(contender(ECHO), job, {"bad": 1}),
    ):
        pass
    assert Tree(job.token).alive() == {}


def test_an_answer_that_is_none_is_told(job: Job) -> None:
    with (
        serving.serving(contender(ECHO), job, {"a": 1}) as server,
        pytest.raises(NotMeasured, match="answered 500"),
    ):
        serving.ask(server.url, [{"a": 1}, {"bad": 1}], concurrency=2)


def test_scratch_folders_leave_nothing_behind() -> None:
    with serving.scratch() as folder:
        (folder / "x").write_text("y")
    assert not folder.exists()
