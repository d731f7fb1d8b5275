"""Opening a database: tables as the code knows them, and a sentence for whatever is wrong."""

import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from assistant.errors import StoreError
from assistant.feedback import database
from assistant.feedback.database import open_database
from assistant.feedback.schema import metadata
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.said import ANN, ask, data, raw

OPEN = "import sys; from assistant.feedback.store import FeedbackStore; FeedbackStore(sys.argv[1])"


def test_the_migrations_make_exactly_the_tables_of_the_schema(url: str):
    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_opening_again_finds_what_was_said(url: str):
    with FeedbackStore(url) as store:
        ask(store, "One.")
        before = raw(store)
    with FeedbackStore(url) as store:
        assert raw(store) == before


def test_several_programs_may_open_a_new_store_at_once(url: str):
    programs = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for program in programs:
        assert program.communicate(timeout=60)[1] == ""
        assert program.returncode == 0


def test_a_store_of_a_newer_program_is_refused_untouched(url: str):
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer program") as caught:
        FeedbackStore(url)
    assert "\n" not in str(caught.value)


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade():
    op.add_column("conversation", sa.Column("mood", sa.Text))
"""


BROKEN = """
from alembic import op

revision, down_revision = "99999", "9999"


def upgrade():
    op.execute("SELECT nonsense")
"""


def test_an_older_store_is_brought_up_to_date_after_a_copy(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    with FeedbackStore(f"sqlite:///{file}") as store:
        ask(store, "One.")
        head = raw_version(store)
    newer = shutil.copytree(database.MIGRATIONS, file.parent / "migrations")
    (newer / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    monkeypatch.setattr(database, "MIGRATIONS", newer)
    with FeedbackStore(f"sqlite:///{file}") as store:
        assert [row["mood"] for row in raw(store)["conversation"]] == [None]
    (copy,) = file.parent.glob(f"feedback.db.before-{head}-*")
    with sqlite3.connect(copy) as before:
        assert before.execute("SELECT content FROM message ORDER BY seq").fetchall() == [
            ("Why is the sky blue?",),
            ("One.",),
        ]


def test_migrations_of_which_one_fails_leave_the_store_as_it_was(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with FeedbackStore(url) as store:
        ask(store, "One.")
        head, before = raw_version(store), raw(store)
    newer = shutil.copytree(database.MIGRATIONS, tmp_path / "migrations")
    (newer / "versions" / "9999_next.py").write_text(NEXT.format(head=head))
    (newer / "versions" / "99999_broken.py").write_text(BROKEN)
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", newer)
        with pytest.raises(StoreError, match="nonsense"):
            FeedbackStore(url)
    with FeedbackStore(url) as store:
        assert (raw_version(store), raw(store)) == (head, before)


BACK_TO_THE_FIRST_TABLES = (
    "DROP INDEX ix_comparison_trial",
    "ALTER TABLE comparison DROP COLUMN trial",
    "ALTER TABLE message DROP COLUMN tool_calls",
    "ALTER TABLE message DROP COLUMN tool_call_id",
    *(f"DROP TABLE {name}" for name in ("response", "usage", "under_way", "allowance", "api_key")),
    "UPDATE alembic_version SET version_num = '0001'",
)


def test_a_store_from_before_trials_and_tools_keeps_what_was_said(url: str):
    with FeedbackStore(url) as old:
        talk = ask(old, "One.", "Other.")
        drawn = old.comparisons.draw(talk.conversation, *talk.answers, "samples", blind=True)
        old.judgements.compared(ANN, "compare", drawn, "second")
        before = raw(old)
        with old.engine.begin() as connection:
            for statement in BACK_TO_THE_FIRST_TABLES:
                connection.execute(sa.text(statement))
            columns = sa.inspect(connection).get_columns("comparison")
            assert "trial" not in {column["name"] for column in columns}
    with FeedbackStore(url) as store:
        assert raw(store) == before
        assert data(store, "preference")[0]["chosen"][0]["content"] == "Other."
        assert store.comparisons.votes("trial-001", "tiny") == []
        drawn = store.comparisons.draw(
            talk.conversation, *talk.answers, "versions", blind=True, trial="trial-001"
        )
        store.judgements.compared(ANN, "compare", drawn, "first")
        assert store.comparisons.votes("trial-001", "tiny") == [1.0]


def raw_version(store: FeedbackStore) -> str:
    with store.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()


def test_sqlite_syncs_every_commit(file: Path):
    with FeedbackStore(f"sqlite:///{file}") as store, store.engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


def test_a_damaged_file_is_told(file: Path):
    file.write_bytes(b"this is not a database, " * 100)
    with pytest.raises(StoreError, match="damaged") as caught:
        FeedbackStore(f"sqlite:///{file}")
    assert "\n" not in str(caught.value)


def test_a_read_only_store_is_told(file: Path):
    with FeedbackStore(f"sqlite:///{file}") as store:
        talk = ask(store, "One.")
        sa.event.listen(
            store._engine, "begin", lambda c: c.exec_driver_sql("PRAGMA query_only = ON")
        )
        with pytest.raises(StoreError, match="read-only"):
            store.judgements.thumb(ANN, "chat", talk.answers[0], "up")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not understood"),
        ("mysql://u:secret@h/d", "use SQLite"),
        ("postgresql://user:secret@127.0.0.1:1/none", "cannot be used"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, words: str):
    with pytest.raises(StoreError, match=words) as caught:
        FeedbackStore(url)
    assert "secret" not in str(caught.value)


def test_a_full_disk_loses_nothing_that_was_said(file: Path):
    with FeedbackStore(f"sqlite:///{file}") as store:
        talk = ask(store, "One.")
        with store.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        sa.event.listen(
            store._engine,
            "begin",
            lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}"),
        )
        before = raw(store)
        with pytest.raises(StoreError, match="is full"):
            store.judgements.correction(ANN, "chat", talk.answers[0], "x" * 90_000)
        assert raw(store) == before


def test_a_postgresql_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"cannot be used: .*timeout"):
            open_database(f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/feedback")
    assert time.monotonic() - began < 6


def test_a_postgresql_that_is_lost_is_noticed_unless_the_url_says_otherwise(
    postgres_server: sa.URL,
):
    def told(url: sa.URL) -> dict[str, str]:
        engine = database._engine(url)
        with engine.connect() as connection:
            told = connection.connection.driver_connection.info.get_parameters()
        engine.dispose()
        return told

    assert told(postgres_server)["tcp_user_timeout"] == "10000"
    patient = postgres_server.update_query_dict({"tcp_user_timeout": "60000"})
    assert told(patient)["tcp_user_timeout"] == "60000"
