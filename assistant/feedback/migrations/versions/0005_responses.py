"""Responses that are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "response",
        sa.Column("seq", key, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(length=80), nullable=False, unique=True),
        sa.Column("owner", sa.String(length=80), nullable=False, index=True),
        sa.Column(
            "conversation_id",
            sa.String(length=80),
            sa.ForeignKey("conversation.id"),
            nullable=False,
            index=True,
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("body", sa.JSON(none_as_null=True)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
