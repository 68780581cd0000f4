"""The runtime for KServe: what its pods may be, and that a repository mounted by its storage initializer is served as it stands."""

from typing import Any

import httpx
import kubernetes_validate
import live
import pytest
import toys
from kustomized import Document, container, rendered

MOUNT = "/mnt/models"
"""Where KServe's storage initializer lays what a storageUri names, read-only."""
RUNTIME = {"annotations", "supportedModelFormats", "protocolVersions", "containers", "volumes"}
MODEL = {"runtime", "modelFormat", "protocolVersion", "storageUri"}
"""Fields of KServe's own, which no package holds a schema of that could be installed beside the service."""


def runtime() -> Document:
    spec: Document = rendered("kserve")["ServingRuntime", "evergreen"]["spec"]
    return spec


def serving() -> Document:
    (one,) = runtime()["containers"]
    return dict(one)


def served(port: str) -> list[str]:
    """The runtime's command with other places than a cluster's."""
    one = serving()
    places = {
        "--host=0.0.0.0": "--host=127.0.0.1",
        "--port=8080": port,
        "--grpc-port=9000": "--grpc-port=0",
    }
    return [*one["command"], *(places.get(argument, argument) for argument in one["args"])]


def schema(spec: dict[str, Any]) -> None:
    """Kubernetes' own schema of a pod."""
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_its_pod_is_what_the_schema_allows_and_the_rest_what_kserve_knows():
    spec = runtime()
    assert spec.keys() == RUNTIME
    schema({"containers": spec["containers"], "volumes": spec["volumes"]})
    assert serving()["name"] == "kserve-container"
    assert spec["protocolVersions"] == ["v2", "grpc-v2"]
    (format_,) = spec["supportedModelFormats"]
    assert (format_["name"], format_["version"], format_["autoSelect"]) == ("onnx", "1", True)


def test_the_example_asks_for_the_runtime():
    spec = rendered("kserve")["InferenceService", "models"]["spec"]
    predictor = dict(spec["predictor"])
    model = predictor.pop("model")
    assert predictor.pop("minReplicas") == 2
    schema(predictor | {"containers": [{"name": "x", "image": "x"}]})
    assert model.keys() == MODEL
    assert model["runtime"] == "evergreen"
    assert model["modelFormat"]["name"] == runtime()["supportedModelFormats"][0]["name"]
    assert model["protocolVersion"] in runtime()["protocolVersions"]


def test_it_has_no_rights_and_writes_to_volumes_alone():
    one = serving()
    assert one["securityContext"].items() >= container("cpu")["securityContext"].items()
    assert one["securityContext"]["runAsUser"] == 10001
    assert {m["mountPath"] for m in one["volumeMounts"]} == {"/var/lib/evergreen", "/tmp"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    """The URL of the runtime's command, on a repository that it may not write to, and that repository."""
    folder = tmp_path_factory.mktemp("kserve")
    repository = toys.repository(folder / "models")
    command = [a.replace(MOUNT, str(repository)) for a in served("--port=0")]
    assert f"--repository={repository}" in command
    command[0] = live.evergreen()
    files = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    with live.running(
        command, r"answers on (http://\S+),", folder, live.environment(folder)
    ) as program:
        yield program.said
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == files


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_service_answers_what_the_probes_ask(service: str, probe: str):
    for one in (serving(), container("cpu"), container("gpu")):
        answer = httpx.get(service + one[probe]["httpGet"]["path"], timeout=live.PATIENCE)
        assert answer.status_code == 200


def test_every_model_of_the_mounted_repository_is_served_by_its_folders_name(service: str):
    for name in ("toy-image", "toy-series", "toy-text"):
        answer = httpx.get(f"{service}/v2/models/{name}/ready", timeout=live.PATIENCE)
        assert answer.status_code == 200


def test_prometheus_is_told_where_the_metrics_are(service: str):
    annotations = runtime()["annotations"]
    assert f"--port={annotations['prometheus.kserve.io/port']}" in serving()["args"]
    answer = httpx.get(service + annotations["prometheus.kserve.io/path"], timeout=live.PATIENCE)
    assert "inference_model_ready" in answer.text
