"""Answers that call tools, and the outcomes of the calls."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("message") as message:
        message.add_column(sa.Column("tool_calls", sa.JSON(none_as_null=True), nullable=True))
        message.add_column(sa.Column("tool_call_id", sa.String(length=200), nullable=True))
