"""How good a version is by the labels that came back: accuracy, where labels are missing, how late they are, and whether it hurts.

Labels come in the order of their arrival and are added up; who has stored them has stored this. It must not know where they are stored.

A row was kept with a probability, its share. Each row counts as the 1/share rows that it stands for (Hájek's estimate of a mean); what
uneven shares cost in certainty is Kish's effective number of labels, which Wilson's interval is made with. With even shares both are the
plain figures.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from models.evaluation import wilson
from service.ledger.records import Labelled, Prediction
from service.monitoring.course import Course, Step
from service.monitoring.harm import Harm, HarmTest

WINDOW = 500
"""Labels in the newest window."""
ACTIVE = "active-learning"
"""The source of labels for rows that were picked because they are hard: good to learn from, but no sample of the traffic. They count for
coverage alone."""
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Where coverage is told apart by confidence."""
DELAYS = (60, 600, 3600, 21_600, 86_400, 259_200, 604_800, 2_592_000)
"""Seconds, from a minute to 30 days, that a label came after its prediction."""


class Accuracy(msgspec.Struct, frozen=True):
    """A share of right answers among `n` labelled rows, which are worth `effective_n`, with its 95 % interval."""

    value: float
    n: int
    low: float
    high: float
    effective_n: float


class ClassAccuracy(msgspec.Struct, frozen=True):
    """One class. `recall`: of the rows that are it, those that were answered so; `precision`: of those answered so, those that are it."""

    label: str
    recall: Accuracy | None
    precision: Accuracy | None


class Coverage(msgspec.Struct, frozen=True):
    """How many of the newest kept predictions of a group have a label: labels are rarely missing by chance."""

    group: str
    predictions: int
    labelled: int


class Delays(msgspec.Struct, frozen=True):
    """How many labels came within each of `bounds` (s), the last count being all others."""

    bounds: tuple[int, ...]
    counts: tuple[int, ...]


class Quality(msgspec.Struct, frozen=True):
    """What the labels of a version say. None where none have come; `harm` is None where nobody promised an accuracy."""

    overall: Accuracy | None
    newest: Accuracy | None
    classes: list[ClassAccuracy]
    coverage_by_class: list[Coverage]
    coverage_by_confidence: list[Coverage]
    delays: Delays
    harm: Harm | None
    harm_since_drift: Harm | None
    course: list[Step]


class Row(NamedTuple):
    """One labelled row: indices of what it is and of what was answered, and how many rows it stands for."""

    truth: int
    answer: int
    weight: float

    @property
    def right(self) -> bool:
        """Whether the answer was right."""
        return self.truth == self.answer


class Sums:
    """Rows added up: how many, their weights, the squares of these, and the weight of the right ones."""

    __slots__ = ("n", "right", "squares", "weight")

    def __init__(self) -> None:
        self.n = 0
        self.weight = self.squares = self.right = 0.0

    def add(self, row: Row, times: int = 1) -> None:
        """Count a row; -1 takes one back."""
        self.n += times
        self.weight += times * row.weight
        self.squares += times * row.weight**2
        self.right += times * row.weight * row.right

    def accuracy(self) -> Accuracy | None:
        """The share of right ones, None without any."""
        if self.n < 1 or self.weight <= 0:
            return None
        value = min(1.0, max(0.0, self.right / self.weight))
        effective = self.weight**2 / self.squares
        return Accuracy(value, self.n, *wilson(value, effective), effective)


class LabelledQuality:
    """One version's. `labels`: its classes; `promised`: the error that was promised for it, at worst, None where nobody did."""

    def __init__(self, labels: Sequence[str], promised: float | None, tolerance: float) -> None:
        self.position = 0
        """Of the last label that was added."""
        self._labels = tuple(labels)
        self._index = {label: index for index, label in enumerate(labels)}
        self._terms = None if promised is None else (promised, tolerance)
        self._harm = self._test()
        self._since: float | None = None
        self._harm_since: HarmTest | None = None
        self._overall = Sums()
        self._by_truth = [Sums() for _ in labels]
        self._by_answer = [Sums() for _ in labels]
        self._delays = [0] * (len(DELAYS) + 1)
        self._newest: OrderedDict[tuple[str, int], Row] = OrderedDict()
        self._picked: set[tuple[str, int]] = set()
        self._course = Course()

    def add(self, labelled: Labelled) -> None:
        """Count a label, or the correction of one."""
        self.position = labelled.position
        row = self._row(labelled, labelled.label.label)
        if row is None:
            return
        key = (labelled.label.id, labelled.label.row)
        if labelled.before is None:
            self._harm_of(self._harm, row)
            self.add_to_drift(labelled)
            self._delays[bisect_right(DELAYS, delay(labelled))] += 1
            self._course.add(labelled.label.received_at, row.weight, row.right)
        elif (before := self._row(labelled, labelled.before)) is not None:
            self._count(before, -1)
        self._count(row, 1)
        if labelled.before is None or key in self._newest:
            self._newest[key] = row
        if len(self._newest) > WINDOW:
            self._newest.popitem(last=False)

    def drifting_since(self, since: float | None) -> bool:
        """When the drift began that is on, if one is. True when it is another one: its labels have to be added again, from position 0.

        That a model was harmless before says nothing about the rows that moved; a test of their own does.
        """
        if since == self._since:
            return False
        self._since, self._harm_since = since, None if since is None else self._test()
        return since is not None

    def add_to_drift(self, labelled: Labelled) -> None:
        """Count a row's first label for the test of the rows that came since the drift began, if it is one of these."""
        if self._since is None or labelled.before is not None:
            return
        row = self._row(labelled, labelled.label.label)
        if row is not None and labelled.prediction.at >= self._since:
            self._harm_of(self._harm_since, row)

    def described(self, kept: Sequence[tuple[Prediction, bool]] = ()) -> Quality:
        """All of it. `kept`: the newest predictions that were kept, each with whether it has a label: what coverage is told of."""
        newest = Sums()
        for row in self._newest.values():
            newest.add(row)
        classes = [
            ClassAccuracy(label, truth.accuracy(), answer.accuracy())
            for label, truth, answer in zip(
                self._labels, self._by_truth, self._by_answer, strict=True
            )
        ]
        return Quality(
            self._overall.accuracy(),
            newest.accuracy(),
            classes,
            covered(self._labels, [(one.label, known) for one, known in kept]),
            covered(NAMES, [(bisect_right(CONFIDENCES, o.confidence), k) for o, k in kept]),
            Delays(DELAYS, tuple(self._delays)),
            self.harm,
            None if self._harm_since is None else self._harm_since.state(),
            list(self._course.steps),
        )

    @property
    def harm(self) -> Harm | None:
        """Where the test of all labels stands."""
        return None if self._harm is None else self._harm.state()

    def _test(self) -> HarmTest | None:
        return None if self._terms is None else HarmTest(*self._terms)

    def _count(self, row: Row, times: int) -> None:
        for sums in (self._overall, self._by_truth[row.truth], self._by_answer[row.answer]):
            sums.add(row, times)

    def _row(self, labelled: Labelled, label: str) -> Row | None:
        """What is counted of a row that is said to be `label`; None where it is no class of the version, or the row no fair sample."""
        prediction, key = labelled.prediction, (labelled.label.id, labelled.label.row)
        if labelled.before is None and labelled.label.source == ACTIVE:
            self._picked.add(key)
        truth = self._index.get(label)
        if key in self._picked or truth is None or not 0 <= prediction.label < len(self._labels):
            return None
        return Row(truth, prediction.label, 1 / prediction.share)

    @staticmethod
    def _harm_of(test: HarmTest | None, row: Row) -> None:
        if test is not None:
            test.update(not row.right)


def delay(labelled: Labelled) -> float:
    """Seconds between a prediction and the arrival of its label."""
    return max(0.0, labelled.label.received_at - labelled.prediction.at)


NAMES = [f"{low:g}-{high:g}" for low, high in pairwise([0, *CONFIDENCES, 1])]
"""The groups of CONFIDENCES in words."""


def covered(names: Sequence[str], kept: Sequence[tuple[int, bool]]) -> list[Coverage]:
    """`kept`: the group of each prediction, and whether it has a label."""
    total, known = [0] * len(names), [0] * len(names)
    for group, labelled in kept:
        if 0 <= group < len(names):
            total[group] += 1
            known[group] += labelled
    return [Coverage(*one) for one in zip(names, total, known, strict=True)]
