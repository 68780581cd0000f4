"""A real engine process under its supervisor, and what is asked of it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import oddities
import onnx

from service.engine.client import EngineClient
from service.engine.config import Config, Options
from service.engine.supervisor import Supervisor

SOON = 60.0
OUT = ["probabilities"]


class Running:
    """An engine under its supervisor, and a client."""

    def __init__(self, repository: Path, runtime: Path, model: str, **options: Any) -> None:
        self.starts = 0
        self.changes: list[str] = []

        def command(lifeline: int) -> list[str]:
            self.starts += 1
            self.socket = runtime / f"{self.starts}.sock"
            config = Config(
                model,
                1,
                str(repository / model / "1"),
                str(self.socket),
                lifeline,
                Options(**options),
            )
            return ["service.engine.worker", msgspec.json.encode(config).decode()]

        self.supervisor = Supervisor(model, command, lambda s: self.changes.append(s.state))

    async def client(self) -> EngineClient:
        await asyncio.wait_for(self.supervisor.settled.wait(), SOON)
        assert self.supervisor.state == "ready", self.supervisor.reason
        return await EngineClient.connect(self.socket)


def tokens(*ids: int, rows: int = 1) -> dict[str, np.ndarray]:
    array = np.array([ids] * rows, dtype=np.int64)
    return {"input_ids": array, "attention_mask": np.ones_like(array)}


def soon() -> float:
    return time.monotonic() + SOON


async def until(engine: Running, starts: int) -> None:
    """Wait until the engine has been started so many times and is ready."""
    async with asyncio.timeout(SOON):
        while engine.changes[-1] != "ready" or engine.starts < starts:
            await asyncio.sleep(0.01)


async def stats(client: EngineClient) -> dict[tuple[str, str], float]:
    """The engine's metrics by name and last label."""
    return {
        (name, [*labels.values()][-1]): value
        for family in await client.stats()
        for name, labels, value in family.samples
    }


def pixel(value: float) -> dict[str, np.ndarray]:
    image = np.ones((1, 1, 4, 4), np.float32)
    image[0, 0, 0, 0] = value
    return {"image": image}


def bare(tmp_path: Path, made: onnx.ModelProto, **options: Any) -> Running:
    """An engine on a version without a manifest."""
    oddities.save(tmp_path, made)
    running = Running(tmp_path, tmp_path, "odd", **options)
    running.supervisor.start()
    return running
