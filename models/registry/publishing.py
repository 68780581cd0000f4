"""How a version gets into a store and out of it. It must not know who answers.

read and verify -> claim a number -> upload -> read back and compare sha256 -> what declares it last
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import msgspec

from models import bundle
from models.bundle import BARE, Manifest
from models.errors import BundleError, Conflict, InputError
from models.registry import names
from models.registry.states import CLAIMS, PUBLISHED, Published
from models.registry.stores import Store

Sent = Callable[[str, int], None]
"""Hears how many bytes of which file have been sent."""


class Claim(msgspec.Struct, frozen=True):
    """Who was given a number, when and what for. It stays for good, so that no number comes twice."""

    who: str
    why: str
    when: datetime
    id: str
    """Differs in every claim, so that a writer knows its own."""


def key(model: str, version: int) -> str:
    """Where the claim of a version lies."""
    return f"{model}/{CLAIMS}/{names.entry(version)}"


def claim(store: Store, model: str, version: int, *, who: str, why: str) -> bool:
    """Take a number; False when somebody else has it."""
    made = Claim(who, why, datetime.now(UTC), uuid4().hex)
    return store.create(key(model, version), msgspec.json.encode(made) + b"\n")


def claimed_at(store: Store, model: str, version: int) -> datetime:
    """When a number was taken; the beginning of time where the claim cannot be read."""
    try:
        return msgspec.json.decode(store.read(key(model, version)), type=Claim).when
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return datetime.min.replace(tzinfo=UTC)


class Publication(NamedTuple):
    """What is to be published: a model's name, files by their names in the version, each with its sha256, and what it declares."""

    model: str
    files: dict[str, tuple[Path, str]]
    manifest: Manifest | None
    """None for a bare file."""

    def declaration(self, version: int) -> tuple[str, bytes]:
        """The file that is written last, and its name."""
        if self.manifest is None:
            hashes = {name: sha256 for name, (_, sha256) in self.files.items()}
            return PUBLISHED, msgspec.json.encode(Published(hashes)) + b"\n"
        declared = msgspec.structs.replace(self.manifest, name=self.model, version=version)
        return bundle.MANIFEST, bundle.encoded(declared)


def prepared(path: Path, model: str | None = None) -> Publication:
    """The bundle, or the bare version, in the directory `path`, or the ONNX file `path`; called `model`, or as it is called where it lies.

    BundleError where it is damaged or nothing of these, InputError where nobody says what it is called.
    """
    if (path / bundle.MANIFEST).exists():
        manifest = bundle.read(path)
        bundle.verify_files(path, manifest)
        files = {name: (path / name, sha256) for name, sha256 in manifest.files.items()}
        return Publication(names.model(model or manifest.name), files, manifest)
    file = path / BARE if path.is_dir() else path
    if not file.is_file():
        raise BundleError(
            f"{path} holds neither {bundle.MANIFEST} nor {BARE}"
            if path.is_dir()
            else f"there is no file or directory {path}"
        )
    folder = file.absolute().parent
    if model is None and not (file.name == BARE and names.VERSION.fullmatch(folder.name)):
        raise InputError(f"{file} does not say which model it is: give a name")
    files = {BARE: (file, bundle.sha256(file))}
    return Publication(names.model(model or folder.parent.name), files, None)


def upload(store: Store, what: Publication, version: int, sent: Sent) -> None:
    """Every file, read back and compared. BundleError where it arrived as something else."""
    for name, (source, expected) in what.files.items():
        target = f"{what.model}/{version}/{name}"
        store.upload(target, source, partial(sent, name))
        if (arrived := store.digest(target)) != expected:
            raise BundleError(
                f"{store.url}/{target} arrived with sha256 {arrived[:12]}..., it was sent with {expected[:12]}..."
            )


def finish(store: Store, what: Publication, version: int) -> None:
    """Put down what declares it: from now on the version exists. Conflict where it does already."""
    name, data = what.declaration(version)
    if not store.create(f"{what.model}/{version}/{name}", data):
        raise Conflict(f"version {version} of '{what.model}' has been published by somebody else")


def attach(store: Store, key: str, data: bytes) -> None:
    """Put a file beside a version's own, in the place of one that is there; whole or not at all."""
    while not store.create(key, data):
        store.delete(key)


def delete(store: Store, model: str, version: int) -> None:
    """Take the files of a version away, once a change has said that it is removed. Its number stays taken."""
    for target in store.find(f"{model}/{version}"):
        store.delete(target)
