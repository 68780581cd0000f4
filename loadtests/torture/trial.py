"""One scenario's ground: a service, callers who verify every answer, probes of its health, and what all of them found."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import httpx
import msgspec

from loadtests.torture import material
from loadtests.torture.asking import Question
from loadtests.torture.errors import Missed
from loadtests.torture.found import Fault, Found, Memory
from loadtests.torture.load import BIN_S, Load, calling
from loadtests.torture.probes import Prober, probing
from loadtests.torture.service import Service, running

RECOVERY_S = 45.0
LOOK_S = 0.1
TRACEBACK = re.compile(r'Traceback \(most recent call last\).{0,2000}?\\n(\w[\w.]*: [^"\\]{0,200})')


class Options(msgspec.Struct, frozen=True):
    """How hard and how long. `rest_s`: traffic between two faults, and while one lasts."""

    rounds: int = 3
    rest_s: float = 3.0
    callers: int = 8
    connections: int = 10_000
    requests: int = 1_000_000
    hours: float = 24.0
    within_s: float = 3600.0


class Trial:
    """What a scenario works with. `found` is complete once its block has ended."""

    def __init__(
        self, service: Service, options: Options, questions: Sequence[Question], port: int
    ) -> None:
        self.service = service
        self.options = options
        self.found = Found("", "", bin_s=BIN_S)
        self._begun = time.monotonic()
        self._questions = questions
        self.models = tuple(dict.fromkeys(one.model for one in questions))
        self.load = Load(port, questions, self._begun)
        self.prober = Prober(port, self.models, self._begun)

    def fault(self, what: str) -> None:
        """Note what is done to the service now."""
        self.found.faults.append(Fault(round(time.monotonic() - self._begun, 2), what))

    async def rest(self, seconds: float | None = None) -> None:
        """Let traffic run."""
        await asyncio.sleep(self.options.rest_s if seconds is None else seconds)

    def require(self, holds: object, sentence: str) -> None:
        """What this scenario asks for beside what every one does."""
        if not holds:
            self.found.missed.append(sentence)

    async def recovered(self) -> None:
        """Returns when every model answers rightly again; the longest time that this took is kept."""
        began = time.monotonic()
        first = {one.model: one for one in reversed(self._questions) if one.kind != "no such model"}
        while time.monotonic() - began < RECOVERY_S:
            outcomes = [await self.load.ask(one) for one in first.values()]
            if all(one == "right" for one in outcomes):
                taken = round(time.monotonic() - began, 2)
                self.found.recovered_s = max(self.found.recovered_s or 0.0, taken)
                return
            await asyncio.sleep(LOOK_S)
        raise Missed(f"not every model answered again within {RECOVERY_S:g} s")

    def weigh(self) -> None:
        """Note the memory of now."""
        at, mib = time.monotonic() - self._begun, self.service.resident()
        self.found.memory.append(Memory(round(at, 1), self.load.requests, round(mib, 2)))

    def close(self) -> None:
        """Put together what was found."""
        found = self.found
        found.seconds = round(time.monotonic() - self._begun, 1)
        found.models, found.courses = self.load.tallies, self.load.courses
        found.probes = self.prober.found
        refusals = {k: v for k, v in sorted(self.load.statuses.items()) if k != "200"}
        if refusals:
            told = ", ".join(f"{count} x {status}" for status, count in refusals.items())
            found.notes.append(f"answers other than 200: {told}")
        self._defects()

    def _defects(self) -> None:
        """A traceback in the log is a defect, whatever was answered."""
        said = TRACEBACK.findall(self.service.log())
        if said:
            found = f"{len(said)} tracebacks in the log, first: {said[0]}"
            self.found.missed.append(found)


@contextlib.asynccontextmanager
async def trial(
    folder: Path,
    options: Options,
    models: tuple[str, ...],
    settings: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Trial]:
    """A service with `models` under load, probed, while the block runs. What it misses is kept, not raised."""
    root = material.repository(folder / "models", models)
    told = {"provider": "cpu"} | material.settings(models) | dict(settings)
    service = Service(folder, root, told, environ)
    async with running(service):
        one = Trial(service, options, material.questions(models), service.port)
        try:
            async with probing(one.prober), calling(one.load, options.callers):
                await one.rest()
                yield one
                await one.rest()
        except (Missed, OSError, httpx.HTTPError) as error:
            one.found.missed.append(str(error) or repr(error))
        one.close()
