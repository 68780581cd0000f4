"""What Alembic runs to run the steps: on the connection, and in the transaction, that it is handed."""

from alembic import context

from service.ledger.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
