"""The tables of keys and of what was used with them; times are milliseconds since 1970 (UTC)."""

import sqlalchemy as sa

from assistant.feedback.schema import Name, Words, metadata

api_key = sa.Table(
    "api_key",
    metadata,
    sa.Column("id", Name(16), primary_key=True),
    sa.Column("name", Words, nullable=False),
    sa.Column("hash", Name(64), nullable=False),  # SHA-256 of the whole key, which is random
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),  # patterns of names that may be asked
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("tokens_per_minute", sa.Integer),
    sa.Column("concurrent", sa.Integer),
    sa.Column("trains", sa.Boolean, nullable=False),  # the operator says its judgements may
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
)

allowance = sa.Table(  # what a key may still use now: token buckets as they were at `at`
    "allowance",
    metadata,
    sa.Column("key_id", Name(16), sa.ForeignKey("api_key.id"), primary_key=True),
    sa.Column("requests", sa.Float, nullable=False),
    sa.Column("tokens", sa.Float, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

under_way = sa.Table(  # requests of a key being answered, by each program over this database
    "under_way",
    metadata,
    sa.Column("key_id", Name(16), sa.ForeignKey("api_key.id"), primary_key=True),
    sa.Column("program", Name(32), primary_key=True),
    sa.Column("requests", sa.Integer, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),  # a program not seen lately has died
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", Name(10), primary_key=True),  # 2026-01-31, UTC
    sa.Column("who", Name(80), primary_key=True),  # a key's id, `local`, or `page`
    sa.Column("version", Name(200), primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("unfinished", sa.BigInteger, nullable=False),  # broke off, or were given up
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("completion_tokens", sa.BigInteger, nullable=False),
)
