"""Which symbols and how many positions an account can hold, from which capital on, and the verdict on that.

A symbol can be held where its smallest order is within its weight, and with a `size_limit` below 1 also within that
share of the gross exposure, for the limit caps the sum and is held in whole positions of what fits. How many positions
*fit* is the largest number that can be opened at once, each at its smallest order. It never falls with more capital,
and the verdict rests on it. How many are *held* is what the backtest of the account held: fewer, where shares in
proportion leave less for the small ones than their smallest orders, or more, where positions were opened at better
times and only reduced since, which no minimum forbids.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from quantcore.research.feasibility_demand import Demand, Stage
from quantcore.types import FloatArray, IntArray

LARGEST_CAPITAL = 1e9
"""USDT beyond which no capital is looked for."""

_ON_LOT = 1e-6  # of a lot: as much as the allocation counts as whole
_WITHIN = 1e-12
_BISECTIONS = 60


def fitting(wanted: Demand, stage: Stage, capital: float) -> IntArray:
    """Return the most positions that can be held at once at each decision, each at its smallest order."""
    sizes = np.abs(wanted.weights) * capital
    fits = (sizes > 0.0) & (wanted.orders - _ON_LOT * wanted.lots <= sizes)
    orders = np.sort(np.where(fits, wanted.orders, np.inf), axis=1)
    room = stage.gross_caps(wanted.gross) * capital * (1.0 + _WITHIN)
    return np.asarray((np.cumsum(orders, axis=1) <= room[:, None]).sum(axis=1), dtype=np.int64)


def capital_for(wanted: Demand, stage: Stage, positions: int) -> float:
    """Return the least capital at which so many positions fit at the median decision; NaN where none is enough."""

    def enough(capital: float) -> bool:
        return bool(np.median(fitting(wanted, stage, capital)) >= positions)

    if not len(wanted.index) or not enough(LARGEST_CAPITAL):
        return math.nan
    low, high = math.log(1e-3), math.log(LARGEST_CAPITAL)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if enough(math.exp(middle)) else (middle, high)
    return math.exp(high)


def symbol_table(wanted: Demand, stage: Stage, held: FloatArray) -> pd.DataFrame:
    """Return per symbol what the exchange takes at least, what is wanted, and from which capital it is tradable.

    Parameters
    ----------
    wanted : Demand
        At the normal size.
    stage : Stage
        The account.
    held : float64 array, shape (n_decisions, n_symbols)
        Weights that the backtest of the account held.

    Returns
    -------
    DataFrame
        ``symbol step_size min_notional defaulted``; in USDT ``lot_notional smallest_order`` (at the last known price)
        and ``smallest_order_median``; over equity ``lot_share smallest_share smallest_share_median``,
        ``target_weight`` (median of what is wanted of it at the normal size where it is), ``limited_weight`` (the most
        that the size limit leaves of it: the smaller of it and the limit's share of the median gross exposure) and
        ``order_over_target``; ``tradable reason``; ``capital_min``, from which the smallest order is within
        ``limited_weight``, and ``capital_proportional``, from which it is within the symbol's own share of the size
        limit, so that all can be held in proportion; and of the decisions that want the symbol ``fits_share``, at which
        its smallest order is within its weight, and ``held_share``, at which the backtest held it. The cheapest first.
    """
    capital, sizes = stage.account.capital, np.abs(wanted.weights)
    asked = sizes > 0.0
    times = np.maximum(asked.sum(axis=0), 1)
    target = _medians(np.where(asked, sizes, np.nan))
    gross = float(np.median(wanted.gross)) if len(wanted.index) else math.nan
    limited = np.minimum(target, stage.gross_caps(np.array(gross)))
    from_ = np.where(wanted.ended, np.nan, wanted.last_orders / limited)
    within = asked & (wanted.orders - _ON_LOT * wanted.lots <= sizes * capital)
    median_order = _medians(wanted.orders)
    table = pd.DataFrame(
        {
            "symbol": list(wanted.symbols),
            "step_size": [float(i.step_size) for i in wanted.instruments],
            "min_notional": [i.min_notional for i in wanted.instruments],
            "defaulted": [i.defaulted for i in wanted.instruments],
            "lot_notional": wanted.last_lots,
            "smallest_order": wanted.last_orders,
            "smallest_order_median": median_order,
            "lot_share": wanted.last_lots / capital,
            "smallest_share": wanted.last_orders / capital,
            "smallest_share_median": median_order / capital,
            "target_weight": target,
            "limited_weight": limited,
            "order_over_target": wanted.last_orders / (target * capital),
            "tradable": from_ <= capital,
            "reason": _reasons(wanted, target, limited, capital),
            "capital_min": from_,
            "capital_proportional": np.where(
                wanted.ended, np.nan, wanted.last_orders / (stage.size_limit * target)
            ),
            "fits_share": within.sum(axis=0) / times,
            "held_share": ((held != 0.0) & asked).sum(axis=0) / times,
        }
    )
    return table.sort_values(["smallest_order", "symbol"], kind="stable", ignore_index=True)


def position_table(
    wanted: Demand, stage: Stage, greedy: FloatArray, held: FloatArray
) -> pd.DataFrame:
    """Return ``ts wanted fit greedy held`` of each decision.

    That is positions asked for, that can be opened at once at most, that the greedy rule gives when it decides afresh,
    and that the backtest of the account held.
    """
    return pd.DataFrame(
        {
            "ts": wanted.index,
            "wanted": (wanted.weights != 0.0).sum(axis=1),
            "fit": fitting(wanted, stage, stage.account.capital),
            "greedy": (greedy != 0.0).sum(axis=1),
            "held": (held != 0.0).sum(axis=1),
        }
    )


def position_counts(positions: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return ``median min max`` of each column of `position_table`, by its name; nothing without decisions."""
    if positions.empty:
        return {}
    return {
        name: dict(zip(("median", "min", "max"), _spans(positions[name]), strict=True))
        for name in ("wanted", "fit", "greedy", "held")
    }


def judge(
    positions: pd.DataFrame, stage: Stage, *, positions_min: int, capital_from: float
) -> tuple[str, str]:
    """Return ``feasible`` or ``not_feasible``, and the sentence that says why.

    Parameters
    ----------
    positions : DataFrame
        From `position_table`.
    stage : Stage
        The account.
    positions_min : int
        Fewest positions that make a portfolio.
    capital_from : float
        From `capital_for`.
    """
    held = f"{stage.account.capital:,.12g} USDT"
    if stage.size_limit < 1.0:
        held += f" at {100.0 * stage.size_limit:g} % of the normal size"
    if positions.empty:
        return "not_feasible", f"With {held} nothing can be held: no position was ever wanted."
    middle, low, high = _spans(positions["fit"])
    fit = f"{middle:g} position{'' if middle == 1 else 's'} fit{'s' if middle == 1 else ''}"
    said = f"With {held} {fit} at the median decision ({low:g} to {high:g})"
    kept = f"the backtest held {positions['held'].median():g}"
    if middle >= positions_min:
        return (
            "feasible",
            f"{said}, at least the {positions_min} that make a portfolio; {kept}.",
        )
    asked = float(positions["wanted"].median())
    if asked < positions_min:
        more = f"only {asked:g} are wanted there, so no capital is enough"
    elif math.isnan(capital_from):
        more = "no capital is enough"
    else:
        more = f"{positions_min} fit from {math.ceil(capital_from):,} USDT on"
    return (
        "not_feasible",
        f"{said}, fewer than the {positions_min} that make a portfolio ({kept}); {more}.",
    )


def _spans(values: pd.Series) -> tuple[float, float, float]:
    return float(values.median()), float(values.min()), float(values.max())


def _medians(values: FloatArray) -> FloatArray:
    """Return each column's median, NaN aside; NaN where there is nothing else."""
    return pd.DataFrame(values).median().to_numpy(np.float64)


def _reasons(wanted: Demand, target: FloatArray, limited: FloatArray, capital: float) -> list[str]:
    told = []
    for s, order in enumerate(wanted.last_orders):
        if math.isnan(target[s]):
            told.append("never wanted")
        elif wanted.ended[s]:
            told.append("no price at the end of the data")
        elif order / limited[s] <= capital:
            told.append("fits")
        elif order > target[s] * capital:
            told.append("smallest order above its target")
        else:
            told.append("smallest order above the size limit")
    return told
