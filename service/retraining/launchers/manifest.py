"""A training run as Kubernetes is asked for it: one Job with one pod at a time. Pure; it must not know how it is sent."""

import re
import shlex
from typing import Any

import msgspec

from models.job import Request
from service.retraining.launchers.settings import Cluster

CONTAINER = "train"
VOLUME = "jobs"
LABEL_LENGTH = 63
Manifest = dict[str, Any]


def manifest(
    settings: Cluster, name: str, directory: str, request: Request, limit_s: int | None = None
) -> Manifest:
    """The Job `name` that trains what lies in `directory`, and is ended after `limit_s` from when it is there.

    A training that failed fails again, so it runs once; a pod that was evicted, or whose node was drained, did not fail and is replaced.
    """
    labels = {
        "app.kubernetes.io/name": "evergreen",
        "app.kubernetes.io/component": "retraining",
        "evergreen/model": label(request.model),
    }
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    spec: Manifest = {
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [disrupted]}]},
        "ttlSecondsAfterFinished": settings.keep_s,
        "template": {"metadata": {"labels": labels}, "spec": pod(settings, directory)},
    }
    if limit_s is not None:
        spec["activeDeadlineSeconds"] = limit_s
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"evergreen/retraining": request.id, "evergreen/model": request.model},
        },
        "spec": spec,
    }


def pod(settings: Cluster, directory: str) -> Manifest:
    """The pod of a run. It meets the restricted pod security standard, and has no token of the cluster."""
    spec: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container(settings, directory)],
        "volumes": [
            {"name": VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}},
        ],
    }
    if settings.service_account is not None:
        spec["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        spec["nodeSelector"] = settings.node_selector
    if settings.tolerations:
        spec["tolerations"] = [msgspec.to_builtins(one) for one in settings.tolerations]
    return spec


def container(settings: Cluster, directory: str) -> Manifest:
    """What runs in it. Whole GPUs are a limit, as Kubernetes wants it."""
    memory = f"{settings.memory_mb}Mi"
    limits: Manifest = {"memory": memory}
    if settings.gpus:
        limits[settings.gpu_resource] = str(settings.gpus)
    spec: Manifest = {
        "name": CONTAINER,
        "image": settings.image,
        "args": ["--job", directory],
        "resources": {
            "requests": {"cpu": f"{settings.cpus:g}", "memory": memory},
            "limits": limits,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": str(settings.mount)}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.command:
        spec["command"] = shlex.split(settings.command)
    return spec


def label(text: str) -> str:
    """`text` as the value of a label can hold it."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)[:LABEL_LENGTH].strip("._-")
