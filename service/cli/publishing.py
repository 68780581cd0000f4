"""`evergreen models publish`: a bundle or a bare file becomes a version of the registry. It must not know how a registry keeps it."""

import getpass
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from models.registry import Publication, Registry, prepared
from models.signing import Signer
from service.cli.asking import AS_JSON, Service, console, error_console, print_json, reaching
from service.cli.repository import ask_change, holding, print_change
from service.cli.trusting import signed, signing_as


class Asked(NamedTuple):
    """What is to be published, as what, and what then."""

    what: Path
    name: str | None
    who: str
    why: str
    promote: bool
    as_json: bool


@click.command("publish")
@click.argument("what", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name, where nothing tells it or it is to be another.")
@click.option("--who", default=getpass.getuser, help="Who publishes it [your login].")
@click.option("--why", default="", help="Why, for the model's history.")
@click.option("--promote", is_flag=True, help="Then ask the running service to let it answer.")
@AS_JSON
@signing_as
@holding
@reaching
def publish_command(
    service: Service, registry: Registry, signer: Signer | None, **given: Any
) -> None:
    """Copy WHAT, a bundle's directory or an ONNX file, into the registry as the next version; with --key it is signed there.

    Who answers stays the same without --promote.
    """
    asked = Asked(**given)
    publication = prepared(asked.what, asked.name)
    model, version = publication.model, sent(registry, publication, asked)
    if signer is not None:
        signed(registry, model, version, signer)
    told: dict[str, Any] = {"model": model, "version": version, "signed": signer is not None}
    if not asked.as_json:
        kind = "a bare file" if publication.manifest is None else "a bundle"
        vouched = ", signed" if signer is not None else ""
        console.print(f"{escape(str(asked.what))} is {model}/{version} now: {kind}{vouched}")
    if asked.promote:
        body = {"version": version, "reason": asked.why, "who": asked.who}
        told["state"] = ask_change(service, model, "promotions", body)
        if not asked.as_json:
            print_change(told["state"])
    if asked.as_json:
        print_json(told)


def sent(registry: Registry, what: Publication, asked: Asked) -> int:
    """Publish it, with a bar where somebody looks on. Returns the version's number."""
    total = sum(path.stat().st_size for path, _ in what.files.values())
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    done: dict[str, int] = {}
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=error_console,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task(what.model, total=total)

        def hear(file: str, size: int) -> None:
            done[file] = size
            bar.update(task, completed=sum(done.values()), description=file)

        return registry.publish(what, who=asked.who, why=asked.why, sent=hear)
