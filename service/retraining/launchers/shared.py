"""What launchers for other machines have in common: a job's directory that both sides see. It must not know how they launch.

The directory has the same path on both sides, so that whatever the request names is found there, too. It is the run's reference; the
run is called after it.
"""

import os
import re
import time
from pathlib import Path

from models import job
from models.job import Request
from service.errors import LauncherError, SettingsError
from service.retraining.launchers import Status

PREFIX = "evergreen-"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
LONGEST = 63
"""What Kubernetes allows in the name of a Job and in a label."""
SETTLE_SECONDS = 90.0
"""How long after a run's end its result may take to be seen here: a network file system remembers for a minute that a file is not there."""


def check_place(path: Path | None, setting: str) -> None:
    """SettingsError where jobs cannot be shared there: a run writes small files, appends to them, and renames them when they are whole."""
    if path is not None and not path.is_absolute():
        raise SettingsError(
            f"{setting} is '{path}': it must be the absolute path of a directory that both sides see. "
            "Object stores are not supported"
        )


def reference_of(directory: Path) -> str:
    """The path that the directory has on both sides."""
    # Not resolve(): a link may lead elsewhere on the other side.
    return os.path.abspath(directory)  # noqa: PTH100


def run_name(reference: str) -> str:
    """The name of a job's run: of one job always the same, so that it is there once. LauncherError where it cannot be one."""
    name = PREFIX + Path(reference).name
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise LauncherError(
            f"a run cannot be called '{name}': at most {LONGEST} lower-case letters, digits and '-'"
        )
    return name


def read(directory: Path, shared: Path | None, setting: str) -> Request:
    """The job's request. LauncherError where it names what lies outside of `shared`, which `setting` says; None is everything."""
    request = job.read_request(directory)
    named = [("the job", directory)]
    if request.weights is not None:
        named.append(("its weights", directory / request.weights))
    if "/" in request.recipe:
        named.append(("its recipe", directory / request.recipe))
    for what, path in named:
        place = Path(reference_of(path))
        if shared is not None and not place.is_relative_to(shared):
            raise LauncherError(
                f"{what} in {place}: not below {shared}, which is what the run sees ({setting})"
            )
    return request


def outcome(reference: str, otherwise: Status) -> Status:
    """How a run that has ended went: its result says it, or `otherwise` where there is none."""
    result = job.read_result(Path(reference))
    if result is None:
        return otherwise
    return Status("succeeded") if result.ok else Status("failed", result.error)


def without_result(ended_at: float | None) -> Status:
    """How a run is whose end was good, but whose result is not there: it may still be on its way."""
    if ended_at is not None and time.time() - ended_at < SETTLE_SECONDS:
        return Status("running", "it has ended; its result cannot be seen here yet")
    return Status("lost", "the run ended without a result; its log says more")


def behind(text: bytes, offset: int) -> tuple[bytes, int]:
    """A log behind byte `offset`, and where it ends."""
    return text[offset:], max(offset, len(text))
