"""How far whole lots are from the target portfolio: the account's greedy allocation, its backtest and the optimum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.tables import known_marks
from quantcore.finance import allocation
from quantcore.finance.allocation import Allocation, AllocationCaps
from quantcore.finance.covariance import HistoryRules, ledoit_wolf
from quantcore.frames import Bars
from quantcore.kernels.allocation import allocate_greedily
from quantcore.research.feasibility_demand import Demand, Stage
from quantcore.risk.stage import spread_decisions
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR
from quantcore.types import FloatArray, IntArray

_RETURNS_MIN = 10


def greedy_weights(wanted: Demand, stage: Stage, capital: float) -> FloatArray:
    """Return the weights that the account's rule gives in whole lots, shape ``(n_decisions, n_symbols)``.

    Each decision is taken afresh, while the account changes the symbols within a size limit once a day, and leaves
    small changes alone.
    """
    asked = stage_weights(wanted, stage, capital)
    n, caps = len(wanted.symbols), np.empty(2)
    held = np.zeros(wanted.weights.shape)
    lots, cuts = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    limits = _gross_limits(wanted, stage)
    for t in range(len(held)):
        caps[:] = limits[t], stage.margin_share
        allocate_greedily(
            asked[t], wanted.prices[t], capital, wanted.rules, caps, False, lots, cuts
        )
        held[t] = lots
    return np.where(held == 0.0, 0.0, held * wanted.lots / capital)


def stage_weights(wanted: Demand, stage: Stage, capital: float) -> FloatArray:
    """Return the weights that a stage allocates in lots: the normal size's, spread over what fits."""
    if stage.size_limit == 1.0:
        return wanted.weights
    scaled = np.zeros(wanted.weights.shape)
    spread_decisions(wanted.weights, wanted.orders / capital, stage.size_limit, scaled)
    return scaled


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The greedy and the exact allocation of the same targets under the same caps, at some decisions.

    Parameters
    ----------
    rows : int64 array, shape (n_sampled,)
        Of the demand.
    greedy, exact : tuple of Allocation
        One each per row: the account's rule, and the best holding, or the best found where it is not proven.
    """

    rows: IntArray = field(repr=False)
    greedy: tuple[Allocation, ...] = field(repr=False)
    exact: tuple[Allocation, ...] = field(repr=False)


def sample_allocations(wanted: Demand, stage: Stage, *, samples: int) -> Sampled:
    """Allocate the stage's weights within its caps both ways, at some evenly spread decisions.

    The exact search takes milliseconds per decision, too long for all of them.
    """
    rows, limits = _spread(len(wanted.index), samples), _gross_limits(wanted, stage)
    weights, greedy, exact = stage_weights(wanted, stage, stage.account.capital), [], []
    for t in rows:
        caps = AllocationCaps(
            equity=stage.account.capital, gross_max=limits[t], margin_share=stage.margin_share
        )
        asked = weights[t], wanted.prices[t], wanted.rules
        greedy.append(allocation.allocate_greedily(*asked, caps=caps, may_exceed_target=False))
        exact.append(allocation.allocate(*asked, caps=caps, may_exceed_target=False))
    return Sampled(rows=rows, greedy=tuple(greedy), exact=tuple(exact))


def allocation_table(wanted: Demand, sampled: Sampled) -> pd.DataFrame:
    """Return how near the greedy and the exact allocation come to the weights that both are asked for.

    Returns
    -------
    DataFrame
        ``ts greedy_tracking_error exact_tracking_error same_lots proven`` of each sampled decision. The tracking errors
        are norms of the deviation from the stage's weights, fractions of equity. The exact one is never larger.
    """
    pairs = list(zip(sampled.greedy, sampled.exact, strict=True))
    return pd.DataFrame(
        {
            "ts": wanted.index[sampled.rows],
            "greedy_tracking_error": np.array([one.tracking_error for one, _ in pairs]),
            "exact_tracking_error": np.array([best.tracking_error for _, best in pairs]),
            "same_lots": np.array(
                [np.array_equal(one.lots, best.lots) for one, best in pairs], bool
            ),
            "proven": np.array([best.proven for _, best in pairs], dtype=np.bool_),
        }
    )


def allocation_summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return medians of `allocation_table`, how often both hold the same, and by how much the greedy one is worse."""
    greedy, exact = table["greedy_tracking_error"], table["exact_tracking_error"]
    return {
        "decisions": len(table),
        "exact_proven": int(table["proven"].sum()),
        "same_lots": int(table["same_lots"].sum()),
        "same_lots_share": float(table["same_lots"].mean()),
        "greedy_tracking_error_median": float(greedy.median()),
        "exact_tracking_error_median": float(exact.median()),
        "greedy_excess_mean": float((greedy - exact).mean()),
        "greedy_excess_max": float((greedy - exact).max()),
    }


def rounding_table(
    wanted: Demand,
    stage: Stage,
    holdings: Mapping[str, FloatArray],
    covariance: FloatArray | None,
    *,
    sampled: Sampled,
) -> pd.DataFrame:
    """Return how far what is held is from the target portfolio, at every decision.

    Parameters
    ----------
    wanted, stage
        As in `sample_allocations`.
    holdings : mapping of str to float64 array, shape (n_decisions, n_symbols)
        Weights held, by the method that gave them.
    covariance : float64 array, shape (n_symbols, n_symbols), or None
        Of annual returns; None leaves the volatilities unknown.
    sampled : Sampled
        The exact allocations that are judged beside them.

    Returns
    -------
    DataFrame
        ``ts method`` (those given, and ``exact``) ``gross_wanted gross_held positions deviation difference_volatility
        target_volatility proven``. The target portfolio is that of the normal size times the size limit; ``deviation``
        is the sum of absolute deviations over its gross exposure, the volatilities are annual fractions of equity.
        ``exact`` is the holding nearest to the stage's weights under the caps by the sum of squares, or the best found
        where it is not ``proven``.
    """
    target, rows = stage.size_limit * wanted.weights, sampled.rows
    exact = np.array([best.weights for best in sampled.exact]).reshape(target[rows].shape)
    proven = np.array([best.proven for best in sampled.exact], dtype=np.bool_)
    parts = [
        *(
            _deviations(wanted.index, target, held, covariance).assign(method=name, proven=False)
            for name, held in holdings.items()
        ),
        _deviations(wanted.index[rows], target[rows], exact, covariance).assign(
            method="exact", proven=proven
        ),
    ]
    table = pd.concat(parts).sort_values("ts", kind="stable", ignore_index=True)
    return table[["ts", "method", *[c for c in table if c not in ("ts", "method")]]]


def rounding_summary(table: pd.DataFrame) -> dict[str, Any]:
    """Return the medians of each method, over all decisions and over those at which both are known."""
    exact = table[table["method"] == "exact"]
    greedy = table[table["method"] == "greedy"]
    numbers = ["deviation", "difference_volatility", "target_volatility", "positions"]
    parts = {
        "greedy": greedy,
        "account": table[table["method"] == "account"],
        "greedy_sampled": greedy[greedy["ts"].isin(exact["ts"])],
        "exact_sampled": exact,
    }
    told: dict[str, Any] = {name: part[numbers].median().to_dict() for name, part in parts.items()}
    return {**told, "samples": len(exact), "proven": int(exact["proven"].sum())}


def yearly_covariance(bars: Bars) -> FloatArray | None:
    """Return the covariance of daily returns over all bars times 365, shrunk; None where there are too few days."""
    closes = known_marks(bars)
    closes = np.where(np.isnan(bars.array("close")), np.nan, closes)
    last = np.flatnonzero(np.diff((bars.ts_us - 1) // DAY_US, append=-1))
    daily = closes[last]
    returns = daily[1:] / daily[:-1] - 1.0
    if (~np.isnan(returns)).sum(axis=0).max(initial=0) < _RETURNS_MIN:
        return None
    rules = HistoryRules(minimum_rows=_RETURNS_MIN, short="conservative")
    found = ledoit_wolf(returns, target="constant_correlation", rules=rules)
    return found.covariance * DAYS_PER_YEAR


def _gross_limits(wanted: Demand, stage: Stage) -> FloatArray:
    """Return the gross cap of each decision as the account has it: none at full size."""
    if stage.size_limit < 1.0:
        return stage.size_limit * wanted.gross
    return np.full(len(wanted.index), np.inf)


def _spread(n: int, samples: int) -> IntArray:
    return np.unique(np.linspace(0, n - 1, min(samples, n)).round().astype(np.int64))


def _deviations(
    index: pd.DatetimeIndex, target: FloatArray, held: FloatArray, covariance: FloatArray | None
) -> pd.DataFrame:
    gap, gross = held - target, np.abs(target).sum(axis=1)

    def volatility(weights: FloatArray) -> FloatArray:
        if covariance is None:
            return np.full(len(weights), np.nan)
        return np.asarray(np.sqrt(np.einsum("ti,ij,tj->t", weights, covariance, weights)))

    return pd.DataFrame(
        {
            "ts": index,
            "gross_wanted": gross,
            "gross_held": np.abs(held).sum(axis=1),
            "positions": (held != 0.0).sum(axis=1),
            "deviation": np.abs(gap).sum(axis=1) / gross,
            "difference_volatility": volatility(gap),
            "target_volatility": volatility(target),
        }
    )
