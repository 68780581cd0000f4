"""`evergreen drift`: whether a model's traffic moved and whether it hurts, as a table or a page. It must not know how either is found."""

import time
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.markup import escape

from service.cli.asking import AS_JSON, Service, console, print_json, reaching, table
from service.cli.drift_page import page
from service.cli.drift_profile import profile_command
from service.monitoring.account import Account
from service.monitoring.quality import Accuracy

VERSION = click.option("--version", type=int, help="Which one; the champion without it.")
BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"drift": "red", "harmful": "red", "data fault": "red", "watch": "yellow"}


@click.group("drift")
def drift_command() -> None:
    """Did a model's traffic move, what moved, and does it hurt?"""


drift_command.add_command(profile_command)


@drift_command.command("show")
@click.argument("name")
@VERSION
@AS_JSON
@reaching
def show_command(service: Service, name: str, version: int | None, as_json: bool) -> None:
    """The verdict on NAME's traffic, its signals and what labels say."""
    told = asked(service, name, version)
    if as_json:
        print_json(told)
        return
    found = msgspec.convert(told, Account)
    print_verdict(found)
    print_signals(found)
    print_labels(found)


@drift_command.command("report")
@click.argument("name")
@VERSION
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page [drift-NAME.html].",
)
@reaching
def report_command(service: Service, name: str, version: int | None, output: Path | None) -> None:
    """Write one self-contained HTML page: every signal beside its reference, p and accuracy over time."""
    found = msgspec.convert(asked(service, name, version), Account)
    path = output or Path(f"drift-{found.model}.html")
    try:
        path.write_text(page(found, time.time()))
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error
    console.print(f"{escape(str(path))} tells of {escape(found.model)}/{found.version}")


def asked(service: Service, name: str, version: int | None) -> Any:
    """The service's account of a version."""
    parameters = {} if version is None else {"version": version}
    return service.asked("GET", f"/v1/models/{name}/drift", params=parameters)


def print_verdict(found: Account) -> None:
    """What it comes to, and what that rests on."""
    kind, verdict = found.conclusion.kind, found.verdict
    console.print(
        f"[bold]{escape(found.model)}/{found.version}[/]  "
        f"[bold {COLOURS.get(kind, 'green')}]{kind}[/]  {escape(found.conclusion.why)}"
    )
    since = "" if found.since is None else f" since {when(found.since)}"
    console.print(f"traffic: [{COLOURS.get(verdict, 'default')}]{verdict}[/]{since}")
    console.print(f"  {escape(found.reason)}")
    if found.reference is not None:
        known = found.reference
        sizes = ", ".join(f"{size:,}" for size in known.sizes)
        console.print(
            f"  reference: {known.rows:,} rows of {escape(known.source)}, windows of {sizes}; calibrated for {found.calibrated_for}"
        )
    inputs = found.inputs
    console.print(
        f"  observed: {found.share:.2%} of the requests; refused for what was in them: "
        f"{sum(inputs.invalid.values()):,} of {inputs.requests:,}"
    )


def print_signals(found: Account) -> None:
    """Every signal, the strongest evidence first: what is normal beside what came."""
    if not found.signals:
        return
    rows = table("", "signal", "kind", "evidence", "p", "shift", "PSI", "reference", "live")
    for one in found.signals:
        rows.add_row(
            "[red]moved[/]" if one.moved else "",
            escape(one.name),
            one.kind,
            f"{one.statistic:.1f} of {one.threshold:.1f}",
            f"{one.p:.2g}",
            "" if one.shift is None else f"{one.shift:+.2f} sd",
            f"{one.psi:.3f}",
            bars(one.reference),
            bars(one.live),
        )
    console.print()
    console.print(rows)
    console.print(f"n = {found.samples:,}, joint p = {found.p:.3g}")


def bars(counts: Any) -> str:
    """Counts as small bars; what has no value, the last, only where there is any."""
    shown = list(counts) if counts[-1] else list(counts[:-1])
    most = max(shown, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in shown)


def print_labels(found: Account) -> None:
    """How good the model is: estimated, and by labels."""
    rows = table("accuracy", "", "95 %", "n")
    for one in found.accuracy.estimated:
        rows.add_row(f"{one.method} (estimate, no labels)", f"{one.value:.2%}", "", f"{one.n:,}")
    for name, share in (("newest labels", found.accuracy.newest), ("all", found.accuracy.overall)):
        if share is not None:
            rows.add_row(name, f"{share.value:.2%}", interval(share), f"{share.n:,}")
    console.print()
    if rows.row_count:
        console.print(rows)
    verdict = found.harm.verdict
    console.print(
        f"harm: [{COLOURS.get(verdict, 'default')}]{verdict}[/]  {escape(found.harm.reason)}"
    )
    kept = found.coverage.by_class
    if predictions := sum(group.predictions for group in kept):
        labelled = sum(group.labelled for group in kept)
        least = min((group for group in kept if group.predictions), key=covered)
        console.print(
            f"labels: {labelled:,} of the newest {predictions:,} kept rows, "
            f"least of '{escape(least.group)}' ({covered(least):.1%})"
        )


def interval(share: Accuracy) -> str:
    """Its 95 % interval."""
    return f"{100 * share.low:.1f}-{100 * share.high:.1f}"


def covered(group: Any) -> float:
    """The share of a group that has labels."""
    return float(group.labelled / group.predictions)


def when(at: float) -> str:
    """A time here, for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
