"""A whole service that tells a real collector of its requests: whichever way they come, one trace from HTTP to the run."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import collector
import grpc
import httpx
import live
import msgspec
import numpy as np
import pytest
import tritonclient.grpc as triton
from collector import Collector
from tritonclient.grpc import service_pb2, service_pb2_grpc

from service.engine.client import EngineClient

HEADER = "a-key=for-the-collector"
PREDICT, INFER = "/v1/models/toy-text/predict", "/v2/models/toy-text/infer"
IDS = np.array([[2, 2, 3]], np.int64)
OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
TIMING = r"decode;dur=([\d.]+), queue;dur=([\d.]+), compute;dur=([\d.]+), total;dur=([\d.]+)"


class Service:
    """The service, its collector, and a client that asks over any API within a trace of its own."""

    def __init__(self, program: live.Program, told: Collector) -> None:
        self.program, self.told = program, told
        self.client = httpx.Client(base_url=program.said, timeout=live.PATIENCE)
        self.address = live.grpc_address(program)
        self.grpc = triton.InferenceServerClient(self.address)
        self._traces = itertools.count(1)

    def headers(self, *, sampled: bool = True) -> tuple[str, dict[str, str]]:
        """A new trace, and what a caller in it sends."""
        number = next(self._traces)
        trace = f"{number:032x}"
        parent = f"00-{trace}-{number:016x}-0{int(sampled)}"
        return trace, {"traceparent": parent, "x-request-id": f"request-{number}"}

    def predict(self, headers: dict[str, str]) -> httpx.Response:
        return self.client.post(PREDICT, json={"text": "good good bad"}, headers=headers)

    def infer(self, headers: dict[str, str], path: str = INFER) -> httpx.Response:
        return self.client.post(path, content=body(), headers=headers)

    def chunked(self, headers: dict[str, str]) -> httpx.Response:
        """Answered by the framework, not by the hot route."""
        return self.client.post(INFER, content=iter([body()]), headers=headers)

    def lines(self) -> list[dict]:
        """The access log."""
        lines = self.program.output.read_text().splitlines()
        found = (json.loads(line) for line in lines if line.startswith("{"))
        return [one for one in found if one["event"] == "request"]


def body() -> bytes:
    tensors = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
    given = [
        {"name": name, "datatype": "INT64", "shape": [1, 3], "data": array.ravel().tolist()}
        for name, array in tensors.items()
    ]
    return json.dumps({"inputs": given}).encode()


def over_grpc(service: Service, headers: dict[str, str]) -> triton.InferResult:
    given = []
    for name, array in (("input_ids", IDS), ("attention_mask", np.ones_like(IDS))):
        tensor = triton.InferInput(name, list(array.shape), "INT64")
        tensor.set_data_from_numpy(array)
        given.append(tensor)
    return service.grpc.infer("toy-text", given, headers=headers)


@pytest.fixture(scope="module")
def service(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with collector.collecting() as told, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", told.url)
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", HEADER)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_SERVICE_NAME", "toys")
        settings = {"trace": "true", "access_log": "true", "triton_metrics": "true"}
        with live.serving(
            repository,
            tmp_path_factory.mktemp("traced"),
            grpc_port="0",
            front_ends="2",
            serve="toy-text",
            **settings,
        ) as program:
            service = Service(program, told)
            yield service
            service.client.close()
            service.grpc.close()


WAYS: dict[str, tuple[Callable[[Service, dict[str, str]], object], str]] = {
    "v1": (Service.predict, "POST /v1/models/{name}/predict"),
    "v2": (Service.infer, "POST /v2/models/{name}/infer"),
    "v2 by the framework": (Service.chunked, "POST /v2/models/{name}/infer"),
    "grpc": (over_grpc, "inference.GRPCInferenceService/ModelInfer"),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_trace_from_the_caller_to_the_run(service: Service, way: str):
    ask, name = WAYS[way]
    trace, headers = service.headers()
    ask(service, headers)
    (server,) = service.told.wait(name, trace)
    (decode,) = service.told.wait("decode", trace)
    (queue,) = service.told.wait("queue", trace)
    (compute,) = service.told.wait("compute", trace)
    assert (server.parent, server.kind, server.service) == (
        headers["traceparent"][36:52],
        2,
        "toys",
    )
    assert {one.parent for one in (decode, queue, compute)} == {server.id}
    assert server.start <= decode.start <= decode.end <= queue.start
    assert queue.start <= queue.end == compute.start <= compute.end <= server.end
    assert server.attributes["inference.model.name"] == "toy-text"
    assert server.attributes["inference.model.version"] == 1
    assert server.attributes["inference.request_id"] == headers["x-request-id"]
    assert compute.attributes["inference.provider"] == "cpu"
    ((of_batch, batch_id),) = compute.links
    (batch,) = service.told.wait("batch", of_batch)
    assert (batch.id, batch.parent, batch.links) == (batch_id, "", [(trace, server.id)])
    line = live.until(
        lambda: next((one for one in service.lines() if one.get("trace_id") == trace), None),
        "a line of the access log",
    )
    assert (line["model"], line["request_id"]) == ("toy-text", headers["x-request-id"])
    assert line["prediction_id"] == server.attributes["inference.prediction_id"]


async def test_a_batch_is_one_span_that_links_the_requests_of_every_front_end(service: Service):
    engine = live.engine_of(service.program.process.pid, "toy-text")
    command = Path(f"/proc/{engine}/cmdline").read_bytes().split(b"\0")
    holder = await EngineClient.connect(msgspec.json.decode(command[3])["socket"])
    asked = [service.headers() for _ in range(3)]
    _, unsampled = service.headers(sampled=False)
    holder.hold(4)
    await holder.stats()  # it has been heard
    sent = [headers for _, headers in asked] + [unsampled]
    clients = [httpx.Client(base_url=service.program.said, timeout=live.PATIENCE) for _ in sent]
    answers = await asyncio.gather(
        *(
            asyncio.to_thread(one.post, INFER, content=body(), headers=headers)
            for one, headers in zip(clients, sent, strict=True)
        )
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    holder.close()
    computes = [service.told.wait("compute", trace)[0] for trace, _ in asked]
    ((of_batch, _),) = {link for one in computes for link in one.links}
    (batch,) = service.told.wait("batch", of_batch)
    assert {trace for trace, _ in batch.links} == {trace for trace, _ in asked}
    assert (
        batch.attributes["inference.batch.rows"],
        batch.attributes["inference.batch.requests"],
    ) == (4, 4)
    for client in clients:
        client.close()


def test_who_does_not_want_to_be_traced_is_not(service: Service):
    unwanted, headers = service.headers(sampled=False)
    service.infer(headers)
    service.predict(headers)
    trace, headers = service.headers()
    service.infer(headers)
    service.told.wait("compute", trace)
    assert [one for one in service.told.spans if one.trace == unwanted] == []


def test_a_request_that_fails_is_told_with_its_status(service: Service):
    trace, headers = service.headers()
    assert service.infer(headers, "/v2/models/nobody/infer").status_code == 404
    (server,) = service.told.wait("POST /v2/models/{name}/infer", trace)
    assert server.attributes["http.response.status_code"] == 404
    assert not server.failed  # it is the caller's mistake


def test_answers_say_where_their_time_went(service: Service):
    for answer in (service.predict({}), service.infer({}), service.chunked({})):
        found = re.fullmatch(TIMING, answer.headers["server-timing"])
        assert found is not None
        decode, queue, compute, total = map(float, found.groups())
        assert 0 < decode + queue + compute <= total + 0.002  # each is rounded


def test_histograms_show_traces_to_who_asks_for_openmetrics(service: Service):
    trace, headers = service.headers()
    service.infer(headers)
    service.told.wait("compute", trace)
    answer = service.client.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    told = [line for line in answer.text.splitlines() if f'trace_id="{trace}"' in line]
    for stage in ("request", "decode", "queue", "compute"):
        assert any(line.startswith(f"inference_{stage}_duration_seconds_bucket") for line in told)
    plain = service.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "trace_id" not in plain.text
    assert 'nv_inference_request_success{model="toy-text",version="1"}' in plain.text


def test_spans_are_counted(service: Service):
    trace, headers = service.headers()
    service.infer(headers)
    service.told.wait("compute", trace)
    live.until(
        lambda: re.search(
            r'inference_trace_spans_total\{outcome="exported"\} [1-9]',
            service.client.get("/metrics").text,
        ),
        "a count of spans",
    )


def test_only_front_ends_know_the_key_to_the_collector(service: Service):
    _, headers = service.headers()
    service.infer(headers)
    live.until(lambda: service.told.headers, "an export")
    assert service.told.paths == {"/v1/traces"}
    assert service.told.headers[-1]["a-key"] == "for-the-collector"
    control = service.program.process.pid
    for module, knows in (("service.frontend", True), ("service.engine.worker", False)):
        for pid in live.children(control, module):
            environ = Path(f"/proc/{pid}/environ").read_bytes()
            assert (HEADER.encode() in environ) == knows


def test_a_call_over_grpc_is_answered_with_its_ids_and_times(service: Service):
    trace, headers = service.headers()
    request = service_pb2.ModelInferRequest(model_name="toy-text")
    for name, array in (("input_ids", IDS), ("attention_mask", np.ones_like(IDS))):
        request.inputs.add(name=name, datatype="INT64", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    with grpc.insecure_channel(service.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        _, call = stub.ModelInfer.with_call(request, metadata=tuple(headers.items()))
        told = dict(call.trailing_metadata())
        assert told["x-request-id"] == headers["x-request-id"]
        assert re.fullmatch(TIMING, told["server-timing"])
        request.model_name = "nobody"
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, metadata=tuple(headers.items()))
    assert dict(caught.value.trailing_metadata())["x-request-id"] == headers["x-request-id"]
    found = service.told.wait("inference.GRPCInferenceService/ModelInfer", trace, 2)
    codes = [one.attributes["rpc.response.status_code"] for one in found]
    assert sorted(codes) == ["NOT_FOUND", "OK"]
