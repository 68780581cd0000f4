"""`evergreen models sign | verify`: who vouches for a version. It must not know how a signature is made."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from models import bundle, signing
from models.errors import InputError
from models.registry import Registry
from models.signing import Signer
from service import settings
from service.cli.asking import console
from service.cli.repository import holding

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
VERSION = click.option("--version", type=int, help="Which one; the champion without it.")


def signing_as(command: Callable[..., None]) -> Callable[..., None]:
    """A command that is given a `signer`, whom --key names, or None. A key that has a password asks for it."""

    @click.option("--key", type=FILE, help="A private key on P-256, P-384 or P-521 (PEM).")
    @click.option("--certificate", type=FILE, help="The certificate of that key (PEM).")
    @click.option("--chain", type=FILE, multiple=True, help="Those between it and a trusted one.")
    @functools.wraps(command)
    def run(
        *rest: Any,
        key: Path | None,
        certificate: Path | None,
        chain: tuple[Path, ...],
        **given: Any,
    ) -> None:
        if key is None:
            if certificate or chain:
                raise click.UsageError("a certificate signs nothing without its --key")
            command(*rest, signer=None, **given)
            return
        password = None
        if b"ENCRYPTED" in key.read_bytes():
            if certificate is not None:  # the package takes no password there
                raise InputError(f"{key} has a password, which one with a certificate must not")
            password = click.prompt(f"Password of {key}", hide_input=True, err=True)
        command(*rest, signer=Signer(key, password, certificate, chain), **given)

    return run


@click.command("sign")
@click.argument("name")
@VERSION
@signing_as
@holding
def sign_command(registry: Registry, name: str, version: int | None, signer: Signer | None) -> None:
    """Vouch for a version, where it lies: model.sig beside its files covers all of them."""
    if signer is None:
        raise click.UsageError("Missing option '--key'.")
    number = registry.state(name).number(version)
    signed(registry, name, number, signer)
    console.print(f"{escape(name)}/{number} is signed with {escape(str(signer.key))}")


@click.command("verify")
@click.argument("name")
@VERSION
@click.option(
    "--public-key",
    "trusted",
    type=FILE,
    multiple=True,
    help="A public key, or a certificate (PEM); without it those of the setting trusted_keys.",
)
@holding
def verify_command(
    registry: Registry, name: str, version: int | None, trusted: tuple[Path, ...]
) -> None:
    """Whether somebody who is trusted vouches for a version as it is now; exit code 1 where nobody does."""
    trusted = trusted or settings.load().trusted_keys
    if not trusted:
        raise click.UsageError("give a --public-key, or set trusted_keys")
    number, directory = registry.resolve(name, version)
    vouches = signing.verify(directory, trusted)
    check_files(directory)
    console.print(f"{escape(name)}/{number} is what {escape(str(vouches))} vouches for")


def signed(registry: Registry, name: str, version: int, signer: Signer) -> None:
    """Sign a version as it lies in its root, and put the signature beside it."""
    _, directory = registry.resolve(name, version)
    check_files(directory)
    registry.sign(name, version, signer.sign(directory))


def check_files(directory: Path) -> None:
    """BundleError where a version contradicts its own manifest: nobody should vouch for that."""
    if not bundle.is_bare(directory):
        bundle.verify(directory, bundle.read(directory))
