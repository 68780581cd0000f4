"""A disk that is full, or a database that is away, is said so; nothing is half-written, and what comes back is used again."""

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import ledgers
import live
import msgspec
import pytest
from sqlalchemy.exc import DBAPIError

from service.errors import Unavailable
from service.ledger import postgres
from service.ledger.ledger import Ledger


@pytest.fixture
def stoppable() -> Iterator[ledgers.Server]:
    """A server for one test alone."""
    with ledgers.Server.running() as server:
        yield server


def pages(ledger: Ledger, most: int) -> None:
    """How many the file may have, as if its disk were full then. The pool has one connection: there is one thread."""
    with ledger._database.reading() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")


def test_a_full_disk_is_said_and_nothing_is_half_written(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    made = ledgers.predictions(500)
    ledger.add_predictions(made)
    pages(ledger, 1)  # SQLite takes that for as many as there are
    told = [ledgers.label(one, "a long label" * 20) for one in made]
    with pytest.raises(Unavailable, match="cannot be used now: database or disk is full") as full:
        ledger.add_labels(told)
    assert full.value.retry_after > 0
    assert ledger.figures().labels == 0
    assert len(ledger.predictions([one.id for one in made])) == 500
    pages(ledger, 10_000)
    assert ledger.add_labels(told) == ["accepted"] * 500
    ledger.close()


def test_another_process_that_holds_the_lock_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    one, other = Ledger.open(url), Ledger.open(url)
    with one._database.writing():
        waiting = threading.Thread(target=other.add_predictions, args=(ledgers.predictions(),))
        waiting.start()
        assert one.figures().predictions == 0
    waiting.join()
    assert one.figures().predictions == 1
    one.close()
    other.close()


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(b"something else" * 1000)
    ledger = Ledger.open(f"sqlite:///{file}")
    with pytest.raises(Unavailable, match="file is not a database"):
        ledger.figures()
    assert file.read_bytes() == b"something else" * 1000
    ledger.close()


def test_a_file_that_was_removed_is_said_so_and_begun_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite'}")
    ledger.add_predictions(ledgers.predictions())
    shutil.rmtree(tmp_path / "state")
    made = ledgers.predictions(2)
    with pytest.raises(Unavailable, match="no such table"):
        ledger.add_predictions(made)
    assert "ledger.sqlite was removed" in caplog.text
    ledger.add_predictions(made)
    ledger.close()
    again = Ledger.open(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite'}")
    assert again.figures().predictions == 2
    again.close()


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite'}")
    with pytest.raises(Unavailable, match="cannot be used now"):
        ledger.figures()
    (tmp_path / "state").unlink()
    assert ledger.figures().predictions == 0
    ledger.close()


def test_a_server_that_goes_and_comes_back_is_used_again(
    stoppable: ledgers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ledger = Ledger.open(stoppable.fresh())
    made = ledgers.predictions(2)
    ledger.add_predictions(made)
    stoppable.stop()
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be used now") as away:
            ledger.add_labels([ledgers.label(made[0])])
        assert stoppable.password not in str(away.value)
    late = Ledger.open(stoppable.url())
    stoppable.start()
    assert ledger.add_labels([ledgers.label(one) for one in made]) == ["accepted"] * 2
    assert late.figures().predictions == 0
    assert stoppable.password not in caplog.text
    ledger.close()
    late.close()


def test_a_connection_that_the_server_ends_inside_a_transaction_is_replaced(
    server: ledgers.Server,
) -> None:
    ledger = Ledger.open(server.fresh())
    ends = "SELECT pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(Unavailable), ledger._database.writing() as connection:
        connection.exec_driver_sql(ends)
    ledger.add_predictions(ledgers.predictions())
    assert ledger.figures().predictions == 1
    ledger.close()


def test_connections_that_were_ended_while_nobody_used_them_cost_nobody_an_answer(
    server: ledgers.Server,
) -> None:
    ledger = Ledger.open(server.fresh())
    idle = "FROM pg_stat_activity WHERE application_name = 'evergreen'"
    assert int(server.said(f"SELECT count(pg_terminate_backend(pid)) {idle}")) > 0
    live.until(lambda: server.said(f"SELECT count(*) {idle}") == "0", "their end")
    ledger.add_predictions(ledgers.predictions())
    assert ledger.figures().predictions == 1
    ledger.close()


def test_a_database_that_was_made_anew_gets_its_tables(server: ledgers.Server) -> None:
    url = server.fresh()
    ledger = Ledger.open(url)
    with ledger._database.writing() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    with pytest.raises(Unavailable):
        ledger.figures()
    assert ledger.figures().predictions == 0
    ledger.close()


def test_a_wrong_password_is_said_without_it(server: ledgers.Server) -> None:
    ledger = Ledger.open(server.url().replace(server.password, "wr0ng"))
    with pytest.raises(Unavailable, match="password authentication failed") as refused:
        ledger.figures()
    assert "wr0ng" not in str(refused.value)
    ledger.close()


def test_a_defect_is_not_taken_for_an_outage(ledger: Ledger) -> None:
    broken = msgspec.structs.replace(ledgers.predictions()[0], model=None)  # type: ignore[arg-type]
    with pytest.raises(DBAPIError) as defect:
        ledger.add_predictions([broken, *ledgers.predictions()])
    assert broken.id not in str(defect.value)
    assert ledger.figures().predictions == 0


@pytest.mark.parametrize(
    ("state", "away"),
    [
        ("53100", True),
        ("53300", True),
        ("57P01", True),
        ("25006", True),
        ("23505", False),
        ("42601", False),
    ],
)
def test_what_the_server_says_is_an_outage_or_a_defect(state: str, away: bool) -> None:
    error = DBAPIError("SELECT", (), Exception({"C": state, "M": "could not extend file"}))
    assert postgres.away(error) is away
    assert postgres.reason(error) == "could not extend file"
