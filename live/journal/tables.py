"""The journal's tables; each fact stands once, and what was derived from it is derived again.

Times are microseconds since 1970 UTC, numbers of the exchange its own text, arrays `FoldState` bytes. Rows are numbered
by the journal itself, without holes, so that a copy in another database has the same numbers.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

metadata = MetaData()

_WHOLE = BigInteger()
_NUMBER = BigInteger().with_variant(Integer(), "sqlite")
"""Only so is a primary key SQLite's own row number."""


def _number(name: str) -> Column[int]:
    return Column(name, _NUMBER, primary_key=True, autoincrement=False)


def _text(name: str, *, null: bool = False) -> Column[str]:
    return Column(name, Text(), nullable=null)


def _whole(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, _WHOLE, nullable=null)


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean(), nullable=False)


def _real(name: str) -> Column[float]:
    # NaN is null: SQLite knows no other way to keep it.
    return Column(name, Double(), nullable=True)


def _raw(name: str, *, null: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary(), nullable=null)


def _of(name: str, target: str, *, key: bool = False) -> Column[int]:
    return Column(
        name, _NUMBER, ForeignKey(target), primary_key=key, nullable=False, autoincrement=False
    )


sessions = Table(
    "sessions",
    metadata,
    _number("session_id"),
    _text("mode"),
    _text("account"),
    _text("prefix"),  # of the own client ids
    _text("symbols"),  # JSON list, the columns of targets
    _text("config_yaml"),
    _text("versions"),  # JSON
    _text("git_commit", null=True),
    _whole("started_us"),
    _whole("ended_us", null=True),  # null: running, or killed
    _text("why_ended", null=True),
)

steps = Table(
    "steps",
    metadata,
    _number("seq"),
    _of("session_id", "sessions.session_id"),
    _whole("ts_us"),
    _text("kind"),
    _whole("last_event"),  # of the events that the step knows
    _raw("inputs", null=True),  # null: pruned
    _text("account_sha"),  # of the state after the step
    _text("signal_sha", null=True),  # null: the step did not move the signal plane
    _whole("took_us", null=True),  # from its cause to its commit, on the machine's clock
    _whole("account_us", null=True),  # of these, what the account took
)

decisions = Table(
    "decisions",
    metadata,
    _of("seq", "steps.seq", key=True),
    _raw("targets", null=True),  # float64 per symbol of the session; null: skipped
    _raw("input_row", null=True),  # null: skipped or pruned
    _text("skipped", null=True),  # why
    _text("strategies", null=True),  # JSON: what each one's forecast counted
)

intents = Table(
    "intents",
    metadata,
    _number("intent_id"),
    _of("seq", "steps.seq"),
    _whole("order_number"),
    _text("action"),
    _text("client_id"),
    _text("symbol"),
    _text("request"),  # JSON
    _text("reason"),
    _real("wanted_qty"),
    Index("intents_by_step", "seq"),
    Index("intents_by_client", "client_id"),
    Index(
        "one_send_per_client",
        "client_id",
        unique=True,
        sqlite_where=text("action = 'send'"),
        postgresql_where=text("action = 'send'"),
    ),
)

answers = Table(
    "answers",
    metadata,
    _number("answer_id"),
    _of("intent_id", "intents.intent_id"),
    _whole("ts_us"),
    _text("by"),  # the request itself, or a query later
    _text("outcome"),
    _whole("code", null=True),
    _text("message"),
    _text("rule", null=True),
    _whole("exchange_id", null=True),
    _whole("sent_after_us", null=True),  # from the decision
    _whole("answered_after_us", null=True),  # from sending
    Index("answers_by_intent", "intent_id"),
    Index(
        "one_final_answer",
        "intent_id",
        unique=True,
        sqlite_where=text("outcome <> 'unknown'"),
        postgresql_where=text("outcome <> 'unknown'"),
    ),
)

events = Table(
    "events",
    metadata,
    _number("event_id"),
    _of("session_id", "sessions.session_id"),
    _whole("heard_us"),
    _whole("time_us"),  # the exchange's
    _text("kind"),
    Column("identity", Text(), nullable=False, unique=True),  # what makes a second telling known
)

fills = Table(
    "fills",
    metadata,
    _of("event_id", "events.event_id", key=True),
    _text("symbol"),
    _whole("trade_id"),
    _text("client_id"),
    _whole("exchange_id"),
    _text("side"),
    _text("qty"),
    _text("price"),
    _text("fee"),
    _text("fee_asset"),
    _flag("maker"),
    _text("order_status", null=True),
    _text("realised"),
    Index("fills_by_client", "client_id"),
)

order_changes = Table(
    "order_changes",
    metadata,
    _of("event_id", "events.event_id", key=True),
    _text("client_id"),
    _text("symbol"),
    _text("side"),
    _text("type"),
    _whole("exchange_id"),
    _flag("conditional"),
    _text("status"),
    _text("qty"),
    _text("filled"),
    _text("price", null=True),
    _text("stop_price", null=True),
    _flag("reduce_only"),
    _flag("close_position"),
    _flag("stuck"),
    _text("why"),
    Index("order_changes_by_client", "client_id"),
)

balances = Table(
    "balances",
    metadata,
    _of("event_id", "events.event_id", key=True),
    _text("wallet"),
    _text("change"),
    _text("kind"),
    _text("positions"),  # JSON
)

incomes = Table(
    "incomes",
    metadata,
    _of("event_id", "events.event_id", key=True),
    _text("kind"),
    _text("symbol", null=True),
    _text("amount"),
    _text("income_id"),
)

doubts = Table("doubts", metadata, _of("event_id", "events.event_id", key=True), _text("reason"))

reasons = Table(
    "reasons",
    metadata,
    _of("seq", "steps.seq", key=True),
    _number("position"),
    _text("symbol"),
    _text("stage"),
    _text("rule"),
    _real("limit"),
    _real("value"),
    _text("action"),
)

equity = Table(
    "equity",
    metadata,
    _of("seq", "steps.seq", key=True),
    _real("equity"),
    _real("wallet_balance"),
    _real("unrealised_pnl"),
    _real("margin_ratio"),
    _real("gross_exposure"),
    _real("net_exposure"),
    _real("drawdown"),
    _real("flow"),
    _real("nav"),
    _text("regime", null=True),
)

positions = Table(
    "positions",
    metadata,
    _of("seq", "steps.seq", key=True),
    Column("symbol", Text(), primary_key=True),
    _real("qty"),
    _real("entry_price"),
    _real("mark_price"),
    _real("isolated_margin"),
    _real("liquidation_chance"),
)

risk_states = Table(
    "risk_states",
    metadata,
    _of("seq", "steps.seq", key=True),
    _text("level"),
    _whole("level_since_us"),
    _real("peak_nav"),
    _real("day_nav"),
    _whole("halts"),
    _real("daily_var"),
    _real("liquidation_probability"),
    _whole("binding"),
)

snapshots = Table(
    "snapshots",
    metadata,
    _of("seq", "steps.seq", key=True),
    Column("plane", Text(), primary_key=True),
    _raw("state"),
)

notes = Table(
    "notes",
    metadata,
    _number("note_id"),
    _of("session_id", "sessions.session_id"),
    _whole("ts_us"),
    _text("kind"),
    _text("source"),
    _text("symbol", null=True),
    _text("message"),
)

differences = Table(
    "differences",
    metadata,
    _number("difference_id"),
    _of("session_id", "sessions.session_id"),
    _whole("ts_us"),
    _text("subject"),
    _text("symbol", null=True),
    _text("client_id", null=True),
    _text("expected"),
    _text("found"),
    _text("rule"),
)

health = Table(
    "health",
    metadata,
    _number("health_id"),
    _of("session_id", "sessions.session_id"),
    _whole("ts_us"),
    _whole("wall_us"),  # this machine's time
    _whole("late_us"),
    _real("clock_off_ms"),
    _whole("requests"),
    _whole("failures"),
    _whole("used_weight"),
    _flag("account_stream"),
    _whole("sockets"),
    _whole("connected"),
    _real("book_age_s"),
    _real("mark_age_s"),
    _real("kline_age_s"),
    _whole("doubtful"),  # symbols with a request of which nobody knows what became
    _whole("halted"),  # symbols that are not traded
    _text("stopped", null=True),  # why nothing opens
    _real("memory_mb"),
    _real("disk_free_mb"),
    _whole("copy_behind", null=True),  # steps that the copy lacks; null: there is none
    _text("counts"),  # JSON
    Index("health_by_time", "ts_us"),
)
