"""A run as a vectorbt portfolio: our engine simulates, vectorbt views (DESIGN.md 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.metrics import signed_qty
from quantcore.backtest.result import Recorded, Run
from quantcore.backtest.tables import known_marks
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.frames import to_panel
from quantcore.timegrid import index_us, interval_us
from quantcore.types import Array, FloatArray, IntArray, Panel

FUNDING, FLOWS = "funding", "cash_flows"
"""Columns beside the symbols: they hold no coins, only what was paid."""

_PRICE = 1e-9
"""Price of those columns at the start, USDT; vectorbt wants one above zero."""
_SIZE = 1e-6
"""What their records buy: a million of them are worth 1e-9 USDT."""


def vectorbt_portfolio(run: Recorded, marks: Panel) -> Any:
    r"""Return a run as a ``vectorbt.Portfolio`` whose value is the run's equity in every row.

    Community vectorbt knows no margin, funding or liquidation and would cut leveraged orders to the cash, so nothing
    is simulated again: the fills that happened are handed to it as order records. Its rows are those of the run's
    equity table. What happened is represented as follows:

    - A fill is a record of its size, price and fee in its symbol's column, in the first row at or after it.
    - A liquidation is such a fill. Its fee is the liquidation fee less what the insurance fund took over, which makes
      the fee negative where the fund took more.
    - A settlement at the end of a symbol is a fill with its taker fee.
    - A funding payment is a record in the column ``funding`` whose fee is the amount, negative where it was received.
      A deposit or withdrawal is one in the column ``cash_flows``, with the fee ``-amount``. These columns are there
      only where there is something to hold, and what they "buy" is worth nothing; so a trade of them that stays open
      carries the sum, and its return means nothing.
    - The price that values a column is the mark price as the account used it, the last price where there is none.
      vectorbt's benchmark is the symbols held in equal parts from the first row on, at those prices.

    Equity agrees with the run's to 1e-9 relative. Some of vectorbt's figures follow other rules than ours: ratios use
    the returns of rows and not of days, deposits count as gains, ``Total Fees Paid`` contains funding and
    liquidation fees (and deposits, as negative fees), and its drawdown sees only rows. Its trades are whole positions
    (``trades_type="positions"``), which are our round trips, net of fees but not of funding; ``exit_trades`` and
    ``entry_trades`` hold the parts. ``plot()`` shows the account, ``plot(column="BTCUSDT", group_by=False)`` a symbol.

    Parameters
    ----------
    run : Recorded
        Its tables, capital and interval.
    marks : Panel, shape (n_rows, n_symbols)
        Mark prices at the rows of the equity table (`run_marks`, `held_marks`). A symbol without any is left out; a
        missing one takes the last before it, at the start the first after it.

    Returns
    -------
    vectorbt.Portfolio
        With one group, the account.

    Raises
    ------
    ConfigError
        If vectorbt is not installed.
    SchemaMismatch
        If liquidations are not among the fills, or a symbol was traded that has no marks.

    References
    ----------
    vectorbt 1.2, ``portfolio/base.py`` (`Portfolio.__init__`) and ``portfolio/enums.py`` (`order_dt`).
    """
    vbt, order_dt, log_dt = _vectorbt()
    rows_us = index_us(pd.DatetimeIndex(run.tables["equity"]["ts"]))
    priced = marks.loc[:, marks.notna().any(axis=0)].ffill().bfill()
    basket = _PRICE * _basket(priced)
    records = [_fill_records(run, rows_us, list(priced.columns), order_dt)]
    columns, closes = list(priced.columns), [priced.to_numpy(np.float64)]
    for name, (paid_us, paid) in _payments(run).items():
        if len(paid):
            rows = np.searchsorted(rows_us, paid_us, side="right")
            records.append(_payment_records(rows, paid, basket, len(columns), order_dt))
            columns.append(name)
            closes.append(basket[:, np.newaxis])
    index = pd.DatetimeIndex(run.tables["equity"]["ts"], name="ts")
    wrapper = vbt.ArrayWrapper(
        index,
        columns,
        2,
        freq=pd.Timedelta(microseconds=interval_us(run.interval)),
        group_by=np.repeat("account", len(columns)),
    )
    return vbt.Portfolio(
        wrapper,
        pd.DataFrame(np.hstack(closes), index=index, columns=columns),
        _numbered(np.concatenate(records)),
        np.empty(0, dtype=log_dt),
        np.array([run.capital]),
        cash_sharing=True,
        trades_type="positions",
    )


def run_marks(run: Run) -> Panel:
    """Return the mark prices at the rows of a run's equity, shape ``(n_rows, n_symbols)``; NaN before a listing."""
    rows_us = index_us(pd.DatetimeIndex(run.tables["equity"]["ts"]))
    panel = to_panel(known_marks(run.bars), run.bars)
    return panel.iloc[np.searchsorted(run.bars.ts_us, rows_us)]


def held_marks(run: Recorded) -> Panel:
    """Return the mark prices that the positions of a run recorded: NaN where nothing was held.

    A symbol that was traded but held in no row has its last fill's price in the last row.
    """
    index = pd.DatetimeIndex(run.tables["equity"]["ts"], name="ts")
    held, last = run.tables["positions"], run.tables["fills"].groupby("symbol")["price"].last()
    panel = held.pivot_table(index="ts", columns="symbol", values="mark_price").reindex(
        index=index, columns=sorted({*held["symbol"], *last.index})
    )
    unseen = panel.columns[panel.isna().all(axis=0)]
    panel.loc[index[-1], unseen] = last.loc[unseen]
    return panel


def _vectorbt() -> tuple[Any, Any, Any]:
    try:
        import vectorbt
        from vectorbt.portfolio.enums import log_dt, order_dt
    except ImportError as error:
        raise ConfigError(
            "the vectorbt view needs vectorbt, which is not installed: pip install 'quantcore[research]'"
        ) from error
    return vectorbt, order_dt, log_dt


def _basket(priced: Panel) -> FloatArray:
    """Return the value of all symbols held in equal parts, 1 at the start.

    The columns of payments move like it, so that vectorbt's benchmark, the mean over all columns, is that of symbols.
    """
    values = priced.to_numpy(np.float64)
    if not values.shape[1]:
        return np.ones(len(values))
    return np.asarray((values / values[0]).mean(axis=1))


def _fill_records(run: Recorded, rows_us: IntArray, symbols: list[str], dtype: Any) -> Array:
    fills = run.tables["fills"]
    column = pd.Index(symbols).get_indexer(pd.Index(fills["symbol"]))
    if (column < 0).any():
        raise SchemaMismatch(
            f"marks must have {fills['symbol'][column < 0].iloc[0]}, which was traded"
        )
    gone = run.tables["liquidations"]
    fees = fills["fee"].to_numpy(np.float64, copy=True)
    fees[_liquidated(fills, gone)] += gone["fee"].to_numpy(np.float64) - gone["insurance"].to_numpy(
        np.float64
    )
    records = np.zeros(len(fills), dtype=dtype)
    records["col"] = column
    records["idx"] = np.searchsorted(rows_us, index_us(pd.DatetimeIndex(fills["ts"])))
    records["size"] = fills["qty"]
    records["price"] = fills["price"]
    records["fees"] = fees
    records["side"] = signed_qty(fills) < 0.0  # vectorbt: 0 buys, 1 sells
    return records


def _liquidated(fills: pd.DataFrame, gone: pd.DataFrame) -> IntArray:
    """Return the row of each liquidation's fill."""
    forced = np.flatnonzero(fills["reason"].to_numpy() == "liquidation")
    found, wanted = (
        list(zip(index_us(pd.DatetimeIndex(t["ts"])), t["symbol"], strict=True))
        for t in (fills.iloc[forced], gone)
    )
    if sorted(found) != sorted(wanted):
        raise SchemaMismatch(
            f"each liquidation must also be a fill, were {len(wanted)} liquidations and {len(found)} such fills"
        )
    rows = np.empty(len(wanted), dtype=np.int64)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    rows[order] = forced[sorted(range(len(found)), key=found.__getitem__)]
    return rows


def _payments(run: Recorded) -> dict[str, tuple[IntArray, FloatArray]]:
    """Return for each column of payments their times and what was paid in USDT, < 0 received."""
    funding, flows = run.tables["funding"], run.tables["cash_flows"]
    return {
        FUNDING: (
            index_us(pd.DatetimeIndex(funding["ts"])),
            funding["amount"].to_numpy(np.float64),
        ),
        FLOWS: (index_us(pd.DatetimeIndex(flows["ts"])), -flows["amount"].to_numpy(np.float64)),
    }


def _payment_records(
    rows: IntArray, paid: FloatArray, price: FloatArray, column: int, dtype: Any
) -> Array:
    records = np.zeros(len(paid), dtype=dtype)
    records["col"] = column
    records["idx"] = rows
    records["size"] = _SIZE
    records["price"] = price[rows]
    records["fees"] = paid
    return records


def _numbered(records: Array) -> Array:
    """Return records as vectorbt wants them: by column, in the order in which they happened, which they have."""
    ordered = records[np.argsort(records["col"], kind="stable")]
    ordered["id"] = np.arange(len(ordered))
    return ordered
