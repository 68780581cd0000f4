"""The connection that answers infer requests itself: whose request is whose, and in which order answers leave.

The route behind it is a fake that says what it was asked, so that a test decides when it answers.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from raw import Connection, message
from uvicorn import Config
from uvicorn.server import ServerState

from service.api.bounded import Connections
from service.api.callers import Callers
from service.api.hot import HotProtocol
from service.api.infer import Answer, Said
from service.api.telemetry import Telemetry
from service.edge import Limits
from service.errors import NotFound, QueueFull
from service.refusals import Refusals
from service.settings import Settings

INFER = "/v2/models/m/infer"
LIMIT = 4_000_000


class Route:
    """Answers with what it was asked: once `gate` is open, and `size` bytes of it."""

    max_body_bytes = LIMIT
    allowed = None
    callers = Callers()
    telemetry = Telemetry(Settings())

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Semaphore(0)
        self.cancelled = asyncio.Semaphore(0)
        self.bodies: list[bytes] = []
        self.size = 0

    def find(self, name: str, version: str | None, client: Any) -> tuple[str, str | None]:
        if name == "nobody":
            raise NotFound("unknown")
        return name, version

    async def answer(self, target: tuple[str, str | None], said: Said, body: bytes) -> Answer:
        self.bodies.append(body)
        self.begun.release()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        if body == b"full":
            raise QueueFull("no room", 3.2)
        if body == b"defect":
            raise ZeroDivisionError("a secret")
        told = json.dumps({"target": target, "said": said, "bytes": len(body)}).encode()
        return Answer("id", told.ljust(self.size), None)


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Everything else: the application says that it was asked."""
    size, more = 0, True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        size, more = size + len(event["body"]), event["more_body"]
    body = f"application {scope['method']} {scope['path']} {size}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def route() -> Route:
    return Route()


@pytest.fixture
async def hot(route: Route) -> AsyncIterator[str]:
    """The address of a server that speaks the protocol. Nothing may go wrong in it unseen."""
    loop, defects = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: defects.append(context))
    config = Config(application, log_config=None, access_log=False)
    state = ServerState()
    connections = Connections(Limits(), Refusals())

    def protocol() -> HotProtocol:
        return HotProtocol(route, connections, config=config, server_state=state, app_state={})  # type: ignore[arg-type]

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    yield "http://{}:{}".format(*server.sockets[0].getsockname())
    server.close()
    route.gate.set()
    for connection in list(state.connections):
        connection.transport.abort()  # type: ignore[union-attr]
    async with asyncio.timeout(10):
        while state.tasks or state.connections:
            await asyncio.sleep(0)
    assert defects == []


@pytest.fixture
async def client(hot: str) -> AsyncIterator[Connection]:
    async with Connection(hot) as client:
        yield client


OTHERS = {
    "another verb": message(INFER, method="GET"),
    "a slash at the end": message(f"{INFER}/", b"abc"),
    "a query": message(f"{INFER}?a=b", b"abc"),
    "an escaped letter": message("/v2/models/%6d/infer", b"abc"),
    "an escaped slash": message("/v2/models/a%2Fb/infer", b"abc"),
    "two slashes": message("//v2/models/m/infer", b"abc"),
    "an absolute address": message(f"http://test{INFER}", b"abc"),
    "capital letters": message("/V2/models/m/infer", b"abc"),
    "a version that is no number": message("/v2/models/m/versions/new/infer", b"abc"),
    "chunks": message(INFER, chunks=[b"ab", b"c"]),
    "a body that waits to be asked for": message(INFER, b"abc", {"Expect": "100-continue"}),
    "a body over the limit": message(INFER, b"a" * (LIMIT + 1)),
}


@pytest.mark.parametrize("case", OTHERS)
async def test_what_is_not_a_plain_infer_request_is_the_applications(
    client: Connection, route: Route, case: str
):
    reply = await client.ask(OTHERS[case])
    assert reply.body.startswith(b"application ")
    assert route.bodies == []
    reply = await client.ask(message(INFER, b"next"))
    assert (json.loads(reply.body)["bytes"], route.bodies) == (4, [b"next"])


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (INFER, ["m", None]),
        ("/v2/models/m/versions/12/infer", ["m", "12"]),
        ("/v2/models/A-b_c.d/infer", ["A-b_c.d", None]),
    ],
)
@pytest.mark.parametrize("case", [str, str.lower, str.upper])
async def test_a_plain_infer_request_reaches_the_route_with_what_its_headers_say(
    client: Connection, path: str, target: list, case: Any
):
    named = {
        "Content-Encoding": "identity",
        "Inference-Header-Content-Length": "2",
        "Request-Timeout-Ms": "50",
        "Accept-Encoding": "gzip",
    }
    headers = {case(name): value for name, value in named.items()}
    reply = await client.ask(message(path, b"abc", headers))
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "target": target,
        "said": ["identity", "2", "50", "gzip"],
        "bytes": 3,
    }
    assert reply.headers["prediction-id"] == "id"
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
async def test_a_request_may_come_in_pieces_of_any_size(
    client: Connection, route: Route, piece: int
):
    body = bytes(range(256))
    data = message(INFER, body)
    for start in range(0, len(data), piece):
        await client.send(data[start : start + piece])
    assert (await client.reply()).status == 200
    assert route.bodies == [body]


async def test_a_body_of_megabytes_arrives_whole_and_in_order(client: Connection, route: Route):
    body = b"".join(number.to_bytes(4, "big") for number in range(LIMIT // 4))
    data = message(INFER, body)
    await client.send(*(data[start : start + 70_001] for start in range(0, len(data), 70_001)))
    assert (await client.reply()).status == 200
    assert route.bodies[0] == body


async def test_an_empty_body_is_one(client: Connection, route: Route):
    assert (await client.ask(message(INFER))).status == 200
    assert route.bodies == [b""]


async def test_a_connection_takes_any_number_of_requests(client: Connection):
    for size in (1, 100_000, 0, 7):
        reply = await client.ask(message(INFER, b"x" * size))
        assert json.loads(reply.body)["bytes"] == size
        assert "connection" not in reply.headers


@pytest.mark.parametrize("path", [INFER, "/else"])
@pytest.mark.parametrize(
    ("version", "said", "stays"),
    [
        ("1.1", None, True),
        ("1.1", "close", False),
        ("1.1", "keep-alive", True),
        ("1.0", None, False),
        ("1.0", "keep-alive", False),  # it would have to be told so, and nobody needs it
    ],
)
async def test_a_connection_stays_as_long_as_the_application_would_keep_it(
    client: Connection, path: str, version: str, said: str | None, stays: bool
):
    headers = {} if said is None else {"Connection": said}
    reply = await client.ask(message(path, b"x", headers, version=version))
    assert reply.status == 200
    assert reply.headers.get("connection") == (None if stays else "close")
    if stays:
        assert (await client.ask(message(path, b"x"))).status == 200
    else:
        assert await client.ended()


async def test_requests_sent_at_once_are_run_one_after_the_other_and_answered_in_order(
    client: Connection, route: Route
):
    route.gate.clear()
    await client.send(b"".join(message(INFER, b"x" * size) for size in (1, 2, 3)))
    await route.begun.acquire()
    assert route.bodies == [b"x"]
    route.gate.set()
    first, second, third = [await client.reply() for _ in range(3)]
    assert json.loads(first.body)["bytes"] == 1
    for size, reply in ((2, second), (3, third)):
        assert reply.body == f"application POST {INFER} {size}".encode()
    assert json.loads((await client.ask(message(INFER, b"1234"))).body)["bytes"] == 4


@pytest.mark.parametrize("order", ["gp", "pg", "gpg", "pgp", "ppgg", "ggpp"])
async def test_requests_of_both_kinds_sent_at_once_are_answered_in_order(
    client: Connection, order: str
):
    kinds = {"g": message("/else", method="GET"), "p": message(INFER, b"abc")}
    await client.send(b"".join(kinds[kind] for kind in order))
    for kind in order:
        reply = await client.reply()
        assert reply.body.startswith(b"application GET") == (kind == "g")
    assert json.loads((await client.ask(kinds["p"])).body)["bytes"] == 3


async def test_an_error_is_an_answer_and_the_connection_goes_on(client: Connection):
    for name, body, status, says in (
        ("nobody", b"", 404, "unknown"),
        ("m", b"full", 503, "no room"),
        ("m", b"defect", 500, "the server failed on this request; its log says why"),
    ):
        reply = await client.ask(message(f"/v2/models/{name}/infer", body))
        assert (reply.status, json.loads(reply.body)) == (status, {"error": says})
        assert reply.headers.get("retry-after") == ("4" if status == 503 else None)
    assert (await client.ask(message(INFER, b"x"))).status == 200


async def test_who_goes_while_the_body_is_on_its_way_asked_for_nothing(hot: str, route: Route):
    async with Connection(hot) as client:
        await client.send(message(INFER, b"x" * 1000)[:-1])
    async with Connection(hot) as client:
        assert (await client.ask(message(INFER, b"y"))).status == 200
    assert route.bodies == [b"y"]


@pytest.mark.parametrize("politely", [True, False])
async def test_who_goes_while_the_request_runs_cancels_it(hot: str, route: Route, politely: bool):
    route.gate.clear()
    async with Connection(hot) as client:
        await client.send(message(INFER, b"x"))
        await route.begun.acquire()
        if politely:
            client.writer.close()
            await client.writer.wait_closed()
    async with asyncio.timeout(10):
        await route.cancelled.acquire()
    assert route.bodies == [b"x"]


@pytest.mark.parametrize("behind", [message(INFER, b"next"), message("/else", method="GET")])
async def test_who_goes_with_a_request_queued_behind_harms_nobody(
    hot: str, route: Route, behind: bytes
):
    # uvicorn stops reading until the first is answered, so nobody hears of it before.
    route.gate.clear()
    async with Connection(hot) as client:
        await client.send(message(INFER, b"x") + behind)
        await route.begun.acquire()
    route.gate.set()
    async with Connection(hot) as client:
        assert (await client.ask(message(INFER, b"y"))).status == 200


async def test_an_answer_waits_for_a_slow_reader_and_the_next_request_for_the_answer(
    client: Connection, route: Route
):
    route.size = 20_000_000
    await client.send(message(INFER, b"1"))
    await route.begun.acquire()
    await client.send(message("/else", method="GET"))
    reply = await client.reply()
    assert (len(reply.body), json.loads(reply.body)["bytes"]) == (20_000_000, 1)
    assert (await client.reply()).body.startswith(b"application GET")


async def test_who_goes_before_all_of_the_answer_was_read_harms_nobody(hot: str, route: Route):
    route.size = 20_000_000
    async with Connection(hot) as client:
        await client.send(message(INFER, b"1"))
        await client.reader.readexactly(100)
    route.size = 0
    async with Connection(hot) as client:
        assert (await client.ask(message(INFER, b"2"))).status == 200


async def test_what_is_no_http_is_400_and_ends_the_connection(client: Connection):
    reply = await client.ask(b"INFER please\r\n\r\n")
    assert reply.status == 400
    assert await client.ended()
