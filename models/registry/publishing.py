"""How a version gets into a store and out of it. It must not know who answers.

claim a number -> upload -> read back and compare sha256 -> manifest last
"""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from models import bundle
from models.errors import BundleError, Conflict
from models.registry import names
from models.registry.states import CLAIMS
from models.registry.stores import Store


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


def upload(store: Store, directory: Path, manifest: bundle.Manifest) -> None:
    """Every file that the manifest lists, read back and compared. BundleError where it arrived as something else."""
    for name, expected in manifest.files.items():
        target = f"{manifest.name}/{manifest.version}/{name}"
        store.upload(target, directory / name)
        if (arrived := store.digest(target)) != expected:
            raise BundleError(
                f"{store.url}/{target} arrived with sha256 {arrived[:12]}..., {bundle.MANIFEST} says {expected[:12]}..."
            )


def finish(store: Store, manifest: bundle.Manifest) -> None:
    """Put the manifest down: from now on the version exists. Conflict where it does already."""
    target = f"{manifest.name}/{manifest.version}/{bundle.MANIFEST}"
    if not store.create(target, bundle.encoded(manifest)):
        raise Conflict(
            f"version {manifest.version} of '{manifest.name}' has been published by somebody else"
        )


def delete(store: Store, model: str, version: int) -> None:
    """Take the files of a version away, once a change has said that it is removed. Its number stays taken."""
    for target in store.find(f"{model}/{version}"):
        store.delete(target)
