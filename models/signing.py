"""Signatures of versions: who vouches for what lies in a version's directory. It must not know when one is asked for.

    <model>/<version>/model.sig     over every other file there; in a bundle that is its name and its number, too

A signature is a Sigstore bundle, as the package `model-signing` (extra `sign`) writes and reads it, by a private key or a certificate.
Publishing gives a version its number, so a version is signed after it has been published, where it lies.

As a program it verifies or signs: the package takes 60 MB, which `verify_apart` and `sign_apart` give back with the process that took them.
"""

import ast
import contextlib
import importlib.util
import io
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from models.bundle import SIGNATURE
from models.errors import BundleError, EvergreenError, InputError

UNSIGNED = (SIGNATURE, ".fetched.json")
"""What a signature does not cover: itself, and what a cache notes down beside a copy."""
LARGEST = 1 << 20
"""Bytes of a signature; it holds a line for each file."""
KINDS = {b"-----BEGIN PUBLIC KEY-----": "key", b"-----BEGIN CERTIFICATE-----": "certificate"}
MISMATCH = "Signature mismatch: "


class Signer(msgspec.Struct, frozen=True):
    """A private key on the curve P-256, P-384 or P-521 (PEM), and the certificate that names its owner, if there is one.

    `chain`: certificates that lead from there to one that is trusted.
    """

    key: Path
    password: str | None = None
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()

    def sign(self, directory: Path) -> bytes:
        """The signature of what is in `directory`. InputError where this signer cannot make one, BundleError where symlinks lie there."""
        check_package()
        check_links(directory)
        from model_signing import signing

        config = signing.Config().set_hashing_config(hashing())
        try:
            if self.certificate is None:
                password: Any = None if self.password is None else self.password.encode()
                config.use_elliptic_key_signer(private_key=self.key, password=password)
            else:
                config.use_certificate_signer(
                    private_key=self.key,
                    signing_certificate=self.certificate,
                    certificate_chain=self.chain or (self.certificate,),  # none is an error there
                )
        except Exception as error:  # the package lets through whatever its libraries raise
            raise InputError(f"{self.key} cannot sign: {error}") from error
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / SIGNATURE
            config.sign(directory, made)
            return made.read_bytes()


def verify(directory: Path, trusted: Sequence[Path]) -> Path:
    """Which of the `trusted` keys or certificates vouches for everything in `directory`.

    BundleError where none does, InputError where one of them is none.
    """
    check_package()
    verifiers = [(path, verifier(path)) for path in trusted]
    where = f"{directory.parent.name}/{directory.name}"
    signature = directory / SIGNATURE
    check_signature(where, signature)
    check_links(directory)
    for path, one in verifiers:
        try:
            with contextlib.redirect_stdout(
                io.StringIO()
            ):  # it prints what it thinks of old formats
                one.verify(directory, signature)
        except Exception as error:
            if str(error).startswith(MISMATCH):
                raise BundleError(f"{where} is not what was signed: {differs(error)}") from error
        else:
            return path
    raise BundleError(
        f"the signature of {where} is by none of {', '.join(path.name for path in trusted)}"
    )


def differs(error: Exception) -> str:
    """What of the files differs, by the package's list of it, without the digests."""
    try:
        lines = ast.literal_eval(str(error).removeprefix(MISMATCH))
        return "; ".join(line.partition(": Expected")[0] for line in lines)
    except (ValueError, SyntaxError, AttributeError):  # no list of sentences, in another version
        return str(error)


def verify_apart(directory: Path, trusted: Sequence[str]) -> str:
    """As `verify`, in a process of its own."""
    command = [sys.executable, "-m", "models.signing", str(directory), *trusted]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    said = done.stdout.strip()
    if done.returncode == 0 and said in trusted:
        return said
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    raise BundleError(said or f"the signature could not be verified: {lines[-1]}")


def sign_apart(directory: Path, signer: Signer) -> bytes:
    """As `Signer.sign`, in a process of its own; for keys without a password. InputError says why there is no signature."""
    certificates = [] if signer.certificate is None else [signer.certificate, *signer.chain]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / SIGNATURE
        command = [sys.executable, "-m", "models.signing", "--sign", str(made), str(directory)]
        command += [str(path) for path in (signer.key, *certificates)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and made.is_file():
            return made.read_bytes()
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    raise InputError(done.stdout.strip() or f"nothing could be signed: {lines[-1]}")


def check_trusted(trusted: Sequence[Path]) -> None:
    """InputError where one of them is neither a public key nor a certificate, or there is nothing that could read them."""
    for path in trusted:
        kind(path)
    if trusted:
        check_package()


def kind(path: Path) -> str:
    """What a PEM file holds: "key" or "certificate"."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    for mark, found in KINDS.items():
        if mark in text:
            return found
    raise InputError(f"{path} holds neither a public key nor a certificate (PEM)")


def verifier(path: Path) -> Any:
    """The package's verifier for a key or a certificate."""
    from model_signing import verifying

    config = verifying.Config().set_hashing_config(hashing())
    try:
        if kind(path) == "certificate":
            return config.use_certificate_verifier(certificate_chain=[path])
        return config.use_elliptic_key_verifier(public_key=path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path} cannot be used to verify: {error}") from error


def hashing() -> Any:
    """What is hashed: every file, hidden ones too."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=UNSIGNED, ignore_git_paths=False)


def check_signature(where: str, path: Path) -> None:
    """BundleError where there is no signature, or none that could be one."""
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise BundleError(f"the signature of {where} has {size:,} bytes, {LARGEST:,} are most")
        msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except FileNotFoundError as error:
        raise BundleError(f"{where} is not signed: it has no {SIGNATURE}") from error
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BundleError(f"the signature of {where} cannot be read: {error}") from error


def check_links(directory: Path) -> None:
    """BundleError where a symlink would bring in what no signature covers."""
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise BundleError(f"{path} is a symbolic link, of which a signature says nothing")


def check_package() -> None:
    """InputError where the package is not installed."""
    for module in ("model_signing", "OpenSSL"):
        if importlib.util.find_spec(module) is None:
            raise InputError(f"signatures need the package {module}: pip install -e '.[sign]'")


def main() -> int:
    """`python -m models.signing DIRECTORY TRUSTED...`: the file that vouches, or exit code 1 and the reason.

    `python -m models.signing --sign FILE DIRECTORY KEY [CERTIFICATE CHAIN...]`: the signature, in FILE.
    """
    try:
        if sys.argv[1] == "--sign":
            made, directory, key, *certificates = map(Path, sys.argv[2:])
            owner = certificates[0] if certificates else None
            signer = Signer(key, certificate=owner, chain=tuple(certificates[1:]))
            made.write_bytes(signer.sign(directory))
            said = str(made)
        else:
            directory, *trusted = map(Path, sys.argv[1:])
            said = str(verify(directory, trusted))
        code = 0
    except EvergreenError as error:
        said, code = str(error), 1
    sys.stdout.write(said + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
