"""The results folder of a sweep: one table of all sets, what they are worth together, and the best run alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from quantcore.errors import QuantcoreError
from quantcore.finance import performance
from quantcore.finance.overfitting import backtest_overfitting
from quantcore.research.outcomes import REFUSED, SET_METRICS, Outcomes, set_metrics
from quantcore.research.sets import Sets
from quantcore.research.study import Study
from quantcore.research.sweep_findings import Findings, findings
from quantcore.research.sweep_wording import SweepFacts, verdict
from quantcore.research.trials import Recorded, TrialCount, count_trials, open_ledger
from quantcore.research.tried import record_study
from quantcore.signal_plane import declared_variants
from quantcore.timegrid import DAYS_PER_YEAR, to_index
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


def difference_alone(
    study: Study, sets: Sets, outcomes: Outcomes, number: int
) -> tuple[float, str]:
    """Run a set alone; return the largest difference of a metric to the sweep's, relative to its size, and its key.

    A metric that only one of them knows differs infinitely.
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
        if math.isnan(difference):
            return math.inf, name
        if difference > worst:
            worst, key = difference, name
    return worst, key


def verified(difference: float, key: str, *, kept: str) -> float:
    """Return what `difference_alone` found, where the sweep is to be believed.

    Parameters
    ----------
    difference, key : float, str
        From `difference_alone`.
    kept : str
        What the refusal says of the ledger, as a clause.

    Raises
    ------
    QuantcoreError
        If it is above `VERIFIED`.
    """
    if not difference <= VERIFIED:
        raise QuantcoreError(
            f"the best set must come to the same alone, {key} differed by {difference:.1e} of its size; no results "
            f"were written, {kept}; resume=false computes all sets anew"
        )
    return difference


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A finished sweep, and what it is worth.

    Parameters
    ----------
    summary : mapping
        `summary.json`.
    table : DataFrame
        One row per set, as `sweep.parquet`.
    facts : SweepFacts
        What the table does not say.
    found : Findings
        What it does say.
    """

    summary: Mapping[str, Any]
    table: pd.DataFrame = field(repr=False)
    facts: SweepFacts
    found: Findings = field(repr=False)


def judge(
    cfg: DictConfig, study: Study, sets: Sets, outcomes: Outcomes, *, seconds: float
) -> Swept:
    """Run the best set alone, write all down in the ledger of trials, and say what the sweep is worth.

    What was tried is in the ledger also where the best set did not come to the same alone.

    Raises
    ------
    QuantcoreError
        If it did not; see `verified`.
    """
    table = sweep_table(sets, outcomes).to_pandas()
    best = best_set(table)
    trials, deflated, told = math.nan, None, "No set has a daily return, so nothing was counted."
    variance: float | None = None
    difference: float | None = None
    if best is not None:
        alone = difference_alone(study, sets, outcomes, best)
        recorded = _recorded(cfg, study, sets, outcomes)
        difference = verified(*alone, kept=_kept(recorded))
        count = count_trials(recorded, declared=declared_variants(study.variant({}).signal))
        deflated, told = _deflated(count, outcomes.daily[:, best]), count.sentence
        trials = math.nan if count.used is None else float(count.used)
        known = int(np.isfinite(outcomes.daily[:, best]).sum())
        variance = DAYS_PER_YEAR * count.spread**2 / known  # of annual ratios, as in `deflated`
    pbo = probability_of_overfitting(outcomes.daily)
    days = to_index(outcomes.days_us).strftime("%Y-%m-%d") if len(outcomes.days_us) else ["", ""]
    facts = SweepFacts(
        experiment=str(cfg.name),
        start=days[0],
        end=days[-1],
        symbols=study.data.bars.n_symbols,
        sampling=str(cfg.sweep.sampling),
        trials=trials,
        deflated_sharpe=deflated,
        overfitting_probability=pbo,
        seconds=seconds,
        notes=tuple(note for note in (sets.note, told, *study.data.notes) if note),
    )
    found = findings(table, sets.paths, trials=trials, variance=variance, seed=int(cfg.seed))
    summary: dict[str, Any] = {
        "experiment": str(cfg.name),
        "sets": len(sets),
        "refused": int((table[REFUSED] != "").sum()),
        "parameters": list(sets.paths),
        "sampling": str(cfg.sweep.sampling),
        "note": sets.note,
        "start": facts.start,
        "end": facts.end,
        "seconds": round(seconds, 3),
        "sets_per_second": round(len(sets) / seconds, 3) if seconds > 0.0 else None,
        "trials": None if math.isnan(trials) else trials,
        "trials_told": told,
        "dsr": deflated,
        "pbo": pbo,
        "verdict": verdict(found, facts, table, sets.paths).headline,
        "best": None if best is None else _told_set(sets, outcomes, best),
        "rather": None if found.peak is None else _told_set(sets, outcomes, found.peak.centre),
    }
    if best is not None:
        summary["best"] |= {"verified_difference": difference}
    return Swept(summary=summary, table=table, facts=facts, found=found)


def _recorded(cfg: DictConfig, study: Study, sets: Sets, outcomes: Outcomes) -> Recorded:
    rows = [sets.row(k) for k in range(len(sets))]
    return record_study(
        open_ledger(cfg.ledger), study, rows,
        daily=outcomes.daily, days_us=outcomes.days_us, command="sweep",
    )  # fmt: skip


def _kept(recorded: Recorded) -> str:
    if recorded.ledger is None:
        return "the ledger is off"
    if recorded.fault:
        return f"nor was the ledger: {recorded.fault}"
    return f"its {len(recorded.entry.trials):,} trials stay in the ledger {recorded.ledger.place}"


def _told_set(sets: Sets, outcomes: Outcomes, number: int) -> dict[str, Any]:
    return {
        "set": number,
        "overrides": sets.overrides(number),
        "metrics": {key: float(outcomes.table[key].iloc[number]) for key in SET_METRICS},
    }


def _deflated(count: TrialCount, daily: FloatArray) -> float | None:
    known = daily[np.isfinite(daily)]
    return count.deflated(
        performance.sharpe(known, periods_per_year=1.0),
        len(known),
        skew=performance.skewness(known),
        kurtosis=performance.raw_kurtosis(known),
    )
