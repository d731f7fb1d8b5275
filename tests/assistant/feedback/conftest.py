"""The same store twice: every test that asks for `store` runs on SQLite and on PostgreSQL."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.postgres import Databases, running_server

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    with running_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes the URL of a fresh, empty database at each call."""
    if request.param == "sqlite":
        numbers = count()
        yield lambda: f"sqlite:///{tmp_path}/store-{next(numbers)}.db"
        return
    databases = Databases(request.getfixturevalue("postgres_server"))
    yield databases.new
    databases.drop()


@pytest.fixture
def url(new_database: NewDatabase) -> str:
    return new_database()


@pytest.fixture
def store(url: str) -> Iterator[FeedbackStore]:
    with FeedbackStore(url) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an SQLite store may be made, for what only files can suffer."""
    return tmp_path / "feedback.db"
