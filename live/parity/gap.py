"""What one account is worth more than another of the same bars, taken apart without a rest.

A fill's profit to the end is ``side · qty · (mark at the end − price)``, so that equity is the capital, the flows and
these profits less fees, funding and fees of liquidation, plus what insurance paid. The difference of two accounts is
the sum of the differences of the parts, and that of the fills' profits a sum over pairs of fills and those without one.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    for pair in found.pairs.itertuples(index=False):
        ours, theirs = getattr(pair, BACKTEST_ROW), getattr(pair, LIVE_ROW)
        if not isinstance(pair.kind, str):
            continue
        if ours < 0 or theirs < 0:
            alone, row, sign = (live, theirs, 1.0) if ours < 0 else (backtest, ours, -1.0)
            name = "extra" if ours < 0 else "missing"
            fill = alone["fills"].iloc[row]
            fee = float(fill["fee"])
            parts[name] += sign * (_profit(fill, marks) - fee)
            parts["fee"] += sign * fee
            continue
        _add_pair(parts, backtest["fills"].iloc[ours], live["fills"].iloc[theirs], pair.kind, marks)
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


def _profit(fill: pd.Series, marks: Mapping[str, float], *, qty: float | None = None) -> float:
    traded = fill["qty"] if qty is None else qty
    return float(_SIGNS[fill["side"]] * traded * (marks[fill["symbol"]] - fill["price"]))


def _total(tables: Tables, name: str, column: str) -> float:
    return float(tables[name][column].sum())


def _last_equity(tables: Tables) -> float:
    equity = tables["equity"]["equity"].to_numpy()
    return float(equity[-1]) if len(equity) else float(np.nan)
