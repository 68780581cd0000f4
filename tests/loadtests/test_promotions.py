"""What is sent while versions change, what is counted, and what is said of it."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from loadtests.promotions import __main__ as program
from loadtests.promotions import found, measuring, sender
from loadtests.promotions.found import Found, Memory, Options, Swaps
from loadtests.promotions.sender import Sender, Sent


class Handler(BaseHTTPRequestHandler):
    """Answers with the body; "no" with 503, "bye" by closing the connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(body)
        if body == b"bye":
            self.close_connection = True
            return
        self.send_response(503 if body == b"no" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def sent(server: ThreadingHTTPServer, bodies: list[bytes], rate: float | None) -> Sent:
    """A load that ends once the server has seen 20 requests."""
    stop = asyncio.Event()
    one = Sender(server.server_port, sender.prepared("/m", bodies), 2, rate)
    running = asyncio.create_task(one.run(stop, 60))
    async with asyncio.timeout(30):
        while len(server.seen) < 20:
            await asyncio.sleep(0.01)
    stop.set()
    return await running


@pytest.mark.parametrize("rate", [None, 500.0])
async def test_every_request_is_answered_or_counted_by_what_came_instead(rate: float | None):
    with serving() as server:
        found = await sent(server, [b"yes", b"no", b"yes", b"bye"], rate)
        seen = server.seen
    assert found.answered == seen.count(b"yes")
    assert found.failed == {"503": seen.count(b"no"), "connection lost": seen.count(b"bye")}
    assert found.failures == len(seen) - found.answered
    assert 0 < found.p50_ms <= found.p90_ms <= found.p99_ms
    assert found.per_second == found.answered / found.seconds


@pytest.mark.parametrize(
    ("answer", "whole", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", False, None),
        (b"HTTP/1.1 200 OK\r\ncontent-len", False, None),
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", True, "503"),
    ],
)
def test_an_answer_is_whole_or_not_and_good_or_not(answer: bytes, whole: bool, failure: str | None):
    assert sender.whole(answer) == whole
    assert sender.failure(answer) == failure


def figures(**changed: object) -> Found:
    load = Sent(10.0, 1000, {}, 1.0, 2.0, 5.0, 9.0)
    memory = Memory(300.0, 200.0)
    given = {"capacity": load, "rest": load, "swapping": load, "swaps": Swaps(200, 20.0, 40.0)}
    given |= {"before": memory, "start": memory, "end": memory} | changed
    return Found(date="2026-01-01", machine={}, options=Options(), **given)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"end": Memory(314.9, 200.0)}, None),
        ({"end": Memory(316.0, 200.0)}, r"316.0 MiB at the end and 300.0 MiB .* \+5.3%"),
        (
            {"swapping": Sent(10.0, 1000, {}, 1.0, 2.0, 10.1, 90.0)},
            "10.1 ms during promotions and 5 ms at rest: 2.02 times",
        ),
        (
            {"swapping": Sent(10.0, 999, {"503": 1}, 1.0, 2.0, 5.0, 9.0)},
            r"1 requests failed during promotions \(1 x 503\)",
        ),
        (
            {"swaps": Swaps(199, 20.0, 40.0, ["no"])},
            "199 of 200 promotions were done: no",
        ),
    ],
)
def test_what_does_not_hold_is_said_with_both_numbers(changed: dict[str, object], says: str | None):
    said = list(found.violations(figures(**changed)))
    if says is None:
        assert said == []
    else:
        (sentence,) = said
        assert re.search(says, sentence), sentence


def test_the_exit_code_says_whether_everything_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    good, bad = figures(), figures(end=Memory(400.0, 200.0))
    output = tmp_path / "figures.json"
    for measured, code in ((good, 0), (bad, 1)):
        monkeypatch.setattr(measuring, "run", lambda *_, told=measured: told)
        assert program.main(["--output", str(output)]) == code
        assert msgspec.json.decode(output.read_bytes(), type=Found) == measured
    assert "missed: resident memory is 400.0 MiB" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["--share=0", "--share=2", "--pause=-1", "--promotions=0"])
def test_an_option_that_cannot_be_is_refused(given: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        program.main([given])
    assert given.partition("=")[0] in capsys.readouterr().err


@pytest.mark.system
@pytest.mark.parametrize("model", measuring.MODELS)
def test_a_short_run_counts_what_happens(model: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("WARM_UP_S", "CAPACITY_S", "REST_S"):
        monkeypatch.setattr(measuring, name, 1.0)
    said: list[str] = []
    measured = measuring.run(Options(model=model, promotions=3, pause=0.0), said.append)
    assert (measured.swaps.done, measured.swaps.refused) == (3, [])
    assert not measured.rest.failed
    assert not measured.swapping.failed
    assert measured.start.resident > measured.before.resident > 100
    assert said[-1] == "0 of 3 promotions"
