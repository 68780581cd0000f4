"""`evergreen serve`, and what it says of what it does. It must not know how anything is served."""

import asyncio
from pathlib import Path

import click
from rich.markup import escape
from rich.text import Text

from models import signing
from models.errors import InputError
from service import examples, logs, settings
from service.api import entrance, telemetry
from service.cli.asking import console
from service.control import Control, serve
from service.deployments import Deployment
from service.errors import SettingsError


@click.command("serve")
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
    entrance.check(chosen)  # a token that cannot be had is told before anything starts
    telemetry.check(chosen)
    try:
        signing.check_trusted(chosen.trusted_keys)
    except InputError as error:
        raise SettingsError(f"trusted_keys: {error}") from error
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
    scheme = "http" if control.settings.tls.certificate is None else "https"
    url = f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{control.port}"
    deployments = list(control.deployments)
    serving = [d for d in deployments if d.supervisor.state == "ready"]
    # Before the address is said: who waits for it pastes a line the moment it is there.
    lines = [pasted(control, deployment.directory, url) for deployment in serving]
    console.print(f"\nEvergreen answers on {url}, its documentation is at {url}/docs\n")
    if (grpc_port := control.front_ends.grpc_port) is not None:
        console.print(f"The Open Inference Protocol over gRPC is on {shown}:{grpc_port}\n")
    for line in lines:
        console.print(line)
    if failed := len(deployments) - len(serving):
        console.print(
            f"[red]{failed} of {len(deployments)} models could not be loaded, see above[/]"
        )


def pasted(control: Control, directory: Path, url: str) -> Text:
    """A line that asks the version in `directory`, with its body on disk already; or why there is none."""
    try:
        return Text(examples.curl(directory, control.settings.state / "examples", url) + "\n")
    except OSError as error:
        return Text(f"no example for {directory.parent.name}: {error}\n", "yellow")
