"""A service for unkind requests, and how it has to refuse them."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from raw import Connection, Reply

COMMITTED = Path(__file__).parents[1] / "models" / "repository"
LIMIT = 300_000
"""Bytes that a body may have."""
DEEP = 250_000
"""Brackets within one another."""
GROWTH_MB = 150
"""What all of this together may leave in a process: an allocator keeps some of what it was given."""

JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
INFER, PREDICT = "/v2/models/bare/infer", "/v1/models/fashion-cnn/predict"
SERIES = "/v1/models/activity-lstm/predict"
PLACES = {INFER: {}, PREDICT: PNG, SERIES: JSON}
"""Where a body may be sent, and what it is sent as."""


class Service(NamedTuple):
    """A running service, its processes, and the memory that each held before anybody was unkind."""

    url: str
    held: dict[int, int]


def resident(pid: int) -> int:
    """Megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 >> 20


def asked(data: Any, shape: Any = (1, 3), **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data, **more}]}


def picture(kind: str = "PNG", size: tuple[int, int] = (28, 28), **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", size).save(file, kind, **how)
    return file.getvalue()


async def refused(service: Service, sent: bytes, *, says: str = "") -> Reply:
    """The answer, which has to be the caller's fault and a sentence."""
    async with Connection(service.url) as connection:
        await connection.send(sent)
        reply = await connection.reply()
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])
    told = json.loads(reply.body)
    sentence = told["error"] if "error" in told else told["detail"]
    assert 8 < len(sentence) < 1100, sentence[:200]
    assert says in sentence
    return reply
