"""Local copies of what lies in an object store. It must not know which version is wanted.

    <cache>/<store>/<model>/<version>/        as in the store, and .fetched.json: what was fetched, and how its files looked then
    <cache>/<store>/<model>/aliases/          the newest change that was seen, and no other

So the cache is a root of the same layout, and stands in for the store while that cannot be reached. A copy appears whole: it is fetched
under another name, held against the manifest's sha256, and renamed.
"""

import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from models import bundle
from models.errors import BundleError
from models.registry import aliases, names
from models.registry.aliases import Change
from models.registry.states import PUBLISHED, Published, Version
from models.registry.stores import LocalStore, Store

RECORD = ".fetched.json"


class Record(msgspec.Struct, frozen=True):
    """A copy as it was fetched: the version's stamp in the store, and (size, mtime in ns) of each local file."""

    stamp: str
    files: dict[str, tuple[int, int]]


class Cache:
    """What this machine has of one store. Several processes may share it."""

    def __init__(self, directory: Path, store: Store) -> None:
        readable = re.sub(r"[^A-Za-z0-9]+", "-", store.url)[:60]
        digest = hashlib.sha256(store.url.encode()).hexdigest()[:8]
        self.directory = directory.absolute() / f"{readable}-{digest}"
        self.files = LocalStore(self.directory, lasting=False)
        self._store = store
        self._seen: dict[str, Change | None] = {}

    def knows(self, model: str) -> bool:
        """Whether the store has been asked about `model` ("": about anything) before."""
        return (self.directory / model).is_dir()

    def remember(self, model: str, last: Change | None) -> None:
        """Keep the newest change of a model, for when the store is away."""
        if model in self._seen and self._seen[model] == last:
            return
        folder = self.directory / model / aliases.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        kept = self.directory / aliases.key(model, last.number) if last else None
        if last and kept:
            temporary = folder / f".{uuid.uuid4().hex}"
            temporary.write_bytes(msgspec.json.encode(last))
            temporary.replace(kept)
        for path in folder.glob("[0-9]*.json"):
            if path != kept:
                path.unlink(missing_ok=True)
        self._seen[model] = last

    def held(self, model: str, version: int, stamp: str | None = None) -> Path | None:
        """The copy of a version, if it is whole and untouched (and has `stamp`)."""
        directory = self.directory / model / str(version)
        try:
            record = msgspec.json.decode((directory / RECORD).read_bytes(), type=Record)
            looks = {name: looked(directory / name) for name in record.files}
        except (OSError, msgspec.DecodeError):
            return None
        same = looks == record.files and stamp in (None, record.stamp)
        return directory if same else None

    def fetch(self, model: str, version: int, about: Version) -> Path:
        """The local copy of a version, fetched unless it is held. BundleError when what comes is not what the manifest says."""
        target = self.directory / model / str(version)
        with self._alone(target):
            if held := self.held(model, version, about.stamp):
                return held
            temporary = target.with_name(f".{version}.{uuid.uuid4().hex}")
            temporary.mkdir()
            self._download(model, version, about, temporary)
            files = {path.name: looked(path) for path in temporary.iterdir()}
            record = msgspec.json.encode(Record(about.stamp, files))
            (temporary / RECORD).write_bytes(record)
            if target.exists():
                target.rename(target.with_name(f".{version}.{uuid.uuid4().hex}"))
            temporary.rename(target)
        return target

    def forget(self, model: str, version: int) -> None:
        """Delete the copy of a version, whose number does not come again."""
        target = self.directory / model / str(version)
        if target.is_dir():
            with self._alone(target):
                target.rename(target.with_name(f".{version}.{uuid.uuid4().hex}"))
            target.with_name(f".{version}.lock").unlink(missing_ok=True)

    def _download(self, model: str, version: int, about: Version, into: Path) -> None:
        prefix = f"{model}/{version}"
        try:
            if about.bare:
                for key in self._store.find(prefix):
                    self._store.download(key, into / key.rpartition("/")[2])
                verify_published(into)
                return
            self._store.download(f"{prefix}/{bundle.MANIFEST}", into / bundle.MANIFEST)
            manifest = bundle.read(into)
            if (manifest.name, manifest.version) != (model, version):
                raise BundleError(
                    f"{self._store.url}/{prefix} holds {manifest.name}/{manifest.version}"
                )
            for name in [*manifest.files, *([bundle.SIGNATURE] if about.signed else [])]:
                self._store.download(f"{prefix}/{name}", into / name)
        except FileNotFoundError as error:
            raise BundleError(f"{self._store.url}/{prefix} is not whole: {error}") from error
        bundle.verify_files(into, manifest)

    @contextmanager
    def _alone(self, target: Path) -> Iterator[None]:
        """One process at a time fetches a version; whatever an earlier one left half done, or replaced, goes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            for path in target.parent.glob(f".{target.name}.*"):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def verify_published(directory: Path) -> None:
    """BundleError where a bare version that was published is not what its publisher sent."""
    path = directory / PUBLISHED
    if not path.exists():
        return
    try:
        files = msgspec.json.decode(path.read_bytes(), type=Published).files
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{PUBLISHED}: {error}") from error
    for name, expected in files.items():
        if not names.file(name) or not (directory / name).is_file():
            raise BundleError(f"'{name}' is missing, though {PUBLISHED} lists it")
        if (found := bundle.sha256(directory / name)) != expected:
            raise BundleError(
                f"'{name}' has sha256 {found[:12]}..., {PUBLISHED} says {expected[:12]}..."
            )


def looked(path: Path) -> tuple[int, int]:
    """(size, mtime in ns) of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
