"""What one look at a run has found: what is new in its journal since the look before, and how things stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class AccountRow(NamedTuple):
    """The account at a closed bar; fractions and USDT, NaN where nobody knows."""

    ts_us: int
    equity: float
    drawdown: float
    margin_ratio: float
    level: str | None
    liquidation_probability: float


class ReasonRow(NamedTuple):
    """What was cut, refused or closed."""

    ts_us: int
    symbol: str
    stage: str
    rule: str
    limit: float
    value: float
    action: str


class HealthRow(NamedTuple):
    """How the loop does, as its heartbeat says; see `live.journal.records.Health`."""

    ts_us: int
    wall_us: int
    late_us: int
    clock_off_ms: float
    requests: int
    failures: int
    account_stream: bool
    sockets: int
    connected: int
    doubtful: int
    halted: int
    stopped: str | None
    copy_behind: int | None


class StuckRow(NamedTuple):
    """A conditional order that has triggered and became nothing."""

    ts_us: int
    symbol: str
    client_id: str


class DoubtRow(NamedTuple):
    """Why the loop compared itself with the exchange."""

    ts_us: int
    heard_us: int
    reason: str


class SkippedRow(NamedTuple):
    """A decision that was not taken."""

    ts_us: int
    why: str


class NoteRow(NamedTuple):
    """An intervention or an error."""

    ts_us: int
    kind: str
    source: str
    symbol: str | None
    message: str


class DifferenceRow(NamedTuple):
    """Something in which loop and exchange differed."""

    ts_us: int
    subject: str
    symbol: str | None
    expected: str
    found: str
    rule: str


class Run(NamedTuple):
    """The session that began last.

    Parameters
    ----------
    session_id : int
        Its number.
    mode : str
        ``"sim"``, ``"prod"``, …
    started_us : int
        Exchange's time.
    ended_us : int or None
        None of one that runs, or was killed.
    why_ended : str
        Empty while it runs.
    wants_stops : bool
        Whether every position is to have a protective stop, of its strategy or of the risk controller.
    """

    session_id: int
    mode: str
    started_us: int
    ended_us: int | None
    why_ended: str
    wants_stops: bool


class Holding(NamedTuple):
    """A position, as far as alerts mind it; the distance is a fraction of the mark, NaN where nobody knows."""

    symbol: str
    has_stop: bool
    liquidation_distance: float


@dataclass(frozen=True, kw_only=True)
class News:
    """What one look has found.

    Parameters
    ----------
    absent_us, seen_us : int
        This machine's time at the look before, when no row told here was there, and of this one.
    unreadable : str
        Why the journal could not be read; then nothing else is told.
    unreadable_us : int or None
        Since when.
    run : Run or None
        None before the first session.
    is_more : bool
        Whether the next look has rows to take already.
    is_new : bool
        Whether the journal holds anything that it did not hold at the look before.
    account, health, reasons, stuck, doubts, skipped, notes, differences
        New rows, in the order of writing.
    holdings : sequence of Holding or None
        None where this look did not ask.
    free_bytes : mapping of str to int
        Of the disks, by folder; empty where this look did not ask.
    """

    absent_us: int
    seen_us: int
    unreadable: str = ""
    unreadable_us: int | None = None
    run: Run | None = None
    is_more: bool = False
    is_new: bool = False
    account: Sequence[AccountRow] = ()
    reasons: Sequence[ReasonRow] = ()
    health: Sequence[HealthRow] = ()
    stuck: Sequence[StuckRow] = ()
    doubts: Sequence[DoubtRow] = ()
    skipped: Sequence[SkippedRow] = ()
    notes: Sequence[NoteRow] = ()
    differences: Sequence[DifferenceRow] = ()
    holdings: Sequence[Holding] | None = None
    free_bytes: Mapping[str, int] = field(default_factory=dict)
