"""The disk that the service writes to: small, so that it can be full. It must not know what lies on it.

Where this program may mount, it is a tmpfs. Elsewhere it is a folder, and a full disk is a limit on the size of files, which the processes
meet in the same calls.
"""

import errno
import os
import resource
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

SIZE_MB = 192
FILLER = "filler"


class Disk:
    """One that is mounted, or stands for one."""

    def __init__(self, path: Path, mounted: bool) -> None:
        self.path = path
        self._mounted = mounted

    @property
    def told(self) -> str:
        """What it is, for whoever reads the report."""
        if self._mounted:
            return f"a tmpfs of {SIZE_MB} MB, filled to its last byte"
        return "a folder; full is a limit of 0 bytes on what files may grow to (RLIMIT_FSIZE)"

    def fill(self, pids: Collection[int]) -> None:
        """Not a byte more can be written by these processes."""
        if not self._mounted:
            limit(pids, 0)
            return
        # Without a buffer, which would want to write its rest when it is closed.
        with (self.path / FILLER).open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                write_until_full(file.fileno(), size)

    def free(self, pids: Collection[int]) -> None:
        """There is room again."""
        if self._mounted:
            (self.path / FILLER).unlink(missing_ok=True)
        else:
            limit(pids, resource.RLIM_INFINITY)


def write_until_full(file: int, size: int) -> None:
    """Parts of `size` bytes, until there is no room for another."""
    try:
        while os.write(file, bytes(size)):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def limit(pids: Collection[int], size: int) -> None:
    """The most that files may grow to, for processes that run."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            _, hard = (one := psutil.Process(pid)).rlimit(resource.RLIMIT_FSIZE)
            one.rlimit(resource.RLIMIT_FSIZE, (size, hard))


@contextmanager
def disk(path: Path) -> Iterator[Disk]:
    """A disk at `path`, as long as the block lasts."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m,mode=700", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield Disk(path, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=False)  # noqa: S607
