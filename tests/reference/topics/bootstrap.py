"""How the cases of `bootstrap.json` are run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.finance import bootstrap
from quantcore.types import FloatArray
from tests.reference.runner import Case

NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"


def _series(inputs: Mapping[str, Any]) -> FloatArray:
    """Return the series that a case gives, or makes from numpy's legacy generator as its words say."""
    for key in ("x", "returns", "values"):
        if key in inputs:
            return np.array(inputs[key], dtype=np.float64)
    words = inputs["generator"].replace(" ", "")
    seed = int(_number(r"(?:RandomState|default_rng)\((\d+)\)", words))
    size = int(_number(r"(?:standard_normal|randn)\((\d+)\)", words))
    # The same seed gives other numbers from the legacy generator than from the new one.
    legacy = "RandomState" in words
    source = np.random.RandomState(seed) if legacy else np.random.default_rng(seed)
    shocks = source.standard_normal(size)
    slope = _number(rf"y_t={NUMBER}\*?y_", words)
    values = np.empty(size)
    values[0] = shocks[0] if "y_0=e_0" in words else _number(rf"y_0={NUMBER}", words)
    for t in range(1, size):
        values[t] = slope * values[t - 1] + shocks[t]
    dropped = re.search(r"dropthefirst(\d+)", words)
    return values[int(dropped.group(1)) if dropped else 0 :]


def _number(pattern: str, words: str) -> float:
    found = re.search(pattern, words)
    if found is None:
        raise ValueError(f"generator must fit {pattern!r}, was {words!r}")
    return float(found.group(1))


def _block(case: Case) -> Mapping[str, Any]:
    found = bootstrap.politis_white_block(_series(case.inputs))
    return {"stationary": found.stationary, "circular": found.circular}


def _variance(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    block = x["mean_block"] if "mean_block" in x else 1.0 / x["restart_probability"]
    variance = bootstrap.bootstrap_variance_of_mean(_series(x), mean_block=block)
    return {"bootstrap_variance_of_mean": variance}


CASES = {
    "politis_white_": _block,
    "stationary_bootstrap_mean_variance": _variance,
}
GROUPS = {"bootstrap_variance_of_mean": "exact"}
