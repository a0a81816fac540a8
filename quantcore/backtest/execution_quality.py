"""How a run's orders fared: what was filled and how, what it cost beside the paper portfolio, what followed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.backtest.result import Run
from quantcore.execution.adverse_selection import AdverseSelection, adverse_selection
from quantcore.execution.parents import Parents, parent_orders
from quantcore.execution.settings import ROUTER_INTERVAL_US
from quantcore.execution.shortfall import PARTS, ShortfallSummary, bar_prices, shortfall_summary
from quantcore.timegrid import HOUR_US, interval_us

ADVERSE_DELAYS_US = (0, HOUR_US)
"""From the close of a maker fill's bar: that close itself, and one hour later."""


@dataclass(frozen=True, kw_only=True)
class ExecutionQuality:
    """What became of a run's orders.

    Parameters
    ----------
    fill_rate : float
        Mean over decisions of filled over wanted quantity; NaN where resting orders cannot be measured.
    post_only_success : float
        Share of post-only orders filled whole as maker; NaN where they cannot be measured.
    shortfall : ShortfallSummary
        Of all decisions together.
    adverse : AdverseSelection or None
        Moves after maker fills, by `ADVERSE_DELAYS_US`; None where they cannot be measured.
    """

    fill_rate: float
    post_only_success: float
    shortfall: ShortfallSummary
    adverse: AdverseSelection | None

    def metrics(self) -> dict[str, float]:
        """Return these numbers under their names in `metrics.json`; costs are > 0 when paid."""
        soon, later = (math.nan, math.nan) if self.adverse is None else self.adverse.moves_bps
        return {
            "fill_rate": self.fill_rate,
            "post_only_success": self.post_only_success,
            "shortfall_cost": self.shortfall.total if self.shortfall.decisions else math.nan,
            "shortfall_bps": self.shortfall.total_bps,
            **{f"shortfall_{part}_bps": self.shortfall.bps(part) for part in PARTS},
            "adverse_selection_bps": soon,
            "adverse_selection_1h_bps": later,
        }


def execution_quality(run: Run) -> ExecutionQuality:
    """Return how a run's orders fared.

    Each decision is measured by the close at which it was taken, and arrives with the open of the next execution bar.
    What it left unfilled is given up when the next decision may be taken, one decision interval later, at that close.
    A decision at the last bar, after which nothing could be filled, does not count.

    Parameters
    ----------
    run : Run
        The finished run.

    Returns
    -------
    ExecutionQuality
        Fill rate, post-only success and adverse selection only where execution bars are fine enough to watch a resting
        order (`ROUTER_INTERVAL_US`).
    """
    parents = decided_orders(run)
    prices = bar_prices(run.bars, parents, horizon_us=interval_us(run.interval))
    resting = measures_resting_orders(run)
    adverse = None
    if resting:
        adverse = adverse_selection(run.tables["fills"], run.bars, delays_us=ADVERSE_DELAYS_US)
    return ExecutionQuality(
        fill_rate=parents.fill_rate if resting else math.nan,
        post_only_success=post_only_success(run.tables) if resting else math.nan,
        shortfall=shortfall_summary(parents, prices),
        adverse=adverse,
    )


def measures_resting_orders(run: Run) -> bool:
    """Return whether execution bars are fine enough to tell how resting orders fared."""
    return interval_us(run.bars.interval) <= ROUTER_INTERVAL_US


def decided_orders(run: Run) -> Parents:
    """Return what each decision wanted and got, without those after which there was no bar left."""
    parents = parent_orders(run.tables["orders"], run.tables["fills"])
    return parents.where(parents.decision_us < run.bars.ts_us[-1])


def post_only_success(tables: Mapping[str, pd.DataFrame]) -> float:
    """Return the share of post-only (GTX) orders that were filled whole, as maker; NaN without such an order."""
    orders = tables["orders"]
    posted = np.flatnonzero((orders["time_in_force"] == "GTX").to_numpy())
    if not len(posted):
        return math.nan
    fills = tables["fills"]
    takers = fills["order_id"].to_numpy(np.int64)[(fills["liquidity"] == "taker").to_numpy()]
    filled = (orders["status"] == "filled").to_numpy()[posted]
    crossed = np.isin(orders["order_id"].to_numpy(np.int64)[posted], takers)
    return float((filled & ~crossed).mean())
