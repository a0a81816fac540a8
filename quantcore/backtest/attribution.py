"""Where a run's money came from: by symbol and kind, and by symbol and day."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantcore.backtest.curves import Curves
from quantcore.backtest.metrics import closing_positions, signed_qty, slippage_costs
from quantcore.backtest.result import Run
from quantcore.timegrid import DAY_US, index_us, to_index
from quantcore.types import FloatArray, IntArray, Panel

PARTS = ("price", "slippage", "fees", "funding", "liquidation")
"""Parts of a symbol's net profit, costs as negative numbers."""


def profit_by_symbol(run: Run) -> pd.DataFrame:
    """Return each traded symbol's net profit and its parts.

    Parameters
    ----------
    run : Run
        The finished run.

    Returns
    -------
    DataFrame, shape (n_symbols, 7)
        Index ``symbol``, best first; columns `PARTS`, ``net`` (their sum) and ``fills``, USDT. ``price`` is
        price PnL before slippage, so that price + slippage is PnL at fill prices; ``liquidation`` is insurance
        minus liquidation fees. The sum of ``net`` is final equity - capital - deposits.
    """
    fills, funding = run.tables["fills"], run.tables["funding"]
    gone, held = run.tables["liquidations"], closing_positions(run)
    columns = pd.Index(run.bars.symbols)
    n = len(columns)
    of_fill = _at(columns, fills)
    slipped = slippage_costs(fills)
    cash = -signed_qty(fills) * fills["price"].to_numpy(np.float64)
    value = held["qty"].to_numpy(np.float64) * held["mark_price"].to_numpy(np.float64)
    price = _sum(of_fill, cash + slipped, n) + _sum(_at(columns, held), value, n)
    net_liquidation = (gone["insurance"] - gone["fee"]).to_numpy(np.float64)
    table = pd.DataFrame(
        {
            "price": price,
            "slippage": -_sum(of_fill, slipped, n),
            "fees": -_sum(of_fill, fills["fee"].to_numpy(np.float64), n),
            "funding": -_sum(_at(columns, funding), funding["amount"].to_numpy(np.float64), n),
            "liquidation": _sum(_at(columns, gone), net_liquidation, n),
        },
        index=columns.rename("symbol"),
    )
    table["net"] = table[list(PARTS)].sum(axis=1)
    table["fills"] = np.bincount(of_fill, minlength=n)
    traded = table[table["fills"] > 0]
    return traded.sort_values("net", ascending=False, kind="stable")


def daily_profit(run: Run, curve: Curves) -> Panel:
    r"""Return each symbol's profit of each UTC day, after all costs.

    .. math:: \pi_d = V_d - V_{d-1} + \text{cash}_d

    with V the value of the position at the day's last equity row and cash what fills, fees, funding and
    liquidations brought. A row stamped at midnight belongs to the day that ends; a settlement at midnight to
    the day that begins.

    Parameters
    ----------
    run : Run
        The finished run.
    curve : Curves
        Its curves, for the days and their last rows.

    Returns
    -------
    Panel, shape (n_days, n_symbols)
        USDT; the rows sum to the day's change in equity without flows.
    """
    columns = pd.Index(run.bars.symbols)
    stamps_us = curve.ts_us[curve.first :]
    day = (stamps_us - 1) // DAY_US
    days = np.unique(day)
    closing_us = stamps_us[np.searchsorted(day, days, side="right") - 1]
    shape = (len(days), len(columns))
    fills, funding = run.tables["fills"], run.tables["funding"]
    positions, gone = run.tables["positions"], run.tables["liquidations"]

    position_us = _stamps(positions)
    row = np.minimum(np.searchsorted(closing_us, position_us), len(days) - 1)
    at_close = closing_us[row] == position_us
    held = positions[at_close]
    value = np.zeros(shape)
    value[row[at_close], _at(columns, held)] = held["qty"] * held["mark_price"]

    cash = np.zeros(shape)
    earned = -signed_qty(fills) * fills["price"].to_numpy(np.float64) - fills["fee"].to_numpy(
        np.float64
    )
    for table, stamps, amounts in (
        (fills, _stamps(fills) - 1, earned),
        (funding, _stamps(funding), -funding["amount"].to_numpy(np.float64)),
        (gone, _stamps(gone) - 1, (gone["insurance"] - gone["fee"]).to_numpy(np.float64)),
    ):
        rows = np.clip(np.searchsorted(days, stamps // DAY_US), 0, len(days) - 1)
        np.add.at(cash, (rows, _at(columns, table)), amounts)
    profit = np.diff(value, axis=0, prepend=0.0) + cash
    return pd.DataFrame(profit, index=to_index(days * DAY_US), columns=list(columns))


def _at(columns: pd.Index, table: pd.DataFrame) -> IntArray:
    return np.asarray(columns.get_indexer(pd.Index(table["symbol"])), dtype=np.int64)


def _sum(at: IntArray, amounts: FloatArray, n: int) -> FloatArray:
    return np.asarray(np.bincount(at, weights=amounts, minlength=n), dtype=np.float64)


def _stamps(table: pd.DataFrame) -> IntArray:
    return index_us(pd.DatetimeIndex(table["ts"]))
