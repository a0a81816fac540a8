"""The second start of a command, to its first result line."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.timing import Table, Timing, keep


def start(root: Path, *arguments: str) -> Timing:
    """Return wall seconds to the first line on stdout (to the end where there is none), and CPU seconds in all."""
    # Without compiled modules on disk every start would compile them anew.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    cpu_before = _children_cpu()
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = next((text for text in process.stdout if text.strip()), None)
        wall = time.perf_counter() - began
        process.stdout.read()
    assert process.returncode == 0
    if line is None:
        wall = time.perf_counter() - began
    return Timing(wall, _children_cpu() - cpu_before)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_second_start_of_a_command(
    benchmark: BenchmarkFixture, table: Table, root: Path, tmp_path: Path
) -> None:
    commands = {
        "ours, backtest to first result line": (
            "-m", "quantcore.backtest", "+experiment=quickstart", f"runs={tmp_path}",
        ),
        "python -c 'import vectorbt'": ("-c", "import vectorbt"),
    }  # fmt: skip
    for arguments in commands.values():
        start(root, *arguments)
    rounds = 1 if benchmark.disabled else 3
    runs = [{name: start(root, *words) for name, words in commands.items()} for _ in range(rounds)]
    timings = {
        name: Timing(
            statistics.median(run[name].wall for run in runs),
            statistics.median(run[name].cpu for run in runs),
        )
        for name in commands
    }
    table.add("second start of a command", timings, goal="<= 3 s wall to the first result line")
    keep(
        benchmark, partial(start, root, *commands["ours, backtest to first result line"]), rounds=1
    )
