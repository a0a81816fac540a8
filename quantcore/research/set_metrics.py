"""Tallies of many accounts into the metrics of their runs: the same numbers as `metrics.json` of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from quantcore.backtest.metrics import CONFIDENCE, TAIL_PROBABILITY
from quantcore.kernels import layout as at
from quantcore.kernels import statistics as of_record
from quantcore.kernels import tally as of
from quantcore.kernels.statistics import record_statistics
from quantcore.research.outcomes import SET_METRICS
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR
from quantcore.types import FloatArray

_RECORD = {
    "sharpe": of_record.SHARPE,
    "annual_volatility": of_record.VOLATILITY,
    "sortino": of_record.SORTINO,
    "psr": of_record.PSR,
    "alpha": of_record.ALPHA,
    "beta": of_record.BETA,
    "var_95_daily": of_record.VALUE_AT_RISK,
    "es_95_daily": of_record.SHORTFALL,
}
_SUMS = {
    "fees": of.FEES,
    "funding": of.FUNDING,
    "slippage_cost": of.SLIPPAGE,
    "liquidation_fees": of.LIQUIDATION_FEES,
    "insurance": of.INSURANCE,
    "deposits": of.DEPOSITS,
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """What the records of all sets have in common.

    Parameters
    ----------
    days : float
        Length of the recorded span.
    days_per_year : float
        Daily returns in a year.
    benchmark : float64 array, shape (n_days,)
        Daily returns of BTC held.
    """

    days: float
    days_per_year: float
    benchmark: FloatArray = field(repr=False)


def daily_returns(navs: FloatArray) -> FloatArray:
    """Return the returns of unit values at the ends of days, shape ``(n_sets, n_days)``; 1 before the first."""
    before = np.concatenate([np.ones((len(navs), 1)), navs[:, :-1]], axis=1)
    daily = np.full(navs.shape, np.nan)
    np.divide(navs, before, out=daily, where=before > 0.0)
    return daily - 1.0


def tally_metrics(
    tally: FloatArray, position: FloatArray, daily: FloatArray, span: Span
) -> FloatArray:
    """Return `SET_METRICS` of each set, shape ``(n_sets, len(SET_METRICS))``.

    Parameters
    ----------
    tally : float64 array, shape (n_sets, N_TALLY)
        What happened, see `kernels.tally`.
    position : float64 array, shape (n_sets, n_symbols, N_POSITION)
        What is held at the end.
    daily : float64 array, shape (n_sets, n_days)
        Daily returns.
    span : Span
        Of the records.
    """
    years = span.days / DAYS_PER_YEAR
    quantile = NormalDist().inv_cdf(CONFIDENCE)
    record = record_statistics(
        daily, span.benchmark, span.days_per_year, TAIL_PROBABILITY, quantile
    )
    held = (position[:, :, at.QTY] * position[:, :, at.MARK]).sum(axis=1)
    under = tally[:, of.UNDER_SINCE]
    lasting = np.where(under >= 0.0, tally[:, of.LAST_TS] - under, 0.0)
    deepest, closed = tally[:, of.DEEPEST], tally[:, of.CLOSED]
    total = tally[:, of.NAV] - 1.0
    annual = _annual(total, span.days)
    found = {name: record[:, column] for name, column in _RECORD.items()}
    found |= {name: _total(tally, column) for name, column in _SUMS.items()}
    found |= {
        "total_return": total,
        "annual_return": annual,
        "max_drawdown": deepest,
        "max_drawdown_days": np.maximum(tally[:, of.LONGEST_US], lasting) / DAY_US,
        "calmar": _over(annual, -deepest),
        "min_track_record_days": record[:, of_record.TRACK_RECORD]
        * DAYS_PER_YEAR
        / span.days_per_year,
        "trades": tally[:, of.TRADES],
        "win_rate": _over(tally[:, of.WINS], closed),
        "profit_factor": _over(_total(tally, of.GAINS), -_total(tally, of.LOSSES)),
        "expectancy": _over(_total(tally, of.NET), closed),
        "turnover_annual": _over(
            _total(tally, of.NOTIONAL), _total(tally, of.EQUITY_SUM) / tally[:, of.ROWS] * years
        ),
        "mean_slippage_bps": _over(found["slippage_cost"], _total(tally, of.COMPARED)) * 1e4,
        "liquidations": tally[:, of.LIQUIDATIONS],
        "gross_pnl": _total(tally, of.GROSS) + held,
        "final_equity": tally[:, of.EQUITY],
    }
    metrics = np.column_stack([found[name] for name in SET_METRICS])
    metrics[~np.isfinite(metrics)] = np.nan
    return metrics


def _total(tally: FloatArray, column: int) -> FloatArray:
    return np.asarray(tally[:, column] + tally[:, column + 1])


def _over(above: FloatArray, below: FloatArray) -> FloatArray:
    """Return a quotient, NaN where the divisor is not positive."""
    result = np.full(len(above), np.nan)
    np.divide(above, below, out=result, where=below > 0.0)
    return result


def _annual(total: FloatArray, days: float) -> FloatArray:
    """Return the compound annual return; as `finance.performance.annual_return`."""
    if days < 1.0:
        return np.full(len(total), np.nan)
    alive = total > -1.0
    exponent = np.log1p(np.where(alive, total, 0.0)) * 365.0 / days
    growth = np.expm1(np.minimum(exponent, 700.0))
    return np.where(alive, np.where(exponent < 700.0, growth, np.nan), -1.0)
