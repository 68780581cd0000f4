"""Which labelled rows a challenger learns from, and which it is judged by. Pure: it is handed what was said, and says who is left out and why.

    what sources say of rows -> contradicted, untrusted, too many of one source -> out
    the rest -> of each class the newest -> held out                 what is left -> trained

A row that is picked because it is hard teaches, but is no fair sample: it is never held out. Rows of one request stay on one side.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from math import floor, sqrt
from typing import NamedTuple

from service.ledger.records import Said
from service.monitoring.quality import ACTIVE

FEWEST = 20
"""Labels of a source, and of all others together, before the source is held against them."""
MOST_HELD_OUT = 2000
FAR = 0.25
"""A source that disagrees with the answers more often than the others, by so much, is left out..."""
SURE = 4.0
"""... where chance does not explain it: so many standard errors."""

Key = tuple[str, int]


class Row(NamedTuple):
    """A row, what it is, who says so, when it was met, and whether it was picked because it is hard."""

    key: Key
    label: str
    source: str
    at: float
    picked: bool


class Settled(NamedTuple):
    """Rows of which is known what they are, oldest first, and how many were left out, by why."""

    rows: list[Row]
    left_out: Counter[str]


def settle(said: Sequence[Said], labels: Sequence[str], of_source: float) -> Settled:
    """What each row is. `labels`: the model's classes; `of_source`: the share that one of several sources may give."""
    left_out: Counter[str] = Counter()
    by_row: defaultdict[Key, list[Said]] = defaultdict(list)
    for one in said:
        by_row[one.id, one.row].append(one)
    bad = untrusted(by_row.values(), labels)
    rows = []
    for key, told in sorted(by_row.items(), key=lambda item: (item[1][0].at, item[0])):
        trusted = [one for one in told if one.source not in bad]
        row = settled(key, trusted, labels)
        if isinstance(row, Row):
            rows.append(row)
        else:
            left_out[row if trusted else "source that disagrees with the others"] += 1
    kept = capped(rows, of_source)
    left_out["too many of one source"] += len(rows) - len(kept)
    return Settled(kept, +left_out)


def settled(key: Key, told: Sequence[Said], labels: Sequence[str]) -> Row | str:
    """What a row is, or why that is not known."""
    latest: dict[str, Said] = {}
    for one in sorted(told, key=lambda one: one.observed_at):
        latest[one.source] = one
    if not latest:
        return "no label"
    if len({one.label for one in latest.values()}) > 1:
        return "sources contradict each other"
    one = max(latest.values(), key=lambda one: (one.observed_at, one.source))
    if one.label not in labels:
        return "no class of the model"
    return Row(key, one.label, one.source, one.at, any(o.source == ACTIVE for o in told))


def untrusted(rows: Iterable[Sequence[Said]], labels: Sequence[str]) -> set[str]:
    """Sources whose labels differ from the answers far more often than those of all others: they label something else, or want to harm.

    Rows that were picked because they are hard are not compared: there everybody differs from the answers.
    """
    total: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for one in (one for told in rows for one in told if one.source != ACTIVE):
        total[one.source] += 1
        named = labels[one.answer] if 0 <= one.answer < len(labels) else None
        wrong[one.source] += named != one.label
    return {source for source in total if far(source, total, wrong)}


def far(source: str, total: Counter[str], wrong: Counter[str]) -> bool:
    """Whether one source is far above the others."""
    own, others = total[source], total.total() - total[source]
    if min(own, others) < FEWEST:
        return False
    mine, theirs = wrong[source] / own, (wrong.total() - wrong[source]) / others
    pooled = wrong.total() / total.total()
    spread = sqrt(pooled * (1 - pooled) * (1 / own + 1 / others))
    return mine - theirs > max(FAR, SURE * spread)


def capped(rows: Sequence[Row], share: float) -> list[Row]:
    """Without the oldest rows of a source that gives more than its share, where there are others."""
    counts = Counter(row.source for row in rows)
    if len(counts) < 2 or share >= 1:
        return list(rows)
    source, most = counts.most_common(1)[0]
    gone = most - max(1, floor((len(rows) - most) * share / (1 - share)))
    old = [row.key for row in rows if row.source == source][: max(0, gone)]
    return [row for row in rows if row.key not in set(old)] if old else list(rows)


def split(
    rows: Sequence[Row], share: float, known: Collection[Key] = ()
) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and rows to judge by: of each class the newest, request by request, at least FEWEST if half of the rows are as many.

    `known`: rows that a champion has learnt from: they may be taught again, but prove nothing.
    """
    fair = [row for row in rows if not row.picked and row.key not in known]
    share = max(share, min(FEWEST / max(len(fair), 1), 0.5))
    share = min(share, MOST_HELD_OUT / max(len(fair), 1))
    wanted = {name: round(share * n) for name, n in Counter(row.label for row in fair).items()}
    by_request: defaultdict[str, list[Row]] = defaultdict(list)
    for row in fair:
        by_request[row.key[0]].append(row)
    chosen: set[str] = set()
    room = len(fair) // 2  # a request of many rows must not leave none to train on
    for request, inside in sorted(by_request.items(), key=lambda one: -one[1][0].at):
        if len(inside) <= room and all(wanted[row.label] > 0 for row in inside):
            chosen.add(request)
            room -= len(inside)
            for row in inside:
                wanted[row.label] -= 1
    judged = [row for row in fair if row.key[0] in chosen]
    return [row for row in rows if row.key[0] not in chosen], judged
