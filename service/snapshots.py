"""How the counts of several processes become one page. It must not know what is counted, or over which socket.

Every process keeps a registry of its own. A `Snapshot` is a registry as plain data; control asks every process for one when it is
scraped and adds them up. A process that ended stays in the sums with its last snapshot, so no counter ever falls.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.samples import Exemplar


class Example(msgspec.Struct, array_like=True):
    """An exemplar: a value of one sample, at `moment` (s since 1970), and the labels that lead to its trace."""

    sample: str
    labels: dict[str, str]
    trace: dict[str, str]
    value: float
    moment: float


class Family(msgspec.Struct, array_like=True):
    """One metric: `samples` are (sample name, labels, value)."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]]
    examples: list[Example] = []


Snapshot = list[Family]
Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """The registry's state as plain data that crosses a socket."""
    return [
        Family(
            m.name,
            m.type,
            m.documentation,
            [(s.name, dict(s.labels), s.value) for s in m.samples],
            [
                Example(s.name, dict(s.labels), dict(e.labels), e.value, float(e.timestamp or 0))
                for s in m.samples
                if (e := s.exemplar) is not None
            ],
        )
        for m in registry.collect()
    ]


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Add up samples of the same name and labels: counters, histogram buckets and gauges are all sums here, but of times the latest counts.

    Of exemplars, too.
    """
    families: dict[str, Family] = {}
    sums: dict[str, dict[Key, float]] = {}
    examples: dict[str, dict[Key, Example]] = {}
    for family in (family for one in snapshots for family in one):
        families.setdefault(family.name, family)
        into = sums.setdefault(family.name, {})
        latest(examples.setdefault(family.name, {}), family.examples)
        for name, labels, value in family.samples:
            key = (name, tuple(labels.items()))
            known = into.get(key, 0.0)
            into[key] = max(known, value) if tells_time(family) else known + value
    return [
        Family(
            f.name,
            f.kind,
            f.help,
            [(name, dict(labels), value) for (name, labels), value in sums[f.name].items()],
            list(examples[f.name].values()),
        )
        for f in families.values()
    ]


def latest(known: dict[Key, Example], more: Iterable[Example]) -> None:
    """Put `more` into `known`; of one sample the latest stays."""
    for one in more:
        key = (one.sample, tuple(one.labels.items()))
        if key not in known or known[key].moment <= one.moment:
            known[key] = one


def counters_only(one: Snapshot) -> Snapshot:
    """What remains true of a process after it ended: its counts and when something last happened, not its other gauges."""
    return [family for family in one if family.kind != "gauge" or tells_time(family)]


def tells_time(family: Family) -> bool:
    """Whether its values are moments."""
    return family.name.endswith("_timestamp_seconds")


def only(one: Snapshot, loaded: Collection[tuple[str, str]]) -> Snapshot:
    """Without the samples of versions that are not among `loaded`: (model, version) as labels have them."""

    def kept(labels: dict[str, str]) -> bool:
        return not labels.get("version") or (labels.get("model", ""), labels["version"]) in loaded

    return [
        Family(
            f.name,
            f.kind,
            f.help,
            [sample for sample in f.samples if kept(sample[1])],
            [example for example in f.examples if kept(example.labels)],
        )
        for f in one
    ]


def exposition(one: Snapshot, *, openmetrics_asked: bool = False) -> bytes:
    """The Prometheus text format; or OpenMetrics', which has a place for exemplars."""
    registry = CollectorRegistry()
    registry.register(_Fixed(one))
    if openmetrics_asked:
        return bytes(openmetrics.generate_latest(registry))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class _Fixed:
    """A collector of a snapshot. It describes nothing, so that registering does not collect."""

    def __init__(self, one: Snapshot) -> None:
        self._snapshot = one

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Any]:
        for family in self._snapshot:
            metric = Metric(family.name, family.help, family.kind)
            found: dict[Key, Example] = {}
            latest(found, family.examples)
            for name, labels, value in family.samples:
                example = found.get((name, tuple(labels.items())))
                told = None
                if example is not None:
                    told = Exemplar(example.trace, example.value, example.moment)
                metric.add_sample(name, labels, value, exemplar=told)
            yield metric


class Totals:
    """The sums over processes that come and go. A source is named by whoever asks it."""

    def __init__(self) -> None:
        self._latest: dict[str, Snapshot] = {}
        self._retired: Snapshot = []
        self._loaded: Collection[tuple[str, str]] | None = None

    def update(self, source: str, one: Snapshot) -> None:
        """Keep the newest snapshot of `source`."""
        self._latest[source] = one

    def retire(self, source: str) -> None:
        """`source` has ended: its counts stay, its gauges go."""
        self._retired = merge([self._retired, counters_only(self._latest.pop(source, []))])

    def keep(self, loaded: Collection[tuple[str, str]]) -> None:
        """From now on nothing is told of versions, as (model, version), that are not among `loaded`; what they counted is forgotten."""
        self._loaded = loaded
        self._retired = only(self._retired, loaded)

    def sources(self) -> list[str]:
        """Everything that was heard of and has not been retired."""
        return list(self._latest)

    def total(self) -> Snapshot:
        """Everything, added up."""
        everything = merge([self._retired, *self._latest.values()])
        return everything if self._loaded is None else only(everything, self._loaded)
