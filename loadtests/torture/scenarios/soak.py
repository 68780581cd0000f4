"""Long loads: a million mixed requests, and a day of traffic in an hour, with resident memory weighed all the while."""

import asyncio
import math
import time
from pathlib import Path

from loadtests.torture.found import GROWTH, Found, growth
from loadtests.torture.material import EXACT, PICTURES, SERIES, TEXTS
from loadtests.torture.scenarios.clock import clock, turn
from loadtests.torture.trial import Options, Trial, trial

MODELS = (EXACT, PICTURES, SERIES, TEXTS)
WEIGHINGS = 120
DAY_H = 24.0
QUIET, BUSY = 0.05, 1.0
"""Of the fastest that callers can ask: at four in the morning and at four in the afternoon."""
REST_S = 0.2
"""A caller's longest rest between two requests, at the quietest hour."""
SETTINGS = {"ledger_rows": 20_000, "payload_mb": 16}
"""A ledger that is full early: what grows afterwards is no data that was asked to be kept."""


async def many(options: Options, folder: Path) -> Found:
    """Many mixed requests to four models; memory must not rise with their number."""
    async with trial(folder, options, MODELS, SETTINGS) as one:
        for number in range(1, WEIGHINGS + 1):
            await one.load.reached(number * options.requests // WEIGHINGS)
            one.weigh()
        judge(one)
    return one.found


async def day(options: Options, folder: Path) -> Found:
    """Simulated hours of traffic that swells and ebbs, with the service's clock as much quicker as they are shorter."""
    speed = options.hours * 3600 / options.within_s
    environ = clock(folder)
    turn(folder, 0.0, speed)
    async with trial(folder, options, MODELS, SETTINGS, environ) as one:
        one.found.notes.append(f"the service's clock ran {speed:.3g} times as fast")
        began = time.monotonic()
        one.load.pause = lambda: rest((time.monotonic() - began) * speed / 3600)
        for number in range(1, WEIGHINGS + 1):
            due = began + number * options.within_s / WEIGHINGS
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            one.weigh()
        judge(one)
    return one.found


def rest(hour: float) -> float:
    """How long (s) a caller rests at an hour of the day."""
    swell = (1 - math.cos(2 * math.pi * (hour - 4) / DAY_H)) / 2
    share = QUIET + (BUSY - QUIET) * swell
    return REST_S * (1 - share) / (1 - QUIET)


def judge(one: Trial) -> None:
    """Memory at the end beside memory once it had settled."""
    grown = growth(one.found.memory)
    first, last = one.found.memory[len(one.found.memory) // 3], one.found.memory[-1]
    told = f"{first.mib:.0f} MiB after {first.requests:,} requests, {last.mib:.0f} MiB after {last.requests:,}"
    one.found.notes.append(f"resident memory {told}: {grown:+.2%} by the straight line through all")
    one.require(
        grown <= GROWTH, f"resident memory grew by {grown:.2%} ({told}), {GROWTH:.0%} may be"
    )
