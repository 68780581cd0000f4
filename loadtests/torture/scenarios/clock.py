"""The service's own clock: it jumps, or days pass in an hour. The machine's is left alone.

`time.time` of every process of the service is replaced as it starts: it reads (offset, origin, speed) from a file that all of them map.
"""

import os
import struct
import time
from pathlib import Path

from loadtests.torture.found import Found
from loadtests.torture.material import EXACT, PICTURES
from loadtests.torture.trial import Options, trial

DAY_S = 86_400.0
JUMPS = {
    "a day back": -DAY_S,
    "a day ahead": DAY_S,
    "ten years back": -3652 * DAY_S,
    "ten years ahead": 3652 * DAY_S,
    "right again": 0.0,
}
CLOCK = "clock"
PATCH = """
import mmap, os, struct, time
handle = os.open({path!r}, os.O_RDONLY)
told = mmap.mmap(handle, 24, prot=mmap.PROT_READ)
os.close(handle)
real = time.time

def now():
    offset, origin, speed = struct.unpack_from("3d", told)
    return origin + offset + (real() - origin) * speed

time.time = now
time.time_ns = lambda: int(now() * 1e9)
"""


async def jump(options: Options, folder: Path) -> Found:
    """The clock jumps by days and years, to and fro; durations go on."""
    environ = clock(folder)
    async with trial(folder, options, (EXACT, PICTURES), {}, environ) as one:
        for _ in range(max(1, options.rounds // 3)):
            for name, offset in JUMPS.items():
                one.fault(f"the clock is {name}")
                turn(folder, offset)
                await one.rest()
                await one.recovered()
    return one.found


def clock(folder: Path) -> dict[str, str]:
    """The environment of a service whose clock is what `turn` says."""
    turn(folder, 0.0)
    place = folder / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(PATCH.format(path=str(folder / CLOCK)))
    paths = [str(place), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def turn(folder: Path, offset: float, speed: float = 1.0) -> None:
    """Set the clock so far from the machine's, and let it run as many times as fast from now on."""
    file = folder / CLOCK
    file.touch()
    with file.open("r+b") as written:  # in place: the service maps this very file
        written.write(struct.pack("3d", offset, time.time(), speed))
