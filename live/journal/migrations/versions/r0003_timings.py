"""How long the account took in a step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table; of earlier steps it is not known."""
    op.create_table(
        "timings",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("account_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq"),
    )
