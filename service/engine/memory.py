"""The memory that an engine may take: a limit of the kernel's on the CPU, a watch beside a GPU. It must not know models.

RLIMIT_DATA counts what a process allocates for itself, so that an allocation too many fails, is answered, and nothing else is hurt.
CUDA reserves addresses far beyond any memory, which the limit would count: there the resident memory is watched instead.

The limit is each engine's own: an equal share of the machine would refuse a large model beside two small ones. Where all of them together
want more than there is, the kernel ends one: `step_forward` makes that an engine, the largest, which is replaced, and never control.
"""

import contextlib
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

from service.engine import cores

SHARE = 0.8
"""Of the machine's memory, where nobody has set a limit."""
WATCH_SECONDS = 0.2
FORWARD = 500
"""Of the 1000 by which the kernel judges who has to go: half of the machine's memory more than a process really has."""


def derived(root: Path = cores.ROOT) -> int:
    """Bytes that an engine may take at most: a share of what this machine, or this container, has."""
    return int(SHARE * min([installed(root), *bounds(root)]))


def installed(root: Path) -> int:
    """The machine's memory in bytes."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) << 10
    raise OSError(f"{root}/proc/meminfo tells no MemTotal")


def bounds(root: Path) -> list[int]:
    """The memory limits, in bytes, of this process's cgroup and of each one above it that has one."""
    found = []
    for version, folder in cores.cgroups(root, "memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text != "max":
            found.append(int(text))
    return found


def limit(size: int) -> None:
    """From now on this process allocates at most `size` bytes; what would be more fails."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def step_forward() -> None:
    """From now on this process is among the first that the kernel ends for want of memory."""
    path = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):  # where it cannot be told it decides alone
        if int(path.read_text()) < FORWARD:
            path.write_text(f"{FORWARD}")


def watch(size: int, leave: Callable[[str], None]) -> threading.Event:
    """From now on `leave` is called, with the reason, once more than `size` bytes are resident. Setting the event ends the watch."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(WATCH_SECONDS):
            if (used := resident()) > size:
                leave(
                    f"the engine holds {used / 2**20:,.0f} MB of memory, the limit is {size / 2**20:,.0f}"
                )
                return

    threading.Thread(target=look, name="memory", daemon=True).start()
    return done


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
