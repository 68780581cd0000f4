"""`evergreen retrain`: a model trained again, followed, and what became of others. It must not know how any of it is done."""

import getpass
import time
from typing import Any

import click
import msgspec
from rich.markup import escape

from service.cli.asking import AS_JSON, Service, console, print_json, reaching, table
from service.cli.following import Ending, follow
from service.retraining.jobs import ENDED, Job, Plan

REASON = click.option("--reason", default="", help="Why, for whoever looks at it later.")
COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "rejected": "red",
    "rolled_back": "red",
    "expired": "red",
    "suppressed": "yellow",
    "awaiting_approval": "yellow",
}


class StartByName(click.Group):
    """`retrain MODEL` is `retrain start MODEL`, where MODEL is no command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own, with the command put in front that is not written."""
        if args and args[0] not in self.commands:
            args = ["start", *args]
        return super().resolve_command(ctx, args)


@click.group("retrain", cls=StartByName, options_metavar="", subcommand_metavar="MODEL | COMMAND")
def retrain_command() -> None:
    """Train MODEL again: on its own data and the labels that came back. It answers only after the gate."""


@retrain_command.command("start")
@click.argument("model")
@REASON
@click.option("--follow", "following", is_flag=True, help="Stay until it has ended.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen, and why.")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A hyper-parameter of the recipe; may be given again.",
)
@AS_JSON
@reaching
def start_command(
    service: Service, model: str, parameters: tuple[str, ...], as_json: bool, **asked: Any
) -> None:
    """Train MODEL again. `evergreen retrain MODEL` is the same."""
    following = asked.pop("following")
    body = asked | {"parameters": dict(map(parameter, parameters)), "who": getpass.getuser()}
    told = service.asked("POST", f"/v1/models/{model}/retrainings", json=body)
    if asked["dry_run"]:
        (print_json if as_json else print_plan)(told)
        return
    if not following:
        (print_json if as_json else print_begun)(told)
        return
    follow_to_the_end(service, told["id"], as_json)


def follow_to_the_end(service: Service, job: str, as_json: bool) -> None:
    """Show how a job comes on, then what came of it. The program fails where the job did."""
    told = follow(service, job, quiet=as_json)
    (print_json if as_json else print_job)(told)
    if told["state"] != "succeeded":
        raise Ending(told["state"])


@retrain_command.command("list")
@click.option("--model", help="Of one model alone.")
@click.option("--state", help="In one state alone: running, suppressed, rejected, ...")
@click.option("--limit", default=20, show_default=True, help="How many, the newest first.")
@AS_JSON
@reaching
def list_command(
    service: Service, model: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """What became of retrainings, and of triggers that came to none."""
    wanted = {"model": model, "state": state, "limit": limit}
    given = {name: value for name, value in wanted.items() if value is not None}
    told = service.asked("GET", "/v1/retrainings", params=given)
    if as_json:
        print_json(told)
        return
    rows = table("id", "model", "begun", "by", "state", "version", "why")
    for job in told:
        version = "" if job["version"] is None else str(job["version"])
        rows.add_row(
            job["id"],
            escape(job["model"]),
            ago(job["made_at"]),
            job["trigger"]["kind"],
            coloured(job["state"]),
            version,
            escape(shortened(job["reason"])),
        )
    console.print(rows)


@retrain_command.command("show")
@click.argument("job")
@click.option("--follow", "following", is_flag=True, help="Stay until it has ended.")
@AS_JSON
@reaching
def show_command(service: Service, job: str, following: bool, as_json: bool) -> None:
    """One retraining: what it learnt from, and the gate's table."""
    if following:
        follow_to_the_end(service, job, as_json)
        return
    told = service.asked("GET", f"/v1/retrainings/{job}")
    (print_json if as_json else print_job)(told)


@retrain_command.command("logs")
@click.argument("job")
@click.option("--follow", "following", is_flag=True, help="Stay until it has ended.")
@reaching
def logs_command(service: Service, job: str, following: bool) -> None:
    """What the training has printed."""
    offset = 0
    while True:
        ended = service.asked("GET", f"/v1/retrainings/{job}")["state"] in ENDED
        path = f"/v1/retrainings/{job}/logs"
        told = service.asked("GET", path, params={"offset": offset})
        click.echo(told["text"], nl=False)
        offset = told["offset"]
        if ended or not following:
            return
        time.sleep(1)


def word(what: str, does: str, done: str) -> None:
    """A command that tells control a person's word about a job."""

    @retrain_command.command(what, help=does)
    @click.argument("job")
    @REASON
    @reaching
    def run(service: Service, job: str, reason: str) -> None:
        body = {"reason": reason, "who": getpass.getuser()}
        service.asked("POST", f"/v1/retrainings/{job}/{what}", json=body)
        console.print(f"{job} {done}")


word("cancel", "End a retraining; what has been promoted is rolled back instead.", "is being ended")
word("approve", "Let a challenger go on that passed the gate and waits for it.", "goes on")
word("reject", "Turn a challenger down that waits for a word.", "is turned down")


def parameter(given: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON is what it says, another a text."""
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"'{given}' is not NAME=VALUE", param_hint="--parameter")
    try:
        return name, msgspec.json.decode(value, type=int | float | bool)
    except msgspec.MsgspecError:
        return name, value


def print_begun(told: dict[str, Any]) -> None:
    """Where to look from now on."""
    console.print(f"{escape(told['model'])} is trained again: {told['id']}, {told['state']}")
    console.print(f"evergreen retrain show {told['id']} --follow")


def print_plan(told: dict[str, Any]) -> None:
    """What a trigger would come to: every condition, with both numbers."""
    plan = msgspec.convert(told, Plan, strict=False)
    verdict = "[green]it would be trained[/]" if plan.fire else "[yellow]it would not be trained[/]"
    console.print(f"{escape(plan.model)}: {verdict}")
    console.print(
        f"{plan.labels} labels since the last training, {plan.labels_with_payload} of them with kept rows"
    )
    rows = table("", "condition", "")
    for one in plan.decision.conditions:
        rows.add_row(mark(one.holds), escape(one.name), escape(one.text))
    console.print(rows)


def print_job(told: dict[str, Any]) -> None:
    """One job."""
    job = msgspec.convert(told, Job, strict=False)
    console.print(f"[bold]{escape(job.model)}[/] {job.id}: {coloured(job.state)}")
    if job.reason:
        console.print(escape(job.reason))
    by = f"{job.trigger.kind}, {job.trigger.who}" if job.trigger.who else job.trigger.kind
    why = f": {job.trigger.reason}" if job.trigger.reason else ""
    console.print(f"begun {ago(job.made_at)} by {escape(by + why)}")
    if job.version is not None:
        console.print(f"version {job.version}, made from version {job.parent}")
    if (learnt := job.learnt) is not None:
        out = "".join(f", {n} left out ({why})" for why, n in learnt.left_out.items())
        console.print(
            f"{learnt.labels} new labels, {learnt.with_payload} with kept rows; "
            f"{learnt.trained} rows to learn from, {learnt.held_out} to judge by{escape(out)}"
        )
    if (gate := job.gate) is not None:
        rows = table("", "gate", "")
        for line in gate.lines:
            rows.add_row(mark(line.passed), escape(line.name), escape(line.text))
        console.print(rows)
        more = f"; {gate.more_labels:,} more labels for 80 %" if gate.more_labels else ""
        console.print(f"power {gate.power:.0%}{more}")


def mark(holds: bool) -> str:
    """Whether something holds."""
    return "[green]✓[/]" if holds else "[red]✗[/]"


def coloured(state: str) -> str:
    """A state."""
    colour = COLOURS.get(state)
    return f"[{colour}]{state}[/]" if colour else state


def shortened(text: str, most: int = 80) -> str:
    """The beginning of a sentence."""
    return text if len(text) <= most else f"{text[:most]}..."


def ago(at: float) -> str:
    """A time as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
