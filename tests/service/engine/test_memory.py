"""What an engine may take, and what happens beyond it."""

import subprocess
import sys
import threading
from pathlib import Path

import live
import pytest
import toys

from service.engine import memory

GIGABYTE = 1 << 30


def machine(root: Path, installed_kb: int, cgroup: str = "") -> Path:
    """A file system that tells of a machine's memory."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal:  {installed_kb} kB\nMemFree: 1 kB\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    return root


def write(root: Path, path: str, text: str) -> None:
    file = root / "sys/fs/cgroup" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_share_of_the_machines_memory(tmp_path: Path):
    assert memory.derived(machine(tmp_path, 1_000_000)) == int(0.8 * 1_024_000_000)


@pytest.mark.parametrize(
    ("cgroup", "file"),
    [
        ("0::/pod/me\n", "memory.max"),
        ("0::/pod/me\n", "pod/memory.max"),
        ("0::/pod/me\n", "pod/me/memory.max"),
        ("5:cpu:/x\n4:memory:/pod/me\n", "memory/pod/memory.limit_in_bytes"),
    ],
)
def test_or_of_the_containers_where_that_has_less(tmp_path: Path, cgroup: str, file: str):
    root = machine(tmp_path, 64 << 20, cgroup)
    write(root, file, f"{GIGABYTE}\n")
    assert memory.derived(root) == int(0.8 * GIGABYTE)


def test_a_container_without_a_limit_has_the_machines(tmp_path: Path):
    root = machine(tmp_path, 1 << 20, "0::/\n")
    write(root, "memory.max", "max\n")
    assert memory.derived(root) == int(0.8 * GIGABYTE)


def test_this_machine_has_some():
    assert memory.derived() > 100 << 20


def test_beyond_the_limit_an_allocation_fails_and_the_process_goes_on():
    program = """
from service.engine import memory
memory.limit(512 << 20)
try:
    bytearray(1 << 30)
except MemoryError:
    print("failed", len(bytearray(64 << 20)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"failed {64 << 20}\n"


def test_a_watch_says_once_what_it_has_seen():
    heard: list[str] = []
    said = threading.Event()

    def leave(reason: str) -> None:
        heard.append(reason)
        said.set()

    memory.watch(1 << 20, leave)
    assert said.wait(20)
    assert heard[0].startswith("the engine holds ")
    assert heard[0].endswith(" MB of memory, the limit is 1")


def test_a_watch_is_silent_below_its_limit_until_it_is_ended():
    done = memory.watch(1 << 50, pytest.fail)
    watching = next(thread for thread in threading.enumerate() if thread.name == "memory")
    done.set()
    watching.join(20)
    assert not watching.is_alive()


def test_who_has_stepped_forward_is_ended_before_others():
    program = """
from pathlib import Path
from service.engine import memory
judged = Path("/proc/self/oom_score")
before = int(judged.read_text())
memory.step_forward()
memory.step_forward()
print(int(judged.read_text()) - before > 250, Path("/proc/self/oom_score_adj").read_text())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", str(memory.FORWARD)]


def test_an_engine_has_stepped_forward_and_no_other_process(tmp_path: Path):
    toys.image(tmp_path / "repository")
    with live.serving(tmp_path / "repository", tmp_path) as service:
        control = service.process.pid
        (engine,) = live.children(control, "service.engine.worker")
        (front_end,) = live.children(control, "service.frontend")
        judged = {
            pid: int(Path(f"/proc/{pid}/oom_score_adj").read_text())
            for pid in (control, engine, front_end)
        }
    assert judged[engine] == memory.FORWARD
    assert memory.FORWARD not in (judged[control], judged[front_end])
