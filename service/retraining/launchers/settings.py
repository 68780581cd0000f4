"""Where training runs, as an operator says it: [training] in the settings. It must not know how anything is launched.

[training]  launcher = "local" | "ray" | "kubernetes", with [training.ray] or [training.kubernetes] beside it
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the credentials of a pod's service account."""

Address = Annotated[str, msgspec.Meta(pattern=r"^https?://[^@\s]+$")]
"""A server's URL; who asks is said by a token, never by the URL."""
Positive = Annotated[int, msgspec.Meta(ge=1)]
Amount = Annotated[float, msgspec.Meta(ge=0)]


class RayCluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Ray cluster. Its nodes have this program installed, or get it with `runtime_env`."""

    address: Address = "http://127.0.0.1:8265"
    """Of the head's dashboard."""
    shared: Path | None = None
    """A directory that every node sees under the path that it has here; jobs must lie below it. Needed unless the cluster is this machine."""
    token_file: Path | None = None
    """Holds the cluster's token, as `ray get-auth-token` gives it. Read at every call, so that it may change."""
    ca_file: Path | None = None
    """Who vouches for the server, where its address begins with https and the system does not know it (PEM)."""
    command: str = "python -m models.train"
    """What runs; `--job DIRECTORY` follows."""
    cpus: Amount = 1
    gpus: Amount = 0
    memory_mb: Positive | None = None
    """The node's memory that Ray sets aside; it does not bound the run."""
    runtime_env: dict[str, Any] = {}
    """Ray's own description of what a run needs: working_dir, pip, env_vars. No secrets: settings travel on command lines."""


class Toleration(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """Kubernetes' own: a taint of nodes that a run puts up with."""

    key: str = ""
    operator: Literal["Exists", "Equal", ""] = ""
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Kubernetes cluster. Address, token and certificate are those of the pod that the service runs in, where nothing else is said."""

    image: str = ""
    """What runs: the Dockerfile's `train`, or one like it. It must not need root. Image, claim and mount have to be set."""
    claim: str = ""
    """The persistent volume claim that jobs lie on: ReadWriteMany, or the run waits for the service's own node."""
    mount: Path | None = None
    """Where the claim is mounted, in the service's pod and in the run's alike; jobs must lie below it."""
    namespace: str | None = None
    """Not set: the service's own."""
    address: Address = "https://kubernetes.default.svc"
    token_file: Path | None = MOUNT / "token"
    """Read at every call: Kubernetes replaces it every hour."""
    ca_file: Path | None = MOUNT / "ca.crt"
    command: str = ""
    """What runs instead of the image's own entry point; `--job DIRECTORY` follows."""
    service_account: str | None = None
    """The run's, which gets no token: a training asks the cluster nothing."""
    cpus: Amount = 1
    memory_mb: Positive = 4096
    """What the run gets; beyond it, it is killed."""
    gpus: Annotated[int, msgspec.Meta(ge=0)] = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    keep_s: Annotated[int, msgspec.Meta(ge=0)] = 86_400
    """How long the cluster keeps the run and its log after the end."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who runs trainings, and where their jobs lie."""

    launcher: Literal["local", "ray", "kubernetes"] = "local"
    jobs: Path | None = None
    """A directory per job. Not set: below `state`. Other machines must see it under the same path."""
    memory_mb: Positive | None = None
    """The most memory that a local run may take; beyond it, it fails. Not set: no bound."""
    signing_key: Path | None = None
    """A private key without a password (PEM): the service signs with it what a training made, so that a service with `trusted_keys` loads it. The
    run never sees it. Needs the extra `sign`."""
    signing_certificate: Path | None = None
    """The certificate of that key, where certificates are trusted."""
    ray: RayCluster = RayCluster()
    kubernetes: Cluster = Cluster()
