"""What Kubernetes is asked for is what its published schemas allow, and says what the settings say."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.job import Request
from service.retraining.launchers.manifest import label, manifest
from service.retraining.launchers.settings import Cluster, Toleration

PLAIN = Cluster(image="registry/train:1", claim="evergreen", mount=Path("/data"))
RICH = Cluster(
    image="registry/train@sha256:00",
    claim="evergreen",
    mount=Path("/data"),
    service_account="trainer",
    command="python -m models.train",
    cpus=0.5,
    memory_mb=8192,
    gpus=2,
    node_selector={"pool": "gpu"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
    keep_s=0,
)
VERSIONS = ["1.31.0", kubernetes_validate.latest_version()]
"""The first in which all of it is stable, and the newest."""


def made(cluster: Cluster, limit_s: int | None = 60) -> dict[str, Any]:
    request = Request(id="0199", model="toy", version=2, recipe="toy")
    job = manifest(cluster, "evergreen-0199", "/data/jobs/0199", request, limit_s)
    return json.loads(json.dumps(job))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cluster", [PLAIN, RICH], ids=["plain", "rich"])
def test_kubernetes_takes_the_job(cluster: Cluster, version: str):
    kubernetes_validate.validate(made(cluster), version, strict=True)


def test_a_mistake_would_be_seen():
    job = made(PLAIN)
    job["spec"]["backofLimit"] = job["spec"].pop("backoffLimit")
    with pytest.raises(kubernetes_validate.ValidationError, match="backofLimit"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_the_run_gets_what_the_settings_say():
    job = made(RICH)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "models.train"]
    assert container["args"] == ["--job", "/data/jobs/0199"]
    assert container["resources"] == {
        "requests": {"cpu": "0.5", "memory": "8192Mi"},
        "limits": {"memory": "8192Mi", "nvidia.com/gpu": "2"},
    }
    assert container["volumeMounts"] == [{"name": "jobs", "mountPath": "/data"}]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "evergreen"}
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert pod["serviceAccountName"] == "trainer"
    assert job["spec"]["activeDeadlineSeconds"] == 60
    assert job["spec"]["ttlSecondsAfterFinished"] == 0
    assert job["metadata"]["annotations"]["evergreen/retraining"] == "0199"


def test_without_a_deadline_it_has_none():
    assert "activeDeadlineSeconds" not in made(PLAIN, None)["spec"]


def test_without_a_command_the_image_says_what_runs():
    (container,) = made(PLAIN)["spec"]["template"]["spec"]["containers"]
    assert "command" not in container


def test_a_failed_training_is_not_run_again_but_an_evicted_one_is():
    spec = made(PLAIN)["spec"]
    assert spec["backoffLimit"] == 0
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["action"] == "Ignore"
    assert rule["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_run_has_no_rights():
    pod = made(RICH)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    assert "env" not in pod["containers"][0]


@given(st.text(max_size=100))
@settings(deadline=None)
def test_whatever_a_model_is_called_its_label_is_one(name: str):
    assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", label(name))
