"""Where training runs: one small protocol, and those who speak it. They must not know why a training runs, or what comes of it.

A job is a directory (models.job), and what runs is `python -m models.train --job DIRECTORY`. Whatever happens to this service, a
reference finds the run again; submitting a job twice gives one run.
"""

from pathlib import Path
from typing import Literal, Protocol

import msgspec

State = Literal["pending", "running", "succeeded", "failed", "lost"]


class Status(msgspec.Struct, frozen=True):
    """How a run is. `lost`: it is not there any more, and has left no result."""

    state: State
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Nothing more will come of it."""
        return self.state not in ("pending", "running")


class Launcher(Protocol):
    """Starts runs and says how they are. Unavailable where whoever runs them cannot be reached: ask again. LauncherError where it refuses."""

    async def submit(self, directory: Path) -> str:
        """Start the job in `directory`, unless it runs or has run. Returns a reference that survives a restart."""
        ...

    async def status(self, reference: str) -> Status:
        """How the run is."""
        ...

    async def logs(self, reference: str, offset: int) -> tuple[bytes, int]:
        """What the run has printed behind byte `offset`, and where that ends."""
        ...

    async def cancel(self, reference: str) -> None:
        """End the run, if it runs; returns when it has ended."""
        ...
