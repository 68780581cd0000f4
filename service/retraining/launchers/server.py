"""A server that runs jobs, asked over HTTP. It must not know which kind of server it is, or what is asked.

    no answer, 429, 5xx -> Unavailable: ask again         another refusal -> LauncherError, with the server's own words
    a refusal to tell how a run is -> Unavailable: the run goes on, while somebody gives the rights back

The token is read at every call, since whoever gives it out replaces it, and never told to anybody else: not in an error, not in the log.
"""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from service.errors import LauncherError, SettingsError, Unavailable

T = TypeVar("T")

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
"""Ray looks for a node for ten seconds before it answers a submission."""
LONGEST = 300
"""Characters of what a server says."""


class Server:
    """One server; `name` is how a person knows it."""

    def __init__(
        self, name: str, address: str, token_file: Path | None, ca_file: Path | None
    ) -> None:
        self._name = f"{name} at {address}"
        self._address = address.rstrip("/") + "/"
        self._token_file = token_file
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
            httpx.URL(address)
        except (OSError, httpx.InvalidURL) as error:
            raise SettingsError(f"{self._name}: {ca_file or address}: {error}") from error

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        allowed: Collection[int] = (),
    ) -> httpx.Response:
        """What it answers: 2xx, or a status that is `allowed`."""
        token = await asyncio.to_thread(self._token)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            async with httpx.AsyncClient(
                base_url=self._address, verify=self._context, timeout=TIMEOUT
            ) as client:
                content = None if body is None else msgspec.json.encode(body)
                response = await client.request(
                    method, path, content=content, params=params, headers=headers
                )
        except httpx.TimeoutException as error:
            raise Unavailable(f"{self._name} did not answer in time") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{self._name} cannot be reached: {error}") from error
        if response.is_success or response.status_code in allowed:
            return response
        said = words(response)
        raise self._refusal(response, said.replace(token, "...") if token else said)

    async def read(self, kind: type[T], path: str, params: Mapping[str, str] | None = None) -> T:
        """What lies at `path`, as `kind`."""
        return self.decoded(await self.ask("GET", path, params=params), kind)

    async def find(self, kind: type[T], path: str) -> T | None:
        """The same, or None where there is nothing (404)."""
        response = await self.ask("GET", path, allowed=(404,))
        return None if response.status_code == 404 else self.decoded(response, kind)

    def decoded(self, response: httpx.Response, kind: type[T]) -> T:
        """A body as `kind`. Unavailable where it is something else, as a login page would be."""
        try:
            return msgspec.json.decode(response.content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            path = response.request.url.path
            raise Unavailable(
                f"{self._name} answered {path} with something else: {error}"
            ) from error

    def _refusal(self, response: httpx.Response, said: str) -> Unavailable | LauncherError:
        status, request = response.status_code, response.request
        sentence = f"{self._name} answered {status} to {request.method} {request.url.path}: {said}"
        if status == 429 or status >= 500 or request.method == "GET":
            after = response.headers.get("retry-after", "")
            return Unavailable(sentence, float(after) if after.isdecimal() else 5.0)
        return LauncherError(sentence)

    def _token(self) -> str:
        """Empty where there is no file. What cannot be a header is refused here: further down the sentence would hold it."""
        if self._token_file is None:
            return ""
        try:
            token = self._token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LauncherError(f"token_file: {self._token_file} cannot be read") from error
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise LauncherError(f"token_file: {self._token_file} holds no token")
        return token


class Told(msgspec.Struct):
    """Kubernetes' `Status`, as far as a person reads it."""

    message: str


def words(response: httpx.Response) -> str:
    """The sentence in an error's body: its `message`, or the last line of text, where a traceback says what happened."""
    if "html" in response.headers.get("content-type", ""):
        return response.reason_phrase
    try:
        return msgspec.json.decode(response.content, type=Told).message[:LONGEST]
    except (msgspec.DecodeError, UnicodeDecodeError):
        lines = [line.strip() for line in response.text.splitlines()]
        said = [line for line in lines if len(line) > 1]
        return said[-1][:LONGEST] if said else response.reason_phrase
