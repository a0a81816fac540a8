"""How the cases of `portfolio.json` are run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.finance import allocation, covariance, portfolio
from quantcore.types import FloatArray
from tests.reference.runner import Case


def _covariance(inputs: Mapping[str, Any]) -> FloatArray:
    """Return the covariance that a case gives whole, or as volatilities and one correlation or all."""
    for name in ("cov", "covariance"):
        if name in inputs:
            return np.array(inputs[name], dtype=np.float64)
    volatility = np.array(inputs["vol"], dtype=np.float64)
    corr = np.array(inputs["corr"], dtype=np.float64)
    if corr.ndim == 0:
        corr = np.where(np.eye(len(volatility), dtype=np.bool_), 1.0, corr)
    return covariance.from_correlation(volatility, corr)


def _risk_budgeting(case: Case) -> dict[str, object]:
    x = case.inputs
    budgets = x.get("budget", x.get("budgets"))
    found = portfolio.risk_budgeting(_covariance(x), budgets=budgets, signs=x.get("signs"))
    return {
        "weights": found.weights,
        "risk_contribution": found.risk_contributions,
        "risk_share": found.risk_shares,
        "vol": found.volatility,
        "volatility": found.volatility,
    }


def _inverse_volatility(case: Case) -> dict[str, object]:
    return {"weights": portfolio.inverse_volatility(case.inputs["vol"])}


def _hrp(case: Case) -> dict[str, object]:
    """The libraries behind these cases keep the given order of equals."""
    x = case.inputs
    found = portfolio.hierarchical_risk_parity(
        _covariance(x), linkage=x.get("linkage", "single"), leaf_order="given"
    )
    return {"weights": found.weights, "quasi_diagonal_order": found.order}


def _minimum_cvar(case: Case) -> dict[str, object]:
    x = case.inputs
    limits = portfolio.LONG_ONLY
    if not x.get("long_only", True):
        gross = float(x.get("gross_cap", math.inf))
        bound = min(gross, float(x.get("weight_max", 10.0)))
        limits = portfolio.WeightLimits(lower=-bound, upper=bound, net=(1.0, 1.0), gross_max=gross)
    tail = x["tail_prob"] if "tail_prob" in x else 1.0 - x["confidence"]
    found = portfolio.minimum_cvar(x["returns"], tail_probability=tail, limits=limits)
    return {"weights": found.weights, "cvar": found.cvar, "var": found.value_at_risk}


def _ledoit_wolf(case: Case) -> dict[str, object]:
    returns = np.array(case.inputs["returns"], dtype=np.float64)
    identity = covariance.ledoit_wolf(returns, target="identity", ddof=0)
    common = covariance.ledoit_wolf(returns, target="constant_correlation", ddof=0)
    unbiased = covariance.ledoit_wolf(returns, target="constant_correlation", ddof=1)
    return {
        "identity_shrinkage": identity.shrinkage,
        "identity_mu": identity.mean_variance,
        "identity_cov": identity.covariance,
        "const_corr_shrinkage": common.shrinkage,
        "const_corr_rho": common.mean_correlation,
        "const_corr_cov": common.covariance,
        "const_corr_shrinkage_ddof1": unbiased.shrinkage,
    }


def _turnover_band(case: Case) -> dict[str, object]:
    x = case.inputs
    band = portfolio.no_trade_band(
        x["mu"],
        x["variance"],
        risk_aversion=x["risk_aversion"],
        previous=x["w_prev"],
        linear_cost=x["linear_cost"],
    )
    return {"weight": band.weight, "band": [band.lower, band.upper]}


def _allocation(case: Case) -> dict[str, object]:
    """The cases take the nearest multiple, above the target or below it."""
    x = case.inputs
    rules = allocation.lot_rules(
        x["qty_step"],
        min_notionals=x["min_notional"],
        leverages=x.get("leverage", 1.0),
        max_qtys=x.get("max_qty", math.inf),
    )
    caps = allocation.AllocationCaps(
        equity=x["equity"],
        gross_max=x.get("gross_cap", math.inf),
        margin_share=x.get("margin_share", math.inf),
        nodes_max=1_000_000,
    )
    found = allocation.allocate(
        x["target_weights"],
        x["price"],
        rules,
        caps=caps,
        may_exceed_target=x.get("may_exceed_target", True),
        covariance=x.get("covariance"),
    )
    return {
        "qty": found.qty,
        "notional": found.notional,
        "objective": found.objective,
        "gross": found.gross,
    }


CASES = {
    "erc_": _risk_budgeting,
    "risk_budget": _risk_budgeting,
    "inverse_vol": _inverse_volatility,
    "hrp_": _hrp,
    "min_cvar_": _minimum_cvar,
    "ledoit_wolf_": _ledoit_wolf,
    "turnover_band_": _turnover_band,
    "min_notional_allocation_": _allocation,
}
