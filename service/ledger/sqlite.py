"""A ledger in one file: how it is opened, and what keeps its promises. It must not know the tables.

Write-ahead log, synchronous FULL: a commit is on the disk when it returns. Deleted rows are overwritten with zeros, and the pages that
they leave are given back to the file system. A transaction that writes takes the file's one write lock when it begins, so that writers
wait for each other, in other processes too, and what is appended is seen in the order of its positions.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError

log = logging.getLogger(__name__)

BUSY_SECONDS = 10
NEW_FILE = "auto_vacuum = INCREMENTAL"
PRAGMAS = (
    f"busy_timeout = {BUSY_SECONDS * 1000}",
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "journal_size_limit = 16777216",
)
DEFECTS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""Said of a statement, not of the file or its disk."""


def engine(url: URL) -> Engine:
    """Connections to the file, which is made where it is missing, for its owner alone: it holds what people sent."""
    made = create_engine(url, hide_parameters=True)
    path = Path(url.database or "")

    @event.listens_for(made, "do_connect")
    def make_file(dialect: Any, record: Any, args: Any, options: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)

    @event.listens_for(made, "connect")
    def on_connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        # It counts only before the file has a page, and takes the write lock whether it counts or not.
        empty = connection.execute("PRAGMA page_count").fetchone() == (0,)
        for pragma in (NEW_FILE, *PRAGMAS) if empty else PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        record.info["file"] = identity(path)

    @event.listens_for(made, "checkout")
    def on_checkout(connection: Any, record: Any, proxy: Any) -> None:
        # What is written to a file that was removed goes with the process, and nobody would hear of it.
        if identity(path) != record.info["file"]:
            log.warning("%s was removed, and what was in it; another one is begun", path)
            raise DisconnectionError("the file was removed")

    @event.listens_for(made, "begin")
    def on_begin(connection: Connection) -> None:
        if mode := connection.get_execution_options().get("begin", "DEFERRED"):
            connection.exec_driver_sql(f"BEGIN {mode}")

    return made


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def away(error: DBAPIError) -> bool:
    """Whether the file or its disk is the reason: full, locked for too long, damaged, not to be written."""
    return not isinstance(error.orig, DEFECTS)


def reason(error: DBAPIError) -> str:
    """What SQLite said."""
    return str(error.orig)


def lock(connection: Connection) -> None:
    """Nothing: who writes holds the lock already."""


def insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, and leave alone what is there already."""
    connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)


def tidy(engine: Engine) -> None:
    """Give free pages back, and empty the log of what was deleted. What somebody's reading puts off is done the next time."""
    with engine.execution_options(begin="").connect() as connection:
        driver: Any = connection.connection.driver_connection
        # As a script, because `execute` stops at the first of the pages that it frees.
        with suppress(sqlite3.OperationalError):
            driver.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")


def size(connection: Connection) -> int:
    """Bytes of the file."""
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
