"""The manifests, rendered: what their schemas allow, what the service reads and serves, and no rights beyond what launching asks for."""

import copy
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from kustomized import OVERLAYS, SECRET, chosen, container, environ, overlay, pod, rendered
from prometheus import CONFIG

from models.job import Request
from service.engine import tensorrt
from service.retraining.launchers.manifest import manifest

README = Path(__file__).parents[2] / "deploy" / "README.md"
CUSTOM = {"ServiceMonitor": ServiceMonitor, "ScaledObject": ScaledObject}
NEWER = {("ScaledObject", "fallback"): ("behavior",)}
"""Fields that came after the packaged models: KEDA has this one since 2.18."""
USER = 10001


def strict(kind: str, document: dict[str, Any]) -> None:
    """Hold a custom resource against its models, which drop what they do not know."""
    document = copy.deepcopy(document)
    for (which, place), fields in NEWER.items():
        for field in fields if which == kind else ():
            document["spec"][place].pop(field)
    model = CUSTOM[kind].model_validate(document)
    kept = model.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    assert kept["spec"] == document["spec"]


def schema(document: dict[str, Any]) -> None:
    """Kubernetes' own schema of what it brings along, and nothing beyond it."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_document_is_what_its_schema_allows(name: str):
    for (kind, _), document in overlay(name).items():
        strict(kind, document) if kind in CUSTOM else schema(document)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_setting_exists_and_is_what_the_manifests_count_on(name: str, tmp_path: Path):
    settings, one = chosen(name, tmp_path), container(name)
    assert settings.host == "0.0.0.0"
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    assert ports == {"http": settings.port, "grpc": settings.grpc_port}
    assert settings.ledger_url == SECRET["EVERGREEN_LEDGER_URL"]
    assert settings.registry == SECRET["EVERGREEN_REGISTRY"]
    (sleep,) = [one["lifecycle"]["preStop"]["exec"]["command"]]
    assert sleep[0] == "sleep"
    grace = pod(name)["terminationGracePeriodSeconds"]
    assert grace > int(sleep[1]) + settings.drain_timeout_s + 10


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_that_is_written_lies_on_a_volume(name: str, tmp_path: Path):
    settings, one = chosen(name, tmp_path), container(name)
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    places = {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in one["volumeMounts"]
        if not mount.get("readOnly")
    }
    assert settings.training.jobs is not None
    for written in ("/tmp", settings.state, settings.training.jobs):
        assert any(Path(written).is_relative_to(place) for place in places), written
    assert settings.token_file is not None
    (tokens,) = [m for m in one["volumeMounts"] if m["name"] == "tokens"]
    assert settings.token_file.is_relative_to(tokens["mountPath"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_training_sees_its_job_under_the_path_that_the_service_gave_it(name: str, tmp_path: Path):
    training, found = chosen(name, tmp_path).training, overlay(name)
    cluster, jobs = training.kubernetes, training.jobs
    assert training.launcher == "kubernetes"
    assert cluster.mount is not None
    assert jobs is not None
    assert jobs.is_relative_to(cluster.mount)
    (volume,) = [v for v in pod(name)["volumes"] if "persistentVolumeClaim" in v]
    (mount,) = [m for m in container(name)["volumeMounts"] if m["name"] == volume["name"]]
    assert mount["mountPath"] == str(cluster.mount)
    assert volume["persistentVolumeClaim"]["claimName"] == cluster.claim
    claim = found["PersistentVolumeClaim", cluster.claim]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_pod_has_no_rights_and_meets_the_restricted_standard(name: str):
    spec, one = pod(name), container(name)
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {USER}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert not any("hostPath" in volume for volume in spec["volumes"])


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_service_of_the_cluster_puts_its_address_among_the_settings(name: str):
    assert pod(name)["enableServiceLinks"] is False
    assert rendered("kserve")["InferenceService", "models"]["spec"]["predictor"][
        "enableServiceLinks"
    ] is (False)


@pytest.mark.parametrize("name", OVERLAYS)
def test_cores_and_memory_are_whole_and_the_pods_own(name: str):
    resources = container(name)["resources"]
    assert resources["requests"] == resources["limits"]
    assert float(resources["limits"]["cpu"]).is_integer()
    assert resources["limits"].get("nvidia.com/gpu") == ("1" if name == "gpu" else None)


def test_a_gpu_that_does_not_work_is_no_start(tmp_path: Path):
    settings = chosen("gpu", tmp_path)
    assert (settings.provider, settings.strict_provider) == ("cuda", True)
    assert chosen("cpu", tmp_path).provider == "cpu"


def test_tensorrts_engines_outlive_the_pod_and_stay_with_the_node(tmp_path: Path):
    state, mount = (
        chosen("gpu", tmp_path).state,
        chosen("gpu", tmp_path).training.kubernetes.mount,
    )
    assert mount is not None
    assert state == mount / "nodes" / "node-1"
    # fsGroup opens a volume's directories to the group whenever it is mounted, which the cache refuses: once, at its root, is enough.
    assert pod("gpu")["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert tensorrt.private(tmp_path / "tensorrt", "model").stat().st_mode & 0o077 == 0


def test_the_service_may_do_what_launching_asks_for_and_nothing_else():
    found = overlay("cpu")
    role = found["Role", "evergreen-retraining"]
    allowed = {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    jobs = {("jobs", verb) for verb in ("create", "get", "delete")}
    assert allowed == jobs | {("pods", "list"), ("pods/log", "get")}
    binding = found["RoleBinding", "evergreen-retraining"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert ("ServiceAccount", subject["name"]) in found
    assert subject["name"] == pod("cpu")["serviceAccountName"]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def labels_of_training(directory: Path) -> dict[str, str]:
    """The labels of the pod that the launcher asks for."""
    request = Request(id="1", model="m", version=2, recipe="m", parent=1)
    job = manifest(chosen("cpu", directory).training.kubernetes, "evergreen-1", "/x", request)
    labels: dict[str, str] = job["spec"]["template"]["metadata"]["labels"]
    return labels


def test_requests_reach_the_service_alone_and_trainings_nobody(tmp_path: Path):
    found, training = overlay("cpu"), labels_of_training(tmp_path)
    serving = found["Deployment", "evergreen"]["spec"]["template"]["metadata"]["labels"]
    selectors = {
        "Service": found["Service", "evergreen"]["spec"]["selector"],
        "Deployment": found["Deployment", "evergreen"]["spec"]["selector"]["matchLabels"],
        "PodDisruptionBudget": found["PodDisruptionBudget", "evergreen"]["spec"]["selector"][
            "matchLabels"
        ],
        "NetworkPolicy": found["NetworkPolicy", "evergreen"]["spec"]["podSelector"]["matchLabels"],
    }
    for kind, selector in selectors.items():
        assert selects(selector, serving), kind
        assert not selects(selector, training), kind
    closed = found["NetworkPolicy", "evergreen-retraining"]["spec"]
    assert selects(closed["podSelector"]["matchLabels"], training)
    assert closed["ingress"] == []
    for name in ("evergreen", "evergreen-retraining"):
        asked = [
            one for one in found["NetworkPolicy", name]["spec"]["egress"] if 53 in ports_of(one)
        ]
        # A cache of DNS on the node is in no namespace: whoever named one would shut it out.
        assert [one.keys() for one in asked] == [{"ports"}]


def ports_of(rule: dict[str, Any]) -> set[int]:
    return {one["port"] for one in rule["ports"]}


def test_prometheus_scrapes_the_service_by_ports_that_it_names():
    found = overlay("cpu")
    monitor, service = found["ServiceMonitor", "evergreen"]["spec"], found["Service", "evergreen"]
    ports = {port["name"]: port["targetPort"] for port in service["spec"]["ports"]}
    assert selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    assert [one["port"] in ports for one in monitor["endpoints"]] == [True]
    assert ports.keys() == {port["name"] for port in container("cpu")["ports"]}
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "evergreen"


def test_a_rollout_and_a_drained_node_leave_replicas_that_answer():
    rolling = overlay("cpu")["Deployment", "evergreen"]["spec"]
    assert rolling["replicas"] >= 2
    assert rolling["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert overlay("cpu")["PodDisruptionBudget", "evergreen"]["spec"]["maxUnavailable"] == 1


def named_secrets() -> Iterator[str]:
    one = pod("cpu")
    yield from (volume["secret"]["secretName"] for volume in one["volumes"] if "secret" in volume)
    yield from (given["secretRef"]["name"] for given in one["containers"][0]["envFrom"])


def test_the_page_says_how_every_secret_is_made():
    text = README.read_text()
    made = re.findall(r"create secret generic (\S+)", text)
    assert sorted(named_secrets()) == sorted(made)
    assert all(f"--from-literal={key}=" in text for key in SECRET)
    assert "--from-literal=tokens=" in text
    assert environ(container("cpu"))["EVERGREEN_CONFIG"] == "/etc/evergreen/evergreen.toml"


def test_the_page_makes_the_operators_rules_of_everybodys():
    (block,) = [
        one for one in re.findall(r"```sh\n(.*?)```", README.read_text(), re.S) if "printf" in one
    ]
    script = re.sub(r"\| kubectl apply .*", "", block)
    done = subprocess.run(
        script, shell=True, check=True, cwd=README.parents[1], capture_output=True
    )
    made = yaml.safe_load(done.stdout)
    assert made["spec"] == yaml.safe_load(CONFIG.with_name("rules.yml").read_text())
    rules = PrometheusRule.model_validate(made)
    assert rules.spec is not None


def test_the_page_names_files_that_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert [link for link in links if not (README.parent / link).exists()] == []
