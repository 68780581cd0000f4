"""The part of Kubernetes' API that runs Jobs, for tests: paths, statuses and bodies as its reference has them, and its published schema.

https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/ and .../common-definitions/status/
"""

import json
from typing import Any

import kubernetes_validate
from answering import Answer, Asked

TOKEN = "the-token-of-the-service-account"
JOBS = "/apis/batch/v1/namespaces/trainings/jobs"
PODS = "/api/v1/namespaces/trainings/pods"
Object = dict[str, Any]


class Api:
    """A cluster with one namespace, `trainings`, in which nothing happens by itself."""

    def __init__(self) -> None:
        self.jobs: dict[str, Object] = {}
        self.pods: list[Object] = []
        self.logs: dict[str, bytes] = {}
        self.asked: list[Asked] = []
        self.refusal: Answer | None = None
        """Answered to everything, where it is set."""

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return failure(401, "Unauthorized", "Unauthorized")
        if self.refusal is not None:
            return self.refusal
        if asked.path == JOBS and asked.method == "POST":
            return self._create(asked)
        if asked.path.startswith(f"{JOBS}/"):
            return self._job(asked, asked.path.removeprefix(f"{JOBS}/"))
        if asked.path == PODS:
            return self._list(asked.query["labelSelector"])
        return self._log(asked)

    def _create(self, asked: Asked) -> Answer:
        body = json.loads(asked.body)
        strict = asked.query.get("fieldValidation") == "Strict"
        kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=strict)
        name = body["metadata"]["name"]
        body["metadata"]["creationTimestamp"] = "2026-11-21T10:00:00Z"
        body |= {"status": {}}
        if self.jobs.setdefault(name, body) is not body:
            return failure(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        return told(201, body)

    def _job(self, asked: Asked, name: str) -> Answer:
        if name not in self.jobs:
            return failure(404, "NotFound", f'jobs.batch "{name}" not found')
        if asked.method == "DELETE":
            # In the foreground it stays until its pods have ended.
            assert json.loads(asked.body)["propagationPolicy"] == "Foreground"
            metadata = self.jobs[name]["metadata"]
            metadata["deletionTimestamp"] = "2026-11-21T11:00:00Z"
            metadata["finalizers"] = ["foregroundDeletion"]
        return told(200, self.jobs[name])

    def _list(self, selector: str) -> Answer:
        key, _, name = selector.partition("=")
        found = [pod for pod in self.pods if pod["metadata"]["labels"].get(key) == name]
        return told(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": found})

    def _log(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix(f"{PODS}/").removesuffix("/log")
        container = asked.query["container"]
        if name not in self.logs:
            words = (
                f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
            )
            return failure(400, "BadRequest", words)
        return Answer(200, self.logs[name][: int(asked.query["limitBytes"])], "text/plain")

    def condition(
        self,
        name: str,
        kind: str,
        reason: str = "",
        message: str = "",
        at: str = "2026-11-21T10:30:00Z",
    ) -> None:
        """Something comes to be so for a Job."""
        one = {"type": kind, "status": "True", "lastProbeTime": at, "lastTransitionTime": at}
        self.jobs[name]["status"].setdefault("conditions", []).append(
            one | {"reason": reason, "message": message}
        )

    def pod(
        self, job: str, name: str, status: Object, created: str = "2026-11-21T10:00:01Z"
    ) -> None:
        """A pod of a Job."""
        labels = {"batch.kubernetes.io/job-name": job, "job-name": job}
        metadata = {"name": name, "creationTimestamp": created, "labels": labels}
        self.pods.append({"metadata": metadata, "spec": {}, "status": status})


def told(status: int, body: Object) -> Answer:
    return Answer(status, json.dumps(body).encode())


def failure(code: int, reason: str, message: str, **headers: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    answer = told(code, body | {"message": message, "reason": reason, "code": code})
    return answer._replace(headers=headers)
