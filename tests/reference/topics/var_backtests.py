"""How the cases of `var_backtests.json` are run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.finance import var_backtests
from tests.reference.runner import Case


def _ratio(case: Case, test: var_backtests.LikelihoodRatio) -> dict[str, Any]:
    """Return a test's numbers, and its verdict at whatever confidence `expected` names (reject_95)."""
    computed: dict[str, Any] = {"lr": test.statistic, "p_value": test.p_value}
    for key in case.expected:
        level = re.fullmatch(r"reject_([0-9.]+)", key)
        if level:
            computed[key] = test.p_value < 1.0 - float(level[1]) / 100.0
    return computed


def _pairs(x: Mapping[str, Any]) -> var_backtests.Transitions:
    if "hits" in x:
        return var_backtests.transitions(x["hits"])
    return var_backtests.Transitions(x["n00"], x["n01"], x["n10"], x["n11"])


def _pof(case: Case) -> dict[str, Any]:
    x = case.inputs
    return _ratio(case, var_backtests.kupiec_pof(x["n"], x["failures"], tail_probability=x["p"]))


def _first(case: Case) -> dict[str, Any]:
    x = case.inputs
    return _ratio(
        case, var_backtests.time_until_first_failure(x["first_failure"], tail_probability=x["p"])
    )


def _independence(case: Case) -> dict[str, Any]:
    return _ratio(case, var_backtests.christoffersen_independence(_pairs(case.inputs)))


def _coverage(case: Case) -> dict[str, Any]:
    x = case.inputs
    test = var_backtests.christoffersen_conditional_coverage(
        x["n"], x["failures"], _pairs(x), tail_probability=x["p"]
    )
    return _ratio(case, test)


def _region(case: Case) -> dict[str, Any]:
    x = case.inputs
    regions = {
        str(n): list(
            var_backtests.non_rejection_region(
                int(n), tail_probability=x["p"], test_level=x.get("test_level", 0.95)
            )
        )
        for n in np.atleast_1d(x["n"])
    }
    return {"min_max_failures_inclusive": regions}


def _light(case: Case) -> dict[str, Any]:
    """One number of failures gives numbers, several give lists."""
    x = case.inputs
    lights = [
        var_backtests.traffic_light(x["n"], failures, tail_probability=x["p"])
        for failures in np.atleast_1d(x["failures"]).tolist()
    ]
    computed: dict[str, list[Any]] = {
        "zone": [light.zone for light in lights],
        "cumulative_probability": [light.cumulative_probability for light in lights],
        "cumulative_probability_pct": [100.0 * light.cumulative_probability for light in lights],
        "type1": [light.type_1_error for light in lights],
        "increase": [light.increase for light in lights],
        "multiplier": [light.multiplier for light in lights],
    }
    if isinstance(x["failures"], list):
        return computed
    return {key: values[0] for key, values in computed.items()}


CASES = {
    "kupiec_nonrejection": _region,
    "(kupiec_)?(tuff|time_until)": _first,
    "kupiec_": _pof,
    "christoffersen_independence": _independence,
    "christoffersen_(conditional|cc)": _coverage,
    "(basel|traffic_light)_": _light,
}
