"""What the control page shows of one moment: plain values, gathered from the market, the ledger and the faults."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from live.simulator.faults import FaultRecord, Faults
from live.simulator.scenario import FaultRule
from live.simulator.wire import digits_of, lots_text, text

if TYPE_CHECKING:
    from live.simulator.market import Tape

LEVELS, CANDLES, RECORDS = 10, 120, 60
"""Levels of the book, closes of the chart and newest records of the log that a view holds."""


class Level(NamedTuple):
    """One level of a book: price and size as text, and the size of all up to it as a share of the deeper side's."""

    price: str
    size: str
    depth: float


@dataclass(frozen=True, kw_only=True)
class View:
    """One moment of the exchange.

    Parameters
    ----------
    now_us, first_us, end_us : int
        Simulated time, and the span of the market, microseconds.
    clock : str
        How time passes, in words.
    lock_step : bool
        Whether a driver moves the clock.
    is_down : bool
        Whether there is maintenance.
    symbols : tuple of str
        Of the market.
    symbol : str
        The one that is shown.
    digits : int
        Decimals of its prices.
    price, mark : float
        USDT, NaN where there is none.
    funding_us, funding_rate : int, float
        The next settlement.
    bids, asks : tuple of Level
        Best first.
    closes : tuple of float
        Its closes of the latest bars, then its price now; NaN left out.
    interval : str
        Of those bars.
    accounts : sequence of mapping
        As `Venue.ledger` has them.
    rules : sequence of (FaultRule, int)
        The faults at work with how often each happened.
    records : sequence of FaultRecord
        The newest of the log, newest first.
    injected : int
        How many faults happened altogether.
    """

    now_us: int
    first_us: int
    end_us: int
    clock: str
    lock_step: bool
    is_down: bool
    symbols: tuple[str, ...]
    symbol: str
    digits: int
    price: float
    mark: float
    funding_us: int
    funding_rate: float
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    closes: tuple[float, ...]
    interval: str
    accounts: Sequence[Mapping[str, Any]]
    rules: Sequence[tuple[FaultRule, int]]
    records: Sequence[FaultRecord]
    injected: int


def view_of(
    tape: Tape,
    ledger: Mapping[str, Any],
    faults: Faults,
    *,
    now_us: int,
    symbol: str,
    clock: str,
    lock_step: bool,
) -> View:
    """Return what the page shows now.

    Parameters
    ----------
    tape : Tape
        The market.
    ledger : mapping
        As `Venue.ledger`.
    faults : Faults
        What goes wrong.
    now_us : int
        Simulated time, microseconds.
    symbol : str
        Whose book is shown; the first of the market if it has no such symbol.
    clock : str
        How time passes, in words.
    lock_step : bool
        Whether a driver moves the clock.
    """
    s = tape.symbols.index(symbol) if symbol in tape.symbols else 0
    tick = tape.instruments[s].tick_size
    bids, asks, _ = tape.book(s, now_us, LEVELS)
    deepest = max((sum(lots for _, lots in side) for side in (bids, asks)), default=0)
    price = float(tape.price(now_us)[s])
    closed = int(np.searchsorted(tape.bars.ts_us, now_us, side="right"))
    closes = tape.bars.array("close")[max(closed - CANDLES, 0) : closed, s].tolist()
    funding_us, funding_rate = tape.next_funding(s, now_us)
    log = faults.log
    return View(
        now_us=now_us,
        first_us=tape.first_us,
        end_us=tape.end_us,
        clock=clock,
        lock_step=lock_step,
        is_down=faults.is_down(now_us),
        symbols=tape.symbols,
        symbol=tape.symbols[s],
        digits=digits_of(tick),
        price=price,
        mark=float(tape.mark(now_us)[s]),
        funding_us=funding_us,
        funding_rate=funding_rate,
        bids=_levels(bids, tick, tape.instruments[s].step_size, deepest),
        asks=_levels(asks, tick, tape.instruments[s].step_size, deepest),
        closes=tuple(value for value in (*closes, price) if math.isfinite(value)),
        interval=tape.bars.interval,
        accounts=ledger["accounts"],
        rules=[(schedule.rule, schedule.happened) for schedule in faults.schedules],
        records=log[: -RECORDS - 1 : -1],
        injected=faults.counts.total(),
    )


def _levels(
    side: Sequence[tuple[int, int]], tick: str, step: str, deepest: int
) -> tuple[Level, ...]:
    found, total = [], 0
    for ticks, lots in side:
        total += lots
        price = text(ticks * float(tick), digits_of(tick))
        found.append(Level(price, lots_text(lots, step), total / deepest))
    return tuple(found)
