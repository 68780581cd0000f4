"""Object stores as roots of a registry, through fsspec. It must not know what the files mean."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from models.errors import RegistryUnavailable
from models.registry.stores import DEPTH, LocalStore, Sent, Store

ATOMIC = {"s3": "s3fs", "s3a": "s3fs", "memory": "fsspec"}
"""Protocols whose create-if-absent is one step, and the package that speaks each. Elsewhere fsspec looks first and writes then."""

RETRIES = 2
"""How often botocore asks again, and s3fs has it try. With these, a server that refuses is given up within about 2 s."""


def opened(root: Path | str) -> Store:
    """The store at a path or a URL. RegistryUnavailable for a URL that cannot hold a registry."""
    return ObjectStore(root) if isinstance(root, str) and "://" in root else LocalStore(Path(root))


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

    def upload(self, key: str, source: Path, sent: Sent | None = None) -> None:
        from fsspec.callbacks import Callback

        hooks = {"sent": lambda _, value: sent(value)} if sent else {}
        with self._reaching():
            self._files.put_file(str(source), self._path(key), callback=Callback(hooks=hooks))

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
            f"{url} needs the package {ATOMIC[protocol]}: pip install -e '.[s3]'"
        ) from error
    if ATOMIC[protocol] == "s3fs":
        files.retries = RETRIES
    return files, str(base).rstrip("/")


def stamp(about: dict[str, Any]) -> str:
    """What changes with a file, of what a listing says of it."""
    changes = about.get("ETag") or about.get("LastModified") or about.get("created")
    return f"{about.get('size')}-{changes}".replace('"', "")
