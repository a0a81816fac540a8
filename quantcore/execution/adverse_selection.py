"""Adverse selection: where the market went after a resting order of ours was filled.

A resting order trades when somebody else wants to, mostly because the price is about to move through it. What it saved
by not crossing the spread is worth nothing if the price is that much worse an instant later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.execution.bar_prices import close_at, columns_of
from quantcore.execution.parents import symbol_codes
from quantcore.frames import Bars
from quantcore.timegrid import index_us
from quantcore.types import FloatArray


@dataclass(frozen=True)
class AdverseSelection:
    """Moves after fills of resting orders, weighted by notional."""

    fills: int
    """Of resting orders."""
    notional: float
    """Of these fills, USDT."""
    moves_bps: tuple[float, ...]
    """From a fill's price to the close so much later, in basis points, > 0 against us; NaN where no close is known."""


def adverse_selection(
    fills: pd.DataFrame, bars: Bars, *, delays_us: tuple[int, ...]
) -> AdverseSelection:
    r"""Return how far the price went against resting orders after their fills.

    .. math:: 10^4 \, \frac{\sum_i q_i s_i (p_i - c_i)}{\sum_i q_i p_i}

    with the side s, quantity and price of each fill and the close c of a bar.

    Parameters
    ----------
    fills : DataFrame
        With the columns ``ts symbol side qty price liquidity`` of a results folder; takers' fills do not count.
    bars : Bars
        The execution bars in which they happened.
    delays_us : tuple of int
        Microseconds from the close of a fill's bar, >= 0: 0 is that close itself.

    Returns
    -------
    AdverseSelection
        One move per delay. A fill whose close falls into a hole or after the bars is left out of that delay's.

    References
    ----------
    Glosten and Milgrom, "Bid, Ask and Transaction Prices in a Specialist Market with Heterogeneously Informed Traders",
    *Journal of Financial Economics* 14, 1985. The measure is the negative of the realised half-spread of Huang and
    Stoll, "Dealer versus Auction Markets", *Journal of Financial Economics* 41, 1996. Deviation: they measure to a
    later mid price or trade; bars know the close.
    """
    resting = np.flatnonzero((fills["liquidity"] == "maker").to_numpy())
    if not len(resting):
        return AdverseSelection(0, 0.0, tuple(np.nan for _ in delays_us))
    names, symbol = symbol_codes(fills["symbol"])
    column = columns_of(bars, names)[symbol[resting]]
    filled_us = index_us(pd.DatetimeIndex(fills["ts"]))[resting]
    price, qty = (fills[name].to_numpy(np.float64)[resting] for name in ("price", "qty"))
    side = np.where((fills["side"] == "buy").to_numpy()[resting], 1.0, -1.0)
    later = (close_at(bars, filled_us + delay_us, column) for delay_us in delays_us)
    moves = tuple(_mean_bps(side * qty * (price - close), qty * price) for close in later)
    return AdverseSelection(len(resting), float((qty * price).sum()), moves)


def _mean_bps(lost: FloatArray, notional: FloatArray) -> float:
    known = ~np.isnan(lost)
    total = float(notional[known].sum())
    return 1e4 * float(lost[known].sum()) / total if total > 0.0 else float("nan")
