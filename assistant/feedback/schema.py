"""The tables. Rows are only ever added; erasure blanks content in place and leaves the row.

Times are milliseconds since 1970 (UTC). `seq` orders events; `id` is what the outside sees.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

SEQUENCE = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite counts only INTEGER keys


def _event(name: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("seq", SEQUENCE, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(80), nullable=False, unique=True),
        *columns,
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def _link(name: str, target: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(
        name, sa.String(80), sa.ForeignKey(f"{target}.id"), nullable=nullable, index=True
    )


conversation = _event(
    "conversation",
    sa.Column("owner", sa.String(80), nullable=False, index=True),
    sa.Column("surface", sa.String(16), nullable=False),  # chat, compare, api, import
    sa.Column("title", sa.Text),
    sa.Column("erased_at", sa.BigInteger),
)

message = _event(
    "message",
    _link("conversation_id", "conversation"),
    _link("parent_id", "message", nullable=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("author", sa.String(16), nullable=False),  # person, model, program, import
    sa.Column("content", sa.Text),  # NULL once erased
    sa.Column("erased_at", sa.BigInteger),
)

completion = _event(
    "completion",
    sa.Column("owner", sa.String(80), nullable=False, index=True),
    _link("conversation_id", "conversation"),
    _link("prompt_id", "message"),  # the last message of the prompt
    sa.Column("model", sa.String(200), nullable=False),  # as the client named it
    sa.Column("metadata", sa.JSON),
    sa.Column("usage", sa.JSON),
)

generation = sa.Table(  # how a message of the model came to be
    "generation",
    metadata,
    sa.Column("message_id", sa.String(80), sa.ForeignKey("message.id"), primary_key=True),
    sa.Column("version", sa.String(200), nullable=False),
    sa.Column("version_hash", sa.String(200), nullable=False),
    sa.Column("template_hash", sa.String(80), nullable=False),
    sa.Column("system_prompt_hash", sa.String(80)),  # NULL where there was no system prompt
    sa.Column("sampling", sa.JSON),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),  # NULL where several answers share one count
    sa.Column("finish_reason", sa.String(32)),  # stop, length, interrupted, error
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
    sa.Column("drawn", sa.String(16), nullable=False),  # samples, versions
    sa.Column("blind", sa.Boolean, nullable=False),
)

consent = _event(
    "consent",
    sa.Column("owner", sa.String(80), nullable=False, index=True),
    _link("conversation_id", "conversation", nullable=True),  # NULL: all new conversations
    sa.Column("given", sa.Boolean, nullable=False),
    sa.Column("notice", sa.String(80), nullable=False),  # hash of the text that was shown
)

judgement = _event(
    "judgement",
    sa.Column(
        "kind", sa.String(16), nullable=False
    ),  # thumb, pair, ranking, correction, withdrawal
    sa.Column("owner", sa.String(80), nullable=False, index=True),
    sa.Column("surface", sa.String(16), nullable=False),
    sa.Column("choice", sa.String(16)),  # up, down; first, second, tie, both_bad
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("comment", sa.Text),
    _link("comparison_id", "comparison", nullable=True),
    _link("corrected_id", "message", nullable=True),  # the better answer
    _link("withdraws_id", "judgement", nullable=True),
    sa.Column("erased_at", sa.BigInteger),
)

judged = sa.Table(  # the messages a judgement names, in the order they were shown
    "judged",
    metadata,
    sa.Column("judgement_id", sa.String(80), sa.ForeignKey("judgement.id"), primary_key=True),
    sa.Column("message_id", sa.String(80), sa.ForeignKey("message.id"), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("rank", sa.Integer),  # rankings only: 0 is best, ties share a rank
    sa.Index("ix_judged_message_id", "message_id"),
)

imported = sa.Table(
    "imported",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
