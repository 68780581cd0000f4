"""The server, in this process: deadlines, cancelling, metadata, limits, and every datatype through the whole client."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from service.api.entrance import Entrance
from service.api.values import DATATYPES
from service.errors import NotFound, SettingsError, Unavailable
from service.grpc import health
from service.grpc.calls import UNIMPLEMENTED, Calls
from service.grpc.server import SERVICE, serving
from service.link import Link
from service.monitoring.observer import Observer
from service.predictor import Predictor, TensorOutcome, Terms
from service.routing import Router, Table, Target
from service.settings import Settings
from service.tallies import FrontEndMetrics

LIMIT = 100_000
KINDS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
ROW = np.zeros((1, 2), np.float32)


class Echo(Predictor):
    """Gives tensors back once `release` is set, or raises `error`."""

    def __init__(self, settings: Settings, router: Router) -> None:
        self.counts = FrontEndMetrics()
        super().__init__(settings, router, self.counts, Observer(settings))
        self.seen: list[Terms] = []
        self.entered, self.release, self.cancelled = (asyncio.Event() for _ in range(3))
        self.release.set()
        self.error: Exception | None = None

    async def infer(
        self,
        target: Target,
        tensors: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        terms: Terms,
        api: str = "v2",
    ) -> TensorOutcome:
        self.seen.append(terms)
        self.entered.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        return TensorOutcome("the-id", {name: tensors[name] for name in outputs or tensors})

    def outcomes(self) -> dict[str, int]:
        return self.counts.of("echo", 1, "grpc").outcomes


def calls(settings: Settings, router: Router, echo: Echo) -> Calls:
    """The calls, without a control behind them."""
    return Calls(settings, router, echo, Entrance(settings, Path("/nowhere"), {}), Link({}))


class Running:
    """A server over an `Echo`, and what calls it."""

    def __init__(self, echo: Echo, router: Router, port: int) -> None:
        self.echo, self.router, self.address = echo, router, f"127.0.0.1:{port}"
        self.client = triton.InferenceServerClient(self.address)
        self.channel = grpc.aio.insecure_channel(
            self.address, options=[("grpc.max_send_message_length", -1)]
        )
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def call(self, method: str, service: str = SERVICE) -> Callable:
        """A method that takes and gives bytes."""
        return self.channel.unary_unary(f"/{service}/{method}")


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    settings = Settings(grpc_port=0, max_body_bytes=LIMIT, drain_timeout_s=3)
    router = Router()
    await router.apply(
        {
            "number": 1,
            "ready": True,
            "champions": {"echo": 1},
            "targets": [{"model": "echo", "version": 1, "directory": "/nowhere", "state": "ready"}],
        }
    )
    echo = Echo(settings, router)
    async with serving(settings, calls(settings, router, echo)) as port:
        found = Running(echo, router, port)
        yield found
        await found.client.close()
        await found.channel.close()
    router.close()


def tensor(array: np.ndarray = ROW, datatype: str = "FP32", name: str = "x") -> triton.InferInput:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return given


def request(**fields: object) -> service_pb2.ModelInferRequest:
    one = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    return service_pb2.ModelInferRequest(
        model_name="echo", inputs=[one], raw_input_contents=[bytes(8)], **fields
    )


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BF16"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
async def test_every_datatype_goes_there_and_back(
    running: Running, datatype: str, compression: str | None
):
    dtype = np.dtype(DATATYPES[datatype])
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    if dtype.hasobject:
        array = np.array([[b"", b"a", b"\xff"], [b"4", b"5", b"6" * 999]], dtype=object)
    answer = await running.client.infer(
        "echo",
        [tensor(array, datatype)],
        model_version="1",
        request_id="7",
        compression_algorithm=compression,
    )
    told = answer.get_response()
    assert (told.id, told.model_name, told.model_version) == ("7", "echo", "1")
    found = answer.as_numpy("x")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


async def test_only_the_outputs_that_were_asked_for_come_back(running: Running):
    answer = await running.client.infer(
        "echo",
        [tensor(name="x"), tensor(name="y")],
        outputs=[triton.InferRequestedOutput("y")],
    )
    assert [output.name for output in answer.get_response().outputs] == ["y"]


async def test_the_prediction_id_travels_behind_the_answer(running: Running):
    call = running.stub.ModelInfer(request())
    await call
    assert ("prediction-id", "the-id") in list(await call.trailing_metadata())


@pytest.mark.parametrize(
    ("microseconds", "client_timeout", "most"),
    [(None, None, 30.0), (2_000_000, None, 2.0), (None, 3.0, 3.0), (2_000_000, 3.0, 2.0)],
    ids=["neither", "parameter", "deadline", "both"],
)
async def test_the_shorter_of_parameter_and_deadline_counts(
    running: Running, microseconds: int | None, client_timeout: float | None, most: float
):
    before = time.monotonic()
    await running.client.infer(
        "echo", [tensor()], timeout=microseconds, client_timeout=client_timeout, priority=1
    )
    (terms,) = running.echo.seen
    # gRPC rounds what travels up to two digits.
    assert before + most - 0.5 < terms.deadline <= time.monotonic() + 1.02 * most
    assert terms.priority == 1


async def test_a_passed_deadline_cancels_the_request(running: Running):
    assert await running.client.is_server_live()  # it is connected: the request comes in time
    running.echo.release.clear()
    with pytest.raises(InferenceServerException) as caught:
        await running.client.infer("echo", [tensor()], client_timeout=1.0)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    await asyncio.wait_for(running.echo.cancelled.wait(), 10)
    assert running.echo.outcomes() == {"ok": 0, "cancelled": 1}


async def test_a_cancelled_call_cancels_the_request(running: Running):
    running.echo.release.clear()
    call = running.stub.ModelInfer(request())
    await asyncio.wait_for(running.echo.entered.wait(), 10)
    call.cancel()
    await asyncio.wait_for(running.echo.cancelled.wait(), 10)
    assert running.echo.outcomes() == {"ok": 0, "cancelled": 1}


async def test_an_error_is_a_status_with_its_sentence_and_when_to_come_back(running: Running):
    running.echo.error = Unavailable("the queue is full", 2.5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ModelInfer(request())
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the queue is full")
    assert ("retry-after", "3") in list(error.trailing_metadata())
    assert running.echo.outcomes() == {"ok": 0, "Unavailable": 1}


async def test_a_defect_keeps_its_insides(running: Running, caplog: pytest.LogCaptureFixture):
    running.echo.error = RuntimeError("secret")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ModelInfer(request())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "its log says why" in caught.value.details()
    assert "secret" in caplog.text


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig"])
async def test_an_unknown_model_is_not_found(running: Running, method: str):
    kind = getattr(service_pb2, KINDS[method].input_type.name)
    named = kind(**{"model_name" if method == "ModelInfer" else "name": "nobody"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(running.stub, method)(named)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "Request for unknown model: 'nobody' is not found"


async def test_bytes_that_are_no_message_are_refused_and_the_next_are_answered(running: Running):
    for method in ("ModelInfer", "ModelMetadata"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.call(method)(b"\xff\xff")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"the message is not a {method}Request" in caught.value.details()
    await running.stub.ModelInfer(request())


async def test_a_message_over_the_limit_is_refused_with_both_numbers(running: Running):
    large = request()
    large.raw_input_contents[0] = bytes(LIMIT)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ModelInfer(large)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"({large.ByteSize()} vs. {LIMIT})" in caught.value.details()
    await running.stub.ModelInfer(request())


async def test_a_message_that_is_over_the_limit_once_unpacked_is_refused(running: Running):
    large = request()
    large.raw_input_contents[0] = bytes(50 * LIMIT)
    assert len(gzip.compress(large.SerializeToString())) < LIMIT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.ModelInfer(large, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not running.echo.seen


async def test_every_call_of_the_protocol_is_answered_or_refused_with_a_sentence(running: Running):
    unknown = []
    for method in KINDS.values():
        if method.name in UNIMPLEMENTED and not method.client_streaming:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.call(method.name)(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert caught.value.details() == UNIMPLEMENTED[method.name]
            continue
        try:
            await running.call(method.name)(b"")
        except grpc.aio.AioRpcError as error:
            if "Method not found" in error.details():
                unknown.append(method.name)
    assert unknown == []


async def test_a_stream_is_refused_with_a_sentence(running: Running):
    call = running.stub.ModelStreamInfer(iter([request()]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == UNIMPLEMENTED["ModelStreamInfer"]


async def check(running: Running, service: str) -> int:
    asked = health.HealthCheckRequest(service=service)
    answer = await running.call("Check", health.SERVICE)(asked.SerializeToString())
    return health.HealthCheckResponse.FromString(answer).status


async def test_health_follows_readiness_and_liveness_does_not(running: Running):
    services = ("", SERVICE, "readiness", "liveness")
    assert [await check(running, one) for one in services] == [health.SERVING] * 4
    running.router.table = Table(ready=True, draining=True)
    found = [await check(running, one) for one in services]
    assert found == [health.NOT_SERVING] * 3 + [health.SERVING]
    assert not await running.client.is_server_ready()
    assert await running.client.is_server_live()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(running, "nobody")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_what_was_accepted_is_answered_before_the_server_ends(running: Running):
    settings, echo = Settings(grpc_port=0, drain_timeout_s=10), running.echo
    echo.release.clear()
    async with serving(settings, calls(settings, running.router, echo)) as port:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request(id="last"))
        await asyncio.wait_for(echo.entered.wait(), 10)
        asyncio.get_running_loop().call_later(0.1, echo.release.set)
    assert (await call).id == "last"
    await channel.close()


async def test_an_address_that_cannot_be_had_is_a_sentence(running: Running):
    settings = Settings(host="192.0.2.1", grpc_port=0)
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:0 for gRPC"):
        async with serving(settings, calls(settings, running.router, running.echo)):
            pass


async def test_a_model_that_is_unknown_is_not_ready(running: Running):
    with pytest.raises(NotFound):
        running.router.find("nobody", None)
    assert not await running.client.is_model_ready("nobody")
