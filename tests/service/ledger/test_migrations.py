"""Tables are made and brought up to date by whoever opens a ledger; those of a later version are left alone."""

from pathlib import Path
from shutil import copytree

import ledgers
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.errors import SettingsError
from service.ledger import migrations, schema
from service.ledger.ledger import Ledger

LATER = '''
"""A column that did not exist before."""

import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("predictions", sa.Column("mood", sa.Text))
    {then}
'''


def revision(ledger: Ledger) -> str | None:
    with ledger._database.reading() as connection:
        return migrations.revision(connection)


@pytest.fixture
def head(ledger: Ledger) -> str | None:
    """The newest step of this version of the code."""
    return revision(ledger)


def later(directory: Path, head: str | None, then: str = "") -> Path:
    """The steps of a version of the code that is to come."""
    place = copytree(migrations.PLACE, directory / "migrations")
    (place / "versions" / "later.py").write_text(LATER.format(head=head, then=then))
    return place


def test_the_steps_make_the_tables_that_the_code_knows(ledger: Ledger) -> None:
    with ledger._database.reading() as connection:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


def test_an_older_ledger_is_brought_up_to_date_with_what_is_in_it(
    ledger: Ledger, url: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ledgers.predictions(3)
    ledger.add_predictions(made)
    monkeypatch.setattr(migrations, "PLACE", later(tmp_path, head))
    again = Ledger.open(url)
    assert revision(again) == "later"
    assert len(again.predictions([one.id for one in made])) == 3
    again.close()


def test_a_step_that_fails_leaves_everything_as_it_was(
    ledger: Ledger, url: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "PLACE", later(tmp_path, head, "raise ValueError('a defect')"))
    with pytest.raises(ValueError, match="a defect"):
        Ledger.open(url)
    assert revision(ledger) == head
    ledger.add_predictions(ledgers.predictions())


def test_a_ledger_of_a_later_version_is_refused_and_left_alone(
    url: str, ledger: Ledger, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "PLACE", later(tmp_path, head))
        Ledger.open(url).close()
    with pytest.raises(SettingsError, match=f"at step later, .* knows {head}. Update Evergreen"):
        Ledger.open(url)
    assert revision(ledger) == "later"
