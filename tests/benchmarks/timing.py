"""Measuring side by side, and the table that is printed at the end.

Contestants run in turn (A B A B), so that load from other processes falls on all of them; the median of the rounds
counts. Wall time says how long one waits, CPU time of this process what the work costs: on a busy machine the first is
larger. Ratios are of CPU times.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_benchmark.fixture import BenchmarkFixture


@dataclass(frozen=True)
class Timing:
    """Median seconds of the rounds."""

    wall: float
    cpu: float


def race(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, tidy: bool = False
) -> dict[str, Timing]:
    """Return each contestant's median times after one warm-up round, which compiles and caches.

    `tidy` collects garbage before each run, outside the clock: portfolios that refer to themselves would else hold
    their memory, and the next run pay for fresh pages. It also empties the processor's caches, so that it is off by
    default.
    """
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    cpu: dict[str, list[float]] = {name: [] for name in contestants}
    gc.collect()
    for measured in (False, *[True] * rounds):
        for name, contestant in contestants.items():
            if tidy:
                gc.collect()
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            result = contestant()
            cpu_taken = time.process_time() - cpu_start
            wall_taken = time.perf_counter() - wall_start
            del result
            if measured:
                wall[name].append(wall_taken)
                cpu[name].append(cpu_taken)
    return {
        name: Timing(statistics.median(wall[name]), statistics.median(cpu[name]))
        for name in contestants
    }


def keep(benchmark: BenchmarkFixture, work: Callable[[], object], *, rounds: int) -> None:
    """Time our own work with pytest-benchmark too, whose files compare one version of the code with another."""
    benchmark.pedantic(work, rounds=rounds)  # type: ignore[no-untyped-call] # it has no types


@dataclass
class Table:
    """Rows of the final table; the same work in one row, ours first."""

    rows: list[tuple[str, str, dict[str, Timing]]] = field(default_factory=list)

    def add(self, work: str, timings: Mapping[str, Timing], *, goal: str) -> None:
        """Add one kind of work; the goal is DESIGN.md's, in words."""
        self.rows.append((work, goal, dict(timings)))

    def lines(self) -> list[str]:
        """Return the table as text: under each work one line per contestant, with its ratio to ours."""
        lines = []
        for work, goal, timings in self.rows:
            lines += [f"{work}  [{goal}]"]
            base = next(iter(timings.values()))
            for name, timing in timings.items():
                lines.append(
                    f"    {name:<34}{_time(timing.cpu):>12} cpu{_time(timing.wall):>12} wall"
                    f"{timing.cpu / base.cpu:>10.2f} x ours"
                )
        return lines


def _time(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"
