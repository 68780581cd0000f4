"""Manifests of deploy/kubernetes as kubectl renders them, and the settings that a container's environment comes to."""

import functools
import subprocess
from pathlib import Path
from typing import Any

import yaml
from prometheus import program

from service import settings
from service.settings import Settings

ROOT = Path(__file__).parents[1] / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "autoscaling")
SECRET = {
    "EVERGREEN_LEDGER_URL": "postgresql://evergreen:secret@postgres/evergreen",
    "EVERGREEN_REGISTRY": "s3://bucket/registry",
}
"""What the Secret `evergreen` holds, as deploy/README.md has it made."""

Document = dict[str, Any]


@functools.cache
def rendered(folder: str) -> dict[tuple[str, str], Document]:
    """What `kubectl kustomize` makes of a folder below deploy/kubernetes, by kind and name; not to be changed."""
    command = [program("kubectl", "kubernetes-client"), "kustomize", str(ROOT / folder)]
    done = subprocess.run(command, check=True, capture_output=True)
    documents = list(yaml.load_all(done.stdout, yaml.CSafeLoader))
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(found) == len(documents)
    return found


def overlay(name: str) -> dict[tuple[str, str], Document]:
    """The documents of an overlay."""
    return rendered(f"overlays/{name}")


def pod(name: str) -> Document:
    """The pod that an overlay runs."""
    spec: Document = overlay(name)["Deployment", "evergreen"]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Document:
    """Its only container."""
    (one,) = pod(name)["containers"]
    return dict(one)


def environ(one: Document, node: str = "node-1") -> dict[str, str]:
    """A container's variables, with the Secret's, as Kubernetes expands them: $(NAME) of those that come before."""
    found = dict(SECRET) if "envFrom" in one else {}
    for variable in one.get("env", ()):
        value = variable.get("value", node)
        for key, known in found.items():
            value = value.replace(f"$({key})", known)
        found[variable["name"]] = value
    return found


def chosen(name: str, directory: Path) -> Settings:
    """The settings that an overlay's container starts with."""
    (config,) = [one for (kind, _), one in overlay(name).items() if kind == "ConfigMap"]
    (mount,) = [m for m in container(name)["volumeMounts"] if m["name"] == "settings"]
    variables = environ(container(name))
    assert variables["EVERGREEN_CONFIG"] == mount["mountPath"]
    path = directory / "evergreen.toml"
    path.write_text(config["data"][mount["subPath"]])
    return settings.load(environ=variables | {"EVERGREEN_CONFIG": str(path)}, directory=directory)
