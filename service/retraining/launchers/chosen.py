"""The launcher that the settings name. It must not know how any of them launches."""

import sys
from collections.abc import Sequence

from service.retraining.launchers import Launcher
from service.retraining.launchers.kubernetes import KubernetesJobs
from service.retraining.launchers.local import Local
from service.retraining.launchers.ray import RayJobs
from service.retraining.launchers.settings import Training


def launcher(
    settings: Training, program: Sequence[str] = (sys.executable, "-m", "models.train")
) -> Launcher:
    """`program` is what a local run is. SettingsError where what the launcher needs is not set."""
    match settings.launcher:
        case "local":
            memory = settings.memory_mb
            return Local(program, None if memory is None else memory << 20)
        case "ray":
            return RayJobs(settings.ray)
        case "kubernetes":
            return KubernetesJobs(settings.kubernetes)
