"""Alembic's entry: runs the migrations on the connection that `open_database` hands over."""

from alembic import context

from assistant.access import schema as _access  # noqa: F401 - its tables, too
from assistant.feedback.schema import metadata

ONE_AT_A_TIME = 7860_0001  # any number that nobody else locks in this database

connection = context.config.attributes["connection"]
# One transaction for all of it, on SQLite, too: else another program finds it half done.
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    if connection.dialect.name == "postgresql":  # SQLite's transactions exclude each other anyway
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
    context.run_migrations()
