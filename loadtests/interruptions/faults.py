"""What can happen to a service at any moment, each done and made good again. It must not know what should come of it."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from loadtests.interruptions.world import CONTROL, ENGINE, FRONT_END, RUN, World

SHORT_S = (0.3, 6.0)
LEDGER_S = (1.0, 15.0)
"""SQLite itself waits for ten seconds: some of these are noticed, some are not."""
DOWN_S = (0.0, 0.0, 1.0, 3.0)
"""How long nothing is started after a kill: as a supervisor would, or a person."""


class Hit(NamedTuple):
    """A moment for a fault: of which world, at whose version, in which order. `quiet` is held while the registry is not where it should be."""

    world: World
    version: int | None
    lot: random.Random
    quiet: threading.Lock


Fault = Callable[[Hit], str]
"""Does it, and makes it good. What was done, in words."""


def control(hit: Hit) -> str:
    """Kill -9 of the process that everything hangs on; the run goes on."""
    hit.world.kill(CONTROL)
    return restarted(hit)


def service(hit: Hit) -> str:
    """All of the service's processes at once; the run goes on."""
    world = hit.world
    for kind in (CONTROL, FRONT_END, ENGINE):
        world.kill(kind)
    return restarted(hit)


def machine(hit: Hit) -> str:
    """Everything at once, the run as well."""
    hit.world.kill()
    return restarted(hit)


def engine(hit: Hit) -> str:
    """All engines."""
    return f"{hit.world.kill(ENGINE)} engines"


def challenger(hit: Hit) -> str:
    """The engine of the newest version, where it has one."""
    killed = hit.world.kill(ENGINE, f'"version":{hit.version},')
    return f"{killed} engines of version {hit.version}"


def front_ends(hit: Hit) -> str:
    """All that speak HTTP."""
    return f"{hit.world.kill(FRONT_END)} front ends"


def run(hit: Hit) -> str:
    """Kill -9 of the training."""
    return f"{hit.world.kill(RUN)} runs"


def disk_full(hit: Hit) -> str:
    """No byte can be written for a while."""
    world = hit.world
    world.disk.fill(world.processes())
    try:
        return waited(hit, SHORT_S)
    finally:
        world.disk.free(world.processes())


def registry_away(hit: Hit) -> str:
    """The registry's folder is not there for a while, as when it is not mounted."""
    registry = hit.world.registry
    aside = registry.with_name("registry-away")
    with hit.quiet:
        if not registry.exists():
            return "nothing: there is none yet"
        registry.rename(aside)
        try:
            length = hit.lot.uniform(*SHORT_S)
            time.sleep(length)
            told = f"for {length:.1f} s"
        finally:
            if registry.exists():  # an empty folder may lie there, as a mount point does
                registry.rename(registry.with_name(f"registry-{time.time_ns()}"))
                told = "another registry was begun where it was not"
            aside.rename(registry)
    return told


def ledger_away(hit: Hit) -> str:
    """Nobody can write to the ledger for a while."""
    path = hit.world.ledger.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            return waited(hit, LEDGER_S)
        finally:
            connection.execute("ROLLBACK")


def waited(hit: Hit, seconds: tuple[float, float]) -> str:
    """A while; one time in four, the first process is killed and started again in it."""
    length = hit.lot.uniform(*seconds)
    if hit.lot.random() < 0.75:
        time.sleep(length)
        return f"for {length:.1f} s"
    time.sleep(length / 2)
    hit.world.kill(CONTROL)
    hit.world.start()
    time.sleep(length / 2)
    return f"for {length:.1f} s, and control was killed meanwhile"


def restarted(hit: Hit) -> str:
    """After a while it is started again."""
    down = hit.lot.choice(DOWN_S)
    time.sleep(down)
    hit.world.start()
    return f"started again after {down:g} s"


FAULTS: Mapping[str, Fault] = {
    "control killed": control,
    "service killed": service,
    "machine gone": machine,
    "engines killed": engine,
    "challenger killed": challenger,
    "front ends killed": front_ends,
    "run killed": run,
    "disk full": disk_full,
    "registry away": registry_away,
    "ledger away": ledger_away,
}
AIMS: Mapping[str, tuple[str, ...]] = {
    "run killed": ("running",),
    "challenger killed": ("evaluating", "promoting", "watching"),
}
"""Steps at which a fault has something to hit, where that is not all."""
