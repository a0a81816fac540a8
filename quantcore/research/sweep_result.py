"""The results folder of a sweep: one table of all sets, what they are worth together, and the best run alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quantcore.errors import QuantcoreError
from quantcore.finance.overfitting import backtest_overfitting
from quantcore.research.outcomes import REFUSED, SET_METRICS, Outcomes, set_metrics
from quantcore.research.sets import Sets
from quantcore.research.study import Study
from quantcore.types import FloatArray

if TYPE_CHECKING:
    from omegaconf import DictConfig

VERIFIED = 1e-12
"""Largest difference between a metric of a set in the sweep and of a backtest of it alone, of the metric's own size."""
_SCALED_BY_CAPITAL = frozenset({"gross_pnl", "expectancy", "funding", "slippage_cost"})
"""Sums of gains and losses: their rounding is that of what was added, not of what is left."""


def sweep_table(sets: Sets, outcomes: Outcomes) -> pa.Table:
    """Return one row per set: parameters by override path in their natural types, then metrics, then why refused."""
    table = sets.to_table()
    for key in (*SET_METRICS, REFUSED):
        table = table.append_column(key, pa.array(outcomes.table[key]))
    return table


def best_set(table: pd.DataFrame) -> int | None:
    """Return the number of the set with the highest Sharpe ratio, the first of equals; None where none has one."""
    ratios = table["sharpe"].to_numpy(np.float64)
    return None if np.isnan(ratios).all() else int(np.nanargmax(ratios))


def probability_of_overfitting(daily: FloatArray) -> float | None:
    """Return the probability of backtest overfitting of all sets that traded; None where it cannot be measured."""
    known = daily[:, np.isfinite(daily).all(axis=0)]
    known = known[:, np.ptp(known, axis=0) > 0.0] if known.size else known
    n_days, n_sets = known.shape
    blocks = 16 if n_sets <= 1000 else 10
    if n_sets < 2 or n_days < 2 * blocks:
        return None
    return backtest_overfitting(known, n_blocks=blocks).pbo


def verify(study: Study, sets: Sets, outcomes: Outcomes, number: int) -> float:
    """Run a set alone and return the largest difference of a metric to the sweep's, relative to its size.

    Raises
    ------
    QuantcoreError
        If it is above `VERIFIED`: then the sweep is not to be believed.
    """
    alone, _, _ = set_metrics(study.run(sets.row(number)))
    worst, key = 0.0, ""
    for k, name in enumerate(SET_METRICS):
        there = float(outcomes.table[name].iloc[number])
        if math.isnan(there) and math.isnan(alone[k]):
            continue
        size = max(abs(alone[k]), abs(there), 1e-9)
        if name in _SCALED_BY_CAPITAL:
            size = max(size, float(study.variant(sets.row(number)).account.capital))
        difference = abs(there - alone[k]) / size
        if not difference <= worst:
            worst, key = difference, name
    if not worst <= VERIFIED:
        raise QuantcoreError(
            f"the best set must come to the same alone, {key} differed by {worst:.1e} of its size"
        )
    return worst


def summarise(
    cfg: DictConfig, study: Study, sets: Sets, outcomes: Outcomes, *, seconds: float
) -> dict[str, Any]:
    """Return `summary.json`: what was swept, what the best came to, and what that is worth."""
    table = outcomes.table
    best = best_set(table)
    told: dict[str, Any] = {
        "experiment": str(cfg.name),
        "sets": len(sets),
        "refused": int((table[REFUSED] != "").sum()),
        "parameters": list(sets.paths),
        "sampling": str(cfg.sweep.sampling),
        "note": sets.note,
        "days": len(outcomes.days_us),
        "seconds": round(seconds, 3),
        "sets_per_second": round(len(sets) / seconds, 3) if seconds > 0.0 else None,
        "pbo": probability_of_overfitting(outcomes.daily),
        "best": None,
    }
    if best is not None:
        told["best"] = {
            "set": best,
            "overrides": sets.overrides(best),
            "metrics": {key: float(table[key].iloc[best]) for key in SET_METRICS},
            "verified_difference": verify(study, sets, outcomes, best),
        }
    return told


def publish_sweep(
    cfg: DictConfig, study: Study, sets: Sets, outcomes: Outcomes, *, seconds: float, runs: Path
) -> Mapping[str, Any]:
    """Write the results folder, print what it says, and return `summary.json`."""
    from quantcore.backtest.experiment import manifest
    from quantcore.backtest.folder import publish, to_json
    from quantcore.backtest.summary import print_folder
    from quantcore.config import resolved_yaml

    summary = summarise(cfg, study, sets, outcomes, seconds=seconds)
    made_by = manifest(cfg, study.variant({}).signal.strategy)
    made_by |= {
        "command": "quantcore.research.sweep",
        "data_fingerprint": study.data.bars.fingerprint(),
    }

    def fill(folder: Path) -> None:
        pq.write_table(sweep_table(sets, outcomes), folder / "sweep.parquet", compression="zstd")
        (folder / "summary.json").write_text(to_json(summary), "utf-8")
        (folder / "manifest.json").write_text(to_json(made_by), "utf-8")
        (folder / "config.yaml").write_text(resolved_yaml(cfg), "utf-8")

    print_folder(publish(runs, "sweep", cfg.name, fill))
    return summary
