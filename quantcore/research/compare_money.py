"""Where the money of a span came from: by symbol and kind, and which round trips two runs have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quantcore.backtest.attribution import PARTS
from quantcore.backtest.metrics import signed_qty, slippage_costs
from quantcore.research.compare_records import Record, numbers
from quantcore.research.compare_span import Span
from quantcore.timegrid import HOUR_US, index_us, to_index
from quantcore.types import FloatArray, IntArray

_SAME = ["symbol", "side", "entry_ts", "exit_ts"]


def profit_by_symbol(run: Record, opening_us: int, closing_us: int) -> pd.DataFrame:
    r"""Return what each symbol earned between two instants, and its parts.

    .. math:: \pi = V_1 - V_0 + \text{cash}

    with V the value of the position at the mark and cash what fills, fees, funding and liquidations brought between.

    Parameters
    ----------
    run : Record
        The run.
    opening_us, closing_us : int
        Instants of equity rows; an opening before the first row is the run's beginning.

    Returns
    -------
    DataFrame, shape (n_symbols, 8)
        Index ``symbol``, sorted; the columns of `attribution.PARTS` in USDT, costs as negative numbers, ``net``, their
        sum, and ``traded``, the notional of the fills. The sum of ``net`` is the change of equity less the flows.
    """
    fills = _between(run.tables["fills"], opening_us, closing_us)
    gone = _between(run.tables["liquidations"], opening_us, closing_us)
    # A settlement at an instant belongs to the bar that opens there: it is not in the equity row of that instant.
    funding = _between(run.tables["funding"], opening_us - 1, closing_us - 1)
    first, last = (_held(run, at_us) for at_us in (opening_us, closing_us))
    symbols = sorted({str(s) for t in (fills, gone, funding, first, last) for s in t["symbol"]})
    columns = pd.Index(symbols, name="symbol", dtype=object)

    def summed(table: pd.DataFrame, amounts: FloatArray) -> FloatArray:
        at = columns.get_indexer(pd.Index(table["symbol"]))
        return np.asarray(np.bincount(at, weights=amounts, minlength=len(columns)))

    slipped, notional = slippage_costs(fills), numbers(fills["qty"]) * numbers(fills["price"])
    cash = -signed_qty(fills) * numbers(fills["price"]) + slipped
    table = pd.DataFrame(
        {
            "price": summed(fills, cash)
            + summed(last, _value(last))
            - summed(first, _value(first)),
            "slippage": -summed(fills, slipped),
            "fees": -summed(fills, numbers(fills["fee"])),
            "funding": -summed(funding, numbers(funding["amount"])),
            "liquidation": summed(gone, numbers(gone["insurance"]) - numbers(gone["fee"])),
        },
        index=columns,
    )
    table["net"] = table[list(PARTS)].sum(axis=1)
    table["traded"] = summed(fills, notional)
    return table


def symbol_table(runs: Sequence[Record], span: Span) -> pd.DataFrame:
    """Return what each symbol earned in each run, in fractions of the equity at the opening.

    Returns
    -------
    DataFrame
        ``symbol label`` and the columns of `profit_by_symbol`; runs in their order, symbols sorted.
    """
    found = []
    for run, piece in zip(runs, span.pieces, strict=True):
        table = profit_by_symbol(run, span.opening_us, span.closing_us) / piece.equity
        found.append(table.reset_index().assign(label=run.label))
    whole = pd.concat(found, ignore_index=True)
    return whole[["symbol", "label", *[c for c in whole if c not in ("symbol", "label")]]]


def trips(run: Record, span: Span) -> pd.DataFrame:
    """Return the round trips that a run was in during the span, with the column ``closed``: whether they ended in it.

    Entries before the opening and exits after the closing are set to these instants.
    """
    trades = run.tables["trades"]
    opening, closing = to_index(np.array([span.opening_us, span.closing_us]))
    closed = trades["exit_ts"] <= closing  # one still open has no exit
    inside = (trades["entry_ts"] <= closing) & ~(closed & (trades["exit_ts"] <= opening))
    return trades.assign(
        closed=closed,
        entry_ts=trades["entry_ts"].where(trades["entry_ts"] >= opening, opening),
        exit_ts=trades["exit_ts"].where(closed, closing),
    )[inside]


def trips_in_common(run: pd.DataFrame, base: pd.DataFrame) -> dict[str, float]:
    """Return how far the round trips of a run are those of the base.

    Parameters
    ----------
    run, base : DataFrame
        What `trips` gave.

    Returns
    -------
    dict of str to float
        ``trips`` and ``base_trips``, their numbers; ``same``, how many have the same symbol, side, entry and exit;
        ``hours`` and ``base_hours``, the time held, summed over symbols; ``same_hours``, the time in which both held
        the same side of the same symbol.
    """
    same = len(run[_SAME].merge(base[_SAME], how="inner", on=_SAME))
    theirs = {key: _times(trades) for key, trades in base.groupby(["symbol", "side"])}
    shared = sum(
        _overlap(_times(trades), theirs[key])
        for key, trades in run.groupby(["symbol", "side"])
        if key in theirs
    )
    return {
        "trips": len(run),
        "base_trips": len(base),
        "same": same,
        "hours": _hours(run),
        "base_hours": _hours(base),
        "same_hours": shared / HOUR_US,
    }


def _between(table: pd.DataFrame, after_us: int, to_us: int) -> pd.DataFrame:
    ts_us = index_us(pd.DatetimeIndex(table["ts"]))
    return table[(ts_us > after_us) & (ts_us <= to_us)]


def _held(run: Record, at_us: int) -> pd.DataFrame:
    positions = run.tables["positions"]
    return positions.take(np.flatnonzero(index_us(pd.DatetimeIndex(positions["ts"])) == at_us))


def _value(held: pd.DataFrame) -> FloatArray:
    return numbers(held["qty"]) * numbers(held["mark_price"])


def _times(trades: pd.DataFrame) -> tuple[IntArray, IntArray]:
    starts, ends = (index_us(pd.DatetimeIndex(trades[c])) for c in ("entry_ts", "exit_ts"))
    order = np.argsort(starts, kind="stable")
    return starts[order], ends[order]


def _overlap(one: tuple[IntArray, IntArray], other: tuple[IntArray, IntArray]) -> float:
    """Return the time in which both are in one of their spans; the spans of each do not overlap among themselves."""
    starts, ends = other
    known = np.column_stack([starts, ends]).ravel().astype(np.float64)
    held = np.column_stack([np.zeros(len(starts)), ends - starts]).ravel().cumsum()
    return float((np.interp(one[1], known, held) - np.interp(one[0], known, held)).sum())


def _hours(trades: pd.DataFrame) -> float:
    starts, ends = _times(trades)
    return float((ends - starts).sum()) / HOUR_US
