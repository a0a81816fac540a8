"""What the passing of time does to the exchange: every account meets the market, then what is due is done.

In lock-step accounts meet whole bars, by the account step of the backtest; else short steps along the path within them.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from live.simulator import booking
from live.simulator.accounts import VenueAccount
from live.simulator.moment import Moment, one_row
from live.simulator.path import STEP_US
from live.simulator.recorded_fills import meet_prints
from live.simulator.resting import out_of_reach
from live.simulator.watch import close_guards, look_after
from quantcore.account_step import scan
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Market
from quantcore.types import FloatArray, IntArray

if TYPE_CHECKING:
    from live.simulator.engine import Engine


def advance(venue: Engine, to_us: int) -> None:
    """Move the clock, and all accounts with it; an earlier time changes nothing.

    In maintenance the clock goes on alone. What the market does meanwhile fills nothing and liquidates nobody: accounts
    meet it again from the price at the end on, after the funding that fell due is paid on what they hold. In lock-step
    a bar that opens in maintenance is not met.
    """
    if venue.lock_step:
        while venue.row + 1 < venue.tape.bars.n_bars and venue.market.ts_us[venue.row + 1] <= to_us:
            _advance_bar(venue)
        return
    to_us = min(to_us, venue.tape.end_us - 1)
    if to_us <= venue.now_us:
        return
    if venue.tape.fills_by_prints:
        meet_prints(venue, to_us, _pass_to)
    _pass_to(venue, to_us)


def _pass_to(venue: Engine, to_us: int) -> None:
    """Let all accounts meet the path from now to a time; the rest of a step of it, which stands still, with the next.

    A busy exchange is asked many times within a step.
    """
    venue.now_us = to_us
    if venue.closed:
        return
    if not venue.tape.fills_by_prints and to_us // STEP_US == venue.met_us // STEP_US:
        for account in venue.accounts.values():
            close_guards(venue, account)
        return
    moment = _swept(venue, max(venue.met_us, venue.reopens_us), to_us)
    settled = _settled(venue, venue.met_us, to_us)
    venue.met_us = to_us
    _meet_market(venue, moment, *settled)


def _advance_bar(venue: Engine) -> None:
    closed = venue.closed
    venue.row += 1
    venue.now_us = int(venue.market.ts_us[venue.row])
    if closed:
        return
    due = _due(venue)
    venue.met_us = venue.now_us
    _meet_market(venue, Moment(market=venue.market, row=venue.row), *due)


def _meet_market(venue: Engine, moment: Moment, whole: IntArray, number: FloatArray) -> None:
    """Let all accounts meet a row of the market with its settlements, and do what is due at its end."""
    by_prints = venue.tape.fills_by_prints and not venue.lock_step
    for account in venue.accounts.values():
        with out_of_reach(account, moment.market) if by_prints else nullcontext():
            _scan(venue, account, moment.market, moment.row, whole, number)
    for account in venue.accounts.values():
        look_after(venue, account)


def _due(venue: Engine) -> tuple[IntArray, FloatArray]:
    """Return the settlements of the bars, those of bars that were not met put to the present one, at their marks."""
    whole, number = venue.paid
    met = int(np.searchsorted(venue.market.ts_us, venue.met_us))
    if met == venue.row - 1:
        return whole, number
    late = (whole[:, at.SETTLEMENT_ROW] > met) & (whole[:, at.SETTLEMENT_ROW] < venue.row)
    whole, number = whole.copy(), number.copy()
    for k in np.flatnonzero(late & np.isnan(number[:, 1])):
        number[k, 1] = _mark_at_open(venue, *whole[k, [at.SETTLEMENT_ROW, at.SETTLEMENT_SYMBOL]])
    whole[late, at.SETTLEMENT_ROW] = venue.row
    return whole, number


def _mark_at_open(venue: Engine, row: int, s: int) -> float:
    """Return what a settlement in a bar is paid at where its own mark is not known."""
    mark = float(venue.market.mark_open[row, s])
    return mark if mark > 0.0 else float(venue.market.open[row, s])


def _scan(
    venue: Engine,
    account: VenueAccount,
    market: Market,
    row: int,
    settlement: IntArray,
    value: FloatArray,
) -> None:
    due = settlement[settlement[:, at.SETTLEMENT_ROW] == row]
    journal = account.journal(np.zeros(len(due), dtype=np.int64))
    nothing, no_time = np.empty(0, dtype=np.int64), np.empty(0)
    script = np.empty((0, at.N_SCRIPT), dtype=np.int64)
    scan(
        account.account, market, account.rules, account.config, settlement, value, nothing, nothing, no_time,
        venue.undecided[: len(market.ts_us)], _no_targets(len(venue.symbols)), script,
        np.empty((0, 3)), journal, len(journal.whole) // 2, row, row + 1,
    )  # fmt: skip
    booking.book(venue, account, journal)


def _swept(venue: Engine, from_us: int, to_us: int) -> Moment:
    swept = venue.tape.swept(from_us, to_us)
    fields = [
        getattr(swept, name)
        for name in (
            "open",
            "high",
            "low",
            "close",
            "mark_open",
            "mark_high",
            "mark_low",
            "mark_close",
        )
    ]
    return Moment(market=one_row(to_us, fields), row=0)


def _settled(venue: Engine, from_us: int, to_us: int) -> tuple[IntArray, FloatArray]:
    due = venue.tape.settlements(from_us, to_us)
    whole = np.zeros((len(due), at.N_SETTLEMENT), dtype=np.int64)
    number = np.empty((len(due), 2))
    for k, (time_us, s, rate, mark) in enumerate(due):
        whole[k, at.SETTLEMENT_TIME], whole[k, at.SETTLEMENT_SYMBOL] = time_us, s
        late = time_us < venue.reopens_us and math.isnan(mark)
        number[k] = rate, float(venue.tape.mark(time_us)[s]) if late else mark
    return whole, number


def meet(venue: Engine, s: int, price: float) -> None:
    """Let all accounts meet a price of one symbol for an instant: orders trigger, margins are tested."""
    last, mark = venue.prices, venue.marks
    last[s] = mark[s] = price
    market = one_row(venue.now_us, [last] * 4 + [mark] * 4)
    nothing = np.empty((0, at.N_SETTLEMENT), dtype=np.int64), np.empty((0, 2))
    _meet_market(venue, Moment(market=market, row=0), *nothing)


def _no_targets(n_symbols: int) -> FloatArray:
    none = np.empty((0, n_symbols))
    none.flags.writeable = False
    return none
