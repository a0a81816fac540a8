"""What monitoring needs beside: how long a step took, weights of strategies, room to liquidation, the loop's health."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns, null in older rows, and a table."""
    op.add_column("steps", sa.Column("took_us", sa.BigInteger(), nullable=True))
    op.add_column("steps", sa.Column("account_us", sa.BigInteger(), nullable=True))
    op.add_column("decisions", sa.Column("strategies", sa.Text(), nullable=True))
    op.add_column("positions", sa.Column("isolated_margin", sa.Double(), nullable=True))
    op.add_column("positions", sa.Column("liquidation_chance", sa.Double(), nullable=True))
    op.create_table(
        "health",
        sa.Column("health_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.Column("late_us", sa.BigInteger(), nullable=False),
        sa.Column("clock_off_ms", sa.Double(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("used_weight", sa.BigInteger(), nullable=False),
        sa.Column("account_stream", sa.Boolean(), nullable=False),
        sa.Column("sockets", sa.BigInteger(), nullable=False),
        sa.Column("connected", sa.BigInteger(), nullable=False),
        sa.Column("book_age_s", sa.Double(), nullable=True),
        sa.Column("mark_age_s", sa.Double(), nullable=True),
        sa.Column("kline_age_s", sa.Double(), nullable=True),
        sa.Column("doubtful", sa.BigInteger(), nullable=False),
        sa.Column("halted", sa.BigInteger(), nullable=False),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.Column("memory_mb", sa.Double(), nullable=True),
        sa.Column("disk_free_mb", sa.Double(), nullable=True),
        sa.Column("copy_behind", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("health_id"),
    )
    op.create_index("health_by_time", "health", ["ts_us"])
