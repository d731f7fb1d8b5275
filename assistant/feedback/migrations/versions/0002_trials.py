"""Comparisons note the trial they were drawn for: only those decide it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("comparison") as comparison:
        comparison.add_column(sa.Column("trial", sa.String(length=80), nullable=True))
    op.create_index(op.f("ix_comparison_trial"), "comparison", ["trial"], unique=False)
