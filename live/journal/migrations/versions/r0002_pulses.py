"""How the loop does, as it noted it from time to time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "pulses",
        sa.Column("pulse_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("sockets", sa.BigInteger(), nullable=False),
        sa.Column("connected", sa.BigInteger(), nullable=False),
        sa.Column("book_age_s", sa.Double(), nullable=True),
        sa.Column("mark_age_s", sa.Double(), nullable=True),
        sa.Column("kline_age_s", sa.Double(), nullable=True),
        sa.Column("used_weight", sa.BigInteger(), nullable=False),
        sa.Column("clock_off_ms", sa.Double(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("doubtful", sa.BigInteger(), nullable=False),
        sa.Column("halted", sa.BigInteger(), nullable=False),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.Column("memory_mb", sa.Double(), nullable=True),
        sa.Column("disk_free_mb", sa.Double(), nullable=True),
        sa.Column("copy_behind", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("pulse_id"),
    )
    op.create_index("pulses_by_time", "pulses", ["ts_us"])
