"""A single symbol's account over many rows at a time, for sweeps: the account step's numbers in a fraction of its time.

Where one symbol is traded by market orders in cross margin and nothing else is asked for (no exits, limits, router or
script), most of the step's work is to find out that nothing happens. Here a span without targets and settlements is
crossed in windows: with the position fixed, every number of a row rises or falls with its mark, so that a window's
highest and lowest marks tell whether any row of it can endanger the position, raise the peak or deepen the drawdown.
Only such windows are looked at row by row.

Whatever is not plain (a refusal of the exchange, a cut, a margin test that might fail, a missing price) is left to the
step: `solo` returns the row before which it stands, with the account as the step would have left it. The arithmetic is
the step's own, in its order, to the last bit; a property test holds the two together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.fills import taker_price
from quantcore.kernels.layout import (
    CAP,
    CUM,
    ENDED,
    ENDS_US,
    ENTRY,
    ENTRY_TS,
    EQUITY,
    FEES,
    FLOOR,
    FUNDING,
    LAST_REFUSAL,
    LAST_TS,
    LATENCY_US,
    LEVERAGE_SET,
    LOCK,
    LOTS,
    MAINTENANCE_RATE,
    MARGIN_BUFFER,
    MARGIN_TYPE,
    MARK,
    MARKET_MAX_LOTS,
    MIN_LOTS,
    MIN_NOTIONAL,
    NAV_RATE,
    NEXT_ORDER_ID,
    NO_TRADE_BAND,
    NONE,
    NOTIONAL_MAX,
    OFF,
    ONE,
    OPEN_ORDERS,
    PEAK_NAV,
    POST_ONLY,
    QTY,
    REALISED,
    REDUCE_ONLY,
    RISK_BAR_US,
    SETTLEMENT_ASSUMED,
    SETTLEMENT_ROW,
    SLIPPAGE,
    STOP_LOSS,
    TAKE_PROFIT,
    TAKER_COST,
    TAKER_FEE,
    TIER,
    TIME_EXIT_US,
    TRAILING_STOP,
    WALLET,
    ZERO,
    Account,
    Journal,
    Market,
    Rules,
    constant,
)
from quantcore.kernels.ledger import ISOLATED, opening_lots
from quantcore.kernels.liquidation import tier_of
from quantcore.kernels.orders import MARKET, place
from quantcore.kernels.rules import quantity, whole_lots
from quantcore.kernels.tally import (
    DAYS,
    DEEPEST,
    EQUITY_SUM,
    FIRST_DAY_ROW,
    LONGEST_US,
    NAV,
    PEAK,
    ROWS,
    UNDER_SINCE,
    add,
    count_fill,
    count_funding,
)
from quantcore.kernels.tally import EQUITY as TALLY_EQUITY
from quantcore.kernels.tally import LAST_TS as TALLY_TS
from quantcore.risk.sizer import is_dust, moves
from quantcore.timegrid import DAY_US
from quantcore.types import FillReason, FloatArray, IntArray, Rule, WorkingType

LEAST = 4
"""Rows of the shortest window; each level doubles them."""
N_LEVELS = 5
WIDEST = LEAST << (N_LEVELS - 1)

_REDUCING = constant(REDUCE_ONLY)
_TARGET = constant(FillReason.TARGET)
_ON_LAST = constant(WorkingType.CONTRACT_PRICE)
_BELOW_STEP = constant(Rule.BELOW_STEP)
_MIN_NOTIONAL = constant(Rule.MIN_NOTIONAL)


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


@inner()
def is_plain(account: Account, rules: Rules, config: FloatArray, last_ts: int) -> bool:
    """Return whether nothing but targets moves an account of one symbol, up to a stamp."""
    asked = False
    for column in (STOP_LOSS, TAKE_PROFIT, TRAILING_STOP, TIME_EXIT_US, RISK_BAR_US, POST_ONLY):
        asked |= config[column] != OFF
    asked |= config[SLIPPAGE] != OFF or config[LATENCY_US] > 0.0
    asked |= rules.size[0, MARGIN_TYPE] == ISOLATED or rules.size[0, ENDS_US] <= last_ts
    return len(account.held) == 1 and not asked


@inner()
def solo(  # noqa: C901 - one row's events in their order, as in `account_step.scan`
    account: Account, rules: Rules, market: Market, marks: Marks, settlement: IntArray, settlement_value: FloatArray,
    config: FloatArray, journal: Journal, tally: FloatArray, trips: FloatArray, daily: FloatArray, events: IntArray,
    weights: FloatArray, n_events: int, start: int, stop: int,
) -> int:  # fmt: skip
    """Advance a plain account and its tally over rows ``[start, stop)``; return the first row left to the step.

    Parameters
    ----------
    account, rules, market, config : from `kernels.layout`
        Of one symbol; `is_plain`.
    marks : Marks
        From `solo_marks`.
    settlement, settlement_value : arrays
        As in `account_step.scan`.
    journal : Journal
        Room for the event of an order that is handed on to the step.
    tally, trips, daily : float64 arrays
        Of `kernels.tally`, advanced in place.
    events : int64 array, shape (n,)
        Rows at whose close a target is given, increasing.
    weights : float64 array, shape (n, 1)
        The targets.
    n_events : int
        Targets given.
    start, stop : int
        Rows.
    """
    held, position, cash = account.held, account.position, account.cash
    if account.counter[OPEN_ORDERS] > 0 or held[0, LOCK] != 0 or held[0, ENDED] != 0:
        return start
    ts_us, close, day_end = market.ts_us, marks.close, marks.day_end
    wallet, nav_rate = cash[WALLET], cash[NAV_RATE]
    lots, qty, entry = int(held[0, LOTS]), position[0, QTY], position[0, ENTRY]
    mark, tier, refused = position[0, MARK], int(held[0, TIER]), int(held[0, LAST_REFUSAL])
    leverage, taker_fee = position[0, LEVERAGE_SET], rules.rate[0, TAKER_FEE]
    lot, least, band = quantity(rules, 0, ONE), rules.rate[0, MIN_NOTIONAL], config[NO_TRADE_BAND]
    if start == 0 and ts_us[0] % DAY_US == 0:
        tally[FIRST_DAY_ROW] = 1.0
    pending, planned, orders = ZERO, 0.0, ZERO
    k, p = _first(events, n_events, start), _first_settlement(settlement, start)
    d = _first(day_end, len(day_end), start)
    equity = wallet + qty * (mark - entry) if qty != 0.0 else wallet
    row = start
    while row < stop:
        event = events[k] if k < n_events else stop
        until = min(event, stop)
        if p < len(settlement):
            until = min(until, settlement[p, SETTLEMENT_ROW])
        paid, amount = 0, 0.0
        while p + paid < len(settlement) and settlement[p + paid, SETTLEMENT_ROW] == row:
            paid += 1
        if paid > 1:
            break
        if paid == 1:
            if qty != 0.0:
                assumed = settlement[p, SETTLEMENT_ASSUMED] != 0
                rate, paid_at = settlement_value[p, 0], settlement_value[p, 1]
                if not (assumed and qty * rate < 0.0):
                    amount = qty * _paid_at(market, row, paid_at, mark) * rate
            until = event
            if p + 1 < len(settlement):
                until = min(until, settlement[p + 1, SETTLEMENT_ROW])
            until = min(until, stop)
        if pending == 0 and until > row:
            before = row
            row, d, tier = _hold(
                rules,
                marks,
                ts_us,
                tally,
                daily,
                wallet - amount,
                nav_rate,
                qty,
                entry,
                tier,
                d,
                row,
                until,
            )
            if row > before:
                p += paid
                if amount != 0.0:
                    cash[FUNDING] += amount
                    count_funding(tally, trips, 0, amount)
                    wallet -= amount
                equity = wallet
                if qty != 0.0:
                    mark = close[row - 1]
                    equity = wallet + qty * (mark - entry)
            if row < until:
                break
            continue
        # A row with a fill or a target: worked out first, booked once nothing in it is out of the plain.
        new_wallet, new_lots, new_qty, new_entry = wallet - amount, lots, qty, entry
        price = fee = realised = traded = 0.0
        opened = False
        if pending != 0:
            reference = market.open[row, 0]
            if math.isnan(reference):
                break
            price = taker_price(rules, 0, ONE if pending > 0 else NONE, reference)
            traded = quantity(rules, 0, abs(pending))
            fee = traded * price * taker_fee
            opening = opening_lots(lots, pending)
            closing = abs(pending) - opening
            if not _can_trade(
                rules, new_wallet, qty, entry, mark, lots, pending, opening, price, fee, leverage
            ):
                break
            if closing > 0:
                realised = quantity(rules, 0, closing if lots > 0 else -closing) * (price - entry)
            new_wallet += realised - fee
            new_lots = lots + pending
            new_qty = quantity(rules, 0, new_lots)
            opened = opening > 0 and (lots == 0 or closing > 0)
            if opened:
                new_entry = price
            elif opening > 0:
                new_entry = (abs(qty) * entry + traded * price) / (abs(qty) + traded)
            elif new_lots == 0:
                new_entry = 0.0
        new_tier, new_equity = tier, new_wallet
        if new_qty != 0.0:
            new_tier = _survives(rules, marks, row, new_qty, new_entry, new_wallet, tier)
            if new_tier < 0:
                break
            new_equity = new_wallet + new_qty * (close[row] - new_entry)
        wanted, new_refused = ZERO, refused
        if event == row:
            weight = weights[k, 0]
            if not (math.isnan(weight) or math.isnan(market.close[row, 0])):
                if math.isnan(close[row]):
                    break
                value = lot * close[row]
                asked = moves(weight, new_equity, band, new_lots, value, least, ZERO, False)
                if asked or refused != 0:
                    wanted, new_refused = _wanted(
                        rules, weight, new_equity, band, new_lots, close[row], value, refused
                    )
                    if new_refused < 0:
                        break
                    if wanted != 0:
                        if not _can_order(
                            rules, wanted, new_lots, new_qty, new_entry, new_wallet, close[row], leverage,
                            config[MARGIN_BUFFER],
                        ):  # fmt: skip
                            break
                        new_refused = ZERO
        if amount != 0.0:
            cash[FUNDING] += amount
            count_funding(tally, trips, 0, amount)
        p += paid
        if pending != 0:
            cash[REALISED] += realised
            cash[FEES] += fee
            signed = traded if pending > 0 else -traded
            count_fill(tally, trips, 0, signed, price, fee, market.open[row, 0], True)
            if opened:
                held[0, ENTRY_TS] = ts_us[row]
            orders += 1
        wallet, lots, qty, entry = new_wallet, new_lots, new_qty, new_entry
        tier, equity, refused = new_tier, new_equity, new_refused
        if qty != 0.0:
            mark = close[row]
        _draw(tally, equity * nav_rate, ts_us, row)
        add(tally, EQUITY_SUM, equity)
        tally[ROWS] += 1.0
        if d < len(day_end) and day_end[d] == row:
            daily[d] = equity * nav_rate
            d += 1
        pending, planned = wanted, close[row]
        if event == row:
            k += 1
        row += 1
    if row == start:
        return row
    last = row - 1
    cash[WALLET], cash[EQUITY], cash[PEAK_NAV] = wallet, equity, tally[PEAK]
    held[0, LOTS], held[0, TIER], held[0, LAST_REFUSAL] = lots, tier, refused
    position[0, QTY], position[0, ENTRY], position[0, MARK] = qty, entry, mark
    account.counter[LAST_TS] = ts_us[last]
    account.counter[NEXT_ORDER_ID] += orders
    tally[NAV], tally[TALLY_EQUITY], tally[TALLY_TS] = equity * nav_rate, equity, ts_us[last]
    # A day that has begun counts from its first row on.
    ended = day_end[d - 1] if d > 0 else int(tally[FIRST_DAY_ROW]) - 1
    if d < len(day_end) and last > ended:
        daily[d] = equity * nav_rate
        d += 1
    tally[DAYS] = d
    if pending != 0:
        flags = _REDUCING if opening_lots(lots, pending) == 0 else ZERO
        place(
            account, rules, journal, ts_us[last], ts_us[last], ZERO, ZERO, ONE if pending > 0 else NONE, MARKET, ZERO,
            abs(pending), abs(pending), flags, _ON_LAST, _TARGET, NONE, planned, math.nan, math.nan, planned,
            market.close[last, 0],
        )  # fmt: skip
    return row


@inner()
def _first(rows: IntArray, n: int, row: int) -> int:
    """Return the first place among the first `n` ascending rows that is not before a row."""
    low, high = ZERO, n
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low


@inner()
def _first_settlement(settlement: IntArray, row: int) -> int:
    low, high = ZERO, len(settlement)
    while low < high:
        middle = (low + high) // 2
        if settlement[middle, SETTLEMENT_ROW] < row:
            low = middle + 1
        else:
            high = middle
    return low


@inner(forceinline=True)
def _draw(tally: FloatArray, nav: float, ts_us: IntArray, row: int) -> None:
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
def _hold(
    rules: Rules, marks: Marks, ts_us: IntArray, tally: FloatArray, daily: FloatArray, wallet: float, nav_rate: float,
    qty: float, entry: float, tier: int, d: int, row: int, until: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Mark what is held to market over rows in which nothing else happens.

    Returns
    -------
    row, d, tier : int
        The first row not taken, the first day not ended, and the bracket at the last row.
    """
    if qty == 0.0:
        _draw(tally, wallet * nav_rate, ts_us, row)
        add(tally, EQUITY_SUM, (until - row) * wallet)
        tally[ROWS] += until - row
        d = _end_days(marks, daily, wallet, nav_rate, 0.0, 0.0, d, until)
        return until, d, tier
    while row < until:
        n = min(until - row, 2 * WIDEST)
        last = row + n
        safe = False
        if n >= LEAST:
            level = 0
            while n > 2 * (LEAST << level):
                level += 1
            other = last - (LEAST << level)
            top = max(marks.top[level, row], marks.top[level, other])
            bottom = min(marks.bottom[level, row], marks.bottom[level, other])
            adverse = min(marks.lowest[level, row], marks.lowest[level, other])
            if qty < 0.0:
                adverse = max(marks.highest[level, row], marks.highest[level, other])
            whole = not math.isnan(marks.top[level, row] + marks.top[level, other])
            safe = whole and _is_safe(rules, top, bottom, adverse, qty, entry, wallet, tier)
            if safe and _is_calm(top, bottom, qty, entry, wallet, nav_rate, tally):
                total = marks.before[last] - marks.before[row]
                add(tally, EQUITY_SUM, n * wallet + qty * (total - n * entry))
                tally[ROWS] += n
                row = last
        if row < last:
            row, tier = _mark_rows(
                rules, marks, ts_us, tally, wallet, nav_rate, qty, entry, tier, row, last, safe
            )
        d = _end_days(marks, daily, wallet, nav_rate, qty, entry, d, row)
        if row < last:
            break
    return row, d, tier


@inner()
def _mark_rows(
    rules: Rules, marks: Marks, ts_us: IntArray, tally: FloatArray, wallet: float, nav_rate: float, qty: float,
    entry: float, tier: int, row: int, last: int, safe: bool,
) -> tuple[int, int]:  # fmt: skip
    """Mark a position row by row; return the first row not taken, and the bracket at the last one."""
    total, first = 0.0, row
    while row < last:
        if not safe:
            survived = _survives(rules, marks, row, qty, entry, wallet, tier)
            if survived < 0:
                break
            tier = survived
        equity = wallet + qty * (marks.close[row] - entry)
        _draw(tally, equity * nav_rate, ts_us, row)
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
def _is_calm(
    top: float,
    bottom: float,
    qty: float,
    entry: float,
    wallet: float,
    nav_rate: float,
    tally: FloatArray,
) -> bool:
    """Return whether every row with a mark in a range lies below the peak and above the deepest drawdown."""
    good = top if qty > 0.0 else bottom
    bad = bottom if qty > 0.0 else top
    best = (wallet + qty * (good - entry)) * nav_rate
    worst = (wallet + qty * (bad - entry)) * nav_rate
    peak = tally[PEAK]
    return bool(tally[UNDER_SINCE] >= 0.0 and best < peak and worst / peak - 1.0 >= tally[DEEPEST])


@inner(forceinline=True)
def _survives(
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


@inner(forceinline=True)
def _paid_at(market: Market, row: int, given: float, mark: float) -> float:
    """Return the mark at which a settlement is paid; as `account_step._settle_funding`."""
    if given > 0.0:
        return given
    if market.mark_open[row, 0] > 0.0:
        return float(market.mark_open[row, 0])
    return float(market.open[row, 0]) if market.open[row, 0] > 0.0 else mark


@inner()
def _can_trade(
    rules: Rules, wallet: float, qty: float, entry: float, mark: float, lots: int, pending: int, opening: int,
    price: float, fee: float, leverage: float,
) -> bool:  # fmt: skip
    """Return whether the exchange fills an order as it was sent; as `matching.trade` has it."""
    size = abs(pending)
    if size - opening >= abs(lots) and lots != 0:
        whole_fee = abs(qty) * price * rules.rate[0, TAKER_FEE]
        if wallet + qty * (price - entry) - whole_fee < 0.0:
            return False
    if opening == 0:
        return True
    if abs(quantity(rules, 0, lots + pending)) * price > rules.rate[0, NOTIONAL_MAX]:
        return False
    free = wallet
    if qty != 0.0:
        free += qty * (mark - entry) - abs(qty) * mark / leverage
    if size > opening:
        free += abs(qty) * mark / leverage + qty * (price - mark)
    return quantity(rules, 0, opening) * price / leverage + fee <= free


@inner()
def _wanted(
    rules: Rules, weight: float, equity: float, band: float, held: int, price: float, lot_value: float, refused: int
) -> tuple[int, int]:  # fmt: skip
    """Return the lots to trade and which rules refuse what is wanted; -1 for what the step must cut.

    As `sizer._wanted_lots`.
    """
    least, most = rules.rate[0, MIN_NOTIONAL], int(rules.size[0, MARKET_MAX_LOTS])
    if weight == 0.0 or is_dust(weight * equity, held * lot_value, least):
        return -int(min(max(held, -most), most)), ZERO
    change = weight * equity - held * lot_value
    if abs(change) < band * equity or equity <= 0.0:
        return ZERO, ZERO
    lots = whole_lots(rules, 0, change / price)
    opening = opening_lots(held, lots)
    if lots == 0 or (opening > 0 and abs(lots) < rules.size[0, MIN_LOTS]):
        return ZERO, refused | (ONE << _BELOW_STEP)
    reach = max(whole_lots(rules, 0, rules.rate[0, NOTIONAL_MAX] / price), abs(held))
    if abs(lots) > most or abs(held + lots) > reach:
        return ZERO, NONE
    size = abs(lots)
    if opening == 0 or (size * lot_value >= least and size >= rules.size[0, MIN_LOTS]):
        return lots, refused
    return (-held if opening < size else ZERO), refused | (ONE << _MIN_NOTIONAL)


@inner()
def _can_order(
    rules: Rules, lots: int, held: int, qty: float, entry: float, wallet: float, price: float, leverage: float,
    buffer: float,
) -> bool:  # fmt: skip
    """Return whether margin allows an order and the exchange takes it; as `sizer._fit_margin` and `orders.place`."""
    size, opening = abs(lots), opening_lots(held, lots)
    if size < max(rules.size[0, MIN_LOTS], 1) or size > rules.size[0, MARKET_MAX_LOTS]:
        return False
    if opening > 0 and quantity(rules, 0, size) * price < rules.rate[0, MIN_NOTIONAL]:
        return False
    free = wallet
    if qty != 0.0:
        free += qty * (price - entry) - abs(qty) * price / leverage
    cost = quantity(rules, 0, size) * price * (rules.rate[0, TAKER_FEE] + rules.rate[0, TAKER_COST])
    if opening == 0:
        return True
    needed = quantity(rules, 0, opening) * price / leverage + cost
    freed = quantity(rules, 0, size - opening) * price / leverage if size > opening else 0.0
    return bool(needed <= (free + freed) * (1.0 - buffer))
