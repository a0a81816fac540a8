"""A sweep by search: Optuna proposes sets from a large space, a batch at a time, and learns from what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from quantcore.errors import ConfigError
from quantcore.research.evaluate import evaluate_all
from quantcore.research.executors import Executor
from quantcore.research.outcomes import SET_METRICS, Chunk, Outcomes, join, merge
from quantcore.research.search import Evaluation, Pruner, SearchSettings, search
from quantcore.research.search_objective import Objective, objective_values, stage_ends
from quantcore.research.sets import Sets, override_text
from quantcore.research.space import Space
from quantcore.research.study import Study, Values

STAGES = 3
"""Growing spans between which a pruner may give a set up."""
HEARTBEAT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class SweepSearch:
    """How a large space is searched, where ``sweep.sampling`` is ``tpe``.

    Parameters
    ----------
    objective : str
        ``"sharpe"`` or ``"sharpe_lower"``, the lower end of its interval.
    pruner : str
        ``"none"``, ``"median"`` or ``"hyperband"``.
    storage : str or None
        URL of an SQLite or PostgreSQL database that several machines join; None keeps the study in memory.
    batch : int
        Sets evaluated together, >= 1.
    """

    objective: Objective
    pruner: Pruner
    storage: str | None
    batch: int

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be >= 1, was {self.batch}")


def run_search(
    settings: SweepSearch, space: Space, study: Study, *, trials: int, seed: int, name: str, executor: Executor,
    done: Callable[[int], None],
) -> tuple[Sets, Outcomes]:  # fmt: skip
    """Search a space; return the sets that saw the whole span, and what they came to.

    Parameters
    ----------
    settings : SweepSearch
        How.
    space, study : Space, Study
        What the sets change, and of what.
    trials : int
        Sets that the study is to hold in the end.
    seed : int
        Of the sampler.
    name : str
        Of Optuna's study: machines that give the same one work on the same.
    executor : Executor
        Where sets run.
    done : callable
        Is told how many trials have ended.

    Raises
    ------
    ConfigError
        If the storage cannot be opened, or the space holds no more sets than trials are wanted.
    """
    stages = 1 if settings.pruner == "none" else STAGES
    known: dict[str, Chunk] = {}

    @cache
    def stage_study(stage: int) -> Study:
        return study if stage == stages - 1 else shortened(study, stage, stages)

    def evaluate(sets: Sets, stage: int) -> list[Evaluation]:
        rows = [sets.row(k) for k in range(len(sets))]
        found = evaluate_all(stage_study(stage), rows, executor=executor)
        if stage == stages - 1:
            known.update(_by_key(rows, found))
        values = np.full(len(rows), np.nan)
        if found.daily.size:
            values = objective_values(found.daily, settings.objective)
        return [
            Evaluation(
                objective=float(values[k]),
                refused=str(found.table["refused"].iloc[k]),
            )
            for k in range(len(rows))
        ]

    told = search(
        space,
        evaluate,
        settings=SearchSettings(
            trials=trials,
            batch=min(settings.batch, trials),
            sampler="tpe",
            pruner=settings.pruner,
            storage=settings.storage,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            seed=seed,
        ),
        name=name,
        stages=stages,
        progress=done,
    )
    complete = told.table[told.table["state"] == "complete"]
    note = f"{told.trials:,} trials of Optuna's study {told.name}"
    if len(complete) < len(told.table):
        note += (
            f"; {len(told.table) - len(complete):,} sets were given up before the end of the span"
        )
    sets = replace(
        Sets(columns={path: list(complete[path]) for path in told.parameters}), note=note
    )
    return sets, _outcomes(study, sets, known, executor)


def shortened(study: Study, stage: int, stages: int) -> Study:
    """Return a study over the first of several growing parts of the traded span."""
    bars = study.data.bars
    begin = (
        0 if study.data.start_us is None else int(np.searchsorted(bars.ts_us, study.data.start_us))
    )
    end = begin + stage_ends(bars.n_bars - begin, stages)[stage]
    return replace(study, data=replace(study.data, bars=bars.rows(0, end)))


def _by_key(rows: Sequence[Values], found: Outcomes) -> dict[str, Chunk]:
    metrics = found.table[list(SET_METRICS)].to_numpy(np.float64)
    return {
        _key(values): Chunk(
            rows=np.array([k]),
            metrics=metrics[[k]],
            daily=found.daily[:, [k]],
            days_us=found.days_us,
            refused=(str(found.table["refused"].iloc[k]),),
        )
        for k, values in enumerate(rows)
    }


def _outcomes(study: Study, sets: Sets, known: dict[str, Chunk], executor: Executor) -> Outcomes:
    """Return what all sets came to; those that another process evaluated run once more, to have their returns."""
    rows = [sets.row(k) for k in range(len(sets))]
    missing = [k for k, values in enumerate(rows) if _key(values) not in known]
    if missing:
        again = [rows[k] for k in missing]
        known = known | _by_key(again, evaluate_all(study, again, executor=executor))
    chunks = [replace(known[_key(values)], rows=np.array([k])) for k, values in enumerate(rows)]
    return join([merge(chunks, range(len(rows)))], sets.columns, len(sets))


def _key(values: Values) -> str:
    return " ".join(f"{path}={override_text(value)}" for path, value in sorted(values.items()))
