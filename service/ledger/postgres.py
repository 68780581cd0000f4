"""A ledger that several machines share, in PostgreSQL. It must not know the tables.

The driver is pg8000. What is read in order of arrival is appended under one lock, which is held until the commit: positions come from a
sequence, and without it a reader could see 7 before 6 is committed, and never 6.
"""

import getpass
import logging
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    Engine,
    Table,
    bindparam,
    create_engine,
    func,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from service.errors import SettingsError

TIMEOUT_SECONDS = 15
ARRIVALS = 0x45564752  # "EVGR"
DEFECTS = ("22", "23", "42")
"""Classes of SQLSTATE that are said of a statement; all others are of the server or the way to it."""
NO_TABLE = "42P01"
"""Somebody made the database anew: the tables are made again."""
KNOWN = ("sslmode", "sslrootcert", "host")
"""What may follow the URL's question mark, as for other clients of PostgreSQL; `host` is the folder of a unix socket."""
MODES = ("disable", "prefer", "require", "verify-full")


def engine(url: URL) -> Engine:
    """Connections to the server that the URL names. SettingsError when the URL asks for what there is not."""
    # A server that ends takes its connections with it: a traceback for each would say what the writer says in one line.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        return create_engine(
            url.set(drivername="postgresql+pg8000", query={}),
            connect_args=options(url),
            pool_pre_ping=True,  # the server ends connections when it stops, and proxies those that are idle
            hide_parameters=True,
        )
    except ImportError as error:
        raise SettingsError(
            "ledger_url: PostgreSQL needs the extra `postgres`: pip install -e '.[postgres]'"
        ) from error


def options(url: URL) -> dict[str, Any]:
    """What the driver is told beside host, database, user and password."""
    query = {key: str(value) for key, value in url.query.items()}
    mode, roots, folder = (query.pop(key, "") for key in KNOWN)
    mode = mode or "prefer"
    if query:
        raise SettingsError(
            f"ledger_url: '{sorted(query)[0]}' is not known; {', '.join(KNOWN)} are"
        )
    if mode not in MODES:
        raise SettingsError(f"ledger_url: sslmode is one of {', '.join(MODES)}, not '{mode}'")
    told: dict[str, Any] = {"timeout": TIMEOUT_SECONDS, "application_name": "evergreen"}
    if url.username is None:
        told["user"] = getpass.getuser()
    if folder:
        told["unix_sock"] = f"{folder}/.s.PGSQL.{url.port or 5432}"
    if mode == "verify-full":
        try:
            told["ssl_context"] = ssl.create_default_context(cafile=roots or None)
        except OSError as error:
            raise SettingsError(f"ledger_url: sslrootcert: {error}") from error
    elif mode != "prefer":
        told["ssl_context"] = mode == "require"
    return told


def state(error: BaseException | None) -> str:
    """The SQLSTATE of what the server said; nothing when it was not the server."""
    told = error.args[0] if error is not None and error.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def away(error: DBAPIError) -> bool:
    """Whether the server, or the way to it, is the reason."""
    said = state(error.orig)
    return said[:2] not in DEFECTS or said == NO_TABLE


def reason(error: DBAPIError) -> str:
    """What the server or the driver said."""
    told = error.orig.args[0] if error.orig is not None and error.orig.args else ""
    return str(told.get("M", "")) if isinstance(told, dict) else str(told)


def lock(connection: Connection) -> None:
    """Wait for other appenders, on whatever machine, and keep them waiting until this transaction ends."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ARRIVALS})")


def insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, and leave alone what is there already. One array for each column: the driver is ten times as slow with a value for each cell."""
    types = {name: ARRAY(table.c[name].type) for name in rows[0]}
    arrays = [func.unnest(bindparam(name, type_=kind)) for name, kind in types.items()]
    statement = postgresql.insert(table).from_select(list(types), select(*arrays))
    told = {name: [row[name] for row in rows] for name in types}
    connection.execute(statement.on_conflict_do_nothing(), told)


def tidy(engine: Engine) -> None:
    """Nothing: autovacuum does."""


def size(connection: Connection) -> int:
    """Bytes of the database."""
    said = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    return int(said)
