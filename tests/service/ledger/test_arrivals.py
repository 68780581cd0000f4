"""The same labels, in any order and any number of times, end in the same state."""

from collections import Counter
from typing import Any

import ledgers
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.ledger.ledger import Ledger
from service.ledger.records import Label, Prediction

SOURCES = ("a person", "b", "another")
KEYS = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(SOURCES), st.integers(-2, 2))
"""Which prediction, which row, who says it, and when."""


def said(made: list[Prediction], which: int, row: int, source: str, at: int) -> Label:
    """Each says something of its own."""
    one = msgspec.structs.replace(made[which], row=row)
    return ledgers.label(one, f"{source} at {at}", source, at)


def rows(made: list[Prediction]) -> list[Prediction]:
    """Two of each."""
    return [msgspec.structs.replace(one, row=row) for one in made for row in range(2)]


def new() -> list[Prediction]:
    """Three, of a model of their own."""
    return ledgers.predictions(3, model=ledgers.new_id(0.0))


def truths(ledger: Ledger, made: list[Prediction]) -> dict[tuple[str, int], str | None]:
    """The label of each row that counts, as those see it who read what arrived."""
    state: dict[tuple[str, int], str | None] = {}
    position = 0
    while page := ledger.labels_after(made[0].model, ledgers.VERSION, position, limit=3):
        for one in page:
            row = (one.label.id, one.label.row)
            assert state.get(row) == one.before
            state[row] = one.label.label
        position = page[-1].position
    return state


def counting(told: set[tuple[int, int, str, int]], made: list[Prediction]) -> dict[Any, Any]:
    """What counts of these keys, by the rule."""
    state: dict[tuple[str, int], str] = {}
    for which, row, source, at in sorted(told, key=lambda key: (key[3], key[2])):
        state[made[which].id, row] = f"{source} at {at}"
    return state


def test_labels_end_in_the_same_state_in_any_order(ledger: Ledger) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.lists(KEYS, max_size=8), max_size=6), st.randoms(use_true_random=False))
    def check(batches: list[list[tuple[int, int, str, int]]], random: Any) -> None:
        told = {key for batch in batches for key in batch}
        for order in (batches, random.sample(batches, len(batches))):
            made = new()
            ledger.add_predictions(rows(made))
            outcomes = Counter[str]()
            for batch in order:
                outcomes.update(ledger.add_labels([said(made, *key) for key in batch]))
            assert outcomes["accepted"] == len(told)
            assert outcomes["duplicate"] == sum(map(len, batches)) - len(told)
            assert truths(ledger, made) == counting(told, made)

    check()


class Labelling(RuleBasedStateMachine):
    """Predictions come, are labelled and erased; the model is a set of keys."""

    ledger: Ledger

    @initialize()
    def begin(self) -> None:
        self.made = new()
        self.there: set[int] = set()
        self.told: set[tuple[int, int, str, int]] = set()

    @rule(which=st.integers(0, 2))
    def predict(self, which: int) -> None:
        self.ledger.add_predictions(rows([self.made[which]]))
        self.there.add(which)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=5))
    def label(self, keys: list[tuple[int, int, str, int]]) -> None:
        expected = []
        for key in keys:
            known = key[0] in self.there
            expected.append(
                "unknown" if not known else "duplicate" if key in self.told else "accepted"
            )
            if known:
                self.told.add(key)
        assert self.ledger.add_labels([said(self.made, *key) for key in keys]) == expected

    @precondition(lambda self: self.there)
    @rule(which=st.integers(0, 2))
    def erase(self, which: int) -> None:
        assert self.ledger.erase(self.made[which].id) == (which in self.there)
        self.there.discard(which)
        self.told = {key for key in self.told if key[0] != which}

    @invariant()
    def the_latest_counts(self) -> None:
        assert truths(self.ledger, self.made) == counting(self.told, self.made)


def test_labels_follow_the_rules_whatever_happens(ledger: Ledger) -> None:
    Labelling.ledger = ledger
    case = Labelling.TestCase
    case.settings = settings(
        max_examples=15,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()


@pytest.mark.parametrize(
    "word", ["", "NULL", 'a "quoted", {one}', "back\\slash", "line\nbreak", "Ünïcode 🌲", "it's"]
)
def test_words_come_back_as_they_were(ledger: Ledger, word: str) -> None:
    made = ledgers.predictions(2, model=word or "m", api=word)
    ledger.add_predictions(made)
    assert ledger.predictions([one.id for one in made]) == sorted(made, key=lambda one: one.id)
    told = [ledgers.label(one, word, word) for one in made]
    assert ledger.add_labels(told) == ["accepted"] * 2
    assert [one.label for one in ledger.labels_after(word or "m", ledgers.VERSION)] == told
