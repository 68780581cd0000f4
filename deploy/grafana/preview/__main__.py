"""Draws the dashboards from what a Prometheus knows, without a Grafana:

python -m deploy.grafana.preview --prometheus http://localhost:9090 --minutes 30
"""

import argparse
import json
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import Progress

from deploy.grafana.preview.asking import Failed, Prometheus, Span
from deploy.grafana.preview.page import drawn

FOLDER = Path(__file__).parent
BOARDS = sorted(path.stem for path in FOLDER.parent.glob("*.json"))
TIMEOUT_S = 60.0

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program. The exit code is 1 where a panel has nothing to show."""
    options = parse(arguments)
    end = options.until or time.time()
    span = Span(end - 60 * options.minutes, end, options.scrape)
    empty = []
    try:
        for name in options.dashboards or BOARDS:
            empty += picture(name, options.prometheus, span, options.output / f"{name}.png")
    except Failed as error:
        console.print(f"not drawn: {error}")
        return 1
    for title in empty:
        console.print(f"nothing to show: {title}")
    return 1 if empty else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Which dashboards, of which Prometheus, and of which time."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana.preview", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "dashboards", nargs="*", choices=[*BOARDS, []], metavar="DASHBOARD", help=", ".join(BOARDS)
    )
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--minutes", type=float, default=30.0, help="how much is shown [30]")
    parser.add_argument(
        "--until", type=float, metavar="TIME", help="its end, in seconds since 1970 [now]"
    )
    parser.add_argument(
        "--scrape", type=float, default=15.0, metavar="S", help="between two scrapes [15]"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR")
    return parser.parse_args(arguments)


def picture(name: str, prometheus: str, span: Span, target: Path) -> list[str]:
    """Draw one dashboard; the panels that are empty."""
    document = json.loads((FOLDER.parent / f"{name}.json").read_text())
    with (
        httpx.Client(base_url=prometheus, timeout=TIMEOUT_S) as client,
        Progress(console=console) as progress,
    ):
        task = progress.add_task(name, total=None)
        shown = drawn(document, Prometheus(client, span), lambda _: progress.advance(task))
    target.parent.mkdir(parents=True, exist_ok=True)
    shown.figure.savefig(target, dpi=100)
    console.print(f"written: {target}")
    return shown.empty


if __name__ == "__main__":
    sys.exit(main())
