"""Published and independently confirmed numbers for performance statistics."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcore.finance import performance, sharpe

Case = dict[str, Any]
ELSEWHERE = ("dsr_", "expected_max_sharpe_")
"""Prefixes of cases that belong to `finance/overfitting`."""


def _psr(x: Case) -> dict[str, float]:
    value = sharpe.probabilistic_sharpe(
        x["sr"], x["n"], skew=x["skew"], kurtosis=x["kurtosis"], benchmark=x["sr_benchmark"]
    )
    return {"psr": value}


def _record(x: Case) -> dict[str, float]:
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


def _annualisation(x: Case) -> dict[str, float]:
    lags = np.arange(1, x["q"])
    return {"eta": sharpe.sharpe_annualisation(x["q"], x["ar1"] ** lags)}


def _error(x: Case) -> dict[str, float]:
    return {"se": sharpe.sharpe_standard_error(x["sr"], x["n"])}


def _basic(x: Case) -> dict[str, float]:
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


def _drawdown(x: Case) -> dict[str, float]:
    curve = np.cumprod(1.0 + np.array(x["returns"], dtype=np.float64), dtype=np.float64)
    return {"max_drawdown": performance.max_drawdown(curve, start=1.0)}


def _weekly(x: Case) -> dict[str, float]:
    """Our convention drops the NaN row; a year of q periods is stretched to 365 days."""
    returns = np.array(x["returns_with_nan"], dtype=np.float64)
    q, kept = x["periods_per_year"], int((~np.isnan(returns)).sum())
    return {
        "annual_return_if_nan_row_dropped": performance.annual_return(
            performance.compound(returns), days=365.0 * kept / q
        ),
        "annual_vol": performance.annual_volatility(returns, periods_per_year=q),
    }


COMPUTE = {
    "psr_": _psr,
    "mintrl_": _record,
    "lo_annualisation_": _annualisation,
    "lo_iid_": _error,
    "basic_metrics_": _basic,
    "max_drawdown_": _drawdown,
    "annualisation_nan_row_": _weekly,
}
NAMES = (
    "psr_monthly_normal",
    "psr_monthly_nonnormal",
    "psr_testsuite",
    "psr_monthly_vs_0.1_normal",
    "mintrl_testsuite",
    "mintrl_sr2_vs_1_normal_daily",
    "mintrl_sr2_vs_1_normal_weekly",
    "mintrl_sr2_vs_1_normal_monthly",
    "lo_annualisation_q12_rho0.0",
    "lo_annualisation_q12_rho0.2",
    "lo_annualisation_q12_rho-0.2",
    "lo_iid_standard_error",
    "basic_metrics_mixed",
    "max_drawdown_from_first_bar",
    "annualisation_nan_row_weekly",
)


@pytest.fixture(scope="module")
def cases(shared: Path) -> dict[str, Case]:
    path = shared / "reference" / "performance_statistics.json"
    return {case["name"]: case for case in json.loads(path.read_text("utf-8"))["cases"]}


def _tolerance(case: Case, expected: float) -> float:
    given = case["tolerance"]
    return float(max(given.get("abs", 0.0), given.get("rel", 0.0) * abs(expected)))


@pytest.mark.parametrize("name", NAMES)
def test_statistics_agree_with_the_reference(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    compute = next(f for prefix, f in COMPUTE.items() if name.startswith(prefix))
    computed = compute(case["inputs"])
    compared = [key for key in case["expected"] if key in computed]
    assert compared
    for key in compared:
        expected = case["expected"][key]
        assert abs(computed[key] - expected) <= _tolerance(case, expected), key


def test_no_case_is_left_out(cases: dict[str, Case]) -> None:
    left = {name for name in cases if not name.startswith(ELSEWHERE)}
    assert left == set(NAMES)


@pytest.mark.parametrize("name", ["historical_n20_a0.1", "historical_n25_a0.05"])
def test_historical_tail_losses_agree_with_the_reference(shared: Path, name: str) -> None:
    path = shared / "reference" / "var_es.json"
    case = next(c for c in json.loads(path.read_text("utf-8"))["cases"] if c["name"] == name)
    at_risk, shortfall = performance.tail_loss(
        case["inputs"]["returns"], tail_probability=case["inputs"]["tail_prob"]
    )
    assert abs(at_risk - case["expected"]["var_order_statistic"]) <= case["tolerance"]["abs"]
    assert abs(shortfall - case["expected"]["es_rockafellar_uryasev"]) <= case["tolerance"]["abs"]
