"""A position held over rows on which nothing is traded: many rows at once where none of them matters.

With the position fixed, every number of a row rises or falls with its mark, so that a window's highest and lowest marks
tell whether any row of it can endanger the position, raise the peak or deepen the drawdown. Funding that falls due
inside moves the wallet, and its highest and lowest values are taken with the marks. Only windows in which a row matters
are looked at row by row. All is `account_step`'s arithmetic, in its order; sums over a window are the tally's alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.layout import (
    CAP,
    CUM,
    FLOOR,
    FUNDING,
    MAINTENANCE_RATE,
    SETTLEMENT_ASSUMED,
    SETTLEMENT_ROW,
    Market,
    Rules,
)
from quantcore.kernels.liquidation import tier_of
from quantcore.kernels.tally import (
    DEEPEST,
    EQUITY_SUM,
    LONGEST_US,
    PEAK,
    ROWS,
    UNDER_SINCE,
    add,
    count_funding,
)
from quantcore.types import FloatArray, IntArray

LEAST = 4
"""Rows of the shortest window; each level doubles them."""
N_LEVELS = 5
WIDEST = LEAST << (N_LEVELS - 1)


class Marks(NamedTuple):
    """One symbol's marks row by row, and over windows; last prices where there is no mark, NaN where neither is."""

    close: FloatArray
    low: FloatArray
    high: FloatArray
    before: FloatArray
    """Sum of the closes before each row, shape ``(n_bars + 1,)``; a missing one counts as 0."""
    top: FloatArray
    """Highest close of the ``LEAST << level`` rows from each on, shape ``(N_LEVELS, n_bars)``; NaN over a NaN."""
    bottom: FloatArray
    lowest: FloatArray
    highest: FloatArray
    day_end: IntArray
    """Last row of each UTC day."""


@njit(cache=True, error_model="numpy")
def solo_marks(market: Market, day_end: IntArray) -> Marks:
    """Return the marks of a market of one symbol; `day_end` are the last rows of its days."""
    n = len(market.ts_us)
    close, low, high, before = np.empty(n), np.empty(n), np.empty(n), np.zeros(n + 1)
    for row in range(n):
        known = market.mark_close[row, 0] > 0.0
        close[row] = market.mark_close[row, 0] if known else market.close[row, 0]
        low[row] = market.mark_low[row, 0] if known else market.low[row, 0]
        high[row] = market.mark_high[row, 0] if known else market.high[row, 0]
        if not (close[row] > 0.0 and low[row] > 0.0 and high[row] > 0.0):
            close[row] = low[row] = high[row] = np.nan
        before[row + 1] = before[row] + (0.0 if np.isnan(close[row]) else close[row])
    top, bottom, lowest, highest = (
        np.empty((N_LEVELS, n)),
        np.empty((N_LEVELS, n)),
        np.empty((N_LEVELS, n)),
        np.empty((N_LEVELS, n)),
    )
    _widen(close, top, 1.0)
    _widen(close, bottom, -1.0)
    _widen(low, lowest, -1.0)
    _widen(high, highest, 1.0)
    return Marks(close, low, high, before, top, bottom, lowest, highest, day_end)


@inner()
def _widen(values: FloatArray, windows: FloatArray, side: float) -> None:
    """Fill the highest (side 1) or lowest (-1) value of the windows of every level; NaN at the end and over NaN."""
    n = len(values)
    for row in range(n):
        best = values[row] if row + LEAST <= n else np.nan
        for k in range(1, LEAST):
            value = values[min(row + k, n - 1)]
            best = value if np.isnan(value) or (value - best) * side > 0.0 else best
        windows[0, row] = best
    for level in range(1, N_LEVELS):
        half = LEAST << (level - 1)
        for row in range(n):
            first = windows[level - 1, row]
            second = windows[level - 1, row + half] if row + half < n else np.nan
            beyond = np.isnan(second) or (second - first) * side > 0.0
            windows[level, row] = second if beyond else first


@inner(forceinline=True)
def draw(tally: FloatArray, nav: float, ts_us: IntArray, row: int) -> None:
    """Let a row's unit value move peak, drawdown and the time below the peak; as `tally.count_row`."""
    peak = tally[PEAK]
    if nav >= peak:
        tally[PEAK] = nav
        if tally[UNDER_SINCE] >= 0.0:
            tally[LONGEST_US] = max(tally[LONGEST_US], ts_us[row] - tally[UNDER_SINCE])
            tally[UNDER_SINCE] = -1.0
        if not tally[DEEPEST] <= 0.0:
            tally[DEEPEST] = 0.0
        return
    if tally[UNDER_SINCE] < 0.0:
        tally[UNDER_SINCE] = ts_us[max(row - 1, 0)]
    depth = nav / peak - 1.0
    if not tally[DEEPEST] <= depth:
        tally[DEEPEST] = depth


@inner()
def hold(
    rules: Rules, market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray, cash: FloatArray,
    tally: FloatArray, trips: FloatArray, daily: FloatArray, wallet: float, nav_rate: float, qty: float, entry: float,
    mark: float, tier: int, d: int, p: int, row: int, until: int,
) -> tuple[int, int, int, int, float]:  # fmt: skip
    """Hold what is held over the next rows of ``[row, until)``, as many as one window has.

    Parameters
    ----------
    rules, market, marks, settlement, settlement_value : as in `account_solo.solo`
    cash, tally, trips, daily : float64 arrays
        Advanced in place; the wallet is returned instead.
    wallet, nav_rate, qty, entry, mark, tier : numbers
        The account's before `row`.
    d, p : int
        The first day that has not ended before `row`, and the first settlement that is not paid.
    row, until : int
        Rows.

    Returns
    -------
    row, d, p, tier, wallet : numbers
        The first row not taken, and the same after the rows before it. A row that might end in liquidation, has no
        price or settles twice is not taken.
    """
    if qty == 0.0:
        draw(tally, wallet * nav_rate, market.ts_us, row)
        add(tally, EQUITY_SUM, (until - row) * wallet)
        tally[ROWS] += until - row
        d = _end_days(marks, daily, wallet, nav_rate, 0.0, 0.0, d, until)
        while p < len(settlement) and settlement[p, SETTLEMENT_ROW] < until:
            p += 1
        return until, d, p, tier, wallet
    last = min(until, row + 2 * WIDEST)
    safe, below, deeper = _outlook(
        rules, market, marks, settlement, settlement_value, tally, wallet, nav_rate, qty, entry, mark, tier, p, row,
        last,
    )  # fmt: skip
    if safe and below:
        d, p, wallet = _take(
            market, marks, settlement, settlement_value, cash, tally, trips, daily, wallet, nav_rate, qty, entry, mark,
            d, p, row, last, deeper,
        )  # fmt: skip
        return last, d, p, tier, wallet
    due, amount = 0, 0.0
    while p + due < len(settlement) and settlement[p + due, SETTLEMENT_ROW] == row:
        amount = payment(market, settlement, settlement_value, p + due, qty, mark)
        due += 1
    if due > 1:
        return row, d, p, tier, wallet
    if p + due < len(settlement):
        last = min(last, settlement[p + due, SETTLEMENT_ROW])
    reached, tier = _mark_rows(
        rules,
        marks,
        market.ts_us,
        tally,
        wallet - amount,
        nav_rate,
        qty,
        entry,
        tier,
        row,
        last,
        safe,
    )
    if reached > row:
        p += due
        wallet = pay(cash, tally, trips, wallet, amount)
        d = _end_days(marks, daily, wallet, nav_rate, qty, entry, d, reached)
    return reached, d, p, tier, wallet


@inner(forceinline=True)
def _reach(windows: FloatArray, row: int, last: int, side: float) -> float:
    """Return the highest (side 1) or lowest (-1) value of rows ``[row, last)``, at least LEAST of them; or NaN."""
    level = 0
    while last - row > 2 * (LEAST << level):
        level += 1
    first, second = windows[level, row], windows[level, last - (LEAST << level)]
    return float(first) if math.isnan(first) or (first - second) * side > 0.0 else second


@inner()
def _worst(marks: Marks, qty: float, row: int, last: int) -> float:
    """Return the close of rows ``[row, last)`` that is worst for a position; all of them are known."""
    if last - row >= LEAST:
        if qty > 0.0:
            return _reach(marks.bottom, row, last, -1.0)
        return _reach(marks.top, row, last, 1.0)
    worst = float(marks.close[row])
    for k in range(row + 1, last):
        worst = marks.close[k] if (worst - marks.close[k]) * qty > 0.0 else worst
    return worst


@inner()
def _outlook(
    rules: Rules, market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray, tally: FloatArray,
    wallet: float, nav_rate: float, qty: float, entry: float, mark: float, tier: int, p: int, row: int, last: int,
) -> tuple[bool, bool, bool]:  # fmt: skip
    """Return what the extremes of a window's marks and wallets promise.

    Returns
    -------
    safe, below, deeper : bool
        That no row can leave its bracket or come near liquidation; that all lie below the peak; that one may deepen
        the drawdown. ``(False, False, False)`` where that is not known.
    """
    if last - row < LEAST or tally[UNDER_SINCE] < 0.0:
        return False, False, False
    top, bottom = _reach(marks.top, row, last, 1.0), _reach(marks.bottom, row, last, -1.0)
    best, worst = (top, bottom) if qty > 0.0 else (bottom, top)
    if not (wallet + qty * (best - entry)) * nav_rate < tally[PEAK]:
        return False, False, False
    least, most = _wallets(
        market, marks, settlement, settlement_value, wallet, qty, mark, p, row, last
    )
    adverse = _reach(marks.lowest, row, last, -1.0)
    if qty < 0.0:
        adverse = _reach(marks.highest, row, last, 1.0)
    safe = _is_safe(rules, top, bottom, adverse, qty, entry, least, tier)
    below = (most + qty * (best - entry)) * nav_rate < tally[PEAK]
    depth = (least + qty * (worst - entry)) * nav_rate / tally[PEAK] - 1.0
    return safe, below, depth < tally[DEEPEST]


@inner()
def _wallets(
    market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray, wallet: float, qty: float,
    mark: float, p: int, row: int, last: int,
) -> tuple[float, float]:  # fmt: skip
    """Return the lowest and the highest wallet in rows ``[row, last)``; NaN if one of them settles twice."""
    least = most = wallet
    before = -1
    while p < len(settlement) and settlement[p, SETTLEMENT_ROW] < last:
        at = settlement[p, SETTLEMENT_ROW]
        if at == before:
            return np.nan, np.nan
        known = mark if at == row else marks.close[at - 1]
        wallet -= payment(market, settlement, settlement_value, p, qty, known)
        least, most = min(least, wallet), max(most, wallet)
        before = at
        p += 1
    return least, most


@inner()
def _take(
    market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray, cash: FloatArray,
    tally: FloatArray, trips: FloatArray, daily: FloatArray, wallet: float, nav_rate: float, qty: float, entry: float,
    mark: float, d: int, p: int, row: int, last: int, deeper: bool,
) -> tuple[int, int, float]:  # fmt: skip
    """Take rows below the peak; return the first day not ended, the first settlement not paid, the wallet.

    `deeper` says that one of them may deepen the drawdown.
    """
    wallets, begin = 0.0, row
    while begin < last:
        if p < len(settlement) and settlement[p, SETTLEMENT_ROW] == begin:
            known = mark if begin == row else marks.close[begin - 1]
            amount = payment(market, settlement, settlement_value, p, qty, known)
            wallet = pay(cash, tally, trips, wallet, amount)
            p += 1
        end = last
        if p < len(settlement):
            end = min(last, settlement[p, SETTLEMENT_ROW])
        wallets += (end - begin) * wallet
        if deeper:
            worst = _worst(marks, qty, begin, end)
            depth = (wallet + qty * (worst - entry)) * nav_rate / tally[PEAK] - 1.0
            tally[DEEPEST] = min(tally[DEEPEST], depth)
        d = _end_days(marks, daily, wallet, nav_rate, qty, entry, d, end)
        begin = end
    total = marks.before[last] - marks.before[row]
    add(tally, EQUITY_SUM, wallets + qty * (total - (last - row) * entry))
    tally[ROWS] += last - row
    return d, p, wallet


@inner()
def payment(
    market: Market,
    settlement: IntArray,
    settlement_value: FloatArray,
    p: int,
    qty: float,
    mark: float,
) -> float:
    """Return what a settlement costs a position, negative where it receives; as `account_step._settle_funding`.

    `mark` is the one before the settlement's row, used where that has no price.
    """
    row = settlement[p, SETTLEMENT_ROW]
    rate, price = settlement_value[p, 0], settlement_value[p, 1]
    if qty == 0.0 or (settlement[p, SETTLEMENT_ASSUMED] != 0 and qty * rate < 0.0):
        return 0.0
    if not price > 0.0:
        price = mark
        if market.mark_open[row, 0] > 0.0:
            price = market.mark_open[row, 0]
        elif market.open[row, 0] > 0.0:
            price = market.open[row, 0]
    return float(qty * price * rate)


@inner(forceinline=True)
def pay(
    cash: FloatArray, tally: FloatArray, trips: FloatArray, wallet: float, amount: float
) -> float:
    """Book a settlement's amount; return the wallet after it."""
    if amount != 0.0:
        cash[FUNDING] += amount
        count_funding(tally, trips, 0, amount)
        wallet -= amount
    return wallet


@inner()
def _mark_rows(
    rules: Rules, marks: Marks, ts_us: IntArray, tally: FloatArray, wallet: float, nav_rate: float, qty: float,
    entry: float, tier: int, row: int, last: int, safe: bool,
) -> tuple[int, int]:  # fmt: skip
    """Mark a position row by row; return the first row not taken, and the bracket at the last one."""
    total, first = 0.0, row
    while row < last:
        if not safe:
            survived = survives(rules, marks, row, qty, entry, wallet, tier)
            if survived < 0:
                break
            tier = survived
        equity = wallet + qty * (marks.close[row] - entry)
        draw(tally, equity * nav_rate, ts_us, row)
        total += equity
        row += 1
    add(tally, EQUITY_SUM, total)
    tally[ROWS] += row - first
    return row, tier


@inner(forceinline=True)
def _end_days(
    marks: Marks, daily: FloatArray, wallet: float, nav_rate: float, qty: float, entry: float, d: int, row: int
) -> int:  # fmt: skip
    """Write the unit value at the ends of the days before a row; return the first day not ended."""
    while d < len(marks.day_end) and marks.day_end[d] < row:
        equity = wallet
        if qty != 0.0:
            equity = wallet + qty * (marks.close[marks.day_end[d]] - entry)
        daily[d] = equity * nav_rate
        d += 1
    return d


@inner(forceinline=True)
def _is_safe(
    rules: Rules, top: float, bottom: float, adverse: float, qty: float, entry: float, wallet: float, tier: int
) -> bool:  # fmt: skip
    """Return whether no row with marks in a range can leave its bracket or come near liquidation; False with NaN."""
    bracket = rules.bracket
    floor, cap = bracket[0, tier, FLOOR], bracket[0, tier, CAP]
    highest = abs(qty) * top
    inside = abs(qty) * bottom >= floor and highest < cap
    if qty < 0.0:
        highest = -qty * adverse
        inside = inside and highest < cap
    needed = highest * bracket[0, tier, MAINTENANCE_RATE] - bracket[0, tier, CUM]
    return bool(inside and wallet + qty * (adverse - entry) > needed)


@inner(forceinline=True)
def survives(
    rules: Rules, marks: Marks, row: int, qty: float, entry: float, wallet: float, tier: int
) -> int:
    """Return the bracket at a row's close; -1 if the row might end in liquidation or has no price; see `value`."""
    bracket = rules.bracket
    notional = abs(qty * marks.close[row])
    if math.isnan(notional):
        return -1
    if not bracket[0, tier, FLOOR] <= notional < bracket[0, tier, CAP]:
        tier = int(np.int64(tier_of(rules, 0, notional, tier)))
    adverse, at = marks.low[row], tier
    if qty < 0.0:
        adverse = marks.high[row]
        notional = -qty * adverse
        if notional >= bracket[0, at, CAP]:
            at = int(np.int64(tier_of(rules, 0, notional, tier)))
    needed = notional * bracket[0, at, MAINTENANCE_RATE] - bracket[0, at, CUM]
    worst = wallet + qty * (adverse - entry)
    return tier if not needed > 0.0 or worst > needed else -1
