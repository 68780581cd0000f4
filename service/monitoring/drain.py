"""What observed requests come to: rows of one version looked at together, and the inputs that are kept. It must not know threads or sockets."""

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from service.monitoring import payloads
from service.monitoring.observed import Rows, column, packed
from service.monitoring.sampling import Shares
from service.monitoring.tallies import ObserverTally
from service.monitoring.watch import Arrays, Watch


class Taken(NamedTuple):
    """Rows of one request, as references: `places` are theirs in the request, `inputs` and `outputs` are [rows, ...]."""

    watch: Watch
    share: float
    api: str
    prediction: str
    places: Sequence[int]
    at: float
    inputs: Arrays
    outputs: Arrays


class Drain:
    """Looks at what was taken. The inputs of at most a share `kept` of the rows, and `kept_per_s` of each model's, are kept as well."""

    def __init__(
        self,
        kept: float,
        kept_per_s: float,
        now: float,
        lot: Callable[[], float] = random.random,
    ) -> None:
        self._kept = kept
        self._lot = lot
        self._shares = Shares(math.inf, kept_per_s, now)

    def look(self, taken: Sequence[Taken], tally: ObserverTally) -> list[Rows]:
        """Everything in `taken`. What cannot be looked at is counted and left out."""
        groups: dict[object, list[Taken]] = {}
        for one in taken:
            key = (id(one.watch), one.api, one.watch.shape(one.inputs), *one.outputs)
            groups.setdefault(key, []).append(one)
        found: list[Rows] = []
        kept: Counter[str] = Counter()
        for group in groups.values():
            watch, began = group[0].watch, time.thread_time()
            try:
                rows = self._rows(watch, group)
            except Exception:  # noqa: BLE001 - one odd request must not end the observation of all others
                tally.lose(watch.model, sum(len(one.places) for one in group))
            else:
                kept[watch.model] += len(rows.payloads)
                found.append(rows)
            tally.spend(watch.model, time.thread_time() - began)
        self._shares.spend(time.monotonic(), 0.0, kept)
        return found

    def _rows(self, watch: Watch, group: Sequence[Taken]) -> Rows:
        inputs = watch.joined([one.inputs for one in group])
        outputs = {
            name: np.concatenate([one.outputs[name] for one in group]) for name in group[0].outputs
        }
        each = [(one, index) for one in group for index in range(len(one.places))]
        rows = Rows(
            watch.model,
            watch.version,
            watch.profile,
            group[0].api,
            [one.prediction for one, _ in each],
            packed([one.places[index] for one, index in each], "<u2"),
            packed([one.at for one, _ in each], "<f8"),
            packed([one.share for one, _ in each], "<f4"),
            *watch.look(inputs, outputs),
            self._payloads(watch.model, each),
        )
        if rows.labels and len(column(rows.labels, "<i4")) != len(each):
            raise ValueError("the model gave another number of rows than it was given")
        return rows

    def _payloads(
        self, model: str, each: Sequence[tuple[Taken, int]]
    ) -> list[tuple[int, bytes, float]]:
        """What some rows were, by lot: not what they are decides."""
        share = self._kept * self._shares.of(model)
        return [
            (
                place,
                payloads.encode({name: array[index] for name, array in one.inputs.items()}),
                one.share * share,
            )
            for place, (one, index) in enumerate(each)
            if self._lot() < share
        ]
