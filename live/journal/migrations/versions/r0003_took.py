"""How long the account took in a step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; of earlier steps it is not known."""
    op.add_column("steps", sa.Column("took_us", sa.BigInteger(), nullable=True))
