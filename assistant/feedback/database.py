"""Opening the database: SQLite by default, PostgreSQL by URL, migrated to today's tables."""

import shutil
import sqlite3
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from assistant.errors import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK_SECONDS = 10
CONNECT_SECONDS = 5  # to PostgreSQL, per address of its host
UNANSWERED_SECONDS = 10  # after which a PostgreSQL that takes no packets is lost


class Opened(ABC):
    """Something over a database that is let go of when the block that opened it is left."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def open_database(url: str, *, lasting: bool = True) -> sa.Engine:
    """Connect and bring the tables up to date; StoreError says what stands in the way.

    Where what is written need not be `lasting`, a power cut may lose the last moments of it, and
    writing is many times faster.
    """
    try:
        engine = _engine(sa.make_url(url))
        if not lasting:
            sa.event.listen(engine, "connect", _write_at_leisure)
        with engine.connect() as connection:
            _migrate(connection, engine)
        sa.event.listen(engine, "handle_error", _translate)
        return engine
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError):
        raise StoreError(
            "The database URL is not understood; use postgresql://user:password@host/name, or "
            "leave ASSISTANT_DATABASE_URL unset for SQLite."
        ) from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise StoreError(explain(error, url)) from error


def explain(error: Exception, url: str) -> str:
    """One sentence for what a database driver reports; never the password in the URL."""
    where = sa.make_url(url).render_as_string(hide_password=True)
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if "readonly" in reason or "read-only" in reason or isinstance(error, PermissionError):
        return f"The feedback store {where} is read-only; make its folder writable."
    if "full" in reason or "No space" in reason:
        return f"The disk of the feedback store {where} is full; free some space. Nothing is lost."
    if "malformed" in reason or "not a database" in reason:
        return f"The feedback store {where} is damaged ({reason}); restore a backup."
    return f"The feedback store {where} cannot be used: {reason}."


def _translate(context: sa.engine.ExceptionContext) -> None:
    """Turn a full disk or a lost server into a sentence, wherever it happens."""
    if context.engine and isinstance(context.sqlalchemy_exception, sa.exc.OperationalError):
        url = context.engine.url.render_as_string(hide_password=False)
        raise StoreError(explain(context.sqlalchemy_exception, url)) from context.original_exception


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": 30})
        sa.event.listen(engine, "connect", _harden_sqlite)
        sa.event.listen(engine, "begin", _lock_for_writing)
        return engine
    if url.get_backend_name() == "postgresql":
        patience = {
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": UNANSWERED_SECONDS * 1000,
        }
        asked = {name: value for name, value in patience.items() if name not in url.query}
        driver = url.set(drivername="postgresql+psycopg")
        return sa.create_engine(driver, pool_pre_ping=True, connect_args=asked)
    raise StoreError(
        f"Feedback cannot be stored in {url.get_backend_name()}; use SQLite (no URL) or PostgreSQL."
    )


def _harden_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _lock_for_writing says
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite does not wait by itself where another program makes the same change just now."""
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def _write_at_leisure(connection: Any, _record: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=NORMAL")
    else:
        connection.autocommit = True
        connection.execute("SET synchronous_commit = off")
        connection.autocommit = False


def _lock_for_writing(connection: sa.Connection) -> None:
    """Take the write lock first, so that what a transaction read still holds when it writes."""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _migrate(connection: sa.Connection, engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found == scripts.get_current_head():
        return
    if found is not None:
        try:
            scripts.get_revision(found)
        except CommandError:
            raise StoreError(
                f"The feedback store was written by a newer program (schema {found}); update this "
                "program, or point ASSISTANT_HOME or ASSISTANT_DATABASE_URL at another store."
            ) from None
        _copy_before_migration(engine, found)
    connection.rollback()
    command.upgrade(config, "head")


def _copy_before_migration(engine: sa.Engine, revision: str) -> None:
    """Keep a copy of an SQLite store before its tables change (PostgreSQL rolls back by itself)."""
    file = engine.url.database
    if engine.url.get_backend_name() == "sqlite" and file:
        copy = f"{file}.before-{revision}-{time.strftime('%Y%m%d%H%M%S')}"
        with sqlite3.connect(file) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        shutil.copymode(file, copy)
