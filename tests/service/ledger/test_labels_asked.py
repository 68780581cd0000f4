"""What labelling asks of a ledger: what was said of some predictions, and which of the newest rows have a label."""

import ledgers

from service.ledger.ledger import Ledger

NOW = 1_800_000_000.0


def test_all_that_was_said_comes_in_the_order_of_arrival(ledger: Ledger) -> None:
    first, second, third = (ledgers.predictions(1, NOW + n)[0] for n in range(3))
    ledger.add_predictions([first, second, third])
    said = [
        ledgers.label(second, "no", at=2.0),
        ledgers.label(first, "yes", at=1.0),
        ledgers.label(second, "yes", at=1.0),
    ]
    for one in said:
        ledger.add_labels([one])
    ledger.add_labels([ledgers.label(third)])
    assert ledger.labels([first.id, second.id, "none"]) == said
    assert ledger.labels([]) == []


def test_the_newest_rows_of_a_version_among_those_of_all_models(ledger: Ledger) -> None:
    old = ledgers.predictions(1, NOW)[0]
    others = ledgers.predictions(3, NOW + 1, model="another")
    rows = ledgers.predictions(2, NOW + 2)
    ledger.add_predictions([old, *others, *rows])
    ledger.add_labels([ledgers.label(rows[0]), ledgers.label(old)])
    found = dict(ledger.newest(ledgers.MODEL, ledgers.VERSION, among=5))
    assert found == {rows[0]: True, rows[1]: False}
    assert len(ledger.newest(ledgers.MODEL, ledgers.VERSION, among=100)) == 3


def test_the_newest_wanted_rows_come_whatever_the_model_thought_of_them(ledger: Ledger) -> None:
    rows = [ledgers.predictions(1, NOW + n, confidence=0.5 + (n % 3) / 10)[0] for n in range(6)]
    ledger.add_predictions(rows)
    ledger.add_payloads([ledgers.payload(one) for one in rows[:5]])
    ledger.add_labels([ledgers.label(rows[4])])
    found = ledger.wanted(ledgers.MODEL, ledgers.VERSION, 10, newest=True)
    assert found == [rows[3], rows[2], rows[1], rows[0]]
    least = ledger.wanted(ledgers.MODEL, ledgers.VERSION, 2)
    assert least == [rows[3], rows[0]]
