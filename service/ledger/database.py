"""Transactions on whichever database a ledger lies in, and what can be said when there is none. It must not know what is stored.

Every transaction finds the tables as this version of the code needs them: they are made or brought up to date when they are first needed,
by whoever comes first.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from service.errors import SettingsError, Unavailable
from service.ledger import migrations, postgres, sqlite

RETRY_SECONDS = 5.0


class Database:
    """SQLite or PostgreSQL, from any thread. Unavailable says why a transaction was not made, or that its end was not heard of."""

    def __init__(self, url: str) -> None:
        parsed = parse(url)
        self._kind: ModuleType = sqlite if parsed.drivername == "sqlite" else postgres
        self._engine: Engine = self._kind.engine(parsed)
        self._writing = self._engine.execution_options(begin="IMMEDIATE")
        self._preparing = threading.Lock()
        self._prepared = False

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def prepare(self) -> None:
        """Bring the tables up to date, once. SettingsError when a newer version of the code wrote them."""
        with self._preparing:
            if not self._prepared:
                with self._translated(), self._writing.begin() as connection:
                    self._kind.lock(connection)
                    migrations.upgrade(connection)
                self._prepared = True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that writes nothing."""
        if not self._prepared:
            self.prepare()
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is on the disk when the block has ended, or never was."""
        if not self._prepared:
            self.prepare()
        with self._translated(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def appending(self) -> Iterator[Connection]:
        """One that writes what is read in order of arrival: who reads a position has seen all lower ones."""
        with self.writing() as connection:
            self._kind.lock(connection)
            yield connection

    def insert(
        self, connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add rows, all with the same columns, and leave alone what is there already."""
        self._kind.insert(connection, table, rows)

    def tidy(self) -> None:
        """After deletions: give back their space, where the database does not do it by itself."""
        with self._translated():
            self._kind.tidy(self._engine)

    def size(self, connection: Connection) -> int:
        """Bytes of the database."""
        return int(self._kind.size(connection))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if not self._kind.away(error):
                raise
            self._prepared = False  # what comes back may be another one
            why = f"the ledger cannot be used now: {self._kind.reason(error)}"
            raise Unavailable(why, RETRY_SECONDS) from None
        except OSError as error:
            why = f"the ledger cannot be used now: {error.strerror or error}"
            raise Unavailable(why, RETRY_SECONDS) from None


def parse(url: str) -> URL:
    """The URL of a ledger. SettingsError, which never repeats it: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError("ledger_url is not a URL") from None
    if parsed.drivername in ("postgresql", "postgres"):
        return parsed
    if parsed.drivername == "sqlite" and parsed.database:
        return parsed
    raise SettingsError(
        f"ledger_url: postgresql://... and sqlite:///PATH are known, '{parsed.drivername}' is not"
    )
