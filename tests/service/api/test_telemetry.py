"""What goes with every request: its id comes back, the log carries it, and where nobody wants more, nothing is done."""

import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from collector import Collector, collecting
from fronted import front_end

from service.api import telemetry
from service.api.callers import Callers
from service.api.infer import InferRoute, Said, answer_headers
from service.api.telemetry import Telemetry, http_call
from service.context import current
from service.edge import Quota
from service.errors import NotFound, SettingsError
from service.logs import JsonFormatter
from service.predictor import TensorOutcome, Terms, Times
from service.routing import Router, Target
from service.settings import Settings

TRACE = "0af7651916cd43dd8448eb211c80319c"
IDS = {"x-request-id": "mine", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
INFER = "/v2/models/m/infer"


class Written(logging.Handler):
    """Keeps log lines as they are written, when they are."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def of(self, event: str) -> list[dict]:
        return [one for one in self.lines if one["event"] == event]


@pytest.fixture
def written() -> Iterator[Written]:
    written, access = Written(), logging.getLogger("service.access")
    logging.getLogger().addHandler(written)
    yield written
    logging.getLogger().removeHandler(written)
    access.setLevel(logging.NOTSET)  # which the setting has raised


@pytest.mark.parametrize("path", [INFER, "/v1/models/m/predict", "/v1/nothing"])
async def test_what_a_caller_calls_its_request_comes_back_with_errors_too(
    path: str, tmp_path: Path
):
    async with front_end(tmp_path, Settings()) as front:
        answer = await front.client.post(path, content=b"{}", headers=IDS)
        assert (answer.status_code >= 400, answer.headers["x-request-id"]) == (True, "mine")
        for header in ({}, {"x-request-id": "two words"}, {"x-request-id": "x" * 129}):
            answer = await front.client.post(path, content=b"{}", headers=header)
            assert "x-request-id" not in answer.headers


async def test_a_defect_is_logged_with_the_id_that_its_caller_is_told(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("service.routing.Router.find", lambda *_: 1 / 0)
    async with front_end(tmp_path, Settings()) as front:
        for path in (INFER, "/v2/models/m"):
            method = "POST" if path == INFER else "GET"
            for headers in (IDS, {}):
                written.lines.clear()
                answer = await front.client.request(method, path, headers=headers)
                (line,) = written.of("a request met a defect")
                assert answer.status_code == 500
                assert answer.headers.get_list("x-request-id") == [line["request_id"]]
                assert line.get("trace_id") == (TRACE if headers else None)
                assert line["request_id"] == "mine" or not headers


async def test_the_access_log_has_a_line_for_every_request_but_probes(
    tmp_path: Path, written: Written
):
    async with front_end(tmp_path, Settings(access_log=True), metrics=b"") as front:
        for path in ("/v2/health/live", "/metrics", "/v2/models?token=secret"):
            await front.client.get(path)
        await front.client.post(INFER, content=b"a payload", headers=IDS)
    listed, infer = written.of("request")
    assert (listed["method"], listed["path"], listed["status"]) == ("GET", "/v2/models", 200)
    assert (infer["path"], infer["status"], infer["client"]) == (INFER, 400, "127.0.0.1")
    assert (infer["request_id"], infer["trace_id"]) == ("mine", TRACE)
    assert infer["ms"] > 0
    assert "payload" not in str(infer)
    assert "secret" not in str(listed)


async def test_who_has_used_up_a_quota_is_told_of_like_others(tmp_path: Path, written: Written):
    quota = Quota(per_s=0.001, burst=1)
    async with front_end(tmp_path, Settings(access_log=True, quota=quota)) as front:
        for _ in range(2):
            answer = await front.client.post(INFER, content=b"{}", headers=IDS)
    assert (answer.status_code, answer.headers["x-request-id"]) == (429, "mine")
    line = written.of("request")[1]
    assert (line["status"], line["request_id"], line["client"]) == (429, "mine", "127.0.0.1")


async def test_what_control_is_asked_carries_the_ids(tmp_path: Path):
    seen = []

    def load(_: object) -> None:
        asked = current.get()
        seen.append(asked and asked.request_id)
        raise NotFound("nobody")

    async with front_end(tmp_path, Settings(), load=load) as front:
        await front.client.post("/v2/repository/models/m/load", headers=IDS)
    assert seen == ["mine"]


def test_where_nobody_wants_anything_nothing_is_done():
    def never() -> telemetry.Call:
        raise AssertionError("nobody asked")

    told = Telemetry(Settings())
    assert told.begin(never, {b"host": b"x"}.get) is None
    assert current.get() is None


def test_what_is_not_asked_for_is_not_logged(written: Written):
    logging.getLogger("service.access").setLevel(logging.INFO)
    headers = {b"x-request-id": b"mine"}
    passage = Telemetry(Settings()).begin(lambda: http_call("GET", "/", "http", ""), headers.get)
    assert passage is not None
    passage.end(200, "/")
    assert written.of("request") == []


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "'grpc', traces are told as http/protobuf only"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf only"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "'many', a number above 0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "'0', a number above 0"),
    ],
)
def test_a_mistyped_variable_stops_the_start(variable: str, value: str, says: str):
    with pytest.raises(SettingsError, match=says) as caught:
        telemetry.check(Settings(trace=True), {variable: value})
    assert variable in str(caught.value)
    telemetry.check(Settings(), {variable: value})
    telemetry.check(Settings(trace=True), {variable: value, "OTEL_SDK_DISABLED": "true"})


def test_tracing_without_its_packages_stops_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "NEEDED", ("evergreen-nowhere",))
    with pytest.raises(SettingsError, match=r"evergreen-nowhere is not installed.*\.\[trace\]"):
        telemetry.check(Settings(trace=True), {})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as told:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", told.url)
        yield told


async def test_trace_settings_say_what_is_traced(told: Collector, tmp_path: Path):
    on = {"trace_level": ["TIMESTAMPS"], "trace_mode": "opentelemetry", "trace_rate": "100"}
    async with front_end(tmp_path, Settings(trace=True, trace_share=0.01)) as front:
        assert (await front.client.get("/v2/trace/setting")).json() == on
        answer = await front.client.post("/v2/trace/setting", json=on)
        assert (answer.status_code, answer.json()) == (200, on)
        for other in ({"trace_rate": "1"}, {"trace_level": ["OFF"]}, {"trace_file": "x"}):
            answer = await front.client.post("/v2/trace/setting", json=other)
            assert (answer.status_code, next(iter(other)) in answer.text) == (501, True)


class Answers:
    """In the place of a predictor: says at once what it was given."""

    def counted(self, *_: object) -> nullcontext:
        return nullcontext()

    def terms(self, received: float, *_: object) -> Terms:
        return Terms(received, received + 60)

    async def infer(self, _: object, given: dict, *__: object) -> TensorOutcome:
        return TensorOutcome("the-id", given, Times(0.0015, 0.00025, 2.0))


@pytest.mark.parametrize("timed", [True, False])
async def test_server_timing_is_milliseconds_and_can_be_left_out(timed: bool):
    settings = Settings(server_timing=timed)
    route = InferRoute(Router(), Answers(), Telemetry(settings), settings, None, Callers())  # type: ignore[arg-type]
    body = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}]}'
    target = Target("m", 1, "/nowhere", "ready")
    answer = await route.answer(target, Said(None, None, None), body)
    told = dict(answer_headers(answer)).get(b"server-timing", b"").decode()
    assert told.startswith("decode;dur=1.500, queue;dur=0.250, compute;dur=2000.000, ") == timed
    assert bool(told) == timed
