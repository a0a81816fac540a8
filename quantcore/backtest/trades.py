"""Round trips: from the first fill of a position to the one that closes or turns it, with its costs and excursions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from quantcore import kernels  # noqa: F401  (sets the cache folder before numba compiles)
from quantcore.backtest.result import SCHEMAS, check_columns
from quantcore.errors import DataGap
from quantcore.frames import Bars
from quantcore.kernels.compiled import inner
from quantcore.timegrid import index_us, to_index
from quantcore.types import FloatArray, IntArray

from numba import njit  # isort: skip

OPEN = "open"
"""`exit_reason` of a round trip that the last bar finds open."""

_FLAT = 1e-9
"""A remainder below this share of what was entered is rounding of decimal quantities, not a position."""

# Rows of the scan's per-symbol state.
_POSITION, _CASH, _TRADE = 0, 1, 2
# Columns of the scan's result.
_ENTERED, _ENTRY_VALUE, _EXIT_VALUE, _FEES, _FUNDING, _WORST, _BEST = range(7)


@inner(python_division=True)
def _excurse(
    money: FloatArray, trade: int, cash: float, position: float, low: float, high: float
) -> None:
    """Widen a trade's extremes by its PnL at two prices; NaN prices change nothing."""
    for price in (low, high):
        value = cash + position * price
        if value < money[trade, _WORST]:
            money[trade, _WORST] = value
        if value > money[trade, _BEST]:
            money[trade, _BEST] = value


@inner(python_division=True)
def _settle(
    paid: IntArray,
    amounts: FloatArray,
    settled: int,
    before_us: int,
    state: FloatArray,
    money: FloatArray,
) -> tuple[int, float]:
    """Book the settlements before an instant to the open round trips; return how far it got and what fits none."""
    unplaced = 0.0
    while settled < len(paid) and paid[settled, 0] < before_us:
        trade = int(state[_TRADE, paid[settled, 1]])
        if trade >= 0:
            money[trade, _FUNDING] += amounts[settled]
        else:
            unplaced += amounts[settled]
        settled += 1
    return settled, unplaced


@inner(python_division=True)
def _leave(
    fill: int,
    column: int,
    qty: float,
    price: float,
    fee: float,
    state: FloatArray,
    money: FloatArray,
    where: IntArray,
) -> float:
    """Take the part of a fill that reduces the position; return the quantity that is left over."""
    trade, position = int(state[_TRADE, column]), state[_POSITION, column]
    if trade < 0 or position * qty >= 0.0:
        return qty
    closing = -position if abs(qty) >= abs(position) else qty
    left = qty - closing
    if abs(left) <= _FLAT * abs(qty):
        left = 0.0
    money[trade, _EXIT_VALUE] += abs(closing) * price
    money[trade, _FEES] += fee * (1.0 - left / qty)
    state[_POSITION, column] += closing
    state[_CASH, column] -= closing * price
    if abs(state[_POSITION, column]) <= _FLAT * money[trade, _ENTERED]:
        where[trade, 3] = fill
        state[_POSITION, column], state[_CASH, column], state[_TRADE, column] = 0.0, 0.0, -1.0
    return left


@inner(python_division=True)
def _enter(
    fill: int,
    column: int,
    qty: float,
    price: float,
    fee: float,
    state: FloatArray,
    money: FloatArray,
    where: IntArray,
    count: int,
) -> int:
    """Add to the position, opening a round trip where it is flat; return how many there are."""
    if state[_TRADE, column] < 0.0:
        where[count, 0], where[count, 2] = column, fill
        where[count, 1] = 1 if qty > 0.0 else -1
        state[_TRADE, column] = count
        count += 1
    trade = int(state[_TRADE, column])
    money[trade, _ENTERED] += abs(qty)
    money[trade, _ENTRY_VALUE] += abs(qty) * price
    money[trade, _FEES] += fee
    state[_POSITION, column] += qty
    state[_CASH, column] -= qty * price
    return count


@inner(python_division=True)
def _watch(
    column: int,
    stop: int,
    price: float,
    since: IntArray,
    lows: FloatArray,
    highs: FloatArray,
    state: FloatArray,
    money: FloatArray,
) -> None:
    """Widen the extremes of the open round trip by the bars since its last fill and by a price."""
    trade = int(state[_TRADE, column])
    if trade < 0:
        return
    cash, position = state[_CASH, column], state[_POSITION, column]
    low, high = np.inf, -np.inf
    for row in range(since[column], stop):
        if lows[row, column] < low:
            low = lows[row, column]
        if highs[row, column] > high:
            high = highs[row, column]
    if low <= high:
        _excurse(money, trade, cash, position, low, high)
    _excurse(money, trade, cash, position, price, price)


@njit(cache=True)
def scan_round_trips(
    fills: IntArray,
    money_in: FloatArray,
    paid: IntArray,
    amounts: FloatArray,
    lows: FloatArray,
    highs: FloatArray,
    last_marks: FloatArray,
) -> tuple[IntArray, FloatArray, float]:
    """Fold fills and funding into round trips, in the order in which they happened.

    Parameters
    ----------
    fills : int64 array, shape (n_fills, 3)
        Stamp in microseconds, symbol column, bar row.
    money_in : float64 array, shape (n_fills, 3)
        Signed quantity in coins, price in USDT per coin, fee in USDT.
    paid : int64 array, shape (n_fundings, 2)
        Settlement time in microseconds, symbol column; sorted by time. A settlement at T is paid on what is held
        at T, so it comes after the fills of the bar that closes at T.
    amounts : float64 array, shape (n_fundings,)
        USDT paid.
    lows, highs : float64 array, shape (n_bars, n_symbols)
        Extremes of the execution bars; NaN is skipped.
    last_marks : float64 array, shape (n_symbols,)
        Mark at the end, for what is still open.

    Returns
    -------
    where : int64 array, shape (n_trades, 4)
        Symbol column, side, index of the first fill, index of the closing fill or -1.
    money : float64 array, shape (n_trades, 7)
        Coins entered, value entered, value left, fees, funding, worst and best PnL, all but the first in USDT.
    unplaced : float64
        Funding in USDT of settlements at which no round trip was open.
    """
    n = len(fills)
    where = np.full((n, 4), -1, dtype=np.int64)
    money = np.zeros((n, 7))
    state = np.zeros((3, len(last_marks)))
    state[_TRADE] = -1.0
    since = np.zeros(len(last_marks), dtype=np.int64)
    count, settled, unplaced = 0, 0, 0.0
    for i in range(n):
        settled, missed = _settle(paid, amounts, settled, fills[i, 0], state, money)
        unplaced += missed
        column, row = fills[i, 1], fills[i, 2]
        qty, price, fee = money_in[i, 0], money_in[i, 1], money_in[i, 2]
        _watch(column, row, price, since, lows, highs, state, money)
        left = _leave(i, column, qty, price, fee, state, money, where)
        if left != 0.0:
            count = _enter(i, column, left, price, fee * left / qty, state, money, where, count)
        since[column] = row
    _, missed = _settle(paid, amounts, settled, np.iinfo(np.int64).max, state, money)
    for column in range(len(last_marks)):
        trade = int(state[_TRADE, column])
        if trade >= 0:
            _watch(column, len(lows), last_marks[column], since, lows, highs, state, money)
            money[trade, _EXIT_VALUE] += abs(state[_POSITION, column]) * last_marks[column]
    return where[:count], money[:count], unplaced + missed


def round_trips(
    fills: pd.DataFrame,
    funding: pd.DataFrame,
    bars: Bars,
    *,
    last_marks: Mapping[str, float],
) -> pd.DataFrame:
    r"""Return the round trips that fills make, symbol by symbol: flat, a position, flat again or turned.

    .. math:: \text{pnl} = s\, q\, (\bar p_{\text{exit}} - \bar p_{\text{entry}})

    with side s and the quantity-weighted means of all entering and all leaving fills. A fill that turns the
    position closes one round trip and opens the next; its fee is split by quantity.

    Parameters
    ----------
    fills : DataFrame
        In the order in which they happened, with the columns of ``SCHEMAS["fills"]``.
    funding : DataFrame
        With the columns of ``SCHEMAS["funding"]``, sorted by ``ts``.
    bars : Bars
        Execution bars that cover the fills; for excursions, and for marks that `last_marks` lacks.
    last_marks : mapping of str to float
        Mark of each symbol still held, at the end, USDT per coin.

    Returns
    -------
    DataFrame
        Columns of ``SCHEMAS["trades"]``, in order of entry. ``qty`` is all that was entered, in coins. ``pnl``
        is price PnL before fees and funding, ``fees`` the exchange's trading fees without liquidation fees,
        ``funding`` what was paid, all in USDT. ``mae`` (<= 0) and ``mfe`` (>= 0) are the round trip's lowest
        and highest price PnL at the bars' lows and highs, at fill prices and, if open, at the last mark, as
        fractions of the entered notional; the bar of an entry counts whole, the bar of an exit only by the exit
        price. A round trip still open has a null ``exit_ts``, reason ``"open"``, and its rest is left at the
        last mark, duration to the last bar.

    Raises
    ------
    SchemaMismatch
        If a column is missing.
    DataGap
        If a symbol has fills but no bars.
    """
    check_columns(fills, "fills")
    check_columns(funding, "funding")
    columns = {symbol: i for i, symbol in enumerate(bars.symbols)}
    fill_symbol = _columns_of(fills["symbol"], columns)
    fill_us = _stamps(fills["ts"])
    rows = np.minimum(np.searchsorted(bars.ts_us, fill_us), max(bars.n_bars - 1, 0))
    sign = np.where(fills["side"].to_numpy() == "buy", 1.0, -1.0)
    money_in = np.column_stack(
        [
            fills["qty"].to_numpy(np.float64) * sign,
            fills["price"].to_numpy(np.float64),
            fills["fee"].to_numpy(np.float64),
        ]
    )
    low, high = ("low", "high") if bars.has("low") and bars.has("high") else ("close", "close")
    where, money, _ = scan_round_trips(
        np.column_stack([fill_us, fill_symbol, rows]).astype(np.int64),
        money_in,
        np.column_stack([_stamps(funding["ts"]), _columns_of(funding["symbol"], columns)]).astype(
            np.int64
        ),
        funding["amount"].to_numpy(np.float64),
        bars.array(low),
        bars.array(high),
        closing_marks(bars, last_marks),
    )
    return _table(where, money, fills, fill_us, bars)


def closing_marks(bars: Bars, last_marks: Mapping[str, float]) -> FloatArray:
    """Return each symbol's mark at the end: the one given, else its last known mark, else its last known close."""
    marks = np.full(bars.n_symbols, np.nan)
    for column, symbol in enumerate(bars.symbols):
        if symbol in last_marks:
            marks[column] = last_marks[symbol]
            continue
        for name in ("mark_price", "close"):
            if not bars.has(name):
                continue
            known = np.flatnonzero(~np.isnan(bars.array(name)[:, column]))
            if len(known):
                marks[column] = bars.array(name)[known[-1], column]
                break
    return marks


def _table(
    where: IntArray, money: FloatArray, fills: pd.DataFrame, fill_us: IntArray, bars: Bars
) -> pd.DataFrame:
    column, side, entry, leave = where.T
    closed = leave >= 0
    qty, entry_value, exit_value, fees, funding, worst, best = money.T
    end_us = bars.ts_us[-1] if bars.n_bars else 0
    exit_us = np.where(closed, fill_us[leave] if len(fill_us) else 0, end_us).astype(np.int64)
    entry_us = fill_us[entry]
    exit_ts = pd.Series(to_index(exit_us)).where(closed)
    reasons = fills["reason"].to_numpy(dtype=object)
    return pd.DataFrame(
        {
            "symbol": np.array(bars.symbols, dtype=object)[column],
            "side": np.where(side > 0, "long", "short"),
            "entry_ts": to_index(entry_us),
            "exit_ts": exit_ts,
            "entry_price": entry_value / qty,
            "exit_price": exit_value / qty,
            "qty": qty,
            "duration": (exit_us - entry_us).astype("timedelta64[us]"),
            "pnl": side * (exit_value - entry_value),
            "fees": fees,
            "funding": funding,
            "mae": worst / entry_value,
            "mfe": best / entry_value,
            "exit_reason": np.where(closed, reasons[leave] if len(reasons) else "", OPEN),
        },
        columns=SCHEMAS["trades"].names,
    )


def _stamps(column: pd.Series) -> IntArray:
    return index_us(pd.DatetimeIndex(column))


def _columns_of(symbols: pd.Series, columns: Mapping[str, int]) -> IntArray:
    codes, names = pd.factorize(symbols)
    missing = sorted(str(name) for name in names if name not in columns)
    if missing:
        raise DataGap(
            f"every symbol with fills or funding must have bars, missing {', '.join(missing)}"
        )
    return np.array([columns[name] for name in names], dtype=np.int64)[codes]
