"""What can be learnt from, in both databases: labels whose payload was kept, counted once for each row."""

import time

import ledgers
from ledgers import MODEL

from service.ledger.ledger import Ledger
from service.ledger.records import Prediction


def labelled(ledger: Ledger, count: int, says: str = "yes", kept: bool = True) -> list[Prediction]:
    """Rows with a label; with their payloads, unless they were not `kept`."""
    made = ledgers.predictions(count)
    ledger.add_predictions(made)
    if kept:
        ledger.add_payloads([ledgers.payload(one, one.id.encode()) for one in made])
    assert ledger.add_labels([ledgers.label(one, says) for one in made]) == ["accepted"] * count
    return made


def test_both_numbers_are_counted(ledger: Ledger):
    labelled(ledger, 3, "yes")
    labelled(ledger, 2, "no")
    labelled(ledger, 4, "no", kept=False)
    found = ledger.learning.counted(MODEL, 0)
    assert (found.labels, found.by_class, found.position) == (9, {"yes": 3, "no": 2}, 9)
    assert ledger.learning.counted("other", 0).labels == 0


def test_only_what_came_after_counts_as_new(ledger: Ledger):
    labelled(ledger, 3)
    position = ledger.learning.counted(MODEL, 0).position
    assert ledger.learning.counted(MODEL, position).labels == 0
    labelled(ledger, 2, "no")
    found = ledger.learning.counted(MODEL, position)
    assert (found.labels, found.by_class) == (2, {"no": 2})


def test_a_corrected_row_counts_once_and_as_what_it_is(ledger: Ledger):
    (one,) = labelled(ledger, 1)
    ledger.add_labels([ledgers.label(one, "no", at=5.0), ledgers.label(one, "old", "b", at=-5.0)])
    found = ledger.learning.counted(MODEL, 0)
    assert (found.labels, found.by_class) == (1, {"no": 1})


def test_everything_that_was_said_of_kept_rows_is_told_in_order(ledger: Ledger):
    (one,) = labelled(ledger, 1)
    labelled(ledger, 1, kept=False)
    ledger.add_labels([ledgers.label(one, "no", "another", at=5.0)])
    found = ledger.learning.said(MODEL)
    assert [(said.label, said.source, said.counted) for said in found] == [
        ("yes", "a person", True),
        ("no", "another", True),
    ]
    assert {(said.id, said.row, said.answer, said.version) for said in found} == {
        (one.id, 0, one.label, one.version)
    }
    assert ledger.learning.said(MODEL, since=time.time() + 60) == []
    assert ledger.learning.said(MODEL, until=one.at - 60) == []
    assert len(ledger.learning.said(MODEL, one.at - 60, time.time() + 60)) == 2


def test_payloads_of_many_rows_come_at_once(ledger: Ledger):
    made = labelled(ledger, 700)
    found = ledger.learning.data([one.id for one in made])
    assert found == {(one.id, 0): one.id.encode() for one in made}
    assert ledger.learning.data([]) == {}


def test_recent_rows_are_the_newest_of_some_versions(ledger: Ledger):
    now = time.time()
    old, new = ledgers.predictions(1, now - 60)[0], ledgers.predictions(1, now)[0]
    other = ledgers.predictions(1, now, version=2)[0]
    ledger.add_payloads([ledgers.payload(one) for one in (old, new, other)])
    assert ledger.learning.recent(MODEL, [1], 10) == [(new.id, 0), (old.id, 0)]
    assert ledger.learning.recent(MODEL, [1], 1) == [(new.id, 0)]
    assert ledger.learning.recent(MODEL, [1, 2], 10)[2] == (old.id, 0)
