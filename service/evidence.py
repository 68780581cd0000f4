"""What front ends ask control about traffic and labels, and its answers. It must not know HTTP, nor how anything is found.

feedback -> predictions still on their way, if need be -> ledger (on the disk) -> qualities -> metrics
drift    -> monitor + qualities -> one account        wanted, erase -> ledger
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry

from models.errors import EvergreenError
from models.registry import Look
from service.errors import NotFound
from service.ledger.ledger import Ledger
from service.ledger.records import Evaluation
from service.ledger.writer import Writer
from service.lifecycle import Lifecycle
from service.link import Handler
from service.monitoring.account import Brief, account, began, brief, conclusion, not_loaded
from service.monitoring.conclusion import Conclusion
from service.monitoring.label_metrics import LabelMetrics
from service.monitoring.labelling import Item, take, unseen
from service.monitoring.monitor import Monitor
from service.monitoring.qualities import AMONG, Qualities, Terms
from service.monitoring.report import DriftTold
from service.monitoring.wanted import wanted
from service.questions import read
from service.settings import Settings

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
"""How often labels that other machines took are looked for."""
PAST = 200
"""Evaluations that an account tells."""
CHOSEN_FROM = 2000
"""Rows of either kind that wanted ones are chosen from."""


class Labels(msgspec.Struct):
    """A batch of labels."""

    model: str
    labels: list[Item]


class Version(msgspec.Struct):
    """A version, or the champion."""

    model: str
    version: int | None = None
    limit: int = 20


class Erase(msgspec.Struct):
    """A prediction to forget."""

    prediction: str


class Kept(NamedTuple):
    """Where things are kept, and what watches the traffic. `ship` returns when front ends have told all that they observed."""

    ledger: Ledger
    writer: Writer
    monitor: Monitor
    ship: Callable[[], Awaitable[None]]


class Evidence:
    """The handlers of a link, and the loop that keeps figures up to date."""

    def __init__(
        self, settings: Settings, lifecycle: Lifecycle, kept: Kept, metrics: CollectorRegistry
    ) -> None:
        self._settings = settings
        self._lifecycle = lifecycle
        self._ledger, self._writer, self._monitor, self._ship = kept
        self._metrics = LabelMetrics(metrics)
        self.qualities = self._qualities = Qualities(self._ledger, self._writer, self._terms_of)

    def handlers(self) -> Mapping[str, Handler]:
        """By the name of the question."""
        return {
            "feedback": self._feedback,
            "wanted": self._wanted,
            "erase": self._erase,
            "drift": self._drift,
            "brief": self._brief,
        }

    async def seen(self, model: str) -> tuple[DriftTold, Conclusion] | None:
        """The champion's traffic and what it comes to with its labels; None where it does not run here."""
        served = self._lifecycle.of(model)
        if served is None or served.champion is None:
            return None
        drift, since = await self._traffic(model, served.champion)
        quality = await self._qualities.follow(model, served.champion, since)
        return drift, conclusion(drift, quality.described())

    async def worth(self, model: str, limit: int) -> list[str]:
        """The predictions of the champion that are most worth a label."""
        told = await self._wanted({"model": model, "limit": limit})
        return [one["prediction_id"] for one in told["wanted"]]

    async def drifting_since(self, model: str, version: int) -> float | None:
        """From when on rows belong to the drift that is on; None where none is."""
        called = self._monitor.drifting_since(model, version)
        return None if called is None else began(await self._past(model, version), called)

    async def watch(self) -> None:
        """Keep what labels say of loaded versions up to date, for as long as this is not cancelled."""
        while True:
            for served in self._lifecycle:
                for version in list(served.running):
                    await self._try_to_follow(served.name, version)
            await asyncio.sleep(EVERY_SECONDS)

    async def _feedback(self, body: Any) -> Any:
        """Nothing is told before it is on the disk."""
        order = read(body, Labels)
        await self._check_known(order.model)
        if await self._writer.run(unseen, self._ledger, order.labels):
            await self._try_to_ship()
            await self._writer.flush()
        classes = self._qualities.classes(order.model)
        taken = await self._writer.run(take, self._ledger, order.model, order.labels, classes)
        self._metrics.count(order.model, taken)
        counts = Counter(taken.outcomes)
        lost = [(n, one) for n, one in enumerate(taken.outcomes) if one in ("unknown", "late")]
        return {
            **{one: counts[one] for one in ("accepted", "duplicate", "unknown", "late")},
            "unstored": [{"item": number, "outcome": outcome} for number, outcome in lost],
        }

    async def _wanted(self, body: Any) -> Any:
        order = read(body, Version)
        key = (order.model, await self._version(order))
        since = await self.drifting_since(*key)
        terms = await asyncio.to_thread(self._qualities.terms, *key)
        most = max(CHOSEN_FROM, order.limit)
        newest = await self._writer.run(self._ledger.wanted, *key, most, newest=True)
        uncertain = await self._writer.run(self._ledger.wanted, *key, order.limit)
        kept = await self._writer.run(self._ledger.newest, *key, AMONG)
        labelled = Counter(one.label for one, known in kept if known)
        found = wanted(terms.labels, newest, uncertain, labelled, since, order.limit)
        told = msgspec.to_builtins(found)
        return {"model": order.model, "version": key[1], "wanted": told}

    async def _erase(self, body: Any) -> Any:
        """Whether there was something to forget. Unavailable where a front end does not tell what it holds, or the ledger cannot be written:
        it may be there, too."""
        prediction = read(body, Erase).prediction
        await self._ship()
        await self._writer.flush()
        known = await self._writer.run(self._ledger.predictions, [prediction])
        erased = await self._writer.run(self._ledger.erase, prediction)
        for model in {one.model for one in known}:
            self._qualities.forget(model)
        return erased

    async def _drift(self, body: Any) -> Any:
        order = read(body, Version)
        version = await self._version(order)
        await self._try_to_ship()  # whoever has just sent requests finds them counted
        drift, since = await self._traffic(order.model, version)
        past = await self._past(order.model, version)
        quality = await self._qualities.told(order.model, version, since)
        self._metrics.show(order.model, version, quality)
        return msgspec.to_builtins(account(drift, quality, past))

    async def _brief(self, body: Any) -> Any:
        """Of the champion, from what is known here and now; None where it does not run here."""
        model = read(body, Version).model
        served = self._lifecycle.of(model)
        if served is None or served.champion is None:
            return None
        quality = self._qualities.known(model, served.champion)
        try:
            drift = self._monitor.report(model, served.champion)
        except NotFound:
            return None
        told: Brief | None = None if quality is None else brief(drift, quality)
        return msgspec.to_builtins(told)

    async def _try_to_follow(self, model: str, version: int) -> None:
        try:
            since = await self.drifting_since(model, version)
            one = await self._qualities.follow(model, version, since)
            self._metrics.show(model, version, one.described())
        except EvergreenError as error:
            log.info("labels of %s/%s are not followed now: %s", model, version, error)
        except Exception:
            log.exception("labels of %s/%s cannot be followed", model, version)

    async def _traffic(self, model: str, version: int) -> tuple[DriftTold, float | None]:
        """What the traffic of a version looks like, and since when it has been drifting, if it is."""
        try:
            drift = self._monitor.report(model, version)
        except NotFound:
            drift = not_loaded(model, version)
        return drift, await self.drifting_since(model, version)

    async def _past(self, model: str, version: int) -> list[Evaluation]:
        """How the traffic was judged before."""
        return await self._writer.run(self._ledger.evaluations, model, version, PAST)

    async def _try_to_ship(self) -> None:
        """Labels of what a silent front end holds are unknown for now."""
        try:
            await self._ship()
        except EvergreenError as error:
            log.info("a prediction may still be on its way: %s", error)

    async def _version(self, order: Version) -> int:
        """The version that is meant. NotFound when there is none such."""
        look = await self._check_known(order.model)
        served = self._lifecycle.of(order.model)
        if order.version is not None:
            running = served is not None and order.version in served.running
            if not running and order.version not in look.state.versions:
                raise NotFound(f"'{order.model}' has no version {order.version}")
            return order.version
        if served is not None and served.champion is not None:
            return served.champion
        return look.state.number(None)

    async def _check_known(self, model: str) -> Look:
        look = await asyncio.to_thread(self._lifecycle.registry.find, model)
        if look is None:
            raise NotFound(f"Request for unknown model: '{model[:128]}' is not found")
        return look

    def _terms_of(self, model: str, version: int) -> Terms:
        """What a version promised: the error of its held-out rows at the upper end of the 95 % interval, which luck with these rows explains."""
        manifest = self._lifecycle.registry.manifest(model, version)
        if manifest is None:
            return Terms()
        found = manifest.metrics.get("accuracy")
        return Terms(
            manifest.labels,
            None if found is None else 1 - found.low,
            self._settings.model(model).error_tolerance,
        )
