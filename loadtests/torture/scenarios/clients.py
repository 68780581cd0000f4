"""What clients do that mean no good, or have gone without a word: thousands that are idle, slow ones, half-closed ones."""

import asyncio
import contextlib
import resource
from pathlib import Path

from loadtests.torture.errors import Missed, Skipped
from loadtests.torture.found import Found
from loadtests.torture.material import EXACT, PICTURES
from loadtests.torture.service import until
from loadtests.torture.trial import Options, Trial, trial

MODELS = (EXACT, PICTURES)
AT_A_TIME = 200
SLOW, SLOW_S = 200, 0.5
HALF_CLOSED = 200
SPARE = 500
"""Descriptors that this program needs beside its idle connections."""
ENDED_S = 60.0

LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: torture\r\n\r\n"
DOCUMENT = b"GET /docs/openapi.json HTTP/1.1\r\nHost: torture\r\n\r\n"
"""Its answer is large: a few of them fill whatever lies between a service and a client that reads nothing."""
HEAD = (
    f"POST /v2/models/{EXACT}/infer HTTP/1.1\r\nHost: torture\r\nContent-Length: 100000\r\n\r\n"
).encode()


async def stay_idle(options: Options, folder: Path) -> Found:
    """Thousands of keep-alive connections ask once and then stay, and as many never ask."""
    descriptors(options.connections)
    async with trial(folder, options, MODELS, {}) as one:
        before = held(one)
        one.fault(f"{options.connections:,} connections, half of which have asked once")
        writers: list[asyncio.StreamWriter] = []
        for first in range(0, options.connections, AT_A_TIME):
            count = min(AT_A_TIME, options.connections - first)
            writers += await asyncio.gather(*(idle(one, n % 2 == 0) for n in range(count)))
        await one.rest()
        one.found.notes.append(f"{held(one) - before:,} of them were held open at a time")
        for writer in writers:
            writer.transport.abort()
        await gone(one, before)
        await one.recovered()
    return one.found


async def be_slow(options: Options, folder: Path) -> Found:
    """Hundreds of clients send a byte now and then, or do not read what they asked for."""
    async with trial(folder, options, MODELS, {}) as one:
        before = held(one)
        one.fault(f"{SLOW} clients: slow heads, slow bodies, unread answers")
        slow = [asyncio.create_task(trickle(one, number)) for number in range(SLOW)]
        await one.rest(options.rounds * options.rest_s)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await gone(one, before)
        await one.recovered()
    return one.found


async def half_close(options: Options, folder: Path) -> Found:
    """Clients close their half of a connection: before, within and after a request."""
    async with trial(folder, options, MODELS, {}) as one:
        before = held(one)
        one.fault(f"{HALF_CLOSED} half-closed connections")
        ends = await asyncio.gather(*(half(one, number) for number in range(HALF_CLOSED)))
        told = {end: ends.count(end) for end in sorted(set(ends))}
        one.found.notes.append(f"half-closed connections: {told}")
        one.require("held" not in told, f"half-closed connections were not let go: {told}")
        await gone(one, before)
        await one.recovered()
    return one.found


def descriptors(connections: int) -> None:
    """Allow this process so many connections. Skipped where it may not have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE
    if hard not in (resource.RLIM_INFINITY,) and hard < wanted:
        raise Skipped(f"{hard:,} files may be open (ulimit -Hn), {wanted:,} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def held(one: Trial) -> int:
    """Descriptors of all front ends."""
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in one.service.front_ends())


async def gone(one: Trial, before: int) -> None:
    """Returns when the front ends hold no more than before, but for what callers and probes have open."""
    spare = 2 * one.options.callers + SLOW // 10
    await until(lambda: held(one) <= before + spare, "the end of all connections", ENDED_S)


async def idle(one: Trial, asks: bool) -> asyncio.StreamWriter:
    """A connection that says nothing more."""
    try:
        async with asyncio.timeout(ENDED_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", one.service.port)
            if asks:
                writer.write(LIVE)
                await reader.readuntil(b"\r\n\r\n")
    except (OSError, EOFError, TimeoutError) as error:
        raise Missed(f"a connection was not taken: {error!r}") from error
    return writer


async def trickle(one: Trial, number: int) -> None:
    """A slow client, until it is cancelled: it comes again when it is sent away."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.service.port, limit=1024)
        try:
            with contextlib.suppress(OSError):
                if number % 10 == 9:  # asks again and again, and reads nothing
                    while True:
                        writer.write(DOCUMENT)
                        await writer.drain()
                slow = HEAD if number % 2 else b""
                writer.write(slow)
                while not reader.at_eof() and not writer.is_closing():
                    writer.write(b" " if slow else b"G")
                    await writer.drain()
                    await asyncio.sleep(SLOW_S)
        finally:
            writer.transport.abort()


async def half(one: Trial, number: int) -> str:
    """How a connection ends whose client has closed its half."""
    reader, writer = await asyncio.open_connection("127.0.0.1", one.service.port)
    try:
        writer.write((b"", LIVE[:20], HEAD + b"{}", LIVE)[number % 4])
        writer.write_eof()
        async with asyncio.timeout(ENDED_S):
            said = await reader.read()
    except (OSError, TimeoutError) as error:
        return "held" if isinstance(error, TimeoutError) else "closed"
    finally:
        writer.transport.abort()
    return f"answered {said[9:12].decode()}" if said else "closed"
