"""The command line: `evergreen serve | predict | models`. What it prints is for people; programs use HTTP."""

import asyncio
import json
import mimetypes
import sys
from pathlib import Path
from typing import Any

import click
import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.errors import EvergreenError
from service import examples, logs, settings
from service.control import Control, serve
from service.deployments import Deployment

# Off a terminal nobody folds lines back together: tables get the room they need.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
URL = click.option(
    "--url", default="http://127.0.0.1:8000", show_default=True, help="Where the service is."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="evergreen-serving")
def cli() -> None:
    """Serve trained models over HTTP and keep them fresh."""


@cli.command("serve")
@click.option("--host", help="Address to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on [8000]; 0 takes any free one.")
@click.option("--grpc-port", type=int, help="Port for gRPC; without it, HTTP alone is spoken.")
@click.option("--front-ends", type=int, help="Processes that speak HTTP on that port [1].")
@click.option(
    "--repository", type=click.Path(path_type=Path), help="Directory of <model>/<version>/."
)
@click.option("--models", "names", help="Comma-separated names; all in the repository without it.")
def serve_command(
    host: str | None,
    port: int | None,
    grpc_port: int | None,
    front_ends: int | None,
    repository: Path | None,
    names: str | None,
) -> None:
    """Serve models until Ctrl-C or SIGTERM. Every setting is also EVERGREEN_... and a line of evergreen.toml."""
    served = [name.strip() for name in names.split(",")] if names else None
    given = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "front_ends": front_ends,
        "repository": repository,
        "serve": served,
    }
    chosen = settings.load(given)
    logs.configure(chosen.log_level)
    console.print(f"Loading models from {chosen.repository}")
    asyncio.run(serve(chosen, told, started))


def told(deployment: Deployment) -> None:
    """One line per change of a version."""
    name, supervisor = f"{deployment.model}/{deployment.version}", deployment.supervisor
    match supervisor.state:
        case "starting":
            console.print(
                f"  {name}: loading"
                if not supervisor.restarts
                else f"  {name}: {supervisor.reason}; starting another"
            )
        case "ready":
            report = supervisor.report
            device = report["device"]
            nodes = ", ".join(
                f"{count} nodes on {provider}" for provider, count in device["nodes"].items()
            )
            console.print(
                f"  {name}: ready on {device['provider']} ({report['variant']}, {nodes}) in {report['load_seconds']} s"
            )
            if not report["together"]["allowed"]:
                console.print(
                    f"  {name}: one request at a time: {escape(report['together']['reason'])}"
                )
            for refused in report["refused"]:
                console.print(f"  {name}: [yellow]refused {refused}[/]")
            if device["requested"] == "cuda" != device["provider"]:
                console.print(f"  {name}: [yellow]CUDA was asked for, but {device['reason']}[/]")
        case "failed":
            console.print(f"  {name}: [red]{escape(str(supervisor.reason))}[/]")


def started(control: Control) -> None:
    """The address and a line to paste for each model."""
    host = control.settings.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - a name for "everywhere", not a bind
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{control.port}"
    console.print(f"\nEvergreen answers on {url}, its documentation is at {url}/docs\n")
    if (grpc_port := control.front_ends.grpc_port) is not None:
        console.print(f"The Open Inference Protocol over gRPC is on {shown}:{grpc_port}\n")
    deployments = list(control.deployments)
    serving = [d for d in deployments if d.supervisor.state == "ready"]
    for deployment in serving:
        try:
            line = examples.curl(deployment.directory, control.settings.state / "examples", url)
        except OSError as error:
            console.print(f"[yellow]no example for {deployment.model}: {escape(str(error))}[/]\n")
            continue
        console.print(line + "\n", markup=False)
    if failed := len(deployments) - len(serving):
        console.print(
            f"[red]{failed} of {len(deployments)} models could not be loaded, see above[/]"
        )


@cli.command("predict")
@click.argument("model")
@click.argument("what")
@URL
def predict_command(model: str, what: str, url: str) -> None:
    """Classify WHAT: an image, a JSON file {"series": ...}, a text file, or a text itself."""
    path = Path(what)
    is_file = len(what) < 4096 and path.is_file()
    kind = mimetypes.guess_type(what)[0] if len(what) < 4096 and " " not in what else None
    if kind is not None and kind.startswith("image/") and not is_file:
        raise click.ClickException(f"there is no file '{what}'")
    if is_file and kind is not None and (kind.startswith("image/") or kind == "application/json"):
        body, sent = path.read_bytes(), kind
    else:
        text = path.read_text(errors="replace") if is_file else what
        body, sent = json.dumps({"text": text}).encode(), "application/json"
    answer = asked(
        "POST", f"{url}/v1/models/{model}/predict", content=body, headers={"Content-Type": sent}
    )
    table = Table(box=None)
    for column in ("item", "label", "probability", "then"):
        table.add_column(column, justify="right" if column == "probability" else "left")
    for index, prediction in enumerate(answer["predictions"]):
        rest = ", ".join(
            f"{ranked['label']} {ranked['probability']:.1%}" for ranked in prediction["top"][1:]
        )
        table.add_row(str(index), prediction["label"], f"{prediction['probability']:.1%}", rest)
    console.print(table)
    console.print(
        f"{answer['model']}/{answer['version']}, {answer['timings_ms']['total']} ms, {answer['prediction_id']}"
    )


@cli.command("models")
@URL
def models_command(url: str) -> None:
    """What the service at --url serves."""
    table = Table(box=None)
    for column in ("model", "version", "state", "accuracy (95 %)", "n", "runs"):
        table.add_column(column)
    for model in asked("GET", f"{url}/v1/models"):
        for version in model["versions"]:
            champion = "*" if version["version"] == model["aliases"]["champion"] else ""
            number = f"{version['version']}{champion}"
            table.add_row(model["name"], number, version["state"], *figures(version))
    console.print(table)
    console.print("* answers by default")


def figures(version: dict[str, Any]) -> list[str]:
    """Accuracy with its interval, n, variant and device of one version."""
    accuracy, report = version["metrics"].get("accuracy"), version["report"]
    runs = f"{report['variant']} on {report['device']['provider']}" if report else version["reason"]
    if accuracy is None:
        return ["", "", runs or ""]
    interval = f"{100 * accuracy['low']:.1f}-{100 * accuracy['high']:.1f}"
    return [f"{accuracy['value']:.2%} ({interval})", f"{accuracy['n']:,}", runs or ""]


def asked(method: str, url: str, **request: Any) -> Any:
    """The service's JSON answer; a refusal or an unreachable service ends the program with a sentence."""
    try:
        response = httpx.request(method, url, timeout=60, **request)
    except httpx.HTTPError as error:
        raise click.ClickException(f"{url}: {error}") from error
    if response.is_error:
        raise click.ClickException(
            f"{response.status_code}: {response.json().get('detail', response.text)}"
        )
    return response.json()


def main() -> None:
    """The entry point: an error that we raised on purpose is a sentence, not a traceback."""
    try:
        cli()
    except EvergreenError as error:
        console.print(f"[red]{escape(str(error))}[/]")
        sys.exit(2)
