"""Runs parameter sets of a study, as many at a time as there are workers, and says what they came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from quantcore.backtest.engine import Decided, trade
from quantcore.errors import ConfigError
from quantcore.research.executors import Executor
from quantcore.research.outcomes import SET_METRICS, Chunk, Outcomes, join, set_metrics
from quantcore.research.study import Study, Values
from quantcore.types import IntArray

Sets = Sequence[Values]

CHUNK = 64
"""Most sets in one task: what is lost when a worker dies, and the grain of the progress bar."""


def evaluate(
    study: Study,
    sets: Sets,
    *,
    executor: Executor,
    skip: IntArray | None = None,
) -> Iterator[Chunk]:
    """Yield what the sets came to, chunk by chunk in any order.

    Parameters
    ----------
    study : Study
        What they change.
    sets : sequence of mapping of str to value
        By override path.
    executor : Executor
        Where they run; the results do not depend on it.
    skip : int64 array or None
        Numbers of sets that are known already.

    Raises
    ------
    ConfigError
        If an option that a set chooses does not exist.
    """
    study.prepare(sets)
    known = set() if skip is None else set(skip.tolist())
    tasks = [task for task in _tasks(study, sets, executor.workers) if not known.issuperset(task)]
    yield from executor.run(_evaluate_chunk, (study, sets), tasks)


def evaluate_all(
    study: Study, sets: Sets, *, executor: Executor, done: Callable[[int], None] | None = None
) -> Outcomes:
    """Return what all sets came to; `done` is told of each number of sets that have just ended.

    The sets must have the same paths; arguments and errors as `evaluate`.
    """
    chunks = []
    for chunk in evaluate(study, sets, executor=executor):
        chunks.append(chunk)
        if done is not None:
            done(len(chunk.rows))
    paths = list(sets[0]) if sets else []
    return join(chunks, {path: [values[path] for values in sets] for path in paths}, len(sets))


def _tasks(study: Study, sets: Sets, workers: int) -> list[tuple[int, ...]]:
    """Return the numbers of the sets of each task: those that share a signal plane together, as far as that fits."""
    by_signal: dict[Any, list[int]] = {}
    for number, values in enumerate(sets):
        by_signal.setdefault(study.signal_key(values), []).append(number)
    most = max(min(CHUNK, -(-len(sets) // (4 * workers))), 1)
    tasks: list[list[int]] = []
    for numbers in by_signal.values():
        for first in range(0, len(numbers), most):
            part = numbers[first : first + most]
            if tasks and len(tasks[-1]) + len(part) <= most:
                tasks[-1] += part
            else:
                tasks.append(part)
    return [tuple(task) for task in tasks]


def _evaluate_chunk(shared: tuple[Study, Sets], task: tuple[int, ...]) -> Chunk:
    study, sets = shared
    rows = np.array(task, dtype=np.int64)
    metrics = np.full((len(task), len(SET_METRICS)), np.nan)
    daily: list[Any] = [None] * len(task)
    days_us = np.empty(0, dtype=np.int64)
    refused = [""] * len(task)
    last: tuple[Any, Decided] | None = None
    for k, number in enumerate(task):
        values = sets[number]
        try:
            variant = study.variant(values)
            key = study.signal_key(values)
            if last is None or last[0] != key:
                last = key, study.decided(values)
            run = trade(
                last[1],
                account=variant.account,
                execution=variant.execution,
                risk=variant.risk,
            )
        except ConfigError as error:
            refused[k] = str(error)
            continue
        metrics[k], daily[k], days_us = set_metrics(run)
    matrix = np.full((len(days_us), len(task)), np.nan)
    for k, returns in enumerate(daily):
        if returns is not None:
            matrix[:, k] = returns
    return Chunk(rows=rows, metrics=metrics, daily=matrix, days_us=days_us, refused=tuple(refused))
