r"""Implementation shortfall: what it cost to turn decisions into positions, part by part.

A paper portfolio trades the whole of each decision at once, at the price at which it was taken and for nothing. What
the real one has less, Perold's implementation shortfall, is taken apart after Kissell and the textbooks' example. With
s the side, Q the quantity wanted, q_i and p_i the fills, F their sum, and the prices at decision, arrival and end:

.. math::
    \text{total} = s \sum_i q_i (p_i - p_d) + s (Q - F) (p_e - p_d) + \text{fees}

    \text{delay} = s F (p_a - p_d), \quad \text{spread} = \sum_i \text{spread}_i, \quad
    \text{impact} = s \sum_i q_i (p_i - p_a) - \text{spread}, \quad \text{missed} = s (Q - F) (p_e - p_d)

The parts add up to the total. The arrival price is that of the instant from which the order could be filled. Spread is
what the fills traded worse than their reference prices, the prices of their own instants; so a backtest's slippage is
in it. Impact is all else that happened to the price since the arrival, our own push and everybody else's, since one
order cannot tell them apart; below 0 where a resting order waited for a better price.
Everything is money (USDT), > 0 where it was lost; a fee below 0 is a rebate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantcore.execution.bar_prices import close_at, columns_of, next_open
from quantcore.execution.parents import DUST, Parents
from quantcore.frames import Bars
from quantcore.timegrid import to_index
from quantcore.types import FloatArray, Side

PARTS = ("delay", "spread", "impact", "missed", "fees")
"""What a shortfall is made of, in the order in which it arises."""


@dataclass(frozen=True, kw_only=True)
class ParentOrder:
    """What a decision wanted, and the prices it is measured by; NaN where one is not known.

    Parameters
    ----------
    side : Side
        Buy or sell.
    qty : float
        Wanted, in coins, > 0.
    decision_price : float
        When the decision was taken.
    arrival_price : float
        When the order could first be filled.
    end_price : float
        When what was left of it was given up.
    """

    side: Side
    qty: float
    decision_price: float
    arrival_price: float
    end_price: float

    def __post_init__(self) -> None:
        if not 0.0 < self.qty < math.inf:
            raise ValueError(f"qty must be > 0 and finite, was {self.qty}")
        for name in ("decision_price", "arrival_price", "end_price"):
            value = getattr(self, name)
            if not (math.isnan(value) or 0.0 < value < math.inf):
                raise ValueError(f"{name} must be > 0 and finite, or NaN, was {value}")


@dataclass(frozen=True)
class Shortfall:
    """The shortfall of one order, in money."""

    delay: float
    spread: float
    impact: float
    missed: float
    fees: float
    total: float
    notional: float
    """Of the paper portfolio: quantity wanted at the decision price."""

    def fraction(self, part: str) -> float:
        """Return a part, or the total, as a fraction of the paper portfolio's notional."""
        return float(getattr(self, part)) / self.notional


@dataclass(frozen=True)
class ShortfallSummary:
    """All decisions together, those left out of which a part is not known."""

    decisions: int
    incomplete: int
    """Decisions left out."""
    notional: float
    """Of the paper portfolio, USDT."""
    fill_rate: float
    """Filled over wanted, weighted by notional; NaN without a decision."""
    delay_bps: float
    spread_bps: float
    impact_bps: float
    missed_bps: float
    fees_bps: float
    total_bps: float
    """Of the notional, as the parts are."""
    total: float
    """USDT."""

    def bps(self, part: str) -> float:
        """Return a part, or the total, in basis points of the notional."""
        return float(getattr(self, f"{part}_bps"))

    def money(self, part: str) -> float:
        """Return a part, or the total, in USDT."""
        return 1e-4 * self.bps(part) * self.notional


class Prices(NamedTuple):
    """Prices that shortfall is measured by, shape ``(n_parents,)`` each; NaN where one is not known."""

    decision: FloatArray
    arrival: FloatArray
    end: FloatArray


def bar_prices(bars: Bars, parents: Parents, *, horizon_us: int) -> Prices:
    """Return the prices that bars know for decisions.

    Parameters
    ----------
    bars : Bars
        Execution bars with the field `open`.
    parents : Parents
        What was decided.
    horizon_us : int
        Microseconds from the decision to the instant at which what is unfilled counts as given up, > 0.

    Returns
    -------
    Prices
        The decision price is the close of the last bar known at the decision, the arrival price the open of the next
        one. The end price is the close of the last bar known at the horizon, or at the end of the bars. A hole in them
        is NaN, and so is what lies before or after them.

    Raises
    ------
    ValueError
        If the horizon is not positive.
    DataGap
        If the bars have no opens or lack a symbol.
    """
    if horizon_us <= 0:
        raise ValueError(f"horizon_us must be > 0, was {horizon_us}")
    column = columns_of(bars, parents.names)[parents.symbol]
    decided = parents.decision_us
    given_up = np.minimum(decided + horizon_us, bars.ts_us[-1:].max(initial=0))
    return Prices(
        decision=close_at(bars, decided, column),
        arrival=next_open(bars, decided, column),
        end=close_at(bars, given_up, column),
    )


def order_shortfall(
    order: ParentOrder,
    qty: npt.ArrayLike,
    prices: npt.ArrayLike,
    *,
    fees: float,
    spread: float = 0.0,
) -> Shortfall:
    """Return the shortfall of one order.

    Parameters
    ----------
    order : ParentOrder
        What was wanted.
    qty, prices : array-like, shape (n_fills,)
        Coins > 0 and price of each fill; none is an order that was missed.
    fees : float
        Paid on all of them, in money.
    spread : float
        What they traded worse than their reference prices, in money. It only moves money from impact to spread.

    Returns
    -------
    Shortfall
        A part is NaN where a price that it needs is; delay and impact of no fill, and what is missed of a whole one,
        need none. The total is known without the arrival price.

    Raises
    ------
    ValueError
        If more was filled than wanted, shapes differ, a quantity is not positive or an argument is out of its range.

    References
    ----------
    Perold, "The Implementation Shortfall: Paper versus Reality", *Journal of Portfolio Management* 14(3), 1988;
    Kissell, "The Expanded Implementation Shortfall: Understanding Transaction Cost Components", *Journal of Trading*
    1(3), 2006. Deviation: the delay is that of the coins that were filled; what it did to the others is in what was
    missed, as in the textbooks' example.

    Examples
    --------
    >>> order = ParentOrder(side=Side.BUY, qty=1000.0, decision_price=40.0, arrival_price=40.04, end_price=40.08)
    >>> found = order_shortfall(order, [700.0], [40.05], fees=17.0)
    >>> {part: round(found.fraction(part) * 1e4, 2) for part in PARTS}
    {'delay': 7.0, 'spread': 0.0, 'impact': 1.75, 'missed': 6.0, 'fees': 4.25}
    """
    filled, price = _fills_of_one(qty, prices)
    total = math.fsum(filled.tolist())
    if total > order.qty * (1.0 + DUST):
        raise ValueError(f"filled must be <= qty = {order.qty}, was {total}")
    parts = _parts(
        Parents(
            names=("",),
            decision_us=np.zeros(1, dtype=np.int64),
            symbol=np.zeros(1, dtype=np.int64),
            side=np.array([float(order.side)]),
            wanted=np.array([order.qty]),
            filled=np.array([total]),
            paid=np.array([math.fsum((filled * price).tolist())]),
            spread=np.array([spread]),
            fees=np.array([fees]),
        ),
        Prices(
            *(np.array([p]) for p in (order.decision_price, order.arrival_price, order.end_price))
        ),
    )
    return Shortfall(**{name: float(value[0]) for name, value in parts.items()})


def shortfall_table(parents: Parents, prices: Prices) -> pd.DataFrame:
    """Return the shortfall of every decision, symbol and side.

    Parameters
    ----------
    parents : Parents
        What was wanted and what was filled.
    prices : Prices
        By which it is measured, such as `bar_prices` gives.

    Returns
    -------
    DataFrame
        One row per parent: ``decision_ts symbol side wanted_qty filled_qty decision_price arrival_price mean_price
        end_price delay spread impact missed fees total notional``. Money in USDT, `notional` of the paper portfolio.
        NaN as in `order_shortfall`; a NaN among a parent's fills makes the parts that need it NaN.

    References
    ----------
    As `order_shortfall`.
    """
    with np.errstate(invalid="ignore"):
        mean = parents.paid / parents.filled
    return pd.DataFrame(
        {
            "decision_ts": to_index(parents.decision_us),
            "symbol": np.array(parents.names, dtype=object)[parents.symbol],
            "side": np.where(parents.side > 0.0, "buy", "sell"),
            "wanted_qty": parents.wanted,
            "filled_qty": parents.filled,
            "decision_price": prices.decision,
            "arrival_price": prices.arrival,
            "mean_price": mean,
            "end_price": prices.end,
            **_parts(parents, prices),
        }
    )


def shortfall_summary(parents: Parents, prices: Prices) -> ShortfallSummary:
    """Return the parts of all decisions together, in basis points of what they wanted.

    Parameters
    ----------
    parents, prices : Parents, Prices
        As in `shortfall_table`; decisions of which a part is NaN are counted and left out.

    Returns
    -------
    ShortfallSummary
        Basis points are NaN where no decision is left.
    """
    parts = _parts(parents, prices)
    complete = ~np.isnan(sum(parts.values(), np.zeros(len(parents))))
    sums = {name: float(values[complete].sum()) for name, values in parts.items()}
    notional = sums.pop("notional")
    done = float((parents.filled * prices.decision)[complete].sum())
    scale = 1.0 / notional if notional > 0.0 else math.nan
    return ShortfallSummary(
        decisions=int(complete.sum()),
        incomplete=int((~complete).sum()),
        notional=notional,
        fill_rate=done * scale,
        **{f"{part}_bps": 1e4 * value * scale for part, value in sums.items()},
        total=sums["total"],
    )


def _parts(parents: Parents, prices: Prices) -> dict[str, FloatArray]:
    side, wanted, filled = parents.side, parents.wanted, parents.filled
    decision, arrival, end = prices
    traded = filled > 0.0
    left = wanted - filled
    left = np.where(left > DUST * wanted, left, 0.0)
    missed = np.where(left > 0.0, side * left * (end - decision), 0.0)
    moved = side * (parents.paid - filled * arrival) - parents.spread
    moved = np.where(np.abs(moved) <= DUST * parents.paid, 0.0, moved)
    against_paper = side * (parents.paid - filled * decision)
    return {
        "delay": np.where(traded, side * filled * (arrival - decision), 0.0),
        "spread": np.where(traded, parents.spread, 0.0),
        "impact": np.where(traded, moved, 0.0),
        "missed": missed,
        "fees": parents.fees,
        "total": np.where(traded, against_paper, 0.0) + missed + parents.fees,
        "notional": wanted * decision,
    }


def _fills_of_one(qty: npt.ArrayLike, prices: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    filled, price = np.asarray(qty, dtype=np.float64), np.asarray(prices, dtype=np.float64)
    if filled.ndim != 1 or filled.shape != price.shape:
        raise ValueError(
            f"qty and prices must be of one shape (n_fills,), were {filled.shape} and {price.shape}"
        )
    bad = filled[~((filled > 0.0) & (filled < math.inf))]
    if len(bad):
        raise ValueError(f"qty must be > 0 and finite, was {bad[0]}")
    bad = price[(price <= 0.0) | np.isinf(price)]
    if len(bad):
        raise ValueError(f"prices must be > 0 and finite, or NaN, was {bad[0]}")
    return filled, price
