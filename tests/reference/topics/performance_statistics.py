"""How the cases of `performance_statistics.json` are run."""

from __future__ import annotations

import math
import re

import numpy as np

from quantcore.finance import overfitting, performance, sharpe
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


def _deflated(case: Case) -> dict[str, float]:
    x = case.inputs
    q = x.get("periods_per_year", 1)
    ratio = x["sr"] if "sr" in x else x["sr_annual"] / math.sqrt(q)
    annual = "var_sr_trials_annual" in x
    variance = x["var_sr_trials_annual"] / q if annual else x["var_sr_trials"]
    luck = overfitting.expected_max_sharpe(x["n_trials"], variance=variance)
    return {
        "sr0_per_obs": luck,
        "sr0_annual": luck * math.sqrt(q),
        "dsr": overfitting.deflated_sharpe(
            ratio,
            x["n"],
            skew=x["skew"],
            kurtosis=x["kurtosis"],
            n_trials=x["n_trials"],
            variance=variance,
        ),
    }


def _expected_max(case: Case) -> dict[str, float]:
    x = case.inputs
    variance = x.get("variance", 1)
    found = {"expected_max": overfitting.expected_max_sharpe(x["n_trials"], variance=variance)}
    for key in case.expected:
        if named := re.match(r"exact_expected_max_of_(\d+)_normals", key):
            exact = overfitting.expected_max_normal(int(named.group(1)))
            found[key] = exact * math.sqrt(variance)
    return found


def _annualisation(case: Case) -> dict[str, float]:
    x = case.inputs
    rho = x["autocorrelations"] if "autocorrelations" in x else x["ar1"] ** np.arange(1, x["q"])
    return {"eta": sharpe.sharpe_annualisation(x["q"], rho)}


def _error(case: Case) -> dict[str, float]:
    x = case.inputs
    error = sharpe.sharpe_standard_error(
        x["sr"], x["n"], skew=x.get("skew", 0.0), kurtosis=x.get("kurtosis", 3.0)
    )
    return {"se": error}


def _basic(case: Case) -> dict[str, float]:
    x = case.inputs
    returns, q = np.array(x["returns"], dtype=np.float64), x["periods_per_year"]
    excess = returns - x.get("risk_free", 0)
    curve = np.cumprod(1.0 + returns, dtype=np.float64)
    return {
        "cum_return": performance.compound(returns),
        "max_drawdown": performance.max_drawdown(curve, start=1.0),
        "annual_vol": performance.annual_volatility(returns, periods_per_year=q),
        "sharpe": performance.sharpe(excess, periods_per_year=q),
        "sortino": performance.sortino(excess, periods_per_year=q),
        "annual_downside": performance.downside_deviation(returns, periods_per_year=q),
    }


def _drawdown(case: Case) -> dict[str, float]:
    x = case.inputs
    curve = np.cumprod(1.0 + np.array(x["returns"], dtype=np.float64), dtype=np.float64)
    return {"max_drawdown": performance.max_drawdown(curve, start=1.0)}


def _weekly(case: Case) -> dict[str, float]:
    """Our convention drops the NaN row; counted, it lengthens the span. A year of q periods stands for 365 days."""
    x = case.inputs
    returns = np.array(x["returns_with_nan"], dtype=np.float64)
    q, kept = x["periods_per_year"], int((~np.isnan(returns)).sum())
    total = performance.compound(returns)
    return {
        "annual_return_if_nan_row_counts": performance.annual_return(
            total, days=365.0 * len(returns) / q
        ),
        "annual_return_if_nan_row_dropped": performance.annual_return(total, days=365.0 * kept / q),
        "annual_vol": performance.annual_volatility(returns, periods_per_year=q),
    }


CASES = {
    "psr_": _psr,
    "mintrl_": _record,
    "dsr_": _deflated,
    "expected_max_sharpe_": _expected_max,
    "lo_annualisation_": _annualisation,
    "lo_": _error,
    "basic_metrics_": _basic,
    "max_drawdown_": _drawdown,
    "annualisation_nan_row_": _weekly,
}
