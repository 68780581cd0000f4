"""What /v2 has beside infer, over gRPC: the same questions to control, the same errors, the same tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc.aio as triton
from fronted import FrontEnd, front_end
from tritonclient.utils import InferenceServerException

from models.errors import Conflict
from service.front_ends import reserve
from service.settings import Settings

TOKEN = "a-token-of-some-length"
GOOD = {"authorization": f"Bearer {TOKEN}"}
INDEX = [
    {"name": "m", "version": 1, "state": "ready", "reason": None},
    {"name": "n", "version": 7, "state": "failed", "reason": "damaged"},
]


@asynccontextmanager
async def called(
    directory: Path, **settings: Any
) -> AsyncIterator[tuple[FrontEnd, triton.InferenceServerClient]]:
    """A front end with gRPC, and a client of that."""
    told = {"load": {}, "unload": {}, "index": INDEX, "statistics": []}
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        async with front_end(directory, Settings(grpc_port=port, **settings), **told) as front:
            client = triton.InferenceServerClient(f"127.0.0.1:{port}")
            try:
                yield front, client
            finally:
                await client.close()


async def test_the_repository_is_the_one_of_http(tmp_path: Path):
    async with called(tmp_path) as (front, client):
        told = await client.get_model_repository_index(as_json=True)
        assert told["models"] == [
            {"name": "m", "version": "1", "state": "READY"},
            {"name": "n", "version": "7", "state": "UNAVAILABLE", "reason": "damaged"},
        ]
        await client.load_model("m", config='{"max_batch_size": 4}')
        await client.unload_model("m", unload_dependents=True)
        assert front.asked[1:] == [
            ("load", {"model": "m", "version": None, "config": {"max_batch_size": 4}}),
            ("unload", {"model": "m", "version": None}),
        ]
        with pytest.raises(InferenceServerException, match="files cannot be sent"):
            await client.load_model("m", config="{}", files={"file:1/model.onnx": b"x"})
        front.answers["load"] = Conflict("somebody else")
        with pytest.raises(InferenceServerException, match=r"FAILED_PRECONDITION.*somebody else"):
            await client.load_model("m")
        with pytest.raises(InferenceServerException, match="NOT_FOUND"):
            await client.load_model("../m")


async def test_statistics_and_settings_are_those_of_http(tmp_path: Path):
    async with called(tmp_path) as (_, client):
        told = await client.get_inference_statistics("m", as_json=True)
        assert told["model_stats"][0]["name"] == "m"
        trace = await client.get_trace_settings(as_json=True)
        assert trace["settings"]["trace_level"]["value"] == ["OFF"]
        with pytest.raises(InferenceServerException, match="cannot be switched on"):
            await client.update_trace_settings("m", {"trace_level": ["TIMESTAMPS"]})
        log = await client.get_log_settings(as_json=True)
        assert log["settings"]["log_error"] == {"bool_param": True}
        with pytest.raises(InferenceServerException, match="log_level"):
            await client.update_log_settings({"log_verbose_level": 2})


async def test_changes_need_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVERGREEN_TOKEN", TOKEN)
    async with called(tmp_path) as (front, client):
        for headers in (None, {"authorization": "Bearer another-token"}):
            for change in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                    await change("m", headers=headers)
        assert front.asked == []
        await client.load_model("m", headers=GOOD)
        assert await client.get_model_repository_index(as_json=True)


async def test_everything_but_the_probes_can_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVERGREEN_TOKEN", TOKEN)
    async with called(tmp_path, protect="all") as (_, client):
        assert await client.is_server_live()
        assert await client.is_server_ready()
        inputs = [triton.InferInput("x", [1], "FP32")]
        for call in (
            client.get_server_metadata(),
            client.get_model_metadata("m"),
            client.is_model_ready("m"),
            client.get_inference_statistics(),
            client.infer("m", inputs),
        ):
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                await call
        assert (await client.get_server_metadata(headers=GOOD)).name == "evergreen"
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("m", inputs, headers=GOOD)
        assert "UNAUTHENTICATED" not in str(caught.value)
