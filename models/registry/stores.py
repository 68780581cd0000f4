"""Files by key, on a disk or in an object store, with one operation that decides races: create what is absent.

It must not know what the files mean. A key is "<model>/<folder>/<file>". Both stores keep three promises: a file that `create` makes is
there whole or not at all, of several creators exactly one gets True, and `find` tells every file that is there now.
"""

import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from models.errors import BundleError, RegistryUnavailable

ATOMIC = {"s3": "s3fs", "s3a": "s3fs", "memory": "fsspec"}
"""Protocols whose create-if-absent is one step, and the package that speaks each. Elsewhere fsspec looks first and writes then."""

DEPTH = 3

RETRIES = 2
"""How often botocore asks again, and s3fs has it try. With these, a server that refuses is given up within about 2 s."""


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

    def upload(self, key: str, source: Path) -> None:
        """Copy a file in, durably."""

    def download(self, key: str, target: Path) -> None:
        """Copy a file out. FileNotFoundError when it is not there."""

    def digest(self, key: str) -> str:
        """sha256 in hex of the file as it lies in the store. FileNotFoundError when it is not there."""

    def delete(self, key: str) -> None:
        """Take a file away; one that is not there is fine."""

    def place(self, key: str) -> Path | None:
        """The directory that `key` is on this machine, None in a remote store. BundleError when it leads outside."""


def opened(root: Path | str) -> Store:
    """The store at a path or a URL. RegistryUnavailable for a URL that cannot hold a registry."""
    return ObjectStore(root) if isinstance(root, str) and "://" in root else LocalStore(Path(root))


class LocalStore:
    """A directory. What a symlink leads out of it to is refused."""

    remote = False

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self._root = root

    def find(self, prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        with self._reaching():
            start = self._root / prefix
            if start.is_dir():
                self._walk(start, DEPTH - len(start.relative_to(self._root).parts), found)
        return found

    def _walk(self, directory: Path, depth: int, found: dict[str, str]) -> None:
        for path in directory.iterdir():
            if path.name.startswith("."):
                continue
            # A directory may be taken away while it is walked; then it holds nothing.
            with suppress(FileNotFoundError):
                if depth > 1:
                    if path.is_dir():
                        self._walk(path, depth - 1, found)
                elif path.is_file():
                    status = path.stat()
                    key = path.relative_to(self._root).as_posix()
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

    def upload(self, key: str, source: Path) -> None:
        with self._reaching():
            path = self._made(key)
            with source.open("rb") as given, path.open("wb") as file:
                shutil.copyfileobj(given, file, 1 << 20)
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
        return parent / key.rpartition("/")[2]

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise RegistryUnavailable(
                f"the registry {self.url} cannot be used: {error.strerror}: {error.filename}"
            ) from error


def synced(directory: Path) -> None:
    """Have the names in `directory` survive a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ObjectStore:
    """A bucket, or what fsspec shows as one. Credentials and endpoint come from the environment, as its library reads them."""

    remote = True
    _creating = threading.Lock()  # memory:// looks first and writes then: one step under a lock

    def __init__(self, url: str) -> None:
        protocol = url.partition("://")[0]
        if protocol not in ATOMIC:
            raise RegistryUnavailable(
                f"'{protocol}' of {url} cannot hold a registry: creating a file only where there is none is one step in "
                f"{', '.join(ATOMIC)} and in local directories"
            )
        self.url = url.rstrip("/")
        with self._reaching():
            self._files, self._base = filesystem(self.url, protocol)

    def find(self, prefix: str = "") -> dict[str, str]:
        start = f"{self._base}/{prefix}".rstrip("/")
        with self._reaching():
            try:
                files = self._files.find(start, detail=True)
            except FileNotFoundError:
                return {}
        keys = {path.removeprefix(f"{self._base}/"): about for path, about in files.items()}
        return {k: stamp(about) for k, about in keys.items() if k.count("/") == DEPTH - 1}

    def read(self, key: str) -> bytes:
        with self._reaching():
            return bytes(self._files.cat_file(self._path(key)))

    def create(self, key: str, data: bytes) -> bool:
        """A conditional put. Unless it says "done", what lies there tells who was first: an answer can get lost, and the library
        then asks again, only to hear that the file exists.
        """
        with self._reaching():
            try:
                with self._creating:
                    self._files.pipe_file(self._path(key), data, mode="create")
            except OSError as error:
                try:
                    return self.read(key) == data
                except FileNotFoundError:
                    raise error from None
        return True

    def upload(self, key: str, source: Path) -> None:
        with self._reaching():
            self._files.put_file(str(source), self._path(key))

    def download(self, key: str, target: Path) -> None:
        with self._reaching():
            self._files.get_file(self._path(key), str(target))

    def digest(self, key: str) -> str:
        found = hashlib.sha256()
        with self._reaching(), self._files.open(self._path(key), "rb", cache_type="none") as file:
            while chunk := file.read(8 << 20):
                found.update(chunk)
        return found.hexdigest()

    def delete(self, key: str) -> None:
        with self._reaching(), suppress(FileNotFoundError):
            self._files.rm_file(self._path(key))

    def place(self, key: str) -> None:
        return None

    def _path(self, key: str) -> str:
        return f"{self._base}/{key}"

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, RegistryUnavailable):
            raise
        except Exception as error:  # each object store's library has errors of its own
            said = re.sub(r"\s+", " ", str(error) or type(error).__name__)
            raise RegistryUnavailable(f"the registry {self.url} cannot be used: {said}") from error


def filesystem(url: str, protocol: str) -> tuple[Any, str]:
    """(fsspec's file system that never answers from a listing it kept, the path in it)."""
    import fsspec  # here, because a local registry starts without it

    options: dict[str, Any] = {"use_listings_cache": False}
    if ATOMIC[protocol] == "s3fs":
        retries = {"max_attempts": RETRIES}
        options["config_kwargs"] = {"retries": retries, "connect_timeout": 2, "read_timeout": 10}
    try:
        files, base = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise RegistryUnavailable(
            f"{url} needs the package {ATOMIC[protocol]}: pip install 'evergreen-serving[s3]'"
        ) from error
    if ATOMIC[protocol] == "s3fs":
        files.retries = RETRIES
    return files, str(base).rstrip("/")


def stamp(about: dict[str, Any]) -> str:
    """What changes with a file, of what a listing says of it."""
    changes = about.get("ETag") or about.get("LastModified") or about.get("created")
    return f"{about.get('size')}-{changes}".replace('"', "")
