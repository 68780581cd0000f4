"""Training as a Job of Kubernetes, over its API. It must not know jobs beyond their directory.

    POST .../jobs with a fixed name (409: it is there already) -> GET .../jobs/NAME: conditions, pods -> the job's result

Needs of its role: jobs create, get, delete; pods list; pods/log get.
"""

import asyncio
import math
import time
from datetime import datetime
from pathlib import Path

from models import job
from service.errors import SettingsError, Unavailable
from service.retraining.launchers import Status, pods, shared
from service.retraining.launchers.manifest import CONTAINER, Manifest, manifest
from service.retraining.launchers.pods import Job, Pod, Pods
from service.retraining.launchers.server import Server
from service.retraining.launchers.settings import MOUNT, Cluster

CHUNK = 1 << 20
"""The most of a log that is read at once, in bytes."""
END_SECONDS = 60.0
"""How long a pod may take to end: Kubernetes kills it after thirty seconds."""
LOOK_SECONDS = 0.5
GRACE_SECONDS = 60.0


class KubernetesJobs:
    """Runs jobs in a namespace of the cluster."""

    def __init__(self, settings: Cluster) -> None:
        for key in ("image", "claim", "mount"):
            if not getattr(settings, key):
                raise SettingsError(f"training.kubernetes.{key} is not set")
        shared.check_place(settings.mount, "training.kubernetes.mount")
        self._settings = settings
        space = settings.namespace or own_namespace()
        self._jobs = f"apis/batch/v1/namespaces/{space}/jobs"
        self._pods = f"api/v1/namespaces/{space}/pods"
        self._server = Server("Kubernetes", settings.address, settings.token_file, settings.ca_file)

    async def submit(self, directory: Path) -> str:
        """The reference is the directory."""
        reference, order = await asyncio.to_thread(self._order, directory)
        if order is not None:
            strict = {"fieldValidation": "Strict"}
            answer = await self._server.ask("POST", self._jobs, order, strict, allowed=(409,))
            if answer.status_code == 409:
                await self._adopt(reference)
        return reference

    async def status(self, reference: str) -> Status:
        """From the Job's conditions while it is there, and then from the result."""
        found = await self._server.find(Job, self._path(reference))
        if found is None:
            gone = Status("lost", "Kubernetes does not know the run any more")
            return await asyncio.to_thread(shared.outcome, reference, gone)
        if (failed := found.condition("Failed")) is not None:
            # The pod says what ended the process, where it is still there.
            why = pods.ended_by(await self._pod(reference)) or failed.message
            status = Status("failed", pods.joined(failed.reason, why))
            return await asyncio.to_thread(shared.outcome, reference, status)
        if (complete := found.condition("Complete")) is not None:
            status = shared.without_result(seconds(complete.last_transition_time))
            return await asyncio.to_thread(shared.outcome, reference, status)
        if found.status.ready:
            return Status("running")
        if found.condition("Suspended") is not None:
            return Status("pending", "somebody has suspended the Job")
        return Status("pending", pods.waits_for(await self._pod(reference)))

    async def logs(self, reference: str, offset: int) -> tuple[bytes, int]:
        """Both outputs of its newest pod, a piece at a time. Kubernetes reads a log from its beginning."""
        pod = await self._pod(reference)
        if pod is None:
            return b"", offset
        path = f"{self._pods}/{pod.metadata.name}/log"
        params = {"container": CONTAINER, "limitBytes": str(offset + CHUNK)}
        # 400: the container has not begun.
        answer = await self._server.ask("GET", path, params=params, allowed=(400, 404))
        return shared.behind(answer.content if answer.is_success else b"", offset)

    async def cancel(self, reference: str) -> None:
        """The Job goes once its pods have ended; its log goes with them."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        path = self._path(reference)
        await self._server.ask("DELETE", path, options, allowed=(404,))
        for _ in range(int(END_SECONDS / LOOK_SECONDS)):
            if await self._server.find(Job, path) is None:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise Unavailable(f"the run in {reference} has not ended within {END_SECONDS:g} s")

    async def _adopt(self, reference: str) -> None:
        """Take the Job of that name for the run. One that is being deleted is none, nor one that was deleted meanwhile."""
        found = await self._server.find(Job, self._path(reference))
        if found is None or found.metadata.deletion_timestamp is not None:
            raise Unavailable(f"the last run in {reference} is being deleted", retry_after=5.0)

    async def _pod(self, reference: str) -> Pod | None:
        selector = f"batch.kubernetes.io/job-name={shared.run_name(reference)}"
        return (await self._server.read(Pods, self._pods, {"labelSelector": selector})).newest

    def _path(self, reference: str) -> str:
        return f"{self._jobs}/{shared.run_name(reference)}"

    def _order(self, directory: Path) -> tuple[str, Manifest | None]:
        """The reference, and the Job to ask for: None where it has run."""
        reference, settings = shared.reference_of(directory), self._settings
        if job.read_result(directory) is not None:
            return reference, None
        request = shared.read(directory, settings.mount, "training.kubernetes.mount")
        limit_s = None if request.deadline is None else seconds_until(request.deadline)
        name = shared.run_name(reference)
        return reference, manifest(settings, name, reference, request, limit_s)


def own_namespace(mount: Path = MOUNT) -> str:
    """The namespace of the pod that this runs in."""
    try:
        return (mount / "namespace").read_text().strip()
    except OSError as error:
        raise SettingsError(
            "training.kubernetes.namespace is not set, and this is no pod that could tell it"
        ) from error


def seconds(text: str | None) -> float | None:
    """Kubernetes' time since 1970, where it is one."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def seconds_until(deadline: float) -> int:
    """How long the cluster lets a run be there: it ends by itself at its deadline, unless something is wrong with it."""
    return max(1, math.ceil(deadline - time.time() + GRACE_SECONDS))
