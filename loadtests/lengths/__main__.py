"""Measure what padding buckets are worth where lengths are mixed:

.venv/bin/python -m loadtests.lengths --rounds 2 --rows 128

rows -> checked -> rounds -> lengths.json, lengths.md, lengths.svg -> the lines of the judgement
"""

import argparse
import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from loadtests.compare import comparison, files, machine, measure, plan, rows, verdicts
from loadtests.compare.__main__ import PUBLISHED, count, names, shown
from loadtests.compare.contenders import ROOT
from loadtests.compare.errors import NotMeasured
from loadtests.lengths import found as results
from loadtests.lengths import policies, report
from loadtests.lengths.contest import POLICIES, Contest
from loadtests.lengths.found import HELD_OUT, UNIFORM, Found, Paced
from models import bundle, tasks

MODEL = "sentiment-transformer"
SHORTEST, LONGEST, SEED = 4, 128, 7
SCRATCH = ROOT / ".evergreen" / "lengths"
console = Console(highlight=False, soft_wrap=True)


class Options(NamedTuple):
    """What was asked for."""

    rounds: int = 5
    rows: int = rows.MOST
    variants: tuple[str, ...] = plan.VARIANTS


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom."""
    options, folder = parse(arguments)
    found = Found(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        machine=machine.describe(),
        options={"rounds": options.rounds, "rows": options.rows},
        versions=comparison.ours(),
        notes=comparison.busy(machine.cores_in_use()),
    )
    try:
        with Progress(console=console) as progress:
            bar = progress.add_task("loading", total=None)
            for variant in options.variants:
                try:
                    for done, total, what in measured(found, variant, options):
                        progress.update(bar, completed=done, total=total, description=what)
                except NotMeasured as error:
                    found.notes.append(f"{variant} was not measured: {error}")
    except KeyboardInterrupt:
        console.print("interrupted")
        folder = SCRATCH / "interrupted"
    publish(found, folder)
    return 0


def parse(arguments: list[str] | None) -> tuple[Options, Path]:
    """Options, and where results go: only a whole run may replace the published ones."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lengths",
        description="What padding buckets are worth where lengths are mixed.",
    )
    parser.add_argument("--rounds", type=count, default=default.rounds, metavar="N")
    parser.add_argument(
        "--rows", type=count, default=default.rows, metavar="N", help="that are queued at once"
    )
    parser.add_argument(
        "--variants", type=names(plan.VARIANTS), default=default.variants, metavar="A,B"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder for the results")
    given = vars(parser.parse_args(arguments))
    folder = given.pop("to")
    options = Options(**given)
    return options, folder or (PUBLISHED if options == default else SCRATCH)


def measured(found: Found, variant: str, options: Options) -> Iterator[tuple[int, int, str]]:
    """One file: (passes done, passes in all, what comes next) for the bar."""
    file = files.find(MODEL, variant)
    if file is None:
        found.notes.append(
            f"Without {variant}: `make models` or `make compare` brings that file of {MODEL}."
        )
        return
    held_out = rows.held_out(MODEL, file.path.parent)
    found.source = held_out.source
    kinds = mixtures(held_out.rows[: options.rows], file.path.parent)
    contest = Contest(file)
    found.caps[variant] = contest.evergreen.caps
    for lengths, chosen in kinds.items():
        yield 0, 1, f"{variant}, {lengths}: comparing answers"
        check(contest, chosen, independent=file.independent)
    total = options.rounds * len(kinds) * len(POLICIES)
    done = 0
    for number in range(options.rounds):
        for lengths, chosen in kinds.items():
            for policy in rotated(number):
                yield done, total, f"round {number + 1}: {variant}, {lengths}, {policy}"
                found.paced.append(paced(contest, chosen, (number + 1, variant, lengths, policy)))
                done += 1
    yield total, total, f"{variant} measured"


def mixtures(chosen: list[rows.Row], directory: Path) -> dict[str, list[rows.Row]]:
    """Rows with their own lengths, and with uniform ones."""
    task = bundle.read(directory).task
    assert isinstance(task, tasks.TextTask)
    lengths = policies.uniform(len(chosen), SHORTEST, LONGEST, SEED)
    return {HELD_OUT: chosen, UNIFORM: policies.recut(chosen, task.ids, lengths)}


def rotated(number: int) -> list[str]:
    """The policies in the order of a round, counted from 0."""
    start = number % len(POLICIES)
    return [*POLICIES[start:], *POLICIES[:start]]


def check(contest: Contest, chosen: list[rows.Row], *, independent: bool) -> None:
    """Every policy's answers against those of one row at a time; NotMeasured where they differ. Warms all shapes up, too."""
    expected = contest.run("alone", chosen).answers
    for policy in POLICIES:
        answers = contest.run(policy, chosen).answers
        if wrong := measure.difference(list(answers), expected, independent=independent):
            raise NotMeasured(f"{policy}: {wrong}")


def paced(contest: Contest, chosen: list[rows.Row], named: tuple[int, str, str, str]) -> Paced:
    """One pass."""
    number, variant, lengths, policy = named
    done = contest.run(policy, chosen)
    return Paced(
        round=number,
        variant=variant,
        lengths=lengths,
        policy=policy,
        rows_per_second=round(len(chosen) / done.seconds, 2),
        padding=round(done.padding, 4),
        batches=done.batches,
    )


def publish(found: Found, folder: Path) -> None:
    """Write the three files and print the judgement."""
    if not found.paced:
        console.print("nothing was measured")
        return
    found.verdicts = results.judged(found.paced)
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
    (folder / "lengths.json").write_bytes(text)
    (folder / "lengths.md").write_text(report.markdown(found), encoding="utf-8")
    (folder / "lengths.svg").write_text(report.picture(found), encoding="utf-8")
    console.print(f"written: lengths.json, lengths.md and lengths.svg in {shown(folder)}\n")
    for note in found.notes:
        console.print(escape(note))
    for verdict in found.verdicts:
        console.print(escape(verdicts.line(verdict)))


if __name__ == "__main__":
    sys.exit(main())
