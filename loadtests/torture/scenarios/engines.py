"""What engines meet: an end without warning, a stop, a run that never ends, and more memory than there is."""

import asyncio
import os
import signal
from pathlib import Path

from loadtests.torture.found import Found
from loadtests.torture.material import EXACT, FOREVER, PICTURES, SERIES, TROUBLED, trouble
from loadtests.torture.service import until
from loadtests.torture.trial import Options, Trial, trial

REPLACED_S = 30.0
MEMORY_MB = 1024
TOO_MUCH_MB = 4096
HANG_S = 2.0


async def kill(options: Options, folder: Path) -> Found:
    """Engines are killed in the middle of batches."""
    models = (EXACT, PICTURES, SERIES)
    async with trial(folder, options, models, {}) as one:
        for number in range(options.rounds):
            model = models[number % len(models)]
            (engine,) = one.service.engines(model)
            one.fault(f"SIGKILL to the engine of {model}")
            os.kill(engine, signal.SIGKILL)
            await replaced(one, model, engine)
            await one.recovered()
            await one.rest()
    return one.found


async def stop(options: Options, folder: Path) -> Found:
    """Engines are stopped: they live, hold what they were sent, and say nothing."""
    async with trial(folder, options, (EXACT, PICTURES), {}) as one:
        for _ in range(options.rounds):
            (engine,) = one.service.engines(EXACT)
            one.fault(f"SIGSTOP to the engine of {EXACT}")
            os.kill(engine, signal.SIGSTOP)
            await replaced(one, EXACT, engine)
            await one.recovered()
            await one.rest()
    return one.found


async def exhaust_memory(options: Options, folder: Path) -> Found:
    """Requests ask for more memory than an engine may take."""
    settings = {"engine_memory_mb": MEMORY_MB}
    async with trial(folder, options, (EXACT, TROUBLED), settings) as one:
        before = one.service.engines(TROUBLED)
        for _ in range(options.rounds):
            one.fault(f"rows that want {TOO_MUCH_MB:,} MiB of {MEMORY_MB:,}")
            await asyncio.gather(
                *(one.load.ask(trouble(mebibytes=TOO_MUCH_MB)) for _ in range(options.callers))
            )
            await one.recovered()
            await one.rest()
        same = one.service.engines(TROUBLED) == before
        one.require(same, "the engine was replaced, the allocation alone was to fail")
    return one.found


async def hang(options: Options, folder: Path) -> Found:
    """Runs do not end."""
    settings = {f"models__{TROUBLED}__hang_limit_s": HANG_S}
    async with trial(folder, options, (EXACT, TROUBLED), settings) as one:
        one.found.truth_s += HANG_S  # before, nobody can know that it is not merely slow
        for _ in range(options.rounds):
            (engine,) = one.service.engines(TROUBLED)
            one.fault("a row whose run never ends")
            asking = asyncio.create_task(one.load.ask(trouble(steps=FOREVER)))
            await replaced(one, TROUBLED, engine)
            outcome = await asking
            one.require(outcome == "refused", f"the row that never ends was {outcome}, not refused")
            await one.recovered()
            await one.rest()
    return one.found


async def replaced(one: Trial, model: str, engine: int) -> None:
    """Returns when another process runs the model."""

    def other() -> bool:
        now = one.service.engines(model)
        return bool(now) and engine not in now

    await until(other, f"another engine of {model}", REPLACED_S)
