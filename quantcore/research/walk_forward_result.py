"""From the evidence of a walk-forward and its joined account to `summary.json` and the tables of a results folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.curves import curves
from quantcore.backtest.result import Run
from quantcore.finance.performance import raw_kurtosis, sharpe, skewness
from quantcore.research.cross_validation import CrossValidation
from quantcore.research.evidence import Evidence, deflated
from quantcore.research.forward import fold_table
from quantcore.research.outcomes import REFUSED, Outcomes
from quantcore.research.selection import annual_sharpe
from quantcore.research.sets import Sets
from quantcore.research.stability import Stability, stability
from quantcore.research.trials import TrialCount
from quantcore.research.walk_forward_plan import Plan, WalkForwardSettings
from quantcore.research.walk_forward_verdict import judge, told
from quantcore.timegrid import DAYS_PER_YEAR, to_index
from quantcore.types import FloatArray

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, kw_only=True)
class WalkedForward:
    """Everything a walk-forward found.

    Parameters
    ----------
    settings, plan : WalkForwardSettings, Plan
        What was asked, and the spans.
    sets : Sets
        What was chosen among.
    outcomes : Outcomes
        What every set came to.
    kept : sequence of int
        Numbers of the sets that the settings accepted, in the order of the evidence's columns.
    evidence : Evidence
        What their returns say.
    run, own : Run
        The joined account, and the experiment's own settings traded over the same span.
    counted : TrialCount or None
        How many trials the best of the sets is the best of, from the ledger; None if it was not asked.
    """

    settings: WalkForwardSettings
    plan: Plan
    sets: Sets
    outcomes: Outcomes = field(repr=False)
    kept: Sequence[int]
    evidence: Evidence = field(repr=False)
    run: Run = field(repr=False)
    own: Run = field(repr=False)
    counted: TrialCount | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Values by path of the sets kept."""
        return [dict(self.sets.row(k)) for k in self.kept]

    @property
    def returns(self) -> FloatArray:
        """Daily returns of the sets kept; after a ruin nothing is earned."""
        return kept_returns(self.outcomes, self.kept)

    @property
    def tested(self) -> slice:
        """The rows of all tests."""
        return slice(self.plan.folds[0].test_start, self.plan.folds[-1].test_stop)


def kept_returns(outcomes: Outcomes, kept: Sequence[int]) -> FloatArray:
    """Return the daily returns of some sets, 0 where an account was ruined before."""
    return np.asarray(np.nan_to_num(outcomes.daily[:, list(kept)], nan=0.0))


def tables_of(walked: WalkedForward) -> dict[str, pd.DataFrame]:
    """Return the tables that stand beside those of the joined account, by file name."""
    days = to_index(walked.plan.days_us)
    evidence = walked.evidence
    crossed = evidence.cross_validation
    joined = {
        name: curves(run)
        for name, run in (("walk_forward", walked.run), ("experiment", walked.own))
    }
    return {
        "folds": fold_table(evidence.steps, days, walked.rows, walked.kept),
        "sets": _set_table(walked),
        "returns": pd.DataFrame(
            walked.outcomes.daily, index=days, columns=[str(k) for k in range(len(walked.sets))]
        ),
        "tests": pd.DataFrame(
            {
                "chosen": evidence.forward,
                "best_in_training": evidence.naive,
                "mean_of_sets": walked.returns[walked.tested].mean(axis=1),
            },
            index=days[walked.tested],
        ),
        "curves": pd.concat(
            [pd.Series(c.nav, index=to_index(c.ts_us), name=name) for name, c in joined.items()],
            axis=1,
        ),
        "paths": pd.DataFrame(
            {
                "path": np.arange(1, len(crossed.sharpe) + 1),
                "sharpe": crossed.sharpe,
                "best_in_training_sharpe": crossed.naive_sharpe,
            }
        ),
        "splits": pd.DataFrame(
            {
                "set": [walked.kept[c.chosen] for c in crossed.choices],
                "train_sharpe": crossed.split_train,
                "test_sharpe": crossed.split_test,
            }
        ),
        "overfitting": pd.DataFrame(
            {
                "in_sample": evidence.overfitting.in_sample * math.sqrt(DAYS_PER_YEAR),
                "out_of_sample": evidence.overfitting.out_of_sample * math.sqrt(DAYS_PER_YEAR),
                "logit": evidence.overfitting.logits,
            }
        ),
    }


def summary_of(
    walked: WalkedForward, metrics: Mapping[str, Any], *, experiment: str, seconds: float
) -> dict[str, Any]:
    """Return `summary.json`; `metrics` are those of the joined account."""
    settings, plan, evidence = walked.settings, walked.plan, walked.evidence
    daily = curves(walked.run).daily.to_numpy(np.float64)
    found = evidence.overfitting
    moved = stability(walked.rows, [s.choice.chosen for s in evidence.steps])
    values: dict[str, Any] = {
        "experiment": experiment,
        **_spans(walked, metrics),
        "choose": settings.choose,
        "confidence": settings.confidence,
        "parameters": list(settings.parameters),
        "sets": len(walked.sets),
        "refused": len(walked.sets) - len(walked.kept),
        "independent_sets": evidence.independent_sets,
        "sharpe_oos": metrics["sharpe"],
        "sharpe_oos_low": metrics["sharpe_ci_low"],
        "sharpe_oos_high": metrics["sharpe_ci_high"],
        "total_return_oos": metrics["total_return"],
        "max_drawdown_oos": metrics["max_drawdown"],
        "psr": deflated(daily, trials=1.0),
        "dsr": deflated(daily, trials=evidence.independent_sets),
        "dsr_ledger": metrics["dsr"],
        "trials": metrics["trials"],
        **_compared(walked),
        "best_in_sample": _best(walked),
        "pbo": found.pbo,
        "probability_of_loss": found.probability_of_loss,
        "degradation": {
            "slope": found.slope,
            "intercept": found.intercept * math.sqrt(DAYS_PER_YEAR),
            "r_squared": found.r_squared,
        },
        "cross_validation": _crossed(evidence.cross_validation, plan),
        "stability": _stability(moved),
        "rank_correlation": _mean([s.rank_correlation for s in evidence.steps]),
        "folds": _folds(walked),
        "notes": [*plan.notes, *_notes(walked)],
        "seconds": seconds,
    }
    verdict = judge(values)
    return {"experiment": experiment, "verdict": verdict, "sentences": told(values), **values}


def _best(walked: WalkedForward) -> dict[str, Any]:
    """Return the best set in hindsight, deflated by the sets' independent number and by what the ledger counts."""
    evidence, count = walked.evidence, walked.counted
    daily = walked.returns[evidence.first :, evidence.best]
    counted = None
    if count is not None:
        counted = count.deflated(
            sharpe(daily, periods_per_year=1.0),
            len(daily),
            skew=skewness(daily),
            kurtosis=raw_kurtosis(daily),
        )
    return {
        "set": walked.kept[evidence.best],
        "values": walked.rows[evidence.best],
        "sharpe": evidence.best_sharpe,
        "dsr": evidence.best_deflated,
        "dsr_ledger": counted,
        "trials": None if count is None else count.used,
    }


def _notes(walked: WalkedForward) -> list[str]:
    told = [walked.sets.note, "" if walked.counted is None else walked.counted.sentence]
    return [note for note in told if note]


def _folds(walked: WalkedForward) -> list[dict[str, Any]]:
    """Return the folds as `summary.json` holds them: the chosen values under ``chosen``, days as text."""
    days = to_index(walked.plan.days_us)
    table = fold_table(walked.evidence.steps, days, walked.rows, walked.kept)
    paths = list(walked.sets.paths)
    return [
        {
            **{
                str(k): f"{v:%Y-%m-%d}" if isinstance(v, pd.Timestamp) else v
                for k, v in row.items()
                if k not in paths
            },
            "chosen": {path: row[path] for path in paths},
        }
        for row in table.to_dict("records")
    ]


def _spans(walked: WalkedForward, metrics: Mapping[str, Any]) -> dict[str, Any]:
    plan, table = walked.plan, walked.run.tables["equity"]
    folds = plan.folds
    return {
        "start": table["ts"].iloc[0].isoformat(),
        "end": table["ts"].iloc[-1].isoformat(),
        "interval": walked.run.interval,
        "symbols": metrics["symbols"],
        "capital": walked.run.capital,
        "days": len(plan.days_us),
        "scheme": walked.settings.scheme,
        "train_days": folds[0].test_start,
        "test_days": folds[-1].test_stop - folds[0].test_start,
        "warm_up_days": walked.evidence.first,
        "holding_days": plan.holding,
        "memory_days": plan.memory,
        "purge_days": plan.purge,
        "embargo_days": plan.validation.embargo,
    }


def _compared(walked: WalkedForward) -> dict[str, Any]:
    """Return Sharpe ratios over the test days of what the choices are to be compared with."""
    evidence = walked.evidence
    steps = evidence.steps
    lengths = np.array([s.fold.test_stop - s.fold.test_start for s in steps], dtype=np.float64)
    promised = np.array([s.choice.sharpe for s in steps])
    tested = annual_sharpe(walked.returns[walked.tested])
    stitched, naive = annual_sharpe(np.column_stack([evidence.forward, evidence.naive]))
    known = tested[~np.isnan(tested)]
    beaten = float((known < stitched).mean()) if len(known) and not math.isnan(stitched) else None
    return {
        "sharpe_promised": float(promised @ lengths / lengths.sum()),
        "sharpe_chosen": float(stitched),
        "sharpe_best_in_training": float(naive),
        "sharpe_mean_of_sets": _mean(known),
        "sharpe_best_in_hindsight": float(known.max()) if len(known) else None,
        "sharpe_experiment": float(
            annual_sharpe(
                np.nan_to_num(curves(walked.own).daily.to_numpy(np.float64))[:, np.newaxis]
            )[0]
        ),
        "sets_beaten": beaten,
    }


def _crossed(found: CrossValidation, plan: Plan) -> dict[str, Any]:
    known = found.sharpe[~np.isnan(found.sharpe)]
    naive = found.naive_sharpe[~np.isnan(found.naive_sharpe)]
    quantiles = np.quantile(known, QUANTILES) if len(known) else np.full(len(QUANTILES), np.nan)
    return {
        "groups": plan.validation.n_groups,
        "test_groups": plan.validation.n_test_groups,
        "purge_days": plan.validation.purge,
        "embargo_days": plan.validation.embargo,
        "splits": len(found.choices),
        "paths": len(found.sharpe),
        "sharpe": {f"q{100 * q:g}": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)},
        "sharpe_mean": _mean(known),
        "share_negative": float((known < 0.0).mean()) if len(known) else None,
        "best_in_training_median": float(np.median(naive)) if len(naive) else None,
        "most_chosen_share": found.most_chosen_share,
    }


def _stability(found: Stability) -> dict[str, Any]:
    values = asdict(found)
    names = ("same", "same_drawn", "distance", "distance_drawn")
    values["parameters"] = {
        path: dict(zip(names, numbers, strict=True)) for path, numbers in found.parameters.items()
    }
    return values


def _set_table(walked: WalkedForward) -> pd.DataFrame:
    """Return every set: its parameters, what it came to, and how often it was chosen."""
    table: pd.DataFrame = walked.sets.to_table().to_pandas()
    measured = walked.outcomes.table[
        [c for c in walked.outcomes.table if c not in walked.sets.paths]
    ]
    table = pd.concat([table, measured], axis=1)
    table.insert(0, "set", np.arange(len(table)))
    steps, crossed = walked.evidence.steps, walked.evidence.cross_validation
    columns = {
        "sharpe_from_first_position": annual_sharpe(walked.returns[walked.evidence.first :]),
        "sharpe_in_tests": annual_sharpe(walked.returns[walked.tested]),
        "folds_chosen": _counts([s.choice.chosen for s in steps], len(walked.kept)),
        "splits_chosen": _counts([c.chosen for c in crossed.choices], len(walked.kept)),
    }
    for name, values in columns.items():
        whole = np.full(len(table), np.nan)
        whole[list(walked.kept)] = values
        table[name] = whole
    table[REFUSED] = table.pop(REFUSED)  # last
    return table


def _counts(chosen: Sequence[int], n: int) -> FloatArray:
    return np.bincount(np.asarray(chosen), minlength=n).astype(np.float64)


def _mean(values: Sequence[float] | FloatArray) -> float:
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else math.nan
