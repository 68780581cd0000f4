"""Do to services of its own what production does, and say what became of every request:

.venv/bin/python -m loadtests.torture
.venv/bin/python -m loadtests.torture --only "engines killed,disk full" --rounds 1 --rest 1
.venv/bin/python -m loadtests.torture --only "many requests" --requests 1000000
.venv/bin/python -m loadtests.torture --only "a day" --hours 24 --in 60m

scenario by scenario: service -> callers that verify, probes -> fault -> recovery -> the report
"""

import argparse
import datetime
import re
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import uvloop
from rich.console import Console
from rich.markup import escape

from loadtests.compare import machine
from loadtests.torture import report
from loadtests.torture.errors import Missed, Skipped
from loadtests.torture.found import Found, Report, violations
from loadtests.torture.scenarios import FAULTS, SCENARIOS
from loadtests.torture.trial import Options

OUTPUT = Path(__file__).parents[1] / "results" / "torture"
UNITS = {"s": 1, "m": 60, "h": 3600}

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when everything holds."""
    names, options, output = parse(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    found = Report(datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"), machine.describe())
    try:
        for number, name in enumerate(names, 1):
            console.print(f"[{number}/{len(names)}] {name}: {about(name)}", markup=False)
            one(name, options, found)
    except KeyboardInterrupt:
        console.print("interrupted; the services were ended")
        return 130
    finally:
        if output is not None and found.found:
            report.write(found, output)
            console.print(f"written: {output}")
    total = found.total
    console.print(escape(report.counted(total)))
    return 1 if any(list(violations(each)) for each in found.found) else 0


def one(name: str, options: Options, into: Report) -> None:
    """Run a scenario in a folder of its own and tell how it went."""
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
        try:
            found = uvloop.run(run(name, options, Path(folder)))
        except Skipped as error:
            into.skipped[name] = str(error)
            console.print(escape(f"  skipped: {error}"))
            return
        except Missed as error:
            found = Found(name, about(name), missed=[str(error)])
    into.found.append(found)
    console.print(escape(f"  {report.counted(found.total)} in {found.seconds:.0f} s"))
    for sentence in violations(found):
        console.print(escape(f"  missed: {sentence}"))


async def run(name: str, options: Options, folder: Path) -> Found:
    """A scenario; `found` bears its name."""
    found = await SCENARIOS[name](options, folder)
    found.name, found.about = name, about(name)
    return found


def about(name: str) -> str:
    """A scenario in a sentence."""
    return (SCENARIOS[name].__doc__ or "").strip().partition("\n")[0]


def interrupt(_: int, __: FrameType | None) -> None:
    """SIGTERM ends this as Ctrl-C does."""
    raise KeyboardInterrupt


def parse(arguments: list[str] | None) -> tuple[list[str], Options, Path | None]:
    """Which scenarios, how, and where the report goes."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.torture",
        description="Faults and loads, with every answer verified.",
    )
    parser.add_argument(
        "--only",
        type=chosen,
        default=list(FAULTS),
        metavar="NAME,...",
        help=f"of: {', '.join(SCENARIOS)}; all but the last two without it",
    )
    parser.add_argument("--rounds", type=int, default=default.rounds, help="faults of each kind")
    parser.add_argument("--rest", type=float, default=default.rest_s, metavar="S", dest="rest_s")
    parser.add_argument("--callers", type=int, default=default.callers)
    parser.add_argument("--connections", type=int, default=default.connections)
    parser.add_argument("--requests", type=int, default=default.requests)
    parser.add_argument("--hours", type=float, default=default.hours, help="to be simulated")
    parser.add_argument(
        "--in", type=seconds, default=default.within_s, metavar="TIME", dest="within_s", help="60m"
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="DIR", help="torture.json, .md and .svg"
    )
    given = vars(parser.parse_args(arguments))
    names, output = given.pop("only"), given.pop("output")
    return names, Options(**given), output


def chosen(text: str) -> list[str]:
    """An argparse type: names of scenarios."""
    names = [name.strip() for name in text.split(",")]
    if unknown := next((name for name in names if name not in SCENARIOS), None):
        raise argparse.ArgumentTypeError(f"'{unknown}' is none of: {', '.join(SCENARIOS)}")
    return names


def seconds(text: str) -> float:
    """An argparse type: 90, 90s, 60m, 1h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: 90, 90s, 60m, 1h")
    return float(found[1]) * UNITS[found[2] or "s"]


if __name__ == "__main__":
    sys.exit(main())
