"""What Ray's Jobs API answers, as a cluster of version 2.60 was heard to, and what it means. tests/system/test_ray.py asks a real one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from answering import Answer, Asked, answering

from models import job
from models.job import Request, Result
from service.errors import LauncherError, SettingsError, Unavailable
from service.retraining.launchers import Status, ray
from service.retraining.launchers.ray import RayJobs
from service.retraining.launchers.settings import RayCluster

WAITS = "Job has not started yet. It may be waiting for resources (CPUs, GPUs, memory, custom resources) to become available."
FAILED = "Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\n2026-11-21 INFO\nx\n"
NO_ROOM = "Failed to start supervisor actor: 'num_cpus cannot be negative'. Full traceback:\nTraceback (most recent call last):\n  File"
TAKEN = b"""Traceback (most recent call last):
  File "job_head.py", line 419, in submit_job
RuntimeError: Request failed with status code 400: Traceback (most recent call last):
ValueError: Job with submission_id evergreen-0199 already exists. Please use a different submission_id.
.
"""
NO_AGENT = b"No available agent to submit job, please try again later."


class Head:
    """A cluster's head that knows one job, if any."""

    def __init__(self) -> None:
        self.info: dict[str, Any] | None = None
        self.taken = Answer(500, TAKEN, "text/plain")
        self.refusal: Answer | None = None
        self.asked: list[Asked] = []

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path == "/api/jobs/":
            return self._submitted(json.loads(asked.body))
        assert asked.path.startswith("/api/jobs/evergreen-0199"), asked.path
        if self.info is None:
            return Answer(404, b"Job evergreen-0199 does not exist", "text/plain")
        if asked.path.endswith("/logs"):
            return told({"logs": "häll\nbye\n"})
        return told({"stopped": True} if asked.path.endswith("/stop") else self.info)

    def _submitted(self, order: dict[str, Any]) -> Answer:
        if self.refusal is not None:
            return self.refusal
        if self.info is not None:
            return self.taken
        self.info = {"status": "PENDING", "message": WAITS, "end_time": None}
        return told({"job_id": order["submission_id"], "submission_id": order["submission_id"]})


def told(body: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(body).encode())


class Set(NamedTuple):
    """A head, what launches on it, and a job's directory."""

    head: Head
    launcher: RayJobs
    directory: Path


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Set]:
    directory, head = tmp_path / "with space" / "0199", Head()
    directory.mkdir(parents=True)
    job.write(directory, job.REQUEST, Request(id="0199", model="toy", version=2, recipe="toy"))
    with answering(head) as url:
        settings = RayCluster(address=url, cpus=2, gpus=0.5, memory_mb=1, runtime_env={"pip": []})
        yield Set(head, RayJobs(settings), directory)


async def test_the_cluster_is_told_what_to_run_and_what_it_takes(at: Set):
    assert await at.launcher.submit(at.directory) == str(at.directory)
    assert json.loads(at.head.asked[0].body) == {
        "submission_id": "evergreen-0199",
        "entrypoint": f"python -m models.train --job '{at.directory}'",
        "entrypoint_num_cpus": 2,
        "entrypoint_num_gpus": 0.5,
        "entrypoint_memory": 1 << 20,
        "runtime_env": {"pip": []},
        "metadata": {"model": "toy", "retraining": "0199"},
    }


@pytest.mark.parametrize("status", [400, 409, 500])
async def test_a_run_that_is_there_is_taken_however_ray_says_so(at: Set, status: int):
    at.head.taken = Answer(status, TAKEN, "text/plain")
    for _ in range(3):
        assert await at.launcher.submit(at.directory) == str(at.directory)


async def test_a_submission_that_was_heard_without_an_answer_is_found(at: Set):
    await at.launcher.submit(at.directory)
    at.head.taken = Answer(0)
    assert await at.launcher.submit(at.directory) == str(at.directory)


async def test_a_cluster_without_nodes_is_to_be_asked_again(at: Set):
    at.head.refusal = Answer(500, NO_AGENT, "text/plain")
    with pytest.raises(Unavailable, match="No available agent to submit job"):
        await at.launcher.submit(at.directory)


async def test_what_ray_refuses_is_told_in_its_words(at: Set):
    at.head.refusal = Answer(403, b"Forbidden: Invalid authentication token", "text/plain")
    with pytest.raises(LauncherError, match="Invalid authentication token"):
        await at.launcher.submit(at.directory)


async def test_a_job_that_has_run_is_not_submitted_again(at: Set):
    job.write(at.directory, job.RESULT, Result(True, 1.0, "ab"))
    await at.launcher.submit(at.directory)
    assert not at.head.asked


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("PENDING", WAITS, Status("pending", WAITS)),
        ("RUNNING", "Job is currently running.", Status("running")),
        ("STOPPED", "Job was intentionally stopped.", Status("lost", "the run was stopped")),
        ("FAILED", FAILED, Status("failed", "Job entrypoint command failed with exit code 3")),
        (
            "FAILED",
            NO_ROOM,
            Status("failed", "Failed to start supervisor actor: 'num_cpus cannot be negative'."),
        ),
        ("FAILED", None, Status("failed", "")),
    ],
)
async def test_what_ray_says_is_told(at: Set, status: str, message: str | None, expected: Status):
    at.head.info = {"status": status, "message": message, "end_time": 1}
    assert await at.launcher.status(str(at.directory)) == expected


@pytest.mark.parametrize("status", ["FAILED", "STOPPED", "SUCCEEDED", None])
async def test_once_it_has_ended_the_result_counts(at: Set, status: str | None):
    at.head.info = None if status is None else {"status": status}
    job.write(at.directory, job.RESULT, Result(False, 1.0, error="no data"))
    assert await at.launcher.status(str(at.directory)) == Status("failed", "no data")
    job.write(at.directory, job.RESULT, Result(True, 1.0, "ab"))
    assert await at.launcher.status(str(at.directory)) == Status("succeeded")


async def test_a_result_may_be_seen_late(at: Set):
    at.head.info = {"status": "SUCCEEDED", "end_time": int(time.time() * 1000)}
    assert (await at.launcher.status(str(at.directory))).state == "running"
    at.head.info = {"status": "SUCCEEDED", "end_time": 1000}
    assert (await at.launcher.status(str(at.directory))).state == "lost"


async def test_the_log_is_read_from_where_it_was_left(at: Set):
    assert await at.launcher.logs(str(at.directory), 3) == (b"", 3)
    at.head.info = {"status": "RUNNING"}
    assert await at.launcher.logs(str(at.directory), 0) == ("häll\nbye\n".encode(), 10)
    assert await at.launcher.logs(str(at.directory), 6) == (b"bye\n", 10)


async def test_a_run_that_waits_for_a_node_is_cancelled_without_waiting_for_it(at: Set):
    await at.launcher.submit(at.directory)
    await at.launcher.cancel(str(at.directory))
    assert at.head.asked[-2].path.endswith("/stop")


async def test_a_run_that_does_not_end_is_told(at: Set, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray, "END_SECONDS", 0.1)
    monkeypatch.setattr(ray, "LOOK_SECONDS", 0.01)
    at.head.info = {"status": "RUNNING"}
    with pytest.raises(Unavailable, match="has not ended within"):
        await at.launcher.cancel(str(at.directory))


def test_another_machine_needs_a_directory_that_both_see():
    for here in ("http://127.0.0.1:8265", "http://localhost:8265", "http://[::1]:8265"):
        RayJobs(RayCluster(address=here))
    with pytest.raises(SettingsError, match=r"training\.ray\.shared is not set: http://head:8265"):
        RayJobs(RayCluster(address="http://head:8265"))
    RayJobs(RayCluster(address="http://head:8265", shared=Path("/data")))


def test_object_stores_are_refused_in_a_sentence():
    with pytest.raises(SettingsError, match="Object stores are not supported"):
        RayJobs(RayCluster(address="http://head:8265", shared=Path("s3://bucket/jobs")))
