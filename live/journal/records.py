"""What the journal is told and tells: frozen records. Times are microseconds since 1970 of the exchange's clock."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from live.broker.interface import Answer, Cancel, Order
from quantcore.fold import FoldState
from quantcore.types import Array, FloatArray, RiskLevel

SEND = "send"
CANCEL = "cancel"
START = "start"
"""Kind of a step that sets the states afresh, instead of advancing those before it."""


class Recorded(Enum):
    """What became of something told."""

    NEW = "new"
    """It is committed."""
    KNOWN = "known"
    """It was there already, and nothing changed."""


class Resolution(Enum):
    """The rule by which a difference from the exchange was resolved."""

    ADOPT = "adopt"
    CANCEL = "cancel"
    CLOSE = "close"
    HALT = "halt"


class NoteKind(Enum):
    """What a note tells of."""

    INTERVENTION = "intervention"
    ERROR = "error"


class AnsweredBy(Enum):
    """How an answer was learnt."""

    REQUEST = "request"
    QUERY = "query"
    """Later, as the request's own outcome was unknown."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of the loop, from its start to its end.

    Parameters
    ----------
    mode : str
        ``"sim"``, ``"paper"``, …
    account : str
        A name of the account; a journal holds one account of one mode.
    prefix : str
        With which every own client id begins.
    symbols : tuple of str
        Columns of the targets.
    config_yaml : str
        The resolved settings, without secrets.
    versions : mapping of str to str
        Of the program and what it runs on.
    git_commit : str or None
        Where there is one.
    """

    mode: str
    account: str
    prefix: str
    symbols: tuple[str, ...]
    config_yaml: str = field(repr=False)
    versions: Mapping[str, str]
    git_commit: str | None = None

    def __post_init__(self) -> None:
        for name in ("mode", "account", "prefix"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a decision was made of, and what came out.

    Parameters
    ----------
    targets : float64 array, shape (n_symbols,), or None
        Target weights, NaN leaves a symbol as it is; None if the decision was skipped.
    inputs : mapping of str to array
        The full row that the signal plane was given; empty if it was given none.
    skipped : str
        Why it was, else empty.
    strategies : mapping of str to float
        What each strategy's forecast was multiplied by; empty if that is not known.
    """

    targets: FloatArray | None
    inputs: Mapping[str, Array] = field(repr=False)
    skipped: str = ""
    strategies: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.targets is None) != bool(self.skipped):
            raise ValueError("a decision must have either targets or a reason why it was skipped")
        if self.targets is not None and (
            self.targets.ndim != 1 or self.targets.dtype != np.float64
        ):
            raise ValueError(
                f"targets must be one row of float64, had shape {self.targets.shape} of {self.targets.dtype}"
            )


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A request that is about to be sent.

    Parameters
    ----------
    order_number : int
        Of the account's state; of a cancel that of the order it ends.
    request : Order or Cancel
        What is sent.
    reason : str
        Why, a word of `FillReason` in lower case, as in ``orders.parquet``.
    wanted_qty : float
        Coins that the order's decision still wanted; NaN where it does not say.
    """

    order_number: int
    request: Order | Cancel
    reason: str = ""
    wanted_qty: float = math.nan

    @property
    def action(self) -> str:
        """``"send"`` or ``"cancel"``."""
        return SEND if isinstance(self.request, Order) else CANCEL


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A cut, a refusal or an intervention of the account plane, in the words of ``reasons.parquet``."""

    symbol: str
    stage: str
    rule: str
    limit: float
    value: float
    action: str


@dataclass(frozen=True, kw_only=True)
class Equity:
    """The account at a step's end, in the words and units of ``equity.parquet``."""

    equity: float
    wallet_balance: float
    unrealised_pnl: float
    margin_ratio: float
    gross_exposure: float
    net_exposure: float
    drawdown: float
    flow: float
    nav: float
    regime: str | None = None


@dataclass(frozen=True, kw_only=True)
class Position:
    """What is held of a symbol at a step's end: signed coins, USDT per coin.

    `isolated_margin` is in USDT, 0 of a cross position; `liquidation_chance` is the liquidation monitor's, within 24
    hours, at its last check. NaN is not known.
    """

    symbol: str
    qty: float
    entry_price: float
    mark_price: float
    isolated_margin: float = math.nan
    liquidation_chance: float = math.nan


@dataclass(frozen=True, kw_only=True)
class RiskState:
    """Where the account stands on the ladder of the risk controller; `binding` has one bit per rule."""

    level: RiskLevel
    level_since_us: int
    peak_nav: float
    day_nav: float
    halts: int
    daily_var: float
    liquidation_probability: float
    binding: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the loop: what it took in, the state after it, and what it wants to be sent.

    Parameters
    ----------
    seq : int
        From 1, without holes over all sessions: `Journal.next_seq`.
    ts_us : int
        When.
    kind : str
        ``"close"``, ``"event"``, …; `START` sets the states afresh and must be with snapshot.
    inputs : mapping of str to array
        All that the account step was given beside state and targets: the market row, what was heard.
    account : FoldState
        After the step; its hash is always kept, itself with `snapshot`.
    signal : FoldState or None
        After the step, where the signal plane moved; kept likewise, and always the first time.
    decision : Decision or None
        Where there was one.
    intents : sequence of Intent
        In the order of sending.
    reasons, equity, positions, risk
        What the step had to say.
    snapshot : bool
        Whether the states themselves are kept; the journal's first step must.
    last_event : int or None
        The last event that the step knows; None: every event told to the journal so far.
    took_us : int or None
        From its cause to its commit, microseconds of a monotonic clock.
    account_us : int or None
        Of these, what the account took: booking, risk, sizer, router, stops.
    """

    seq: int
    ts_us: int
    kind: str
    inputs: Mapping[str, Array] = field(repr=False)
    account: FoldState = field(repr=False)
    signal: FoldState | None = field(default=None, repr=False)
    decision: Decision | None = None
    intents: Sequence[Intent] = ()
    reasons: Sequence[Reason] = ()
    equity: Equity | None = None
    positions: Sequence[Position] = ()
    risk: RiskState | None = None
    snapshot: bool = False
    last_event: int | None = None
    took_us: int | None = None
    account_us: int | None = None

    def __post_init__(self) -> None:
        if self.kind == START and not self.snapshot:
            raise ValueError(f"snapshot must be true of a step of kind {START}, was false")


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Microseconds of a monotonic clock: from the bar or event that was there to sending, and on to the answer."""

    sent_after_us: int
    answered_after_us: int


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came of an intent.

    Parameters
    ----------
    intent_id : int
        As `Journal.commit_step` gave it.
    ts_us : int
        When it was learnt.
    answer : Answer
        As the broker gave it; with by=QUERY an order that never arrived is REFUSED.
    by : AnsweredBy
        How it was learnt.
    latency : Latency or None
        Of the request.
    """

    intent_id: int
    ts_us: int
    answer: Answer
    by: AnsweredBy = AnsweredBy.REQUEST
    latency: Latency | None = None


@dataclass(frozen=True, kw_only=True)
class Note:
    """An intervention or an error: who says so, of which symbol, in one line."""

    ts_us: int
    kind: NoteKind
    source: str
    message: str
    symbol: str | None = None


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the loop does, written down again and again while it runs: also its heartbeat.

    Parameters
    ----------
    ts_us : int
        The exchange's time.
    wall_us : int
        This machine's time.
    late_us : int
        By how much later than due the event loop came to write it, on this machine's clock.
    clock_off_ms : float
        What is added to this machine's time to have the exchange's; NaN of a simulated clock.
    requests, failures : int
        Requests over REST since the session began, and those without an answer, or with one that says that the
        exchange cannot serve or count them: not the refusal of an order by its rules.
    used_weight : int
        Of the running minute, as the exchange counts it.
    account_stream : bool
        Whether the account's stream is open.
    sockets, connected : int
        Market sockets that there should be, and those that bring something.
    book_age_s, mark_age_s, kline_age_s : float
        Since the newest event of the oldest stream, seconds of the exchange's clock; NaN before the first.
    doubtful, halted : int
        Symbols with a request of which nobody knows what became, and symbols that are not traded.
    stopped : str or None
        Why nothing opens.
    memory_mb, disk_free_mb : float
        Of the process, and beside the journal; NaN where it is not known.
    copy_behind : int or None
        Steps that the journal's copy lacks; None where there is none.
    counts : mapping of str to int
        The feed's own, since the session began: see `live.feed.feed.Health`.
    """

    ts_us: int
    wall_us: int
    late_us: int
    clock_off_ms: float
    requests: int
    failures: int
    used_weight: int
    account_stream: bool
    sockets: int
    connected: int
    book_age_s: float
    mark_age_s: float
    kline_age_s: float
    doubtful: int
    halted: int
    stopped: str | None
    memory_mb: float
    disk_free_mb: float
    copy_behind: int | None
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something in which journal and exchange differed, and the rule that resolved it.

    Parameters
    ----------
    ts_us : int
        When it was found.
    subject : str
        ``"order"``, ``"algo_order"``, ``"position"``, ``"balance"``, ``"setting"``, …
    expected, found : str
        As the journal has it, and as the exchange has it.
    rule : Resolution
        What was done.
    symbol, client_id : str or None
        Of what.
    """

    ts_us: int
    subject: str
    expected: str
    found: str
    rule: Resolution
    symbol: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class KeptSession:
    """A session as the journal has it; `ended_us` is None of one that runs or was killed."""

    session_id: int
    session: Session
    started_us: int
    ended_us: int | None
    why_ended: str | None


@dataclass(frozen=True, kw_only=True)
class KeptStep:
    """A step as the journal has it.

    Parameters
    ----------
    seq, session_id, ts_us, kind, last_event
        As they were told.
    inputs : mapping of str to array, or None
        None once pruned.
    account_sha, signal_sha : str
        Digests of the states after it; None of a signal plane that did not move.
    decision : Decision or None
        Where there was one; its inputs are empty once pruned.
    """

    seq: int
    session_id: int
    ts_us: int
    kind: str
    last_event: int
    inputs: Mapping[str, Array] | None = field(repr=False)
    account_sha: str
    signal_sha: str | None
    decision: Decision | None


@dataclass(frozen=True, kw_only=True)
class OpenIntent:
    """An intent of which it is not known whether it was carried out; `asked` if an answer said so."""

    intent_id: int
    seq: int
    intent: Intent
    asked: bool


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A state as it was kept after a step."""

    seq: int
    state: FoldState = field(repr=False)
