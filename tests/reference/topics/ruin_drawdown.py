"""How the cases of `ruin_drawdown.json` are run."""

from __future__ import annotations

from quantcore.finance import ruin
from tests.reference.runner import Case


def _ever_below(case: Case) -> dict[str, float]:
    x = case.inputs
    value = ruin.ever_below(x["wealth_fraction"], kelly_fraction=x["kelly_fraction"])
    return {"probability": value}


def _reach(case: Case) -> dict[str, float]:
    x = case.inputs
    value = ruin.reach_before(x["upper"], x["lower"], kelly_fraction=x["kelly_fraction"])
    return {"probability": value}


def _first_passage(case: Case) -> dict[str, float]:
    x = case.inputs
    value = ruin.first_passage(
        x["barrier_log_distance"],
        log_drift=x["log_drift"],
        sigma=x["sigma"],
        horizon=float(x.get("horizon_years") or "inf"),
    )
    return {"probability": value}


def _gambler(case: Case) -> dict[str, float]:
    x = case.inputs
    value = ruin.gamblers_ruin(x["p_win"], units=x["units"], target=x.get("target"))
    return {"ruin_probability": value}


def _max_drawdown(case: Case) -> dict[str, float]:
    x = case.inputs
    sigma, horizon = x["sigma"], x["horizon"]
    computed = {"expected_mdd": ruin.expected_max_drawdown(sigma=sigma, horizon=horizon)}
    if "h" in x:
        reached = ruin.max_drawdown_probability(x["h"], sigma=sigma, horizon=horizon)
        computed["prob_mdd_ge_h"] = reached
    return computed


CASES = {
    "kelly_ever_below": _ever_below,
    "reach_": _reach,
    "first_passage": _first_passage,
    "gamblers_ruin": _gambler,
    "max_drawdown_zero_drift": _max_drawdown,
}
