"""What is erased or has expired is gone, and so are its bytes: in SQLite and PostgreSQL alike."""

import time
from pathlib import Path

import ledgers
import msgspec

from service.ledger.ledger import Ledger
from service.ledger.records import DAY, Erased, Limits

OF = (ledgers.MODEL, ledgers.VERSION)
BY = (*OF, ledgers.PROFILE)


def test_what_is_erased_is_gone_and_stays_gone(ledger: Ledger) -> None:
    gone, kept = ledgers.predictions(2)
    rows = [gone, msgspec.structs.replace(gone, row=1), kept]
    ledger.add_predictions(rows)
    ledger.add_payloads([ledgers.payload(one) for one in rows])
    ledger.add_labels([ledgers.label(one) for one in rows])
    assert ledger.erase(gone.id) is True
    assert ledger.erase(gone.id) is False
    found = ledger.figures()
    assert (found.predictions, found.payloads, found.labels) == (1, 1, 1)
    assert [one.prediction for one in ledger.labels_after(*OF)] == [kept]
    assert ledger.add_labels([ledgers.label(gone)]) == ["unknown"]


def test_no_byte_of_what_is_erased_stays_in_the_files(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    made = ledgers.predictions(3, api="kept")
    ledger.add_predictions(made)
    ledger.add_payloads(
        [ledgers.payload(one, b"secret %d " % n * 900) for n, one in enumerate(made)]
    )
    ledger.add_labels([ledgers.label(one, f"secret {n}") for n, one in enumerate(made)])
    ledger.erase(made[1].id)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret 1" not in written
    assert bytes.fromhex(made[1].id.replace("-", "")) not in written
    assert b"secret 0" in written
    ledger.close()


def test_what_a_reader_keeps_in_the_log_goes_the_next_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger, reader = Ledger.open(url), Ledger.open(url)
    [made] = ledgers.predictions()
    ledger.add_predictions([made])
    ledger.add_payloads([ledgers.payload(made, b"secret" * 900)])
    with ledger._database.reading() as connection:  # this one does not wait for readers
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    with reader._database.reading() as reading:
        reading.exec_driver_sql("SELECT count(*) FROM payloads").all()
        assert ledger.erase(made.id)
    assert not ledger.expire(time.time())
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.iterdir())
    ledger.close()
    reader.close()


def test_commits_are_on_the_disk_when_they_return(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    with ledger._database.writing() as connection:
        told = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "auto_vacuum", "secure_delete")
        ]
    assert told == ["wal", 2, 2, 1], "2: FULL, and INCREMENTAL"
    ledger.close()


def expired(ledger: Ledger, now: float) -> Erased:
    """All steps added up."""
    steps = [msgspec.structs.astuple(one) for one in iter(lambda: ledger.expire(now), Erased())]
    return Erased(*(sum(column) for column in zip(*steps, strict=True)))


def test_rows_expire_by_age(url: str) -> None:
    ledger = Ledger.open(url, Limits(age_s=100, payload_age_s=10))
    now = 2_000_000.0
    made = [ledgers.predictions(at=now - ago)[0] for ago in (200, 101, 99, 11, 9)]
    ledger.add_predictions(made)
    ledger.add_payloads([ledgers.payload(one) for one in made])
    ledger.add_labels([ledgers.label(one) for one in made])
    ledger.add_blocks([ledgers.block(n, one.at) for n, one in enumerate(made)])
    ledger.add_evaluations([ledgers.evaluation(one.at) for one in made])
    assert expired(ledger, now) == Erased(
        predictions=2, payloads=4, labels=2, blocks=2, evaluations=2
    )
    assert ledger.predictions([one.id for one in made]) == made[2:]
    assert [one.prediction for one in ledger.labels_after(*OF)] == made[2:]
    assert [one.ended_at for _, one in ledger.newest_blocks(*BY, samples=1000)] == [
        one.at for one in made[2:]
    ]
    assert not ledger.expire(now)
    ledger.close()


def test_many_rows_expire_in_steps(ledger: Ledger) -> None:
    made = [one for at in range(5) for one in ledgers.predictions(1000, at=1000.0 + at)]
    ledger.add_predictions(made)
    first = ledger.expire(1000.0 + 91 * DAY).predictions
    assert 0 < first < 5000
    assert first + expired(ledger, 1000.0 + 91 * DAY).predictions == 5000


def test_the_oldest_unlabelled_predictions_go_when_there_are_too_many(url: str) -> None:
    ledger = Ledger.open(url, Limits(rows=3))
    now = time.time()
    made = [ledgers.predictions(at=now - 10 + n)[0] for n in range(6)]
    ledger.add_predictions(made)
    ledger.add_labels([ledgers.label(made[1])])
    assert expired(ledger, now) == Erased(predictions=2)
    assert ledger.predictions([one.id for one in made]) == [made[1], *made[3:]]
    assert [one.prediction for one in ledger.labels_after(*OF)] == [made[1]]
    ledger.close()


def test_the_oldest_payloads_go_when_there_are_too_many_bytes(url: str) -> None:
    ledger = Ledger.open(url, Limits(payload_bytes=1000))
    made = [ledgers.predictions(at=time.time() - 10 + n)[0] for n in range(6)]
    ledger.add_predictions(made)
    ledger.add_payloads([ledgers.payload(one, bytes(300)) for one in made])
    assert expired(ledger, time.time()) == Erased(payloads=3)
    kept = [asked.id for asked, _ in ledger.payloads(ledgers.MODEL, 0, time.time())]
    assert kept == [one.id for one in made[3:]]
    assert ledger.figures().predictions == 6
    ledger.close()


def test_the_space_of_what_went_is_given_back(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(f"sqlite:///{file}", Limits(payload_bytes=100_000))
    made = ledgers.predictions(400)
    ledger.add_payloads([ledgers.payload(one, bytes(10_000)) for one in made])
    assert ledger.figures().bytes > 4_000_000
    expired(ledger, time.time())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 400_000
    ledger.close()
