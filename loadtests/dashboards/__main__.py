"""Makes something happen to a service of its own, and draws both dashboards from what Prometheus saw of it, in about nine minutes:

python -m loadtests.dashboards
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from deploy.grafana.preview.__main__ import FOLDER, picture
from deploy.grafana.preview.asking import Failed as NotDrawn
from deploy.grafana.preview.asking import Span
from loadtests.dashboards import scene
from loadtests.dashboards.prometheus import scraping
from loadtests.dashboards.scene import Times
from loadtests.demo.service import Failed, Service
from models.errors import EvergreenError

SCRAPE_S = 5
BEFORE_S = 20.0
"""What is drawn begins so long after the first scrape: a rate needs a few of them."""

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program. The exit code is 0 when everything came about and no panel is empty."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            return asyncio.run(show(options, options.keep))
        with tempfile.TemporaryDirectory(prefix="boards") as folder:
            return asyncio.run(show(options, Path(folder)))
    except (EvergreenError, NotDrawn) as error:
        console.print(f"[red]not shown: {escape(str(error))}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything was ended")
        return 130


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """How much of it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.dashboards", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    default = Times()
    parser.add_argument("--usual", type=float, default=default.usual, metavar="S")
    parser.add_argument("--slow", type=float, default=default.slow, metavar="S")
    parser.add_argument("--freed", type=float, default=default.freed, metavar="S")
    parser.add_argument("--without-loop", action="store_true", help="no drift, no retraining")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what Prometheus knows here")
    return parser.parse_args(arguments)


async def show(options: argparse.Namespace, folder: Path) -> int:
    """All acts; each dashboard is drawn when it has something to show: that of serving as it stood in the slowdown."""
    async with scene.served(folder) as service:
        address = service.client.base_url.netloc.decode()
        async with scraping(address, folder, SCRAPE_S) as prometheus:
            begun = time.time() + BEFORE_S
            times = Times(options.usual, options.slow, options.freed)
            slow_until = await scene.slowdown(service, times, say)
            empty = await draw(
                "serving", prometheus, Span(begun, slow_until, SCRAPE_S), options.output
            )
            wrong = "" if options.without_loop else await looped(service)
            await asyncio.sleep(SCRAPE_S)
            whole = Span(begun, time.time(), SCRAPE_S)
            empty += await draw("models", prometheus, whole, options.output)
    for sentence in (wrong, *(f"nothing to show: {title}" for title in empty)):
        if sentence:
            console.print(f"[red]{escape(sentence)}[/]")
    return 1 if wrong or empty else 0


async def looped(service: Service) -> str:
    """What did not come about in the loop: a gate may reject, and the dashboard shows that as well."""
    try:
        await scene.loop(service, say)
    except Failed as error:
        return f"the loop: {error}"
    return ""


async def draw(name: str, prometheus: str, span: Span, output: Path) -> list[str]:
    """One dashboard, beside the traffic; the panels that are empty."""
    return await asyncio.to_thread(picture, name, prometheus, span, output / f"{name}.png")


def say(text: str) -> None:
    """A line of the timeline."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/]  {escape(text)}")


if __name__ == "__main__":
    sys.exit(main())
