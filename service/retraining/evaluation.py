"""Champion and challenger answer the same rows through their engines, and the gate says what that comes to. It must not know jobs or HTTP.

holdout.npz    the newest labels          held_out.npz    the recipe's own rows, where the run left any
the same requests to both, in turns -> p99              training's rows -> none of them may judge
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models import bundle
from models.bundle import Manifest
from models.errors import DataError
from models.evaluation import Share, share
from models.profile.answers import probabilities
from models.traffic import Traffic
from service.deployments import Deployment
from service.engine.client import EngineClient
from service.engine.lanes import LOW
from service.errors import Refused, Unavailable
from service.retraining.gate import (
    Costs,
    Limits,
    Line,
    Rows,
    Verdict,
    class_slices,
    judge,
    points,
    quick,
)
from service.retraining.traffic import hashed

AT_ONCE = 16
SECONDS = 30.0
"""An answer that takes longer is none."""
TIMED, ROUNDS, MOST_ROUNDS = 40, 5, 40
"""p99 is measured over so many rows, so often, and the best counts: what else the machine does is no fault of a version. One that is too slow
all the same is measured again, up to MOST_ROUNDS times with PAUSE_SECONDS between them."""
PAUSE_SECONDS = 0.25


class Version(NamedTuple):
    """One of the two: its engine, and what it declares."""

    deployment: Deployment
    manifest: Manifest

    @property
    def bytes(self) -> int:
        """Of the file that it runs."""
        variant = self.manifest.variant(self.deployment.supervisor.report["variant"])
        return variant.bytes


class Judged(NamedTuple):
    """The gate's verdict, and the challenger's accuracy on the newest labels."""

    verdict: Verdict
    accuracy: Share


async def evaluate(
    champion: Version,
    challenger: Version,
    newest: Traffic,
    old: Traffic | None,
    trained: Collection[bytes],
    limits: Limits,
) -> Judged:
    """Ask both. `old`: rows that were held out of the recipe's data; `trained`: hashes of rows that either has learnt from."""
    check_comparable(champion.manifest, challenger.manifest)
    both = (champion, challenger)
    theirs, ours = [await answered(one, newest.rows) for one in both]
    labels = challenger.manifest.labels
    rows = Rows(theirs, ours, newest.labels, class_slices(newest.labels, labels))
    known = rows
    if old is not None:
        before, after = [await answered(one, old.rows) for one in both]
        known = Rows(before, after, old.labels)
    costs = await measured(champion, challenger, newest.rows[:TIMED], limits)
    everything = [*newest.rows, *(old.rows if old is not None else ())]
    leaked = sum(hashed(row) in trained for row in everything)
    verdict = judge(rows, known, *costs, leaked, limits)
    if old is None:
        verdict = with_line(verdict, recorded(champion.manifest, challenger.manifest, limits))
    right = int((ours.argmax(1) == newest.labels).sum())
    return Judged(verdict, share(right, len(newest.labels)))


def check_comparable(champion: Manifest, challenger: Manifest) -> None:
    """Refused where the same rows mean different things to them."""
    if champion.labels != challenger.labels:
        raise Refused(
            f"version {challenger.version} has other classes than version {champion.version}"
        )
    if [one.name for one in champion.inputs] != [one.name for one in challenger.inputs]:
        raise Refused(
            f"version {challenger.version} takes other tensors than version {champion.version}"
        )


async def answered(one: Version, rows: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
    """Probabilities [rows, classes], in order; behind everybody who waits for an answer."""
    parts = batches(rows, AT_ONCE if one.manifest.batched else 1)
    client = await connected(one)
    try:
        return np.concatenate([(await ask(client, one, batch))[0] for batch in parts])
    finally:
        client.close()


def batches(
    rows: Sequence[dict[str, np.ndarray]], size: int
) -> Iterator[list[dict[str, np.ndarray]]]:
    """Neighbours of equal shape together."""
    for _, alike in groupby(rows, lambda row: [array.shape for array in row.values()]):
        part = list(alike)
        for at in range(0, len(part), size):
            yield part[at : at + size]


async def ask(
    client: EngineClient, one: Version, rows: Sequence[dict[str, np.ndarray]]
) -> tuple[np.ndarray, float]:
    """Probabilities of some rows, and the seconds that computing them took."""
    tensors = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    output = one.manifest.output("probabilities") or one.manifest.output("logits")
    if output is None:
        raise Refused(f"version {one.manifest.version} gives no probabilities")
    answer = await client.infer(tensors, [output.name], time.monotonic() + SECONDS, LOW)
    found = probabilities(one.manifest, answer.outputs)
    if found is None or found.shape != (len(rows), len(one.manifest.labels)):
        raise Refused(f"version {one.manifest.version} gives no probability for each class")
    return found, answer.compute


async def connected(one: Version) -> EngineClient:
    """A connection to its engine."""
    if one.deployment.socket is None:
        raise Refused(f"version {one.manifest.version} has no engine")
    return await EngineClient.connect(one.deployment.socket, SECONDS)


async def measured(
    champion: Version,
    challenger: Version,
    rows: Sequence[dict[str, np.ndarray]],
    limits: Limits,
) -> tuple[Costs, Costs]:
    """What both cost, asked for single rows in turns."""
    both = (champion, challenger)
    number, best = 0, (float("inf"), float("inf"))
    clients = [await connected(one) for one in both]
    try:
        while True:
            number += 1
            now = await p99(clients, both, rows)
            best = (min(best[0], now[0]), min(best[1], now[1]))
            costs = Costs(best[0], champion.bytes), Costs(best[1], challenger.bytes)
            passed = quick(*costs, limits).passed
            if number >= (ROUNDS if passed else MOST_ROUNDS):
                return costs
            await asyncio.sleep(0 if passed else PAUSE_SECONDS)
    finally:
        for client in clients:
            client.close()


async def p99(
    clients: Sequence[EngineClient],
    versions: Sequence[Version],
    rows: Sequence[dict[str, np.ndarray]],
) -> tuple[float, float]:
    """Milliseconds of both, over rows that each of them gets alone, one after the other."""
    spent: tuple[list[float], list[float]] = ([], [])
    for row in rows:
        for seconds, client, one in zip(spent, clients, versions, strict=True):
            seconds.append((await ask(client, one, [row]))[1])
    first, second = (1000 * float(np.quantile(seconds, 0.99)) for seconds in spent)
    return first, second


def recorded(champion: Manifest, challenger: Manifest, limits: Limits) -> Line:
    """What was known before, by what both runs have written down: for when the rows themselves are not there."""
    before, after = (one.metrics.get("accuracy") for one in (champion, challenger))
    limit = -limits.forgotten
    if before is None or after is None or before.n != after.n:
        text = "no rows were held out that both versions have answered"
        return Line("memory", False, -1.0, limit, 0, text)
    lost = after.value - before.value
    text = f"on {after.n:,} held-out rows {points(lost)} by both versions' own records, {points(limit)} is allowed"
    return Line("memory", lost >= limit, lost, limit, after.n, text)


def with_line(verdict: Verdict, line: Line) -> Verdict:
    """The verdict with another line in the place of the one that has its name."""
    lines = tuple(line if one.name == line.name else one for one in verdict.lines)
    return Verdict(all(one.passed for one in lines), lines, verdict.power, verdict.more_labels)


def manifest_of(directory: Path) -> Manifest:
    """What a version declares. DataError where it declares nothing that a gate could hold it to, Unavailable while its directory is away."""
    if not directory.is_dir():
        raise Unavailable(f"{directory} is not there now", 5.0)
    if bundle.is_bare(directory):
        raise DataError(f"{directory} declares no classes: it cannot be compared")
    return bundle.read(directory)
