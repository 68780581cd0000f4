"""What every part of the loop stands on. It must not know what any of them does."""

import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from service.ledger.ledger import Ledger
from service.ledger.writer import Writer
from service.lifecycle import Lifecycle
from service.settings import ModelSettings, Settings
from service.snapshots import Snapshot


class Place(NamedTuple):
    """One service's. `figures` gives what everybody has counted by now; `clock`: seconds since 1970."""

    settings: Settings
    ledger: Ledger
    writer: Writer
    lifecycle: Lifecycle
    figures: Callable[[], Awaitable[Snapshot]]
    clock: Callable[[], float] = time.time

    def of(self, model: str) -> ModelSettings:
        """The settings of one model."""
        return self.settings.model(model)
