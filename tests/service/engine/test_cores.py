"""The cores of a container are what affinity and every quota above it leave."""

from pathlib import Path

import pytest

from service.engine import cores


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "affinity", lambda: 8)


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A root directory with /proc/self/cgroup and files under /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_cgroups_affinity_decides(tmp_path: Path):
    assert cores.available(tmp_path) == 8


def test_a_container_of_version_2_sees_its_own_quota_at_the_mount(tmp_path: Path):
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert cores.available(root) == 2


def test_the_smallest_quota_above_a_service_holds(tmp_path: Path):
    files = {
        "sys/fs/cgroup/system.slice/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/system.slice/evergreen.service/cpu.max": "max 100000\n",
    }
    assert cores.available(machine(tmp_path, "0::/system.slice/evergreen.service\n", files)) == 3


def test_no_quota_leaves_what_affinity_allows(tmp_path: Path):
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"})
    assert cores.available(root) == 8


def test_less_than_a_core_is_one(tmp_path: Path):
    root = machine(tmp_path, "0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"})
    assert cores.available(root) == 1


@pytest.mark.parametrize(("quota", "found"), [("250000", 2), ("-1", 8)])
def test_version_1_is_read_where_the_hosts_path_is_not_mounted(
    tmp_path: Path, quota: str, found: int
):
    folder = "sys/fs/cgroup/cpu,cpuacct/"
    files = {folder + "cpu.cfs_quota_us": quota, folder + "cpu.cfs_period_us": "100000"}
    cgroup = "5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n0::/docker/1f\n"
    assert cores.available(machine(tmp_path, cgroup, files)) == found


def test_this_machine_has_a_core(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    assert cores.available() >= 1
