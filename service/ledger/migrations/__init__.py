"""How the tables came to be, step by step; Alembic runs the steps. It must not know the tables as they are now.

`versions/` holds one file a step, which is never changed once it was released. A step runs with everything else in one transaction.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from service.errors import SettingsError

PLACE = Path(__file__).parent
VERSION_TABLE = "ledger_version"


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the tables of this transaction up to date. SettingsError when they are of a later version than this code."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(PLACE).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    now = revision(connection)
    if now == script.get_current_head():
        return
    if now is not None and now not in {step.revision for step in script.walk_revisions()}:
        raise SettingsError(
            f"the ledger was written by a newer version of Evergreen: its tables are at step {now}, "
            f"this version knows {script.get_current_head()}. Update Evergreen, or name another ledger_url"
        )
    command.upgrade(config, to)


def revision(connection: Connection) -> str | None:
    """The last step that was made; None before the first."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()
