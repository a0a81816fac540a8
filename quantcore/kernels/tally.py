"""What an account came to, counted while it runs: the sums behind its metrics without its tables.

A backtest keeps every event and derives its numbers from tables; thousands of parameter sets cannot. The tally reads
the same journal and the same curve as they are written and keeps sums. They are compensated (Neumaier 1974), so that
they agree with those of the tables to the last digits.
"""

from __future__ import annotations

import math

import numpy as np

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CURVE_DRAWDOWN,
    CURVE_EQUITY,
    CURVE_NAV,
    EVENT_FILL,
    EVENT_FLOW,
    EVENT_FUNDING,
    EVENT_LIQUIDATION,
    EVENT_REASON,
    EVENT_SIDE,
    EVENT_STATE,
    EVENT_SYMBOL,
    KIND,
    A,
    B,
    C,
    D,
    Journal,
    constant,
)
from quantcore.timegrid import DAY_US
from quantcore.types import FillReason, FloatArray, IntArray, Liquidity

# Columns of a tally. Sums that are compensated are followed by what their additions have lost.
NAV = 0  # at the last row of the curve
PEAK = 1  # of the unit value at rows of the curve, 1 before the first
DEEPEST = 2  # drawdown, <= 0; NaN before the first row
UNDER_SINCE = 3  # stamp from which on the unit value is below its peak, -1 while it is not
LONGEST_US = 4  # time below a peak
LAST_TS = 5  # of the curve, 0 before the first row
ROWS = 6  # of the curve
EQUITY = 7  # at the last row
EQUITY_SUM = 8
FEES = 10
FUNDING = 12
LIQUIDATION_FEES = 14
INSURANCE = 16
DEPOSITS = 18
GROSS = 20  # cash from trades; with the value of what is held the gross PnL
SLIPPAGE = 22
COMPARED = 24  # notional of takers with a known reference price
NOTIONAL = 26
GAINS = 28  # of closed round trips after fees and funding
LOSSES = 30  # of those that lost, <= 0
NET = 32
TRADES = 34  # round trips, the open ones too
CLOSED = 35
WINS = 36
LIQUIDATIONS = 37
FIRST_DAY_ROW = 38  # 1 once the row that opens at midnight with nothing done yet was passed over
DAYS = 39  # daily values written
N_TALLY = 40

# Columns of a symbol's open round trip.
TRIP_POSITION = 0
TRIP_OPEN = 1  # 0 or its side
TRIP_ENTERED = 2
TRIP_ENTRY_VALUE = 3
TRIP_EXIT_VALUE = 4
TRIP_FEES = 5
TRIP_FUNDING = 6
N_TRIP = 7

FLAT = 1e-9
"""A remainder below this share of what was entered is rounding of decimal quantities, as `backtest.trades` has it."""
_TAKER = constant(Liquidity.TAKER)
_LIQUIDATION = constant(FillReason.LIQUIDATION)
_SETTLEMENT = constant(FillReason.SETTLEMENT)


def start_tallies(tally: FloatArray, trips: FloatArray) -> None:
    """Set tallies, shape ``(n, N_TALLY)``, and their round trips, ``(n, n_symbols, N_TRIP)``, to those of no event."""
    tally[:] = 0.0
    trips[:] = 0.0
    tally[:, PEAK] = tally[:, NAV] = 1.0
    tally[:, DEEPEST] = np.nan
    tally[:, UNDER_SINCE] = -1.0


@inner(forceinline=True)
def add(tally: FloatArray, column: int, value: float) -> None:
    """Add to a compensated sum."""
    total = tally[column]
    after = total + value
    lost = (total - after) + value if abs(total) >= abs(value) else (value - after) + total
    tally[column] = after
    tally[column + 1] += lost


@inner()
def count_events(journal: Journal, tally: FloatArray, trips: FloatArray) -> None:
    """Add what the journal holds, and empty it."""
    whole, number = journal.whole, journal.number
    for row in range(journal.filled[0]):
        kind, s = whole[row, KIND], whole[row, EVENT_SYMBOL]
        if kind == EVENT_FILL:
            qty = number[row, A] * whole[row, EVENT_SIDE]
            reason = whole[row, EVENT_REASON]
            forced = reason in (_LIQUIDATION, _SETTLEMENT)
            crossed = whole[row, EVENT_STATE] == _TAKER and not forced
            count_fill(
                tally, trips, s, qty, number[row, B], number[row, C], number[row, D], crossed
            )
        elif kind == EVENT_FUNDING:
            count_funding(tally, trips, s, number[row, D])
        elif kind == EVENT_LIQUIDATION:
            tally[LIQUIDATIONS] += 1.0
            add(tally, LIQUIDATION_FEES, number[row, C])
            add(tally, INSURANCE, number[row, D])
        elif kind == EVENT_FLOW:
            add(tally, DEPOSITS, number[row, A])
    journal.filled[0] = 0


@inner()
def count_funding(tally: FloatArray, trips: FloatArray, s: int, amount: float) -> None:
    """Add one payment, to the open round trip too."""
    add(tally, FUNDING, amount)
    if trips[s, TRIP_OPEN] != 0.0:
        trips[s, TRIP_FUNDING] += amount


@inner()
def count_fill(
    tally: FloatArray, trips: FloatArray, s: int, qty: float, price: float, fee: float,
    reference: float, crossed: bool,
) -> None:  # fmt: skip
    """Add a fill of a signed quantity; `crossed` says whether it paid the spread by an order of the account's."""
    add(tally, FEES, fee)
    add(tally, GROSS, -qty * price)
    notional = abs(qty) * price
    add(tally, NOTIONAL, notional)
    gap = price - reference
    if crossed and not math.isnan(gap):
        add(tally, SLIPPAGE, gap * qty)
        add(tally, COMPARED, notional)
    left = _leave(tally, trips, s, qty, price, fee)
    if left != 0.0:
        if trips[s, TRIP_OPEN] == 0.0:
            trips[s, TRIP_OPEN] = 1.0 if left > 0.0 else -1.0
            tally[TRADES] += 1.0
        trips[s, TRIP_ENTERED] += abs(left)
        trips[s, TRIP_ENTRY_VALUE] += abs(left) * price
        trips[s, TRIP_FEES] += fee * left / qty
        trips[s, TRIP_POSITION] += left


@inner()
def _leave(
    tally: FloatArray, trips: FloatArray, s: int, qty: float, price: float, fee: float
) -> float:
    """Take the part of a fill that reduces the position; return the quantity that is left over."""
    position = trips[s, TRIP_POSITION]
    if trips[s, TRIP_OPEN] == 0.0 or position * qty >= 0.0:
        return qty
    closing = -position if abs(qty) >= abs(position) else qty
    left = qty - closing
    if abs(left) <= FLAT * abs(qty):
        left = 0.0
    trips[s, TRIP_EXIT_VALUE] += abs(closing) * price
    trips[s, TRIP_FEES] += fee * (1.0 - left / qty)
    trips[s, TRIP_POSITION] = position + closing
    if abs(position + closing) <= FLAT * trips[s, TRIP_ENTERED]:
        profit = trips[s, TRIP_OPEN] * (trips[s, TRIP_EXIT_VALUE] - trips[s, TRIP_ENTRY_VALUE])
        net = profit - trips[s, TRIP_FEES] - trips[s, TRIP_FUNDING]
        tally[CLOSED] += 1.0
        add(tally, NET, net)
        if net > 0.0:
            tally[WINS] += 1.0
            add(tally, GAINS, net)
        elif net < 0.0:
            add(tally, LOSSES, net)
        for column in range(N_TRIP):
            trips[s, column] = 0.0
    return left


@inner()
def count_curve(
    journal: Journal, ts_us: IntArray, first: int, tally: FloatArray, daily: FloatArray
) -> None:
    """Add the rows of the curve, which are stamped ``ts_us[first:]``, and empty it.

    `daily` takes the unit value at the last row of each UTC day; a row at midnight belongs to the day that ends there.
    """
    equity, navs, depths = (
        journal.curve[CURVE_EQUITY],
        journal.curve[CURVE_NAV],
        journal.curve[CURVE_DRAWDOWN],
    )
    for k in range(journal.filled[1]):
        count_row(tally, daily, ts_us[first + k], equity[k], navs[k], depths[k])
    journal.filled[1] = 0


@inner(forceinline=True)
def count_row(
    tally: FloatArray, daily: FloatArray, ts: int, equity: float, nav: float, recorded: float
) -> None:
    """Add one row of the curve; `recorded` is its drawdown as the account has it."""
    last = tally[LAST_TS]
    if last == 0.0 and ts % DAY_US == 0 and nav == 1.0:
        tally[FIRST_DAY_ROW] = 1.0  # a day of no length: the record begins after it
    elif last == 0.0 or (ts - 1) // DAY_US != (int(last) - 1) // DAY_US or (tally[DAYS] == 0.0):
        tally[DAYS] += 1.0
    if tally[DAYS] > 0.0:
        daily[int(tally[DAYS]) - 1] = nav
    depth = nav / max(tally[PEAK], nav) - 1.0
    tally[PEAK] = max(tally[PEAK], nav)
    if depth < 0.0:
        if tally[UNDER_SINCE] < 0.0:
            tally[UNDER_SINCE] = last if last > 0.0 else ts
    elif tally[UNDER_SINCE] >= 0.0:
        tally[LONGEST_US] = max(tally[LONGEST_US], ts - tally[UNDER_SINCE])
        tally[UNDER_SINCE] = -1.0
    depth = min(depth, recorded)
    if not tally[DEEPEST] <= depth:
        tally[DEEPEST] = depth
    add(tally, EQUITY_SUM, equity)
    tally[ROWS] += 1.0
    tally[NAV], tally[EQUITY], tally[LAST_TS] = nav, equity, ts
