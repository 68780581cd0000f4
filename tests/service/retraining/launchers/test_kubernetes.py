"""Training as a Job: asked for once, told as Kubernetes tells it, ended whole; and every refusal in its own words."""

import asyncio
import datetime
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import kubernetes_api
import pytest
from answering import answering
from kubernetes_api import JOBS, Api, failure

from models import job
from models.job import Request, Result
from service.errors import LauncherError, SettingsError, Unavailable
from service.retraining.launchers import Status, kubernetes
from service.retraining.launchers.kubernetes import KubernetesJobs, own_namespace
from service.retraining.launchers.settings import Cluster

NAME = "evergreen-0199"


class Set(NamedTuple):
    """A cluster, what launches on it, and a job's directory."""

    api: Api
    launcher: KubernetesJobs
    directory: Path


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Set]:
    directory = tmp_path / "jobs" / "0199"
    directory.mkdir(parents=True)
    job.write(directory, job.REQUEST, Request(id="0199", model="toy", version=2, recipe="toy"))
    token, api = tmp_path / "token", Api()
    token.write_text(kubernetes_api.TOKEN)
    with answering(api) as url:
        cluster = Cluster(
            image="train:1",
            claim="evergreen",
            mount=tmp_path,
            namespace="trainings",
            address=url,
            token_file=token,
            ca_file=None,
        )
        yield Set(api, KubernetesJobs(cluster), directory)


async def test_a_job_is_asked_for_once(at: Set):
    references = await asyncio.gather(*(at.launcher.submit(at.directory) for _ in range(8)))
    assert set(references) == {str(at.directory)}
    assert list(at.api.jobs) == [NAME]
    assert sum(one.method == "POST" for one in at.api.asked) == 8


async def test_the_cluster_ends_what_outlives_its_deadline(at: Set):
    order = Request(id="1", model="toy", version=2, recipe="toy", deadline=time.time() + 3600)
    job.write(at.directory, job.REQUEST, order)
    await at.launcher.submit(at.directory)
    assert 3600 < at.api.jobs[NAME]["spec"]["activeDeadlineSeconds"] <= 3661


async def test_a_deadline_that_has_passed_is_still_one(at: Set):
    order = Request(id="1", model="toy", version=2, recipe="toy", deadline=1.0)
    job.write(at.directory, job.REQUEST, order)
    await at.launcher.submit(at.directory)
    assert at.api.jobs[NAME]["spec"]["activeDeadlineSeconds"] == 1


async def test_a_job_that_has_run_is_not_asked_for_again(at: Set):
    job.write(at.directory, job.RESULT, Result(True, 1.0, "ab"))
    assert await at.launcher.submit(at.directory) == str(at.directory)
    assert not at.api.asked


async def test_a_job_that_is_being_deleted_is_not_taken_for_the_run(at: Set):
    await at.launcher.submit(at.directory)
    at.api.jobs[NAME]["metadata"]["deletionTimestamp"] = "2026-11-21T11:00:00Z"
    with pytest.raises(Unavailable, match="being deleted"):
        await at.launcher.submit(at.directory)


async def test_refusals_are_told_in_kubernetes_words(at: Set):
    words = 'jobs.batch is forbidden: User "system:serviceaccount:default:x" cannot create resource'
    at.api.refusal = failure(403, "Forbidden", words)
    with pytest.raises(LauncherError, match="cannot create resource"):
        await at.launcher.submit(at.directory)
    at.api.refusal = failure(422, "Invalid", 'Job.batch "x" is invalid: spec.template: Required')
    with pytest.raises(LauncherError, match=r"is invalid: spec\.template"):
        await at.launcher.submit(at.directory)
    at.api.refusal = failure(429, "TooManyRequests", "try again later", **{"retry-after": "3"})
    with pytest.raises(Unavailable, match="try again later") as caught:
        await at.launcher.submit(at.directory)
    assert caught.value.retry_after == 3.0


async def test_a_token_that_is_not_known_is_told(at: Set, tmp_path: Path):
    (tmp_path / "token").write_text("an-old-one")
    with pytest.raises(LauncherError, match=r"answered 401 .*: Unauthorized") as caught:
        await at.launcher.submit(at.directory)
    assert "an-old-one" not in str(caught.value)
    with pytest.raises(Unavailable, match=r"answered 401 .*: Unauthorized"):
        await at.launcher.status(str(at.directory))


async def test_a_run_waits_runs_and_succeeds(at: Set):
    reference = await at.launcher.submit(at.directory)
    assert await at.launcher.status(reference) == Status("pending", "its pod is not there yet")
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
    }
    at.api.pod(NAME, "p", {"phase": "Pending", "conditions": [unschedulable]})
    told = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu."
    assert await at.launcher.status(reference) == Status("pending", told)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    at.api.pods[0]["status"] = {"phase": "Pending", "containerStatuses": [{"state": waiting}]}
    told = "ImagePullBackOff: Back-off pulling image"
    assert await at.launcher.status(reference) == Status("pending", told)
    at.api.jobs[NAME]["status"] = {"active": 1, "ready": 1, "startTime": "2026-11-21T10:00:01Z"}
    assert await at.launcher.status(reference) == Status("running")
    job.write(at.directory, job.RESULT, Result(True, 1.0, "ab"))
    assert await at.launcher.status(reference) == Status("running")
    at.api.condition(NAME, "SuccessCriteriaMet")
    assert await at.launcher.status(reference) == Status("running")
    at.api.condition(NAME, "Complete")
    assert await at.launcher.status(reference) == Status("succeeded")


async def test_a_job_that_somebody_holds_back_is_pending(at: Set):
    reference = await at.launcher.submit(at.directory)
    at.api.condition(NAME, "Suspended", "JobSuspended", "Job suspended")
    assert (await at.launcher.status(reference)).reason == "somebody has suspended the Job"


async def test_what_ended_a_run_is_the_reason(at: Set):
    reference = await at.launcher.submit(at.directory)
    at.api.condition(NAME, "FailureTarget", "BackoffLimitExceeded", "reached the limit")
    at.api.condition(NAME, "Failed", "BackoffLimitExceeded", "Job has reached the limit")
    told = Status("failed", "BackoffLimitExceeded: Job has reached the limit")
    assert await at.launcher.status(reference) == told
    ended = {"exitCode": 137, "reason": "OOMKilled", "message": "epoch 3\nepoch 4\n"}
    at.api.pod(NAME, "p", {"containerStatuses": [{"state": {"terminated": ended}}]})
    told = Status("failed", "BackoffLimitExceeded: OOMKilled (exit code 137): epoch 4")
    assert await at.launcher.status(reference) == told
    job.write(at.directory, job.RESULT, Result(False, 1.0, error="the loss is not finite"))
    assert await at.launcher.status(reference) == Status("failed", "the loss is not finite")


async def test_a_run_that_took_too_long_has_failed(at: Set):
    reference = await at.launcher.submit(at.directory)
    at.api.condition(
        NAME, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline"
    )
    told = "DeadlineExceeded: Job was active longer than specified deadline"
    assert await at.launcher.status(reference) == Status("failed", told)


async def test_a_result_may_be_seen_late(at: Set):
    reference = await at.launcher.submit(at.directory)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    at.api.condition(NAME, "Complete", at=now)
    assert (await at.launcher.status(reference)).state == "running"
    at.api.jobs[NAME]["status"] = {}
    at.api.condition(NAME, "Complete", at="2026-01-01T00:00:00Z")
    assert (await at.launcher.status(reference)).state == "lost"


async def test_a_run_that_kubernetes_forgot_is_what_its_result_says(at: Set):
    reference = str(at.directory)
    assert (await at.launcher.status(reference)).state == "lost"
    job.write(at.directory, job.RESULT, Result(True, 1.0, "ab"))
    assert await at.launcher.status(reference) == Status("succeeded")


async def test_the_log_is_read_from_where_it_was_left(at: Set, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "CHUNK", 10)
    reference = await at.launcher.submit(at.directory)
    assert await at.launcher.logs(reference, 0) == (b"", 0)
    at.api.pod(NAME, "new", {}, created="2026-11-21T10:05:00Z")
    at.api.pod(NAME, "old", {}, created="2026-11-21T10:00:00Z")
    at.api.pod("another", "another", {}, created="2026-11-21T10:09:00Z")
    assert await at.launcher.logs(reference, 0) == (b"", 0)
    at.api.logs = {"new": b"0123456789abcdef", "old": b"evicted", "another": b"another"}
    assert await at.launcher.logs(reference, 0) == (b"0123456789", 10)
    assert await at.launcher.logs(reference, 10) == (b"abcdef", 16)
    assert await at.launcher.logs(reference, 16) == (b"", 16)
    assert await at.launcher.logs(reference, 99) == (b"", 99)


async def test_cancelling_waits_until_the_run_has_ended(at: Set):
    reference = await at.launcher.submit(at.directory)
    cancelling = asyncio.create_task(at.launcher.cancel(reference))
    looked = f"{JOBS}/{NAME}"
    async with asyncio.timeout(30):
        while not any(one.method == "GET" and one.path == looked for one in at.api.asked):
            await asyncio.sleep(0.01)
    assert not cancelling.done()
    del at.api.jobs[NAME]
    await cancelling
    await at.launcher.cancel(reference)
    assert (await at.launcher.status(reference)).state == "lost"


async def test_a_run_that_does_not_end_is_told(at: Set, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "END_SECONDS", 0.1)
    monkeypatch.setattr(kubernetes, "LOOK_SECONDS", 0.01)
    with pytest.raises(Unavailable, match="has not ended within"):
        await at.launcher.cancel(await at.launcher.submit(at.directory))


def made(**changes: str | Path | None) -> KubernetesJobs:
    given = {"image": "i", "claim": "c", "mount": Path("/data"), "namespace": "n", "ca_file": None}
    return KubernetesJobs(Cluster(**{**given, **changes}))


@pytest.mark.parametrize("key", ["image", "claim", "mount"])
def test_what_is_not_set_is_named(key: str):
    with pytest.raises(SettingsError, match=rf"training\.kubernetes\.{key} is not set"):
        made(**{key: None if key == "mount" else ""})


def test_object_stores_are_refused_in_a_sentence():
    with pytest.raises(SettingsError, match=r"'s3:/bucket/jobs'.*Object stores are not supported"):
        made(mount=Path("s3://bucket/jobs"))


def test_the_namespace_is_that_of_the_pod(tmp_path: Path):
    with pytest.raises(SettingsError, match="namespace is not set"):
        own_namespace(tmp_path)
    (tmp_path / "namespace").write_text("trainings")
    assert own_namespace(tmp_path) == "trainings"
