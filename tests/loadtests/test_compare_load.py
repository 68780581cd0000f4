"""What is read of wrk, and that load.lua and wrk agree."""

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtests.compare import load
from loadtests.compare.errors import NotMeasured

OUTPUT = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Latency     8.10ms    1.02ms  14.00ms   71.00%
RESULT {"requests":900,"duration_us":2000000,"p50_us":8100,"p99_us":12500,"refused":100,"broken":2,"late":1}
Requests/sec:    450.00
"""


def test_the_result_line_is_found_among_wrks_own() -> None:
    found = load.parse(OUTPUT)
    assert (found.requests, found.p50_us, found.p99_us) == (900, 8100, 12500)


def test_refused_requests_are_no_throughput_but_failures() -> None:
    found = load.parse(OUTPUT)
    assert found.per_second == 400
    assert found.failures == 103


def test_no_result_is_told_with_what_wrk_said() -> None:
    with pytest.raises(NotMeasured, match="unable to connect"):
        load.parse("Running\nunable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_missing_wrk_is_told_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "apt-get install wrk" in str(load.available())


@pytest.mark.skipif(load.available() is not None, reason="wrk is not installed")
def test_wrk_sends_every_body_in_turn_and_counts_refusals(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(503 if bodies[-1] == b'{"a":2}' else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing: the test reads what it needs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    order = [b'{"a":1}', b'{"a":2}', b'{"a":3}']
    load.write(tmp_path / "bodies", ((body, 0) for body in order))
    try:
        found = load.send(
            f"http://127.0.0.1:{server.server_port}/x", tmp_path / "bodies", 1, seconds=1
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    first = order.index(bodies[0])  # wrk looks at one request before it begins
    assert bodies[:6] == (3 * order)[first : first + 6]
    assert found.refused == pytest.approx(found.requests / 3, abs=2)
    assert found.p99_us >= found.p50_us > 0
