"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "sessions",
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("symbols", sa.Text(), nullable=False),
        sa.Column("config_yaml", sa.Text(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("why_ended", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_table(
        "differences",
        sa.Column("difference_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("difference_id"),
    )
    op.create_table(
        "events",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("heard_us", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("event_id"),
        sa.UniqueConstraint("identity"),
    )
    op.create_table(
        "notes",
        sa.Column("note_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("note_id"),
    )
    op.create_table(
        "steps",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("session_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("last_event", sa.BigInteger(), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=True),
        sa.Column("account_sha", sa.Text(), nullable=False),
        sa.Column("signal_sha", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.session_id"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "balances",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "decisions",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("targets", sa.LargeBinary(), nullable=True),
        sa.Column("input_row", sa.LargeBinary(), nullable=True),
        sa.Column("skipped", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "doubts",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "equity",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("equity", sa.Double(), nullable=True),
        sa.Column("wallet_balance", sa.Double(), nullable=True),
        sa.Column("unrealised_pnl", sa.Double(), nullable=True),
        sa.Column("margin_ratio", sa.Double(), nullable=True),
        sa.Column("gross_exposure", sa.Double(), nullable=True),
        sa.Column("net_exposure", sa.Double(), nullable=True),
        sa.Column("drawdown", sa.Double(), nullable=True),
        sa.Column("flow", sa.Double(), nullable=True),
        sa.Column("nav", sa.Double(), nullable=True),
        sa.Column("regime", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "fills",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("trade_id", sa.BigInteger(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("exchange_id", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("qty", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=False),
        sa.Column("fee", sa.Text(), nullable=False),
        sa.Column("fee_asset", sa.Text(), nullable=False),
        sa.Column("maker", sa.Boolean(), nullable=False),
        sa.Column("order_status", sa.Text(), nullable=True),
        sa.Column("realised", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("fills_by_client", "fills", ["client_id"], unique=False)
    op.create_table(
        "incomes",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=True),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.Column("income_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "intents",
        sa.Column("intent_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("order_number", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("wanted_qty", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("intent_id"),
    )
    op.create_index("intents_by_client", "intents", ["client_id"], unique=False)
    op.create_index("intents_by_step", "intents", ["seq"], unique=False)
    op.create_index(
        "one_send_per_client",
        "intents",
        ["client_id"],
        unique=True,
        sqlite_where=sa.text("action = 'send'"),
        postgresql_where=sa.text("action = 'send'"),
    )
    op.create_table(
        "order_changes",
        sa.Column("event_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("exchange_id", sa.BigInteger(), nullable=False),
        sa.Column("conditional", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("qty", sa.Text(), nullable=False),
        sa.Column("filled", sa.Text(), nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("stop_price", sa.Text(), nullable=True),
        sa.Column("reduce_only", sa.Boolean(), nullable=False),
        sa.Column("close_position", sa.Boolean(), nullable=False),
        sa.Column("stuck", sa.Boolean(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.event_id"]),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("order_changes_by_client", "order_changes", ["client_id"], unique=False)
    op.create_table(
        "positions",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("qty", sa.Double(), nullable=True),
        sa.Column("entry_price", sa.Double(), nullable=True),
        sa.Column("mark_price", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq", "symbol"),
    )
    op.create_table(
        "reasons",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("position", NUMBER, autoincrement=False, nullable=False),
        sa.Column("symbol", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("limit", sa.Double(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq", "position"),
    )
    op.create_table(
        "risk_states",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("level_since_us", sa.BigInteger(), nullable=False),
        sa.Column("peak_nav", sa.Double(), nullable=True),
        sa.Column("day_nav", sa.Double(), nullable=True),
        sa.Column("halts", sa.BigInteger(), nullable=False),
        sa.Column("daily_var", sa.Double(), nullable=True),
        sa.Column("liquidation_probability", sa.Double(), nullable=True),
        sa.Column("binding", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "snapshots",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("plane", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["steps.seq"]),
        sa.PrimaryKeyConstraint("seq", "plane"),
    )
    op.create_table(
        "answers",
        sa.Column("answer_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("intent_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("ts_us", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=True),
        sa.Column("exchange_id", sa.BigInteger(), nullable=True),
        sa.Column("sent_after_us", sa.BigInteger(), nullable=True),
        sa.Column("answered_after_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.intent_id"]),
        sa.PrimaryKeyConstraint("answer_id"),
    )
    op.create_index("answers_by_intent", "answers", ["intent_id"], unique=False)
    op.create_index(
        "one_final_answer",
        "answers",
        ["intent_id"],
        unique=True,
        sqlite_where=sa.text("outcome <> 'unknown'"),
        postgresql_where=sa.text("outcome <> 'unknown'"),
    )
