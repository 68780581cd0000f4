"""Control's end: what front ends observed -> ledger, windows, verdicts. It must not know HTTP, engines, or how rows were looked at.

    "observed" -> predictions, payloads -> ledger          rows -> Judge -> blocks, evaluations -> ledger
    a ledger that several machines share -> blocks of all, as they arrived there -> the same windows everywhere

All of it may fail alone: without a ledger a machine judges what it saw itself, and goes on with what the ledger knows when that is back. Rows that
fill no block yet are kept over a restart; kill -9 loses them, fewer than a block of each version.
"""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models import bundle, profile
from models.bundle import Manifest
from models.errors import EvergreenError
from service.errors import NotFound, Unavailable
from service.ledger.ledger import Ledger
from service.ledger.records import Payload, Prediction
from service.ledger.writer import Writer
from service.monitoring.blocks import Rest
from service.monitoring.faults import Faults
from service.monitoring.judge import Judge
from service.monitoring.metrics import MonitorMetrics
from service.monitoring.observed import Observed, Rows, column
from service.monitoring.report import DriftTold, told
from service.monitoring.seen import Seen
from service.settings import Settings

log = logging.getLogger(__name__)

HEARD_SECONDS = 30.0
"""A front end that said nothing for so long has ended."""
EVALUATIONS = 200
"""How far back the beginning of a verdict is looked for."""
MOST = 50_000
"""Samples that are gone back to the last evaluation for, about."""
REST = "monitoring.msgpack"

Version = tuple[str, int]


class Loaded(NamedTuple):
    """A version that runs, and which variant of it. `manifest`: what its engine found out, where the directory holds none."""

    model: str
    version: int
    directory: Path
    variant: str | None = None
    manifest: Any = None


class Monitor:
    """One machine's. `champion`: the version of a model that answers; `running`: all versions that do; `clock`: seconds since 1970."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        writer: Writer,
        champion: Callable[[str], int | None],
        running: Callable[[], Collection[Loaded]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._ledger, self._writer = settings, ledger, writer
        self._champion, self._running, self._clock = champion, running, clock
        self._following = asyncio.Lock()
        self._shared = settings.ledger_url is not None
        self._seen: dict[Version, Seen] = {}
        self._shares: dict[str, tuple[float, float]] = {}
        self._faults = Faults(clock())
        self._rest = self._take_rest()
        self.metrics = MonitorMetrics(self._seen.values, self._share)

    def __iter__(self) -> Iterator[Seen]:
        return iter(list(self._seen.values()))

    async def follow(self) -> None:
        """Bring the windows up to date with what runs, and with what other machines saw."""
        async with self._following:
            loaded = {(one.model, one.version): one for one in self._running()}
            for key in self._seen.keys() - loaded.keys():
                del self._seen[key]
            for key, one in loaded.items():
                known = self._seen.get(key)
                if known is None or known.variant != one.variant:
                    try:
                        self._seen[key] = await asyncio.to_thread(self._open, one)
                    except EvergreenError as error:
                        log.info("%s/%s cannot be watched: %s", *key, error)
            for seen in self:
                await self._catch_up(seen)

    async def take(self, body: bytes) -> None:
        """What a front end tells."""
        message = msgspec.msgpack.decode(body, type=Observed)
        now = self._clock()
        self._shares[message.source] = (message.share, now)
        for inputs in message.inputs:
            self._faults.add(now, inputs)
        if any((rows.model, rows.version) not in self._seen for rows in message.rows):
            await self.follow()  # its first rows are here before it was looked for
        for rows in message.rows:
            self._record(rows)
            if (seen := self._seen.get((rows.model, rows.version))) is not None:
                self._count(seen, rows)

    def report(self, model: str, version: int | None) -> DriftTold:
        """A version's drift; the champion's without one. NotFound where it does not run here."""
        wanted = self._champion(model) if version is None else version
        seen = None if wanted is None else self._seen.get((model, wanted))
        if seen is None:
            about = "" if version is None else f" version {version}"
            raise NotFound(f"Request for unknown model: '{model[:128]}'{about} is not found")
        return told(seen, self._faults.of(self._clock(), model), self._share())

    def drifting_since(self, model: str, version: int) -> float | None:
        """When the drift of a version was called that is on; None where none is, or it does not run here."""
        seen = self._seen.get((model, version))
        if seen is None or seen.judge is None or seen.judge.detector.verdict != "drift":
            return None
        return seen.judge.detector.since

    def close(self) -> None:
        """Keep the rows that fill no block yet."""
        rest = {
            rest_key(one.judge): one.judge.blocks.rest()
            for one in self
            if one.judge is not None and one.judge.blocks.waiting
        }
        if rest:
            path = self._settings.state / REST
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(msgspec.msgpack.encode(rest))
            except OSError as error:
                log.warning("%s cannot be written, some observed rows are lost: %s", path, error)

    def _share(self) -> float:
        """That of the requests which are observed, in the front end that observes the smallest."""
        heard = self._clock() - HEARD_SECONDS
        self._shares = {name: one for name, one in self._shares.items() if one[1] > heard}
        shares = (share for share, _ in self._shares.values())
        return min(shares, default=float(self._settings.monitor))

    def _take_rest(self) -> dict[str, Rest]:
        """What the last start left; nobody finds it twice."""
        path = self._settings.state / REST
        try:
            data = path.read_bytes()
            path.unlink()
            return msgspec.msgpack.decode(data, type=dict[str, Rest])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read, some observed rows are lost: %s", path, error)
            return {}

    def _open(self, loaded: Loaded) -> Seen:
        """In a thread: what there is to know of a version before its first row."""
        directory, told = loaded.directory, loaded.manifest
        manifest = bundle.read(directory) if told is None else bundle.from_builtins(told)
        judge, reason = self._judge(loaded, manifest)
        return Seen(manifest, loaded.variant, judge, reason)

    def _judge(self, loaded: Loaded, manifest: Manifest) -> tuple[Judge | None, str]:
        """The judge of a version, or why it has none."""
        try:
            reference = profile.read(loaded.directory, loaded.variant)
        except EvergreenError as error:
            return None, f"its profile cannot be used: {error}"
        settings = self._settings.model(loaded.model)
        if not (self._settings.monitor and settings.monitor):
            return None, "it is not observed: the setting 'monitor' is off"
        if reference is None:
            return None, without_profile(manifest)
        largest = settings.drift_window or self._settings.drift_window
        judge = Judge(manifest.name, manifest.version, reference, new_name(), largest)
        if (rest := self._rest.pop(rest_key(judge), None)) is not None:
            judge.blocks.resume(rest)
        return judge, ""

    async def _catch_up(self, seen: Seen) -> None:
        """What the ledger knows of a version and we do not; then every window that is due."""
        judge = seen.judge
        if judge is None:
            return
        try:
            if self._shared and self._writer.away:
                raise Unavailable("it cannot be written")
            if not seen.restored:
                await self._restore(seen, judge)
            if self._shared:
                await self._read_all(seen, judge)
        except Unavailable as error:
            log.debug("windows go on without the ledger: %s", error)
            # What others saw is missing from now on: when it is back, windows begin again with what it knows.
            seen.restored = seen.restored and not self._shared
        self._evaluate(seen, judge)

    async def _restore(self, seen: Seen, judge: Judge) -> None:
        """Begin with what the ledger knows: what was judged last, and all blocks since then and a window before."""
        key, sha256 = (judge.model, judge.version), judge.reference.sha256
        evaluations = await self._writer.run(self._ledger.evaluations, *key, EVALUATIONS)
        wanted = 2 * judge.sizes[-1]
        while True:
            known = await self._writer.run(self._ledger.newest_blocks, *key, sha256, wanted)
            # Those of this machine that are on their way come back from a shared ledger, in the order of all.
            ours = [] if self._shared else judge.window.blocks
            whole = judge.resume([*(block for _, block in known), *ours], evaluations)
            if whole or wanted > MOST or sum(block.samples for _, block in known) < wanted:
                break
            wanted *= 4
        seen.position = known[-1][0] if known else 0
        seen.restored = True

    async def _read_all(self, seen: Seen, judge: Judge) -> None:
        """What has come into the ledger since the last time, from this machine or another."""
        key = (judge.model, judge.version, judge.reference.sha256)
        while new := await self._writer.run(self._ledger.blocks_after, *key, seen.position):
            for position, block in new:
                judge.window.add(block)
                seen.position = position

    def _evaluate(self, seen: Seen, judge: Judge) -> None:
        found = judge.evaluate()
        if seen.restored or not self._shared:
            self._writer.put("evaluations", found)

    def _record(self, rows: Rows) -> None:
        """Predictions and payloads, whether or not anybody knows the version."""
        places, at = column(rows.places, "<u2").tolist(), column(rows.at, "<f8").tolist()
        labels, shares = column(rows.labels, "<i4").tolist(), column(rows.shares, "<f4").tolist()
        confidences = column(rows.confidences, "<f4").tolist()
        key = (rows.model, rows.version)
        self._writer.put(
            "predictions",
            [
                Prediction(
                    rows.ids[i], places[i], *key, at[i], label, confidences[i], shares[i], rows.api
                )
                for i, label in enumerate(labels)
            ],
        )
        self._writer.put(
            "payloads",
            [
                Payload(rows.ids[i], places[i], *key, at[i], data, share)
                for i, data, share in rows.payloads
            ],
        )

    def _count(self, seen: Seen, rows: Rows) -> None:
        seen.count(rows)
        bins, judge = seen.signals(rows), seen.judge
        if bins is None or judge is None:
            return
        observed = (column(rows.at, "<f8").tolist(), bins, column(rows.estimates, "<f4", 2))
        if self._shared and seen.restored:
            self._writer.put("blocks", judge.blocks.add(*observed))
            return
        self._writer.put("blocks", judge.add(*observed))
        # Not before the ledger was asked which windows were judged.
        if seen.restored:
            self._evaluate(seen, judge)


def new_name() -> str:
    """Of a maker of blocks, which it numbers from 1: nobody has made any under this name, nor did this machine before a version was loaded again."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def rest_key(judge: Judge) -> str:
    """What rows belong to: those of another profile have other bins."""
    return f"{judge.model}/{judge.version}/{judge.reference.sha256}"


def without_profile(manifest: Manifest) -> str:
    """Why a version without a profile has no verdict."""
    name = f"{manifest.name}/{manifest.version}"
    return f"{name} has no {profile.FILE}, so nothing is known of what its traffic should look like"
