"""Whether a version that was promoted hurts: by its labels, its errors, its engine. It must not know who promoted it, or what is done about it.

labels of rows that it answered since then -> harm test against what was promised -> a reason to take it back, or none
"""

import asyncio
import time
from collections.abc import Sequence

from models import bundle
from service import traffic
from service.ledger.records import Labelled
from service.monitoring.harm import Harm, HarmTest
from service.monitoring.quality import ACTIVE
from service.retraining.place import Place
from service.served import Served
from service.settings import ModelSettings
from service.traffic import Counts, Window

PAGE = 500


class Since:
    """The labels of one version's answers since a time, in the order of their arrival."""

    def __init__(self, labels: Sequence[str], since: float, test: HarmTest) -> None:
        self._labels, self._since, self._test = labels, since, test
        self.position = 0

    def add(self, one: Labelled) -> None:
        """Count a row's first label, if the row is one of these and a fair sample."""
        self.position = one.position
        row, said = one.prediction, one.label
        fair = one.before is None and said.source != ACTIVE and row.at >= self._since
        if fair and said.label in self._labels:
            known = 0 <= row.label < len(self._labels)
            self._test.update(not known or self._labels[row.label] != said.label)

    @property
    def harm(self) -> Harm:
        """What they come to."""
        return self._test.state()


class Watching:
    """What is known of versions that are watched."""

    def __init__(self, place: Place) -> None:
        self._ledger, self._writer, self._figures = place.ledger, place.writer, place.figures
        self._labels: dict[tuple[str, int, float], Since] = {}
        self._windows: dict[tuple[str, int, float], Window] = {}

    async def against(
        self, served: Served, since: float, promised: float | None, own: ModelSettings
    ) -> str | None:
        """What speaks against the champion, which answers since then; None while nothing does. `promised`: its error, at worst."""
        champion = served.champion
        if champion is None or (one := served.running.get(champion)) is None:
            return None
        if one.supervisor.state == "failed":
            return f"its engine does not stay up: {one.supervisor.reason}"
        if (why := await self._errors(served.name, champion, since, own)) is not None:
            return why
        if promised is None or not (labels := labels_of(served, champion)):
            return None
        harm = await self.harm(
            (served.name, champion, since), labels, promised, own.error_tolerance
        )
        if harm.verdict != "harmful":
            return None
        return (
            f"{harm.wrong} of {harm.labels} labelled answers were wrong, which is more than an error of "
            f"{harm.limit:.1%}: {harm.promised:.1%} promised, the rest tolerated"
        )

    async def harm(
        self,
        key: tuple[str, int, float],
        labels: Sequence[str],
        promised: float,
        tolerance: float,
    ) -> Harm:
        """Where the test of a version's labels since a time stands."""
        one = self._labels.get(key)
        if one is None:
            # Its alarm level is simulated, which takes a second.
            test = await asyncio.to_thread(HarmTest, promised, tolerance)
            one = self._labels[key] = Since(labels, key[2], test)
        while page := await self._writer.run(
            self._ledger.labels_after, key[0], key[1], one.position, PAGE
        ):
            for labelled in page:
                one.add(labelled)
        return one.harm

    def forget(self, model: str) -> None:
        """Nobody watches this model any more."""
        for kept in (self._labels, self._windows):
            for key in [key for key in kept if key[0] == model]:
                kept.pop(key, None)

    async def _errors(
        self, model: str, version: int, since: float, own: ModelSettings
    ) -> str | None:
        """What failed requests say."""
        key = (model, version, since)
        window = self._windows.setdefault(key, Window(own.canary_window_s))
        window.add(
            time.monotonic(), traffic.counts(await self._figures(), model, version), Counts()
        )
        seen, _ = window.latest()
        if seen.requests < own.canary_min_requests or seen.error_rate <= own.canary_max_error_rate:
            return None
        return (
            f"{seen.error_rate:.1%} of {seen.requests:.0f} requests failed, "
            f"{own.canary_max_error_rate:.1%} are allowed"
        )


def labels_of(served: Served, version: int) -> tuple[str, ...]:
    """The classes of a version that runs, as its engine declares them."""
    directory = served.running[version].directory
    return () if bundle.is_bare(directory) else bundle.read(directory).labels
