"""Runs parameter sets of a study, as many at a time as there are workers, and says what they came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from quantcore.backtest.engine import Decided, trade
from quantcore.errors import ConfigError
from quantcore.research.compiled_sets import group_key, qualifies, run_group
from quantcore.research.executors import Executor
from quantcore.research.outcomes import Chunk, Outcomes, join, merge, refusal, set_metrics
from quantcore.research.set_group import Stage, stage
from quantcore.research.study import Study, Values, Variant
from quantcore.types import IntArray

Sets = Sequence[Values]

CHUNK = 64
"""Most sets in one task: what is lost when a worker dies, and the grain of the progress bar."""


@dataclass(frozen=True)
class Work:
    """What all tasks share."""

    study: Study
    sets: Sets

    @cached_property
    def stage(self) -> Stage:
        """What the compiled pass reads."""
        return stage(self.study.data)


def evaluate(
    study: Study,
    sets: Sets,
    *,
    executor: Executor,
    skip: IntArray | None = None,
) -> Iterator[Chunk]:
    """Yield what the sets came to, chunk by chunk in any order.

    Sets that qualify (`compiled_sets.qualifies`) run in one compiled pass per chunk; the others one after the other as
    backtests, of which those with the same signal settings share the signal plane.

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
    left = [number for number in range(len(sets)) if number not in known]
    tasks = _tasks(study, sets, left, executor.workers)
    yield from executor.run(evaluate_chunk, Work(study, sets), tasks)


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


def _tasks(study: Study, sets: Sets, numbers: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Return the numbers of the sets of each task.

    Sets are taken in an order in which those that share a portfolio, and of them those that share a signal plane, stand
    together: what they share is then computed once per task.
    """
    most = max(min(CHUNK, -(-len(numbers) // (4 * workers))), 1)
    ordered = sorted(
        numbers,
        key=lambda number: (study.portfolio_key(sets[number]), study.signal_key(sets[number])),
    )
    return [tuple(ordered[k : k + most]) for k in range(0, len(ordered), most)]


def evaluate_chunk(work: Work, task: Sequence[int]) -> Chunk:
    """Return what some of the sets came to."""
    variants: dict[int, Variant] = {}
    refused: dict[int, str] = {}
    for number in task:
        try:
            variants[number] = work.study.variant(work.sets[number])
        except ConfigError as error:
            refused[number] = str(error)
    groups: dict[Any, list[int]] = {}
    single = []
    for number, variant in variants.items():
        if qualifies(variant):
            groups.setdefault(group_key(variant, work.stage), []).append(number)
        else:
            single.append(number)
    parts = [
        run_group(work.stage, [variants[k] for k in group], group) for group in groups.values()
    ]
    parts += _backtests(work, single, variants)
    parts += [refusal(number, text) for number, text in refused.items()]
    return merge(parts, task)


def _backtests(
    work: Work, numbers: Sequence[int], variants: Mapping[int, Variant]
) -> Iterator[Chunk]:
    """Yield each set's chunk, run as the backtest command would; neighbours may share the signal plane."""
    last: tuple[Any, Decided] | None = None
    for number in numbers:
        variant, values = variants[number], work.sets[number]
        try:
            key = work.study.signal_key(values)
            if last is None or last[0] != key:
                last = key, work.study.decided(values)
            run = trade(
                last[1],
                account=variant.account,
                execution=variant.execution,
                risk=variant.risk,
            )
        except ConfigError as error:
            yield refusal(number, str(error))
            continue
        metrics, daily, days_us = set_metrics(run)
        yield Chunk(
            rows=np.array([number]),
            metrics=metrics[np.newaxis],
            daily=daily[:, np.newaxis],
            days_us=days_us,
            refused=("",),
        )
