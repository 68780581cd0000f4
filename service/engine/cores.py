"""How many cores this container may use, and what they can do. It must not know ONNX Runtime: control asks, too, before an engine starts.

A container sees all of its host's processors; what it may use of them is said by its affinity and by its cgroup's quota.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def available(root: Path = ROOT) -> int:
    """Whole cores, at least one: what affinity allows, or less where the quota of a cgroup is smaller."""
    return max(1, int(min([affinity(), *quotas(root)])))


def affinity() -> int:
    """The processors that the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quotas(root: Path = ROOT) -> Iterator[float]:
    """The CPU quota, in cores, of this process's cgroup and of each one above it that has one."""
    for version, folder in cgroups(root, "cpu"):
        quota = quota_v2(folder) if version == 2 else quota_v1(folder)
        if quota is not None:
            yield quota


def cgroups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process's cgroup for `controller`, and of each one above it. A folder need not be there."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2: one hierarchy for everything
            version, mount = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, mount = 1, root / "sys/fs/cgroup" / controllers
        else:
            continue
        # Inside a container the path may be the host's, which is not mounted; the mount itself is then the container's.
        place = PurePosixPath(path.lstrip("/"))
        for folder in [place, *place.parents]:
            yield version, mount / folder


def quota_v2(folder: Path) -> float | None:
    """`cpu.max` holds "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except OSError:
        return None
    return None if quota == "max" else int(quota) / int(period)


def quota_v1(folder: Path) -> float | None:
    """`cpu.cfs_quota_us` is -1 where there is none."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except OSError:
        return None
    return None if quota < 0 else quota / period


def has_vnni() -> bool:
    """Whether this processor multiplies int8 without the intermediate saturation of older ones."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
