"""Who vouches for challengers, where only versions that somebody vouches for are loaded. It must not know when that is asked for.

    [training] signing_key -> a signature beside the challenger's files -> an engine that loads it

The package that signs takes 60 MB: it runs in a process of its own.
"""

import asyncio
import tempfile
from pathlib import Path

from models import bundle, signing
from models.errors import BundleError, EvergreenError
from models.registry import Registry
from models.signing import Signer
from service.settings import Settings

NOBODY = (
    "trusted_keys is set, and nobody here could vouch for what a training makes: name the private key of one of them "
    "in training.signing_key"
)

Stamp = tuple[tuple[str, int, int], ...]


class Vouching:
    """One service's."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = settings.trusted_keys
        training = settings.training
        self._signer = (
            None
            if training.signing_key is None
            else Signer(training.signing_key, certificate=training.signing_certificate)
        )
        self._tried: tuple[Stamp, str | None] | None = None

    async def missing(self) -> str | None:
        """Why no challenger could be loaded here, however good it is; None where one could."""
        if not self._trusted:
            return None
        if self._signer is None:
            return NOBODY
        return await asyncio.to_thread(self._try_once, self._signer)

    def sign(self, registry: Registry, model: str, version: int, source: Path) -> None:
        """In a thread: vouch for a published version, which is the bundle in `source`, unless somebody does."""
        if self._signer is None or registry.state(model).versions[version].signed:
            return
        _, directory = registry.resolve(model, version)
        found = bundle.read(directory)
        if found.files != bundle.read(source).files:
            raise BundleError(f"{model}/{version} is not what the training made: it is not signed")
        bundle.verify_files(directory, found)
        registry.sign(model, version, signing.sign_apart(directory, self._signer))

    def _try_once(self, signer: Signer) -> str | None:
        """In a thread: what comes of a signature, tried whenever a key has changed."""
        stamp = stamped(signer, *self._trusted)
        if self._tried is None or self._tried[0] != stamp:
            self._tried = stamp, self._try(signer)
        return self._tried[1]

    def _try(self, signer: Signer) -> str | None:
        trusted = [str(path.absolute()) for path in self._trusted]
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "model" / "1"
            directory.mkdir(parents=True)
            (directory / "file").write_bytes(b"to be signed")
            try:
                signature = signing.sign_apart(directory, signer)
                (directory / bundle.SIGNATURE).write_bytes(signature)
                signing.verify_apart(directory, trusted)
            except EvergreenError as error:
                return f"training.signing_key: {signer.key} vouches for nothing here: {error}"
        return None


def stamped(signer: Signer, *trusted: Path) -> Stamp:
    """What changes with the files of a signer and of those who are trusted."""
    own = [signer.key, *([signer.certificate] if signer.certificate else [])]
    return tuple(stamp(path) for path in (*own, *trusted))


def stamp(path: Path) -> tuple[str, int, int]:
    """Of one file; zeros where it is not there."""
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size
