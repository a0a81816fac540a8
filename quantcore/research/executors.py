"""Where tasks run: in this process, in others of this machine, or on the machines of a Ray cluster.

A task is a number or a list of numbers; a function turns what all tasks share and one task into a result that does not
depend on where or when it ran. So results are the same on every executor, to the last bit.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from quantcore.cluster import check_address, connect, cores
from quantcore.errors import ConfigError, QuantcoreError

if TYPE_CHECKING:
    from omegaconf import DictConfig

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

    Tasks that a process had when it died run again.

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
        left = list(tasks)
        for _ in range(_RETRIES):
            try:
                for task, result in self._pool(function, shared, left):
                    left.remove(task)
                    yield result
                return
            except BrokenProcessPool:
                sys.stderr.write(f"a worker died: {len(left):,} tasks begin again\n")
        raise QuantcoreError(f"workers must live, died {_RETRIES} times")

    def _pool(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Sequence[Task]
    ) -> Iterator[tuple[Task, Result]]:
        # A fork shares the data's memory; where there is none each process gets a copy, once.
        method = "fork" if sys.platform == "linux" else "spawn"
        pool = ProcessPoolExecutor(
            max_workers=min(self.workers, len(tasks)),
            mp_context=multiprocessing.get_context(method),
            initializer=_begin,
            initargs=(function, shared),
        )
        waiting: dict[Future[Any], Task] = {}
        left = iter(list(tasks))
        try:
            while True:
                while (
                    len(waiting) < AHEAD * self.workers and (task := next(left, None)) is not None
                ):
                    waiting[pool.submit(_work, task)] = task
                if not waiting:
                    return
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield waiting[future], future.result()
                    del waiting[future]
        except BaseException:
            # An interrupt between two steps of the pool can leave workers that are never told to end.
            for process in list((pool._processes or {}).values()):
                process.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    """Tasks of a Ray cluster, whose nodes get what is shared once; a task whose worker dies runs again elsewhere.

    Parameters
    ----------
    address : str or None
        Of a running cluster, such as ``"10.0.0.1:6379"`` or ``"auto"``; None starts one on this machine, which
        ends with this process.
    tasks_max : int or None
        Tasks at a time; None: as many as the cluster has processors.

    Raises
    ------
    ConfigError
        On reaching no cluster at the address.
    """

    address: str | None = None
    tasks_max: int | None = None

    @property
    def workers(self) -> int:
        """Processors of the cluster, or fewer where so many are wanted."""
        connect(self.address)
        import ray

        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no types for it
        there = max(int(resources.get("CPU", 1)), 1)
        return there if self.tasks_max is None else min(there, self.tasks_max)

    def run(
        self, function: Callable[[Shared, Task], Result], shared: Shared, tasks: Sequence[Task]
    ) -> Iterator[Result]:
        """Yield each task's result as it comes; see `Executor.run`."""
        connect(self.address)
        import ray

        # A task is worth repeating: its result depends on nothing but what it is given.
        remote = ray.remote(max_retries=_RETRIES, retry_exceptions=False)(_work_on_node)
        # Within a list the reference is passed on as such, and each worker fetches what it stands for once.
        place = [ray.put(shared)]
        waiting: list[Any] = []
        left = iter(tasks)
        workers = self.workers
        try:
            while True:
                while len(waiting) < AHEAD * workers and (task := next(left, None)) is not None:
                    waiting.append(remote.remote(function, place, task))
                if not waiting:
                    return
                done, waiting = ray.wait(waiting, num_returns=1)
                yield ray.get(done[0])
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


_RETRIES = 8
"""Workers that may die under one task."""


def _work_on_node(function: Callable[[Any, Any], Any], place: list[Any], task: Any) -> Any:
    import ray

    if _held.get("place") != place[0].hex():
        _held["place"], _held["shared"] = place[0].hex(), ray.get(place[0])
    return function(_held["shared"], task)


_held: dict[str, Any] = {}


def _begin(function: Callable[[Any, Any], Any], shared: Any) -> None:
    """Keep in a worker what its tasks share; an interrupt from the keyboard, sent to all, is its parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _held["function"], _held["shared"] = function, shared


def _work(task: Any) -> Any:
    return _held["function"](_held["shared"], task)


def executor_of(cfg: DictConfig) -> Executor:
    """Return the executor that a configuration names by `executor`, `workers` and `address`.

    Raises
    ------
    ConfigError
        If it is neither local nor ray, nobody listens at the address, or a number is out of its range.
    """
    workers = cfg.workers
    if workers is not None and (
        isinstance(workers, bool) or not isinstance(workers, int) or workers < 1
    ):
        raise ConfigError(f"workers must be null or a whole number >= 1, was {workers}")
    if cfg.executor == "local":
        if cfg.address is not None:
            raise ConfigError(f"address must be null unless executor=ray, was {cfg.address}")
        return LocalExecutor(workers=workers or cores())
    if cfg.executor == "ray":
        check_address(cfg.address)  # before data are loaded
        return RayExecutor(address=cfg.address, tasks_max=workers)
    raise ConfigError(f"executor must be one of local, ray, was {cfg.executor}")
