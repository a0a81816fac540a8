"""Where tasks run: in this process, in others of this machine, or on the machines of a Ray cluster.

A task is a number or a list of numbers; a function turns what all tasks share and one task into a result that does not
depend on where or when it ran. So results are the same on every executor, to the last bit.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from quantcore.errors import ConfigError

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 2
"""Tasks handed out for each worker before the first of them has ended."""


class Executor(Protocol):
    """Runs tasks that share something large."""

    @property
    def workers(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Sequence[Task]
    ) -> Iterator[Result]:
        """Yield each task's result as it comes, in any order."""
        ...


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Processes of this machine, which get what is shared once; a single one works in this process.

    Parameters
    ----------
    workers : int
        Processes, >= 1.
    """

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers must be >= 1, was {self.workers}")

    def run(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Sequence[Task]
    ) -> Iterator[Result]:
        """Yield each task's result as it comes; see `Executor.run`."""
        if min(self.workers, len(tasks)) <= 1:
            for task in tasks:
                yield function(shared, task)
            return
        # A fork shares the data's memory; where there is none each process gets a copy, once.
        method = "fork" if sys.platform == "linux" else "spawn"
        pool = ProcessPoolExecutor(
            max_workers=min(self.workers, len(tasks)),
            mp_context=multiprocessing.get_context(method),
            initializer=_begin,
            initargs=(function, shared),
        )
        waiting: set[Future[Any]] = set()
        left = iter(tasks)
        try:
            for task in left:
                waiting.add(pool.submit(_work, task))
                if len(waiting) < AHEAD * self.workers:
                    continue
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown(wait=True, cancel_futures=True)


_held: dict[str, Any] = {}


def _begin(function: Callable[[Any, Any], Any], shared: Any) -> None:
    """Keep in a worker what its tasks share."""
    _held["function"], _held["shared"] = function, shared


def _work(task: Any) -> Any:
    return _held["function"](_held["shared"], task)


def cores() -> int:
    """Return how many processes this machine can run at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
