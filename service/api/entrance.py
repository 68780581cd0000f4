"""What a request passes before it is looked at, put together: certificate, limits, quotas, tokens. It must not know any of their rules."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from service import rotation, tls
from service.api.access import Access
from service.api.bounded import Connections
from service.api.callers import Callers
from service.api.quotas import Quotas
from service.refusals import Refusals
from service.rotation import Watched
from service.settings import Settings

OTHER_FILES = 256
"""Files that a front end opens beside connections: sockets of engines and control, gRPC's, bodies that went to the disk."""


class Entrance:
    """The entrance of one front end. `runtime` is a directory that the front ends of a machine share.

    SettingsError names what cannot be had: a token, a certificate, a proxy that is no address.
    """

    def __init__(
        self, settings: Settings, runtime: Path, environ: Mapping[str, str] = os.environ
    ) -> None:
        self.counts = Refusals()
        # Before they are read: what changes in between counts, too.
        self._read = {name: rotation.state(files) for name, files in secrets(settings).items()}
        self.access = Access(settings, environ, self.counts)
        self.callers = Callers(settings.trusted_proxies)
        self.certificate = tls.of(settings.tls)
        self.quotas: Quotas | None = None
        if settings.quota is not None:
            path = runtime / "quotas"
            self.quotas = Quotas(
                settings.quota, path, self.access.tokens, self.callers, self.counts
            )
        most = max(1, open_files() - OTHER_FILES)
        self.connections = Connections(settings.limits, self.counts, self.quotas, most)
        self.connections.proxied = bool(settings.trusted_proxies)
        self._settings = settings

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While the block runs, slow clients are closed, and changed tokens and certificates count."""
        works = (self.connections.watch(), rotation.follow(self._watched(), self.counts))
        tasks = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _watched(self) -> list[Watched]:
        reloads = {"token_file": self.access.tokens.reload}
        if self.certificate is not None:
            reloads["tls"] = self.certificate.reload
        return [
            Watched(name, files, reloads[name], self._read[name])
            for name, files in secrets(self._settings).items()
        ]


def secrets(settings: Settings) -> dict[str, tuple[Path, ...]]:
    """The files that are read again when they change, by what the log calls them."""
    found: dict[str, tuple[Path, ...]] = {}
    if settings.token_file is not None:
        found["token_file"] = (settings.token_file,)
    if (certificate := settings.tls.certificate) is not None:
        found["tls"] = certificate, settings.tls.key or certificate
    return found


def check(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Whether a service with these settings could let anybody in. SettingsError, before anything has started."""
    Access(settings, environ)
    Callers(settings.trusted_proxies)
    tls.of(settings.tls)


def open_files() -> int:
    """The most files that this process may open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_as_many_as_allowed() -> None:
    """Raise this process's limit of open files to what its user may have: 1024, the usual one, are few for a server."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
