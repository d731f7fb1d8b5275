"""A PostgreSQL server for the tests: the one that is named, or a throw-away one of their own."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

OPTIONS = "-c listen_addresses='' -c fsync=off -c max_connections=50"
INSTALLED = "/usr/lib/postgresql"  # where Debian keeps what is not on the PATH


@contextmanager
def running_server() -> Iterator[sa.URL]:
    """The address of a server on which databases may be made; skips where there is none."""
    named = os.environ.get("ASSISTANT_TEST_DATABASE_URL")
    if named:
        yield sa.make_url(named)
        return
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="feedback-"))  # a socket's path must be short
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    try:
        _run(initdb, "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        with _started(pg_ctl, folder):
            yield sa.URL.create("postgresql", "postgres", query={"host": str(folder)})
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(pg_ctl: str, folder: Path) -> Iterator[None]:
    control = (pg_ctl, "-D", folder / "data", "-w")
    _run(*control, "start", "-l", folder / "log", "-o", f"-k {folder} {OPTIONS}")
    try:
        yield
    finally:
        _run(*control, "stop", "-m", "immediate")


def _program(name: str) -> str | None:
    places = sorted(Path(INSTALLED).glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(places[-1]) if places else None)


def _run(*command: str | Path) -> None:
    """Run a program of PostgreSQL, which refuses to work for root."""
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": "postgres", "group": "postgres", "extra_groups": []}
    done = subprocess.run(
        command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **who
    )
    assert done.returncode == 0, done.stderr


class Databases:
    """Makes fresh databases on one server, and drops them again."""

    def __init__(self, server: sa.URL) -> None:
        self._made: list[str] = []
        self._server = server.set(drivername="postgresql+psycopg")
        self._engine = sa.create_engine(
            self._server.set(database=server.database or "postgres"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )

    def new(self) -> str:
        name = f"feedback_{os.getpid()}_{os.urandom(4).hex()}"
        self._do(f"CREATE DATABASE {name}")
        self._made.append(name)
        return self._server.set(database=name, drivername="postgresql").render_as_string(False)

    def drop(self) -> None:
        while self._made:
            self._do(f"DROP DATABASE {self._made.pop()} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)
