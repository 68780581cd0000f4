"""Files that count again when they change: tokens, certificates. It must not know what is in them.

A file that cannot be used changes nothing: what was read before goes on, and the log and a metric say so.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from service.errors import SettingsError
from service.refusals import Refusals

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0

State = tuple[tuple[int, int, int] | None, ...]


class Watched(NamedTuple):
    """Files that belong together, and what reads them: it raises SettingsError where they cannot be used. `read`: their state before they
    were read for the first time."""

    name: str
    files: Sequence[Path]
    reload: Callable[[], None]
    read: State


async def follow(all_watched: Sequence[Watched], counts: Refusals) -> None:
    """Read again what has changed, and has not since the last look: half a file may say something else than all of it. For as long as this is
    not cancelled."""
    taken = [one.read for one in all_watched]
    seen = list(taken)
    while all_watched:
        await asyncio.sleep(LOOK_SECONDS)
        for number, one in enumerate(all_watched):
            # A disk that is away must not hold up requests.
            found = await asyncio.to_thread(state, one.files)
            if found == seen[number] != taken[number]:
                taken[number] = found
                take(one, counts)
            seen[number] = found


def take(one: Watched, counts: Refusals) -> None:
    """Read one again, and say what became of it."""
    try:
        one.reload()
    except SettingsError as error:
        log.error("%s cannot be used, what it held before goes on: %s", one.name, error)
        counts.reread(one.name, fine=False)
    else:
        log.warning("%s has changed and counts from now on", one.name)
        counts.reread(one.name, fine=True)


def state(files: Sequence[Path]) -> State:
    """What changes when somebody writes or replaces a file, or the link that leads to it."""
    found: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            told = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((told.st_ino, told.st_size, told.st_mtime_ns))
    return tuple(found)
