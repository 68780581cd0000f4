"""What a server's processes cost, read from /proc: which processes are its own, their CPU time, their memory.

It must not know what the processes are. They are found by a mark in their environment, and below those by parentage: a server may
start daemons that leave its process group, and a process may overwrite its own environment when it renames itself.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
MARK = "COMPARE_MARK"
TICKS = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are of use. `ticks` counts the process and its children that were waited for."""

    parent: int
    ticks: int
    started: int
    zombie: bool


def parse_stat(text: str) -> Stat:
    """Of one line; the name in it may hold spaces and brackets, so fields are counted from the last bracket."""
    fields = text[text.rindex(")") + 1 :].split()
    return Stat(int(fields[1]), sum(map(int, fields[11:15])), int(fields[19]), fields[0] == "Z")


def parse_pss(text: str) -> int:
    """The proportional set size in KiB of /proc/PID/smaps_rollup: a page that n processes share counts for 1/n."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def family(roots: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """`roots` and everything below them, where `parents` maps each process to its parent."""
    found = set(roots)
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in found} - found
        found |= below
        grown = bool(below)
    return found


def stats() -> dict[int, Stat]:
    """Every process that can be read now."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text(errors="replace"))
            except OSError:
                continue  # it ended meanwhile
    return found


def marked(pids: Iterable[int], token: str) -> set[int]:
    """Those whose environment holds the mark."""
    wanted = f"{MARK}={token}".encode()
    found = set()
    for pid in pids:
        try:
            if wanted in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.add(pid)
        except OSError:
            continue
    return found


class Tree:
    """The processes of one server. Remembers those it has seen, by number and start time, so that none outlives its parent unnoticed."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._seen: dict[int, int] = {}

    def alive(self) -> dict[int, Stat]:
        """Its living processes."""
        now = stats()
        roots = marked(now, self.token)
        roots |= {
            pid for pid, start in self._seen.items() if pid in now and now[pid].started == start
        }
        own = family(roots, {pid: stat.parent for pid, stat in now.items()})
        living = {pid: now[pid] for pid in own if pid in now and not now[pid].zombie}
        self._seen |= {pid: stat.started for pid, stat in living.items()}
        return living

    def cpu_seconds(self) -> float:
        """CPU time of all of them so far."""
        return sum(stat.ticks for stat in self.alive().values()) / TICKS

    def memory_mib(self) -> float:
        """Their memory now, as the sum of proportional set sizes."""
        total = 0
        for pid in self.alive():
            try:
                total += parse_pss((PROC / str(pid) / "smaps_rollup").read_text())
            except OSError:
                continue
        return total / 1024

    def signal(self, number: int, spare: str = "") -> None:
        """Send a signal to each of them but those whose command line holds `spare`."""
        for pid in self.alive():
            try:
                command = (PROC / str(pid) / "cmdline").read_text(errors="replace")
                if not spare or spare not in command:
                    os.kill(pid, number)
            except (ProcessLookupError, FileNotFoundError):
                continue
