"""The quality of every version, kept up with the labels in the ledger. It must not know who asks.

A version's state is what its labels, in the order of their arrival, have made of it: after a restart, or after a prediction was erased,
it is made again from those that are there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from service.ledger.ledger import Ledger
from service.ledger.writer import Writer
from service.monitoring.quality import LabelledQuality, Quality

PAGE = 500
"""Labels that are added at a time; others may use the ledger in between."""
AMONG = 20_000
"""The newest rows of all models that coverage is told of."""

Key = tuple[str, int]


class Terms(msgspec.Struct, frozen=True):
    """What a version's labels are held against. `promised`: its error by held-out rows, at worst; None where nobody has told."""

    labels: tuple[str, ...] = ()
    promised: float | None = None
    tolerance: float = 0.0
    """What more error is put up with."""


class Qualities:
    """`terms_of` may read files: it is called off the event loop."""

    def __init__(
        self,
        ledger: Ledger,
        writer: Writer,
        terms_of: Callable[[str, int], Terms],
    ) -> None:
        self._ledger = ledger
        self._writer = writer
        self._terms_of = terms_of
        self._terms: dict[Key, Terms] = {}
        self._all: dict[Key, LabelledQuality] = {}
        self._locks: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)

    def terms(self, model: str, version: int) -> Terms:
        """Those of one version. It may read files. BundleError where there is no such version."""
        key = (model, version)
        if key not in self._terms:
            self._terms[key] = self._terms_of(model, version)
        return self._terms[key]

    def classes(self, model: str) -> Callable[[int], Sequence[str]]:
        """Version -> its labels. It may read files."""
        return lambda version: self.terms(model, version).labels

    async def follow(self, model: str, version: int, drift_since: float | None) -> LabelledQuality:
        """Add what has come since the last time. `drift_since`: when the drift began that is on, None where none is."""
        key = (model, version)
        async with self._locks[key]:
            one = self._all.get(key)
            if one is None:
                one = await asyncio.to_thread(self._new, model, version)
                self._all[key] = one
            if one.drifting_since(drift_since):
                await self._read_again(key, one)
            while await self._writer.run(self._read, key, one):
                pass
        return one

    async def told(self, model: str, version: int, drift_since: float | None) -> Quality:
        """Everything that labels say of a version."""
        one = await self.follow(model, version, drift_since)
        kept = await self._writer.run(self._ledger.newest, model, version, AMONG)
        return one.described(kept)

    def known(self, model: str, version: int) -> Quality | None:
        """What is known of a version without asking anybody."""
        one = self._all.get((model, version))
        return None if one is None else one.described()

    def forget(self, model: str | None = None) -> None:
        """Make all states of a model, or of all models, again when they are next asked for: labels have gone."""
        for key in [key for key in self._all if model in (None, key[0])]:
            del self._all[key]

    def _new(self, model: str, version: int) -> LabelledQuality:
        terms = self.terms(model, version)
        return LabelledQuality(terms.labels, terms.promised, terms.tolerance)

    def _read(self, key: Key, one: LabelledQuality) -> bool:
        """Add a page of labels; whether there may be more."""
        page = self._ledger.labels_after(*key, one.position, PAGE)
        for labelled in page:
            one.add(labelled)
        return len(page) == PAGE

    async def _read_again(self, key: Key, one: LabelledQuality) -> None:
        """Labels that were added before the drift was noticed may be of rows that came since it began."""
        position, last = 0, one.position
        while position < last:
            page = await self._writer.run(self._ledger.labels_after, *key, position, PAGE)
            for labelled in page:
                if labelled.position <= last:
                    one.add_to_drift(labelled)
            position = page[-1].position if page else last
