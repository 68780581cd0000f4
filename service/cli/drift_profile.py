"""`evergreen drift profile`: a reference for a version that has none, from traffic that is known to be good.

A published version never changes, so the profile comes with a new one that is otherwise the same: signed, promoted and undone as any other.
"""

import getpass
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
from rich.markup import escape

from models import bundle, profile
from models.profile import About
from models.registry import Publication, Registry
from models.signing import Signer
from service.cli import drift_rows
from service.cli.asking import AS_JSON, Service, console, error_console, print_json, reaching
from service.cli.drift_rows import Known
from service.cli.repository import ask_change, holding, print_change
from service.cli.trusting import signed, signing_as
from service.engine import profiling_request
from service.engine.profiling_request import Request, write_rows

LEDGER = "ledger"


class Asked(NamedTuple):
    """Which version gets a profile, and from what."""

    name: str
    version: int | None
    source: str
    days: float
    rows: int
    promote: bool
    as_json: bool


@click.command("profile")
@click.argument("name")
@click.option("--version", type=int, help="Which one; the champion without it.")
@click.option(
    "--from",
    "source",
    default=LEDGER,
    show_default=True,
    help="`ledger`: recorded inputs. Or a file: .npz with an array per input tensor, .jsonl with what people send.",
)
@click.option("--days", default=30.0, show_default=True, help="How old recorded inputs may be.")
@click.option("--rows", default=5000, show_default=True, help="The most rows to take.")
@click.option("--promote", is_flag=True, help="Then ask the running service to let it answer.")
@AS_JSON
@signing_as
@holding
@reaching
def profile_command(
    service: Service, registry: Registry, signer: Signer | None, **given: Any
) -> None:
    """Publish NAME as a new version that is the same but for a profile, built from rows that are known to be good."""
    asked = Asked(**given)
    number, directory = registry.resolve(asked.name, asked.version)
    if bundle.is_bare(directory):
        raise click.ClickException(
            f"{asked.name}/{number} is a bare file: a profile needs a manifest beside it"
        )
    manifest = bundle.read(directory)
    rows = gathered(manifest, directory, asked)
    with tempfile.TemporaryDirectory() as scratch:
        found = built(directory, rows, asked, Path(scratch))
        version = published(registry, directory, found, Path(scratch))
    if signer is not None:
        signed(registry, asked.name, version, signer)
    told: dict[str, Any] = {
        "model": asked.name,
        "version": version,
        "rows": found.rows,
        "sizes": found.sizes,
    }
    if not asked.as_json:
        sizes = ", ".join(f"{size:,}" for size in found.sizes)
        console.print(
            f"{escape(asked.name)}/{version} is {number} with a profile of {found.rows:,} rows, for windows of {sizes}"
        )
    if asked.promote:
        body = {"version": version, "reason": why(found)}
        told["state"] = ask_change(service, asked.name, "promotions", body)
        if not asked.as_json:
            print_change(told["state"])
    if asked.as_json:
        print_json(told)


def gathered(manifest: bundle.Manifest, directory: Path, asked: Asked) -> list[Known]:
    """The rows."""
    if asked.source == LEDGER:
        rows = drift_rows.from_ledger(manifest, asked.days, asked.rows)
    else:
        rows = drift_rows.from_file(manifest, directory, Path(asked.source), asked.rows)
    if not rows:
        raise click.ClickException(f"there are no rows of {asked.name} in {asked.source}")
    return rows


def built(directory: Path, rows: list[Known], asked: Asked, scratch: Path) -> profile.Profile:
    """The profile, by a process that runs the version. A sentence and the end of the program where it cannot be."""
    file, output = scratch / "rows.npz", scratch / profile.FILE
    write_rows(file, drift_rows.in_batches(rows))
    source = "recorded traffic" if asked.source == LEDGER else Path(asked.source).name
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    about = About(source, bundle.sha256(file), now)
    request = Request(str(directory), str(file), str(output), about)
    with error_console.status(f"building a profile of {len(rows):,} rows"):
        ended = subprocess.run(
            [sys.executable, "-m", profiling_request.PROGRAM, msgspec.json.encode(request)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        raise click.ClickException(said[-1] if said else f"it ended with {ended.returncode}")
    return msgspec.json.decode(output.read_bytes(), type=profile.Profile)


def published(registry: Registry, directory: Path, found: profile.Profile, scratch: Path) -> int:
    """The number of the new version."""
    manifest = bundle.read(directory)
    version = registry.allocate(manifest.name, who=getpass.getuser(), why=why(found))
    profile.write(scratch, msgspec.structs.replace(found, version=version))
    files = {name: (directory / name, sha256) for name, sha256 in manifest.files.items()}
    path = scratch / profile.FILE
    files[profile.FILE] = (path, bundle.sha256(path))
    hashes = {name: sha256 for name, (_, sha256) in files.items()}
    declared = msgspec.structs.replace(manifest, files=hashes)
    publication = Publication(manifest.name, files, declared)
    return registry.publish(publication, who=getpass.getuser(), why=why(found), version=version)


def why(found: profile.Profile) -> str:
    """For the model's history."""
    return f"{found.model}/{found.version} with a profile of {found.rows:,} rows: {found.source}"
