"""What happens to a job, as it happens: Server-Sent Events. It must not know what an event means."""

import time
from collections.abc import AsyncIterator

import msgspec
from litestar.response.sse import ServerSentEventMessage

from models.errors import EvergreenError
from service.link import Link
from service.retraining.jobs import Event
from service.routing import Router

WAIT_SECONDS = 1.0
"""Control is asked again after so long, so that a front end that is to end does not wait longer."""
HEARTBEAT_SECONDS = 10.0
PATIENCE = 30.0
RETRY_MS = 2000


async def job_events(
    link: Link, router: Router, job: str, after: int
) -> AsyncIterator[ServerSentEventMessage]:
    """Events behind number `after`, until the job has ended or this front end is about to: then the client comes again."""
    told = time.monotonic()
    yield ServerSentEventMessage(data=None, comment=f"job {job}", retry=RETRY_MS)
    while not router.table.draining:
        try:
            body = {"job": job, "after": after, "seconds": WAIT_SECONDS}
            answer = await link.ask("retraining events", body, PATIENCE)
        except EvergreenError:
            return  # the client comes again, to whoever answers then
        for event in msgspec.convert(answer["events"], list[Event]):
            after, told = event.number, time.monotonic()
            data = msgspec.json.encode(event).decode()
            yield ServerSentEventMessage(data=data, event=event.kind, id=event.number)
        if answer["ended"] and after >= answer["number"]:
            return
        if time.monotonic() - told > HEARTBEAT_SECONDS:
            told = time.monotonic()
            yield ServerSentEventMessage(data=None, comment="still here")
