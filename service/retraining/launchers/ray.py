"""Training on a Ray cluster, over the Jobs API of its head. It must not know jobs beyond their directory.

    POST api/jobs/ with a fixed submission_id -> GET api/jobs/ID: PENDING | RUNNING | SUCCEEDED | FAILED | STOPPED -> the job's result

Ray runs a job once and forgets it when the cluster ends; then the result in the directory is what is left.
"""

import asyncio
import ipaddress
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from models import job
from models.errors import EvergreenError
from service.errors import SettingsError, Unavailable
from service.retraining.launchers import Status, shared
from service.retraining.launchers.server import Server
from service.retraining.launchers.settings import RayCluster

JOBS = "api/jobs/"
END_SECONDS = 30.0
"""How long a run may take to end; Ray kills it after three seconds, unless it was told otherwise."""
LOOK_SECONDS = 0.25


class Info(msgspec.Struct):
    """A job, as Ray tells it; times in milliseconds."""

    status: str
    message: str | None = None
    end_time: int | None = None


class Logs(msgspec.Struct):
    """All that a job has printed."""

    logs: str


class RayJobs:
    """Runs jobs on the cluster."""

    def __init__(self, settings: RayCluster) -> None:
        if settings.shared is None and not is_here(settings.address):
            raise SettingsError(
                f"training.ray.shared is not set: {settings.address} is another machine, "
                "and jobs reach it through a directory that every node sees under the same path"
            )
        shared.check_place(settings.shared, "training.ray.shared")
        self._settings = settings
        self._server = Server(
            "the Ray cluster", settings.address, settings.token_file, settings.ca_file
        )

    async def submit(self, directory: Path) -> str:
        """The reference is the directory."""
        reference, order = await asyncio.to_thread(self._order, directory)
        if order is None:
            return reference
        try:
            await self._server.ask("POST", JOBS, order)
        except EvergreenError:
            # The id may be taken, for which Ray has no status of its own; and what timed out may have been heard.
            if not await self._is_there(reference):
                raise
        return reference

    async def status(self, reference: str) -> Status:
        """From Ray while it runs, and then from its result."""
        info = await self._find(reference)
        if info is not None and info.status in ("PENDING", "RUNNING"):
            pending = info.status == "PENDING"
            return Status("pending", sentence(info)) if pending else Status("running")
        return await asyncio.to_thread(shared.outcome, reference, otherwise(info))

    async def logs(self, reference: str, offset: int) -> tuple[bytes, int]:
        """Both of its outputs, with what Ray says of it. Ray sends all of them every time."""
        found = await self._server.find(Logs, f"{JOBS}{shared.run_name(reference)}/logs")
        return (b"", offset) if found is None else shared.behind(found.logs.encode(), offset)

    async def cancel(self, reference: str) -> None:
        """Ray ends its processes. A run that waits for a node is ended when its turn comes."""
        path = f"{JOBS}{shared.run_name(reference)}/stop"
        await self._server.ask("POST", path, allowed=(404,))
        for _ in range(int(END_SECONDS / LOOK_SECONDS)):
            info = await self._find(reference)
            if info is None or info.status != "RUNNING":
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise Unavailable(f"the run in {reference} has not ended within {END_SECONDS:g} s")

    async def _is_there(self, reference: str) -> bool:
        try:
            return await self._find(reference) is not None
        except Unavailable:
            return False

    async def _find(self, reference: str) -> Info | None:
        return await self._server.find(Info, JOBS + shared.run_name(reference))

    def _order(self, directory: Path) -> tuple[str, dict[str, Any] | None]:
        """The reference, and the request to Ray: None where the job has run."""
        reference, settings = shared.reference_of(directory), self._settings
        if job.read_result(directory) is not None:
            return reference, None
        request = shared.read(directory, settings.shared, "training.ray.shared")
        command = [*shlex.split(settings.command), "--job", reference]
        order: dict[str, Any] = {
            "submission_id": shared.run_name(reference),
            "entrypoint": shlex.join(command),
            "entrypoint_num_cpus": settings.cpus,
            "entrypoint_num_gpus": settings.gpus,
            "runtime_env": settings.runtime_env,
            "metadata": {"model": request.model, "retraining": request.id},
        }
        if settings.memory_mb is not None:
            order["entrypoint_memory"] = settings.memory_mb << 20
        return reference, order


def otherwise(info: Info | None) -> Status:
    """How a run is that has ended and left no result."""
    if info is None:
        return Status("lost", "the Ray cluster does not know the run: it was started anew")
    if info.status == "SUCCEEDED":
        return shared.without_result(None if info.end_time is None else info.end_time / 1000)
    if info.status == "STOPPED":
        return Status("lost", "the run was stopped")
    return Status("failed", sentence(info))


def sentence(info: Info) -> str:
    """What Ray says of a job, without the log and the traceback that follow."""
    lines = (info.message or "").splitlines() or [""]
    return lines[0].partition(", last available logs")[0].partition(" Full traceback")[0]


def is_here(address: str) -> bool:
    """Whether a server is on this machine."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
