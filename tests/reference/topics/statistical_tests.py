"""How the cases of `statistical_tests.json` are run."""

from __future__ import annotations

from typing import Any

from quantcore.features import cointegration
from tests.reference.runner import Case


def _critical_values(case: Case) -> dict[str, Any]:
    x = case.inputs
    values = cointegration.mackinnon_critical_values(x["n_series"], x["n"], trend=x["trend"])
    return {"crit_1_5_10": values}


def _half_life(case: Case) -> dict[str, float]:
    x = case.inputs
    phi, dt = x["ar1"], x.get("dt", 1.0)
    return {
        "kappa": cointegration.mean_reversion_speed(phi, dt=dt),
        "half_life": cointegration.half_life(phi, dt=dt),
    }


def _engle_granger(case: Case) -> dict[str, Any]:
    x = case.inputs
    result = cointegration.engle_granger(
        x["y"], x["x"], lags=x.get("lags", 0), trend=x.get("trend", "c")
    )
    return {
        "hedge_ratio": result.hedge_ratio,
        "intercept": result.intercept,
        "t_stat": result.t_statistic,
        "p_value": result.p_value,
        "crit": result.critical_values,
    }


CASES = {
    "mackinnon_critical": _critical_values,
    "ou_half_life": _half_life,
    "engle_granger": _engle_granger,
}
