"""`evergreen models`: what a service serves, and changes of it. It must not know how a change is made.

list and diff read the repository themselves where no service has to be asked.
"""

import functools
import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape

from models.bundle import Manifest
from models.registry import Registry
from service import settings
from service.cli import comparing
from service.cli.asking import (
    AS_JSON,
    Service,
    Unreachable,
    console,
    error_console,
    print_json,
    reaching,
    table,
)

REASON = click.option("--reason", default="", help="Why, for the model's history.")
REPOSITORY = click.option(
    "--repository", type=click.Path(path_type=Path), help="Directory of <model>/<version>/."
)


@click.group("models", invoke_without_command=True)
@reaching
def models_command(service: Service) -> None:
    """What is served, and changes of it; alone, the list."""
    if click.get_current_context().invoked_subcommand is None:
        listed(service, None)


@models_command.command("list")
@REPOSITORY
@AS_JSON
@reaching
def list_command(service: Service, repository: Path | None, as_json: bool) -> None:
    """Every model and version: of the service, or of a repository where none answers."""
    listed(service, repository, as_json)


def listed(service: Service, repository: Path | None, as_json: bool = False) -> None:
    """Print the service's models; those in `repository` if one is given, or if nobody answers."""
    if repository is None:
        try:
            served = service.asked("GET", "/v1/models")
        except Unreachable as error:
            error_console.print(f"{escape(error.message)}; what its repository holds:\n")
        else:
            (print_json if as_json else print_served)(served)
            return
    registry = opened(repository)
    if as_json:
        print_json([held(registry, name) for name in registry.models()])
        return
    rows = table("model", "version", "task", "accuracy (95 %)", "n", "variants")
    for name in registry.models():
        champion = registry.aliases(name).get("champion")
        for version in registry.versions(name):
            manifest = registry.manifest(name, version)
            number = f"{version}{'*' if version == champion else ''}"
            rows.add_row(name, number, *declared(manifest))
    console.print(rows)
    console.print("* answers by default")


def held(registry: Registry, name: str) -> dict[str, Any]:
    """A model in a repository, in the words of the service's own list."""
    state = registry.state(name)
    versions = [
        {
            "version": number,
            "signed": about.signed,
            "manifest": msgspec.to_builtins(registry.manifest(name, number)),
        }
        for number, about in state.versions.items()
    ]
    return {"name": name, "aliases": state.aliases, "versions": versions}


def opened(repository: Path | None, registry: str | None = None) -> Registry:
    """The registry that a service with these settings would use."""
    chosen = settings.load({"repository": repository, "registry": registry})
    overlay = chosen.registry or chosen.state / "registry"
    return Registry([chosen.repository], overlay, chosen.state / "registry-copies")


def holding(command: Callable[..., None]) -> Callable[..., None]:
    """A command that is given the `registry` that --repository and --registry name, or the settings."""

    @REPOSITORY
    @click.option("--registry", help="Where versions are published: a directory or s3://...")
    @functools.wraps(command)
    def run(*rest: Any, repository: Path | None, registry: str | None, **given: Any) -> None:
        command(*rest, registry=opened(repository, registry), **given)

    return run


def declared(manifest: Manifest | None) -> list[str]:
    """What a version says of itself: task, accuracy with its interval, n, variants."""
    if manifest is None:
        return ["tensors", "", "", "a bare file"]
    task = type(manifest.task).__struct_config__.tag
    variants = ", ".join(variant.name for variant in manifest.variants if not variant.absent)
    if (accuracy := manifest.metrics.get("accuracy")) is None:
        return [str(task), "", "", variants]
    interval = f"{100 * accuracy.low:.1f}-{100 * accuracy.high:.1f}"
    return [str(task), f"{accuracy.value:.2%} ({interval})", f"{accuracy.n:,}", variants]


def print_served(models: list[dict[str, Any]]) -> None:
    """The service's models."""
    rows = table("model", "version", "state", "accuracy (95 %)", "n", "runs")
    for model in models:
        for version in model["versions"]:
            champion = "*" if version["version"] == model["aliases"].get("champion") else ""
            number = f"{version['version']}{champion}"
            rows.add_row(model["name"], number, version["state"], *map(escape, figures(version)))
    console.print(rows)
    console.print("* answers by default")


def figures(version: dict[str, Any]) -> list[str]:
    """Accuracy with its interval, n, variant and device of one version."""
    accuracy, report = version["metrics"].get("accuracy"), version["report"]
    runs = f"{report['variant']} on {report['device']['provider']}" if report else version["reason"]
    if accuracy is None:
        return ["", "", runs or ""]
    interval = f"{100 * accuracy['low']:.1f}-{100 * accuracy['high']:.1f}"
    return [f"{accuracy['value']:.2%} ({interval})", f"{accuracy['n']:,}", runs or ""]


@models_command.command("show")
@click.argument("name")
@AS_JSON
@reaching
def show_command(service: Service, name: str, as_json: bool) -> None:
    """One model: versions, who answers, and what has changed."""
    model = service.asked("GET", f"/v1/models/{name}")
    if as_json:
        print_json(model)
        return
    console.print(f"[bold]{escape(model['name'])}[/]  {escape(model['description'] or '')}")
    if model["labels"]:
        console.print(f"labels: {escape(', '.join(model['labels']))}")
    print_served([model])
    print_state(model)


@models_command.command("load")
@click.argument("name")
@click.option("--version", type=int, help="Which one; the champion without it.")
@reaching
def load_command(service: Service, name: str, version: int | None) -> None:
    """Load a version beside what is loaded; return when it answers."""
    parameters = {} if version is None else {"version": version}
    order(service, name, "load", parameters)
    console.print(f"{escape(name)} is loaded")


@models_command.command("unload")
@click.argument("name")
@click.option("--version", type=int, help="Which one; all without it.")
@reaching
def unload_command(service: Service, name: str, version: int | None) -> None:
    """Unload a model; what it has accepted is answered first."""
    parameters = {} if version is None else {"version": version}
    order(service, name, "unload", parameters)
    console.print(f"{escape(name)} is unloaded")


def order(service: Service, name: str, what: str, parameters: dict[str, Any]) -> None:
    """Ask the protocol's repository for a change."""
    body = {"parameters": parameters}
    service.asked("POST", f"/v2/repository/models/{name}/{what}", seconds=None, json=body)


@models_command.command("promote")
@click.argument("name")
@click.argument("version", type=int)
@click.option("--if-champion", type=int, help="Only while this version answers.")
@click.option("--force", is_flag=True, help="Whatever the comparison with it says.")
@REASON
@reaching
def promote_command(
    service: Service, name: str, version: int, if_champion: int | None, force: bool, reason: str
) -> None:
    """Let VERSION answer for NAME."""
    body = {"version": version, "if_champion": if_champion, "force": force}
    changed(service, name, "promotions", body | {"reason": reason})


@models_command.command("rollback")
@click.argument("name")
@REASON
@reaching
def rollback_command(service: Service, name: str, reason: str) -> None:
    """Back to the version that answered before."""
    changed(service, name, "rollback", {"reason": reason})


def changed(service: Service, name: str, what: str, body: dict[str, Any]) -> None:
    """Ask for a change of who answers, and say who does now."""
    print_change(ask_change(service, name, what, body))


def ask_change(service: Service, name: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """The model as it is after a change of who answers."""
    body = {"who": getpass.getuser()} | body
    state: dict[str, Any] = service.asked(
        "POST", f"/v1/models/{name}/{what}", seconds=None, json=body
    )
    return state


def print_change(state: dict[str, Any]) -> None:
    """Who answers now."""
    console.print(f"{escape(state['name'])}: version {state['champion']} answers")
    print_state(state)


def print_state(model: dict[str, Any]) -> None:
    """Who gets which traffic, and the newest changes, as far as the service tells."""
    for kind in ("canary", "shadow"):
        if share := model.get(kind):
            console.print(f"{kind}: version {share['version']}, {share['percent']:g} %")
    if history := model.get("history"):
        rows = table("when", "who", "what", "from", "to", "why")
        for change in history[-10:]:
            told = (change[key] for key in ("when", "who", "kind", "before", "after", "why"))
            rows.add_row(*("" if one is None else escape(str(one)) for one in told))
        console.print(rows)


@models_command.command("diff")
@click.argument("name")
@click.argument("first", type=int)
@click.argument("second", type=int)
@AS_JSON
@holding
def diff_command(registry: Registry, name: str, first: int, second: int, as_json: bool) -> None:
    """What two versions declare differently: metrics, labels, tensors, variants, sizes. Read from the repository."""
    before, after = (manifest_of(registry, name, version) for version in (first, second))
    lines = list(comparing.differences(before, after))
    if as_json:
        print_json([line._asdict() for line in lines])
        return
    rows = table("", str(first), str(second))
    for line in lines:
        rows.add_row(*map(escape, line))
    if rows.row_count:
        console.print(rows)
    else:
        console.print(f"{escape(name)}: versions {first} and {second} declare the same")


def manifest_of(registry: Registry, name: str, version: int) -> Manifest:
    """What a version declares; the end of the program with a sentence where it declares nothing."""
    if (manifest := registry.manifest(name, version)) is None:
        raise click.ClickException(f"{name}/{version} is a bare file: it declares nothing")
    return manifest
