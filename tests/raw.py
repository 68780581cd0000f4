"""HTTP/1 byte by byte, for what a well-behaved client library would never send."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import NamedTuple

PATIENCE = 30.0
"""Seconds that an answer may take on a busy machine before a test gives up on it."""


class Reply(NamedTuple):
    """One answer. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def message(
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    version: str = "1.1",
    chunks: Iterable[bytes] | None = None,
) -> bytes:
    """A request with a body of known length, or of `chunks` (whose length nobody knows beforehand)."""
    lines = [f"{method} {path} HTTP/{version}", "Host: test"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        pieces = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b"")]
        body = b"".join(pieces)
    elif method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection:
    """`async with Connection(url) as connection`; the end of the block closes it."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)

    async def __aenter__(self) -> "Connection":
        self.reader, self.writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own, so that it travels alone."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def reply(self, *, head: bool = False) -> Reply:
        """The next answer, past any "100 Continue". `head`: it was asked for without its body."""
        async with asyncio.timeout(PATIENCE):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            status = int(first.split()[1])
            if status == 100:
                return await self.reply(head=head)
            pairs = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            size = 0 if head else int(headers["content-length"])
            return Reply(status, headers, await self.reader.readexactly(size))

    async def ask(self, *pieces: bytes) -> Reply:
        """Send, and wait for the answer."""
        await self.send(*pieces)
        return await self.reply()

    async def ended(self) -> bool:
        """Whether the other end closes the connection now, and sends nothing before."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read() == b""
