"""A training process: started once, found again, ended whole, and never mistaken for another."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import live
import psutil
import pytest

from models import job
from models.job import Result
from service.retraining.launchers import Status, local
from service.retraining.launchers.local import Local

SLEEPS = "import sys, time; print('begun', flush=True); time.sleep(600)"
ENDS = """
import sys
from pathlib import Path
from models import job
print("trained")
job.write(Path(sys.argv[2]), job.RESULT, job.Result(True, 1.0, "ab"))
"""


def launcher(source: str, **more: int) -> Local:
    return Local((sys.executable, "-c", source), **more)


async def printed(own: Local, reference: str, words: str) -> None:
    """Return once the run has printed `words`."""

    async def look() -> None:
        while words.encode() not in (await own.logs(reference, 0))[0]:
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), 30)


async def ended(own: Local, reference: str) -> Status:
    """How the run is once it has ended."""

    async def look() -> Status:
        while not (status := await own.status(reference)).ended:
            await asyncio.sleep(0.01)
        return status

    return await asyncio.wait_for(look(), 30)


async def test_a_run_that_ends_well_has_succeeded(tmp_path: Path):
    own = launcher(ENDS)
    reference = await own.submit(tmp_path)
    assert await ended(own, reference) == Status("succeeded")
    assert await own.logs(reference, 0) == (b"trained\n", 8)
    assert await own.logs(reference, 3) == (b"ined\n", 8)


async def test_what_a_run_says_went_wrong_is_the_reason(tmp_path: Path):
    job.write(tmp_path, job.RESULT, Result(False, 1.0, error="no data"))
    assert await launcher(SLEEPS).status(str(tmp_path)) == Status("failed", "no data")


async def test_a_run_that_dies_is_lost(tmp_path: Path):
    own = launcher(SLEEPS)
    reference = await own.submit(tmp_path)
    await printed(own, reference, "begun")
    os.kill(int((tmp_path / local.LOCK).read_text()), signal.SIGKILL)
    assert (await ended(own, reference)).state == "lost"


async def test_a_job_that_never_began_is_lost(tmp_path: Path):
    assert (await launcher(SLEEPS).status(str(tmp_path / "none"))).state == "lost"


async def test_submitting_twice_gives_one_run(tmp_path: Path):
    own = launcher(SLEEPS)
    references = await asyncio.gather(*(own.submit(tmp_path) for _ in range(8)))
    await printed(own, references[0], "begun")
    assert len(set(references)) == 1
    await own.cancel(references[0])
    assert (await own.logs(references[0], 0))[0] == b"begun\n"
    assert (await own.status(references[0])).state == "lost"


async def test_a_job_that_has_ended_is_not_begun_again(tmp_path: Path):
    own = launcher(ENDS)
    await ended(own, await own.submit(tmp_path))
    await own.submit(tmp_path)
    assert await own.status(str(tmp_path)) == Status("succeeded")
    assert (await own.logs(str(tmp_path), 0))[0] == b"trained\n"


async def test_another_service_finds_the_run_and_can_end_it(tmp_path: Path):
    first, second = launcher(SLEEPS), launcher(SLEEPS)
    reference = await first.submit(tmp_path)
    await printed(second, reference, "begun")
    assert await second.status(reference) == Status("running")
    await second.submit(tmp_path)
    await second.cancel(reference)
    assert (await second.status(reference)).state == "lost"
    assert (await second.logs(reference, 0))[0] == b"begun\n"
    assert await first.status(reference) == await second.status(reference)


async def test_a_run_outlives_the_process_that_started_it(tmp_path: Path):
    start = (
        "import asyncio, sys; from pathlib import Path; from service.retraining.launchers.local import Local;"
        f"asyncio.run(Local((sys.executable, '-c', {SLEEPS!r})).submit(Path({str(tmp_path)!r})))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", start)
    assert await process.wait() == 0
    own = launcher(SLEEPS)
    await printed(own, str(tmp_path), "begun")
    assert await own.status(str(tmp_path)) == Status("running")
    await own.cancel(str(tmp_path))


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_a_run_that_ignores_sigterm_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.5)
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(child.pid, flush=True); print('begun', flush=True); time.sleep(600)"
    )
    own = launcher(stubborn)
    reference = await own.submit(tmp_path)
    await printed(own, reference, "begun")
    child = int((await own.logs(reference, 0))[0].split()[0])
    await own.cancel(reference)
    assert (await own.status(reference)).state == "lost"
    live.until(lambda: gone(child), "the child's end")


async def test_cancelling_what_does_not_run_does_nothing(tmp_path: Path):
    # An old number, which another process has by now.
    (tmp_path / local.LOCK).write_text(str(os.getpid()))
    await launcher(SLEEPS).cancel(str(tmp_path))
    await launcher(SLEEPS).cancel(str(tmp_path / "none"))


async def test_the_run_knows_no_secrets_and_has_a_low_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVERGREEN_TOKEN", "secret")
    monkeypatch.setenv("EVERGREEN_STATE", "kept")
    told = (
        "import json, os, time\n"
        f"while os.getpriority(os.PRIO_PROCESS, 0) < {local.NICE}: time.sleep(0.01)\n"
        "print(json.dumps([n for n in os.environ if n.startswith('EVERGREEN_')]), flush=True)"
    )
    own = launcher(told)
    reference = await own.submit(tmp_path)
    await ended(own, reference)
    names = json.loads((await own.logs(reference, 0))[0])
    assert "EVERGREEN_STATE" in names
    assert "EVERGREEN_TOKEN" not in names


async def test_a_run_that_takes_too_much_memory_fails_alone(tmp_path: Path):
    greedy = (
        "import time; from resource import *\n"
        "while getrlimit(RLIMIT_DATA)[0] == RLIM_INFINITY: time.sleep(0.01)\n"
        "x = bytearray(1 << 30); print('had it')"
    )
    own = launcher(greedy, memory=256 << 20)
    reference = await own.submit(tmp_path)
    assert (await ended(own, reference)).state == "lost"
    assert b"MemoryError" in (await own.logs(reference, 0))[0]


async def test_a_run_whose_number_cannot_be_written_down_is_not_left_running(tmp_path: Path):
    (tmp_path / local.LOCK).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left|Invalid argument"):
        await launcher(SLEEPS).submit(tmp_path)

    async def look() -> None:
        while local.running(tmp_path):
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), 30)
