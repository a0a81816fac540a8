"""How the cases of `backtest_overfitting.json` are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantcore.finance import overfitting, performance
from quantcore.research import splits
from quantcore.types import FloatArray
from tests.reference.runner import Case


def _mean(rows: FloatArray) -> FloatArray:
    return np.asarray(rows.mean(axis=0))


def _sortino(rows: FloatArray) -> FloatArray:
    return np.array([performance.sortino(column, periods_per_year=1.0) for column in rows.T])


def _metric(words: str) -> overfitting.Metric | None:
    """Return the metric that a case names in words; the plain Sharpe ratio is the function's own."""
    first = words.lower().split()[0] if words.split() else "sharpe"
    known: dict[str, overfitting.Metric | None] = {
        "sharpe": None,
        "mean": _mean,
        "average": _mean,
        "sortino": _sortino,
    }
    return known[first]


def _cscv(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    found = overfitting.backtest_overfitting(
        x["returns"], n_blocks=x["n_blocks"], metric=_metric(x.get("metric", "sharpe"))
    )
    return {
        "n_combinations": len(found.logits),
        "logits": found.logits,
        "logits_sorted": np.sort(found.logits),
        "pbo": found.pbo,
        "probability_of_loss": found.probability_of_loss,
        "prob_loss": found.probability_of_loss,
        "slope": found.slope,
        "intercept": found.intercept,
        "r_squared": found.r_squared,
    }


def _counts(case: Case) -> Mapping[str, Any]:
    groups, tests = case.inputs["n_groups"], case.inputs["n_test_groups"]
    return {
        "n_splits": splits.count_splits(groups, tests),
        "n_paths": splits.count_paths(groups, tests),
    }


def _indices(case: Case) -> Mapping[str, Any]:
    x = case.inputs
    found = splits.combinatorial_splits(
        x["n_obs"],
        n_groups=x["n_groups"],
        n_test_groups=x["n_test_groups"],
        purge=x.get("purged_size", 0),
        embargo=x.get("embargo_size", 0),
    )
    return {
        **_counts(case),
        "splits": [
            {"train": s.train.tolist(), "test": [rows.tolist() for rows in s.tests]} for s in found
        ],
    }


CASES = {
    "cscv_": _cscv,
    "cpcv_counts_": _counts,
    "cpcv_purge_embargo_": _indices,
    "cpcv_": _indices,
}
