"""What an engine says of a batch in which traced requests ran. Pure; who hears it makes the spans, so that engines need no exporter."""

from collections.abc import Mapping
from typing import Any

from service.engine import wire
from service.engine.latency import label
from service.engine.runner import Ran
from service.engine.scheduler import Batch
from service.errors import EngineError


def told(
    identity: tuple[str, int],
    report: Mapping[str, Any],
    batch: Batch,
    ran: Ran,
    ended: float,
) -> tuple[wire.Ran, Any] | None:
    """The frame that tells of `batch` of the version `identity`, and a connection to send it on; None where nobody traces it."""
    traced: list[wire.Traced] = []
    channels: list[Any] = []
    for entry, answer in zip(batch.entries, ran.answers, strict=True):
        job = entry.payload
        if (trace := job.message.trace) is not None:
            traced.append(wire.Traced(trace, entry.arrived, isinstance(answer, EngineError)))
            channels.append(job.channel)
    if not traced:
        return None
    message = wire.Ran(
        *identity,
        {"provider": report["device"]["provider"], "variant": report["variant"]},
        label(batch.bucket),
        batch.rows,
        len(batch.entries),
        batch.started,
        ended,
        ran.whole,
        traced,
    )
    return message, next((one for one in channels if one.open), channels[0])
