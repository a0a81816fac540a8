"""What one account is worth more than another of the same bars, taken apart without a rest.

A fill's profit to the end is ``side · qty · (mark at the end − price)``, so that equity is the capital, the flows and
these profits less fees, funding and fees of liquidation, plus what insurance paid. The difference of two accounts is
the sum of the differences of the parts, and that of the fills' profits a sum over pairs of fills and those without one.
A real run sends other orders than the backtest, so fills that belong to no common order are paired anew: what both
sides bought, or sold, of a symbol in its order of time is the same trade at another time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from live.parity.comparison import BACKTEST_ROW, LIVE_ROW, Comparison, Tables
from live.parity.kinds import Kind

PARTS = (
    "price", "timing", "rounding", "missing", "extra", "fee", "funding", "liquidation", "flow", "correction",
    "unexplained",
)  # fmt: skip
"""What the difference in equity is made of, in this order."""

_SIGNS = {"buy": 1.0, "sell": -1.0}
_DUST = 1e-9
"""Share of a trade that is left of a fill only by rounding."""


@dataclass
class _Left:
    """What is left of a fill that has no partner: coins, price, and fee per coin in USDT."""

    qty: float
    price: float
    fee: float


def gap(
    backtest: Tables,
    live: Tables,
    found: Comparison,
    marks: Mapping[str, float],
    *,
    corrected: float = 0.0,
) -> dict[str, float]:
    """Return live equity less the backtest's at the last row of both, and its parts (`PARTS`), USDT.

    Parameters
    ----------
    backtest, live : mapping of str to DataFrame
        As `comparison.compare` takes them.
    found : Comparison
        Of them.
    marks : mapping of str to float
        The last mark of each symbol.
    corrected : float
        What the live side's wallet was corrected by, because the exchange reported another, USDT.
    """
    parts = dict.fromkeys(PARTS, 0.0)
    parts["fee"] = _total(backtest, "fills", "fee") - _total(live, "fills", "fee")
    pairs = found.pairs[found.pairs["kind"].notna()]
    both = (pairs[[BACKTEST_ROW, LIVE_ROW]] >= 0).all(axis=1)
    for pair in pairs[both].itertuples(index=False):
        ours, theirs = getattr(pair, BACKTEST_ROW), getattr(pair, LIVE_ROW)
        kind = str(pair.kind)
        _add_pair(parts, backtest["fills"].iloc[ours], live["fills"].iloc[theirs], kind, marks)
    alone = pairs[~both]
    _add_alone(
        parts,
        backtest["fills"].iloc[alone.loc[alone[LIVE_ROW] < 0, BACKTEST_ROW]],
        live["fills"].iloc[alone.loc[alone[BACKTEST_ROW] < 0, LIVE_ROW]],
        marks,
    )
    parts["funding"] = _total(backtest, "funding", "amount") - _total(live, "funding", "amount")
    parts["liquidation"] = sum(
        sign * (_total(side, "liquidations", "insurance") - _total(side, "liquidations", "fee"))
        for sign, side in ((1.0, live), (-1.0, backtest))
    )
    parts["flow"] = _total(live, "cash_flows", "amount") - _total(backtest, "cash_flows", "amount")
    parts["correction"] = corrected
    total = _last_equity(live) - _last_equity(backtest)
    parts["unexplained"] = total - sum(parts.values())
    return {"total": total, **parts}


def _add_pair(
    parts: dict[str, float],
    ours: pd.Series,
    theirs: pd.Series,
    kind: str,
    marks: Mapping[str, float],
) -> None:
    """Add what a pair of fills that differ makes: the price on what both traded, the rest as another quantity."""
    both = min(ours["qty"], theirs["qty"])
    why = "timing" if kind == Kind.TIMING else "price"
    parts[why] += _SIGNS[ours["side"]] * both * (ours["price"] - theirs["price"])
    for sign, fill in ((1.0, theirs), (-1.0, ours)):
        parts["rounding"] += sign * _profit(fill, marks, qty=fill["qty"] - both)


def _add_alone(
    parts: dict[str, float], ours: pd.DataFrame, theirs: pd.DataFrame, marks: Mapping[str, float]
) -> None:
    """Add what fills of no common order make: the time of what both sides traded, and the rest with its fees."""
    for symbol, side in sorted({*_keys(ours), *_keys(theirs)}):
        sign, mark = _SIGNS[side], marks[symbol]
        mine, yours = (_queue(fills, symbol, side) for fills in (ours, theirs))
        while mine and yours:
            qty = min(mine[0].qty, yours[0].qty)
            parts["timing"] += sign * qty * (mine[0].price - yours[0].price)
            for queue in (mine, yours):
                queue[0].qty -= qty
                if queue[0].qty <= _DUST * qty:
                    queue.popleft()
        for name, factor, queue in (("missing", -1.0, mine), ("extra", 1.0, yours)):
            for left in queue:
                fee = left.qty * left.fee
                parts[name] += factor * (sign * left.qty * (mark - left.price) - fee)
                parts["fee"] += factor * fee


def _keys(fills: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(fills["symbol"], fills["side"], strict=True))


def _queue(fills: pd.DataFrame, symbol: str, side: str) -> deque[_Left]:
    """Return a symbol's buys or sells in order of time."""
    mine = fills[(fills["symbol"] == symbol) & (fills["side"] == side)]
    rows = mine.sort_values("ts", kind="stable")
    qty, price, fee = (rows[name].to_numpy(dtype=float) for name in ("qty", "price", "fee"))
    return deque(map(_Left, qty.tolist(), price.tolist(), (fee / qty).tolist()))


def _profit(fill: pd.Series, marks: Mapping[str, float], *, qty: float | None = None) -> float:
    traded = fill["qty"] if qty is None else qty
    return float(_SIGNS[fill["side"]] * traded * (marks[fill["symbol"]] - fill["price"]))


def _total(tables: Tables, name: str, column: str) -> float:
    return float(tables[name][column].sum())


def _last_equity(tables: Tables) -> float:
    equity = tables["equity"]["equity"].to_numpy()
    return float(equity[-1]) if len(equity) else float(np.nan)
