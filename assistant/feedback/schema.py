"""The tables. Rows are only ever added; erasure blanks content in place and leaves the row.

Times are milliseconds since 1970 (UTC). `seq` orders events; `id` is what the outside sees.
"""

import re

import sqlalchemy as sa

metadata = sa.MetaData()

SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts only INTEGER keys
_HALF = re.compile("[\0\ud800-\udfff]")


class Words(sa.types.TypeDecorator[str]):
    """Text that any database can hold: half a character or a NUL in it becomes U+FFFD."""

    impl: type[sa.String] = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """What is sent to the database for a text of ours."""
        return None if value is None else _HALF.sub("\N{REPLACEMENT CHARACTER}", value)


class Name(Words):
    """A short text, such as an id."""

    impl = sa.String
    cache_ok = True


def _event(name: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", Name(80), nullable=False, unique=True),
        *columns,
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def _link(name: str, target: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, Name(80), sa.ForeignKey(f"{target}.id"), nullable=nullable, index=True)


conversation = _event(
    "conversation",
    sa.Column("owner", Name(80), nullable=False, index=True),
    sa.Column("surface", Name(16), nullable=False),  # chat, compare, api, import
    sa.Column("title", Words),
    sa.Column("erased_at", sa.BigInteger),
)

message = _event(
    "message",
    _link("conversation_id", "conversation"),
    _link("parent_id", "message", nullable=True),
    sa.Column("role", Name(16), nullable=False),
    sa.Column("author", Name(16), nullable=False),  # person, model, program, import
    sa.Column("content", Words),  # NULL once erased
    sa.Column("tool_calls", sa.JSON(none_as_null=True)),  # what an answer asks programs to run
    sa.Column("tool_call_id", Name(200)),  # the call whose outcome a message of role tool is
    sa.Column("erased_at", sa.BigInteger),
)

completion = _event(
    "completion",
    sa.Column("owner", Name(80), nullable=False, index=True),
    _link("conversation_id", "conversation"),
    _link("prompt_id", "message"),  # the last message of the prompt
    sa.Column("model", Name(200), nullable=False),  # as the client named it
    sa.Column("metadata", sa.JSON),
    sa.Column("usage", sa.JSON),
)

response = _event(
    "response",
    sa.Column("owner", Name(80), nullable=False, index=True),
    _link("conversation_id", "conversation"),
    sa.Column("status", Name(16), nullable=False),  # queued, in_progress, completed, …
    sa.Column("body", sa.JSON(none_as_null=True)),  # as programs get it; NULL once erased
)

generation = sa.Table(  # how a message of the model came to be
    "generation",
    metadata,
    sa.Column("message_id", Name(80), sa.ForeignKey("message.id"), primary_key=True),
    sa.Column("version", Name(200), nullable=False),
    sa.Column("version_hash", Name(200), nullable=False),
    sa.Column("template_hash", Name(80), nullable=False),
    sa.Column("system_prompt_hash", Name(80)),  # NULL where there was no system prompt
    sa.Column("sampling", sa.JSON),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),  # NULL where several answers share one count
    sa.Column("finish_reason", Name(32)),  # stop, length, interrupted, error
    sa.Column("first_token_ms", sa.Integer),
    sa.Column("total_ms", sa.Integer),
    _link("completion_id", "completion", nullable=True),
    sa.Column("choice_index", sa.Integer),
)

comparison = _event(  # two answers as they were shown
    "comparison",
    _link("conversation_id", "conversation"),
    _link("first_id", "message"),
    _link("second_id", "message"),
    sa.Column("drawn", Name(16), nullable=False),  # samples, versions
    sa.Column("blind", sa.Boolean, nullable=False),
    sa.Column("trial", Name(80), index=True),  # NULL outside trials
)

consent = _event(
    "consent",
    sa.Column("owner", Name(80), nullable=False, index=True),
    _link("conversation_id", "conversation", nullable=True),  # NULL: all new conversations
    sa.Column("given", sa.Boolean, nullable=False),
    sa.Column("notice", Name(80), nullable=False),  # hash of the text that was shown
)

judgement = _event(
    "judgement",
    sa.Column("kind", Name(16), nullable=False),  # thumb, pair, ranking, correction, withdrawal
    sa.Column("owner", Name(80), nullable=False, index=True),
    sa.Column("surface", Name(16), nullable=False),
    sa.Column("choice", Name(16)),  # up, down; first, second, tie, both_bad
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("comment", Words),
    _link("comparison_id", "comparison", nullable=True),
    _link("corrected_id", "message", nullable=True),  # the better answer
    _link("withdraws_id", "judgement", nullable=True),
    sa.Column("erased_at", sa.BigInteger),
)

judged = sa.Table(  # the messages a judgement names, in the order they were shown
    "judged",
    metadata,
    sa.Column("judgement_id", Name(80), sa.ForeignKey("judgement.id"), primary_key=True),
    sa.Column("message_id", Name(80), sa.ForeignKey("message.id"), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("rank", sa.Integer),  # rankings only: 0 is best, ties share a rank
    sa.Index("ix_judged_message_id", "message_id"),
)

imported = sa.Table(
    "imported",
    metadata,
    sa.Column("sha256", Name(64), primary_key=True),
    sa.Column("name", Words, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
