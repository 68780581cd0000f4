"""Training on a real Ray cluster: run once, told as it goes, ended whole, and still known when the cluster is not."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import ray_cluster
from ray_cluster import Cluster

from models import job
from models.job import Request, Result
from service.errors import LauncherError, Unavailable
from service.retraining.launchers import Status
from service.retraining.launchers.ray import RayJobs
from service.retraining.launchers.settings import RayCluster

pytestmark = pytest.mark.system

PROGRAM = """
import os, sys, time
from pathlib import Path
from models import job
directory = Path(sys.argv[sys.argv.index("--job") + 1])
with (directory / "runs").open("a") as runs:
    print(os.getpid(), file=runs)
what = job.read_request(directory).reason
print(os.environ.get("GREETING"), "begun to", what, flush=True)
if what == "sleep":
    time.sleep(600)
if what == "fail":
    sys.exit("the loss is not finite")
if what == "tell":
    job.write(directory, job.RESULT, job.Result(False, 1.0, error="no data"))
    sys.exit(1)
job.write(directory, job.RESULT, job.Result(True, 1.0, "ab"))
"""


class Set(NamedTuple):
    """A cluster and what launches on it."""

    cluster: Cluster
    launcher: RayJobs
    jobs: Path

    def job(self, name: str, what: str) -> Path:
        """A job's directory; its run does as `what` says."""
        directory = self.jobs / name
        directory.mkdir()
        order = Request(id=name, model="toy", version=2, recipe="toy", reason=what)
        job.write(directory, job.REQUEST, order)
        return directory

    async def until(self, reference: str, *states: str) -> Status:
        """How the run is once that is one of `states`."""
        async with asyncio.timeout(120):
            while (status := await self.launcher.status(reference)).state not in states:
                assert not status.ended, status
                await asyncio.sleep(0.1)
            return status

    async def printed(self, reference: str, words: bytes) -> bytes:
        """The log once it has `words`."""
        async with asyncio.timeout(120):
            while words not in (log := (await self.launcher.logs(reference, 0))[0]):
                await asyncio.sleep(0.1)
            return log


def launcher(cluster: Cluster, folder: Path, token: Path | None = None) -> RayJobs:
    command = f"{sys.executable} {folder / 'program.py'}"
    return RayJobs(
        RayCluster(
            address=cluster.address,
            shared=folder,
            token_file=token or cluster.token,
            command=command,
            runtime_env={"env_vars": {"GREETING": "hello"}},
        )
    )


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "program.py").write_text(PROGRAM)
    with ray_cluster.cluster(tmp_path_factory.mktemp("ray")) as cluster:
        yield Set(cluster, launcher(cluster, folder), folder)


async def test_a_job_that_is_submitted_by_many_runs_once_and_succeeds(at: Set):
    directory = at.job("once", "train")
    references = await asyncio.gather(*(at.launcher.submit(directory) for _ in range(8)))
    assert set(references) == {str(directory)}
    assert await at.until(references[0], "succeeded") == Status("succeeded")
    assert len((directory / "runs").read_text().split()) == 1
    log = await at.printed(references[0], b"hello begun to train\n")
    assert await at.launcher.logs(references[0], 20) == (log[20:], len(log))
    await at.launcher.submit(directory)
    await at.launcher.cancel(references[0])
    assert await at.launcher.status(references[0]) == Status("succeeded")


async def test_what_went_wrong_is_told(at: Set):
    failing, telling = at.job("failing", "fail"), at.job("telling", "tell")
    for directory in (failing, telling):
        await at.launcher.submit(directory)
    status = await at.until(str(failing), "failed")
    assert status.reason == "Job entrypoint command failed with exit code 1"
    await at.printed(str(failing), b"the loss is not finite")
    assert await at.until(str(telling), "failed") == Status("failed", "no data")


async def test_a_run_that_is_cancelled_has_ended(at: Set):
    reference = await at.launcher.submit(at.job("sleeping", "sleep"))
    await at.printed(reference, b"begun to sleep")
    assert await at.until(reference, "running") == Status("running")
    (pid,) = (Path(reference) / "runs").read_text().split()
    await at.launcher.cancel(reference)
    assert await at.launcher.status(reference) == Status("lost", "the run was stopped")
    assert not runs(int(pid))
    await at.launcher.cancel(reference)


def runs(pid: int) -> bool:
    """Whether a process has not ended, be it that nobody has waited for it yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_a_run_that_no_node_has_room_for_waits_and_says_so(at: Set):
    wide = RayCluster(address=at.cluster.address, token_file=at.cluster.token, cpus=64)
    reference = await RayJobs(wide).submit(at.job("wide", "train"))
    status = await at.launcher.status(reference)
    assert status.state == "pending"
    assert "waiting for resources" in status.reason
    await at.launcher.cancel(reference)


async def test_a_wrong_token_is_refused_in_rays_words(at: Set, tmp_path: Path):
    (tmp_path / "wrong").write_text("a-wrong-token")
    wrong = launcher(at.cluster, at.jobs, tmp_path / "wrong")
    with pytest.raises(LauncherError, match=r"answered 403 .*Invalid authentication token") as told:
        await wrong.submit(at.job("refused", "train"))
    assert "a-wrong-token" not in str(told.value)


async def test_a_job_that_never_was_is_lost(at: Set):
    assert (await at.launcher.status(str(at.jobs / "never"))).state == "lost"
    assert await at.launcher.logs(str(at.jobs / "never"), 7) == (b"", 7)
    await at.launcher.cancel(str(at.jobs / "never"))


async def test_a_cluster_that_begins_anew_has_lost_the_run_but_not_its_result(tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)
    with ray_cluster.cluster(tmp_path) as cluster:
        first = Set(cluster, launcher(cluster, tmp_path), tmp_path)
        reference = await first.launcher.submit(first.job("sleeping", "sleep"))
        await first.printed(reference, b"begun to sleep")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await first.launcher.status(reference)
    with ray_cluster.cluster(tmp_path) as cluster:
        second = launcher(cluster, tmp_path)
        assert (await second.status(reference)).state == "lost"
        job.write(Path(reference), job.RESULT, Result(True, 1.0, "ab"))
        assert await second.status(reference) == Status("succeeded")
