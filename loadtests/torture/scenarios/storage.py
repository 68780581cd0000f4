"""What the service keeps its state in goes away: the disk is full, the registry is not there, the database ends."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.torture.errors import Missed, Skipped
from loadtests.torture.found import Found
from loadtests.torture.material import EXACT, PICTURES
from loadtests.torture.postgres import Server
from loadtests.torture.trial import Options, Trial, trial

DISK = "48m"
BACK_S = 30.0
PIECE = 1 << 16


async def fill_disk(options: Options, folder: Path) -> Found:
    """The file system of the service's state is full."""
    with small_disk(folder / "disk") as disk:
        settings = {"state": disk / "state"}
        async with trial(folder, options, (EXACT, PICTURES), settings) as one:
            for _ in range(options.rounds):
                filler = disk / "filler"
                one.fault("not a byte is left")
                fill(filler)
                await one.rest()
                one.fault("there is room again")
                filler.unlink()
                await one.recovered()
                await labels_accepted(one)
    return one.found


async def remove_registry(options: Options, folder: Path) -> Found:
    """The registry's directory is renamed while requests and a promotion come."""
    registry = folder / "registry"
    settings = {"registry": registry}
    async with trial(folder, options, (EXACT, PICTURES), settings) as one:
        away = registry.with_name("away")
        for number in range(options.rounds):
            await promoted(one, 1 + number % 2)
            one.fault("the registry is gone")
            registry.rename(away)
            await one.rest()
            status = await promote(one, 2 - number % 2)
            one.require(status == 503, f"a promotion was answered with {status} meanwhile")
            one.fault("the registry is back")
            if registry.exists():
                raise Missed("a second registry was made where the first had been")
            away.rename(registry)
            await one.recovered()
            await promoted(one, 2 - number % 2)
    return one.found


async def drop_database(options: Options, folder: Path) -> Found:
    """The database of predictions and labels ends at once, as in a crash, and comes back."""
    with Server.running() as database:
        settings = {"ledger_url": database.url()}
        async with trial(folder, options, (EXACT, PICTURES), settings) as one:
            for _ in range(options.rounds):
                one.fault("the database has crashed")
                database.stop()
                await one.rest()
                status = await label(one)
                one.require(status == 503, f"labels were answered with {status} meanwhile")
                one.fault("the database is back")
                database.start()
                await one.recovered()
                await labels_accepted(one)
    return one.found


async def promote(one: Trial, version: int) -> int:
    """What a promotion is answered with."""
    path, body = f"/v1/models/{EXACT}/promotions", {"version": version}
    return (await one.service.client.post(path, json=body)).status_code


async def promoted(one: Trial, version: int) -> None:
    """Returns once a version was promoted. Missed when it is refused."""
    if (status := await promote(one, version)) != 200:
        raise Missed(f"a promotion was answered with {status} while the registry was there")


async def label(one: Trial) -> int:
    """What a label for a prediction of now is answered with."""
    client = one.service.client
    x = {"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [0] * 8}
    answer = await client.post(f"/v2/models/{EXACT}/infer", json={"inputs": [x]})
    told = {"prediction_id": answer.headers.get("prediction-id", ""), "label": "0"}
    body: dict[str, Any] = {"labels": [told]}
    return (await client.post(f"/v1/models/{EXACT}/feedback", json=body)).status_code


async def labels_accepted(one: Trial) -> None:
    """Returns once labels are taken again."""
    status = 0
    with contextlib.suppress(Missed):
        for _ in range(int(BACK_S)):
            if (status := await label(one)) == 200:
                return
            await one.rest(1.0)
    raise Missed(f"labels were still answered with {status} after {BACK_S:g} s")


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of its own, gone afterwards. Skipped where this user may not mount one."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    done = subprocess.run(["/bin/mount", *options], check=False, capture_output=True, text=True)
    if done.returncode:
        raise Skipped(f"no file system can be mounted: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more fits, not even a byte."""
    with path.open("wb", buffering=0) as file:
        for size in (PIECE, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
