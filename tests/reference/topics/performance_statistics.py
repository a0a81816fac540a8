"""How the cases of `performance_statistics.json` are run."""

from __future__ import annotations

import math

import numpy as np

from quantcore.finance import performance, sharpe
from tests.reference.runner import Case


def _psr(case: Case) -> dict[str, float]:
    x = case.inputs
    value = sharpe.probabilistic_sharpe(
        x["sr"], x["n"], skew=x["skew"], kurtosis=x["kurtosis"], benchmark=x["sr_benchmark"]
    )
    return {"psr": value}


def _record(case: Case) -> dict[str, float]:
    x = case.inputs
    q = x.get("periods_per_year", 1)
    ratio = x["sr"] if "sr" in x else x["sr_annual"] / math.sqrt(q)
    benchmark = x["sr_benchmark"] if "sr" in x else x["sr_benchmark_annual"] / math.sqrt(q)
    length = sharpe.min_track_record(
        ratio,
        skew=x["skew"],
        kurtosis=x["kurtosis"],
        benchmark=benchmark,
        confidence=1.0 - x["alpha"],
    )
    return {"min_trl_obs": length, "min_trl_years": length / q}


def _annualisation(case: Case) -> dict[str, float]:
    x = case.inputs
    lags = np.arange(1, x["q"])
    return {"eta": sharpe.sharpe_annualisation(x["q"], x["ar1"] ** lags)}


def _error(case: Case) -> dict[str, float]:
    x = case.inputs
    return {"se": sharpe.sharpe_standard_error(x["sr"], x["n"])}


def _basic(case: Case) -> dict[str, float]:
    x = case.inputs
    returns, q = np.array(x["returns"], dtype=np.float64), x["periods_per_year"]
    curve = np.cumprod(1.0 + returns, dtype=np.float64)
    return {
        "cum_return": performance.compound(returns),
        "max_drawdown": performance.max_drawdown(curve, start=1.0),
        "annual_vol": performance.annual_volatility(returns, periods_per_year=q),
        "sharpe": performance.sharpe(returns, periods_per_year=q),
        "sortino": performance.sortino(returns, periods_per_year=q),
        "annual_downside": performance.downside_deviation(returns, periods_per_year=q),
    }


def _drawdown(case: Case) -> dict[str, float]:
    x = case.inputs
    curve = np.cumprod(1.0 + np.array(x["returns"], dtype=np.float64), dtype=np.float64)
    return {"max_drawdown": performance.max_drawdown(curve, start=1.0)}


def _weekly(case: Case) -> dict[str, float]:
    """Our convention drops the NaN row; a year of q periods is stretched to 365 days."""
    x = case.inputs
    returns = np.array(x["returns_with_nan"], dtype=np.float64)
    q, kept = x["periods_per_year"], int((~np.isnan(returns)).sum())
    return {
        "annual_return_if_nan_row_dropped": performance.annual_return(
            performance.compound(returns), days=365.0 * kept / q
        ),
        "annual_vol": performance.annual_volatility(returns, periods_per_year=q),
    }


CASES = {
    "psr_": _psr,
    "mintrl_": _record,
    "lo_annualisation_": _annualisation,
    "lo_iid_": _error,
    "basic_metrics_": _basic,
    "max_drawdown_": _drawdown,
    "annualisation_nan_row_": _weekly,
}
