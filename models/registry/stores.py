"""Files by key, on a disk or in an object store, with one operation that decides races: create what is absent.

It must not know what the files mean. A key is "<model>/<folder>/<file>". Both stores keep three promises: a file that `create` makes is
there whole or not at all, of several creators exactly one gets True, and `find` tells every file that is there now.
"""

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from models.errors import BundleError, RegistryUnavailable

DEPTH = 3

Sent = Callable[[int], None]  # hears how many bytes of a file have been sent


class Store(Protocol):
    """One root of a registry. Every method but `find` takes a key; RegistryUnavailable when the root cannot be reached."""

    url: str
    remote: bool
    """Whether a file has to be downloaded before a program can open it."""

    def find(self, prefix: str = "") -> dict[str, str]:
        """Every file three levels deep, or those below `prefix`: key -> stamp, which changes whenever the file does."""

    def read(self, key: str) -> bytes:
        """The whole file. FileNotFoundError when it is not there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet, durably. False when it is there with other content, so somebody else was first:
        writers who race must not write the same.
        """

    def upload(self, key: str, source: Path, sent: Sent | None = None) -> None:
        """Copy a file in, durably."""

    def download(self, key: str, target: Path) -> None:
        """Copy a file out. FileNotFoundError when it is not there."""

    def digest(self, key: str) -> str:
        """sha256 in hex of the file as it lies in the store. FileNotFoundError when it is not there."""

    def delete(self, key: str) -> None:
        """Take a file away; one that is not there is fine."""

    def place(self, key: str) -> Path | None:
        """The directory that `key` is on this machine, None in a remote store. BundleError when it leads outside."""


class LocalStore:
    """A directory. What a symlink leads out of it to is refused.

    `lasting`: once it was there it is missed where it has gone, as a file system that is not mounted any more is. An empty one in its place
    would say that nobody was ever promoted.
    """

    remote = False

    def __init__(self, root: Path, *, lasting: bool = True) -> None:
        self.url = str(root)
        self._root = root
        self._lasting = lasting
        self._was_there = False

    def find(self, prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        with self._reaching():
            self._walk(prefix, DEPTH - len(Path(prefix).parts), found)
        return found

    def _walk(self, below: str, depth: int, found: dict[str, str]) -> None:
        # A poll lists every change there ever was, so without a Path for each. What goes meanwhile is not there.
        with unless_missing(), os.scandir(self._root / below) as entries:
            for one in entries:
                if one.name.startswith("."):
                    continue
                key = f"{below}/{one.name}" if below else one.name
                with unless_missing():
                    status = one.stat()
                    if depth > 1 and stat.S_ISDIR(status.st_mode):
                        self._walk(key, depth - 1, found)
                    elif depth == 1 and stat.S_ISREG(status.st_mode):
                        found[key] = f"{status.st_size}-{status.st_mtime_ns}"

    def read(self, key: str) -> bytes:
        with self._reaching():
            return self._inside(key).read_bytes()

    def create(self, key: str, data: bytes) -> bool:
        """A hard link to a finished file."""
        with self._reaching():
            path = self._made(key)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                path.hardlink_to(temporary)
            except FileExistsError:
                return path.read_bytes() == data
            finally:
                temporary.unlink(missing_ok=True)
            synced(path.parent)
        return True

    def upload(self, key: str, source: Path, sent: Sent | None = None) -> None:
        with self._reaching():
            path = self._made(key)
            with source.open("rb") as given, path.open("wb") as file:
                while file.write(given.read(1 << 20)):
                    if sent:
                        sent(file.tell())
                file.flush()
                os.fsync(file.fileno())
            synced(path.parent)

    def download(self, key: str, target: Path) -> None:
        with self._reaching():
            shutil.copyfile(self._inside(key), target)

    def digest(self, key: str) -> str:
        with self._reaching(), self._inside(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def delete(self, key: str) -> None:
        with self._reaching():
            path = self._root / key
            self._inside(path.parent.relative_to(self._root).as_posix())
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty yet, or gone already
                path.parent.rmdir()

    def place(self, key: str) -> Path:
        directory = self._root / key
        self._inside(key)
        with self._reaching():
            for path in directory.rglob("*"):
                self._inside(path.relative_to(self._root).as_posix())
        return directory

    def _inside(self, key: str) -> Path:
        """The path of `key`, resolved. BundleError where a symlink on the way leads out of this directory."""
        path = self._root / key
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(self._root)):
            raise BundleError(f"{path} leads to {real}, outside of {self._root}")
        return real

    def _made(self, key: str) -> Path:
        """The path of `key`, in a directory that is there."""
        parent = self._inside(key.rpartition("/")[0])
        parent.mkdir(parents=True, exist_ok=True)
        self._was_there = True
        return parent / key.rpartition("/")[2]

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        if self._lasting:
            there = self._root.is_dir()
            if self._was_there and not there:
                raise RegistryUnavailable(f"the registry {self.url} has gone: it was there before")
            self._was_there |= there
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RegistryUnavailable(
                f"the registry {self.url} cannot be used: {error.strerror}: {error.filename}"
            ) from error


@contextmanager
def unless_missing() -> Iterator[None]:
    """Pass over what is not there, or leads nowhere."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise


def synced(directory: Path) -> None:
    """Have the names in `directory` survive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
