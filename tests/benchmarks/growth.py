"""How time and memory grow with bars, symbols and sets, ten- and a hundredfold, beside vectorbt rust.

Each size runs in a process of its own, which warms up on a tenth of it at most and then measures one run: CPU time,
and by how much its memory peaked above what it held before (data included there, so that only what the work needs
counts). ``python -m tests.benchmarks.growth`` prints the table of docs/speed.md and draws its picture.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.markets import market
from tests.benchmarks.sweeps import stage_of, sweep, variants, vectorbt_sweep

PICTURE = Path(__file__).parents[2] / "docs" / "growth.svg"
OURS, PEER = "ours", "vectorbt rust"
BARS = 52_560
"""Minutes of the smallest account: five weeks."""
HOURS = 8_760
"""Hours of the smallest sweep: a year."""
TIMES = (1, 10, 100)
AXES = {
    "account, bars": "1 symbol, {:,} minutes",
    "account, symbols": "{:,} symbol(s), 52,560 minutes",
    "sweep, bars": "100 sets, {:,} hours",
    "sweep, sets": "{:,} sets, 8,760 hours",
}
"""What grows, and how its sizes are said."""
SMALLEST = {
    "account, bars": BARS,
    "account, symbols": 1,
    "sweep, bars": HOURS,
    "sweep, sets": 100,
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One size of one axis, measured.

    Parameters
    ----------
    axis : str
        Of `AXES`.
    times : int
        How many times the smallest size.
    who : str
        `OURS` or `PEER`.
    seconds : float
        CPU time of one warm run.
    mebibytes : float
        Peak of resident memory above what was held before.
    """

    axis: str
    times: int
    who: str
    seconds: float
    mebibytes: float


def grid(n_sets: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the windows of a crossover's sets, fast ones and slow ones."""
    fasts = max(10, n_sets // 100)
    return range(2, 2 + fasts), range(104, 104 + 3 * (n_sets // fasts), 3)


def account_work(who: str, n_bars: int, n_symbols: int) -> Callable[[], object]:
    from tests.benchmarks.test_account_speed import (
        account_curve,
        next_bar,
        targets_of,
        vectorbt_shared,
    )

    bars = market(n_bars, n_symbols, funding=True)
    targets = targets_of(bars, max(0.9 / n_symbols, 0.02))  # above the no-trade band
    if who == OURS:
        return partial(account_curve, bars, targets)
    closes = pd.DataFrame(bars.array("close"), columns=list(bars.symbols))
    return partial(vectorbt_shared, "rust", closes, bars.array("open"), next_bar(targets))


def sweep_work(who: str, n_bars: int, n_sets: int) -> Callable[[], object]:
    bars = market(n_bars, 1, interval="1h", funding=True)
    fasts, slows = grid(n_sets)
    if who == OURS:
        return partial(sweep, stage_of(bars), variants(fasts, slows))
    return partial(vectorbt_sweep, "rust", bars, fasts, slows)


def work(axis: str, times: int, who: str) -> Callable[[], object]:
    """Return what is measured."""
    size = SMALLEST[axis] * times
    if axis == "account, bars":
        return account_work(who, size, 1)
    if axis == "account, symbols":
        return account_work(who, BARS, size)
    if axis == "sweep, bars":
        return sweep_work(who, size, 100)
    return sweep_work(who, HOURS, size)


def resident(name: str) -> float:
    """Return a line of the process's memory, MiB: VmRSS now, VmHWM at its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024.0
    return float("nan")


def measure_here(axis: str, times: int, who: str) -> Cell:
    """Measure one size in this process."""
    work(axis, 1, who)()
    run = work(axis, times, who)
    ctypes.CDLL(None).malloc_trim(
        0
    )  # what the warm-up freed is given back, so that it is not used unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    held, start = resident("VmRSS"), time.process_time()
    result = run()
    seconds = time.process_time() - start
    peak = resident("VmHWM")
    del result
    return Cell(axis=axis, times=times, who=who, seconds=seconds, mebibytes=max(peak - held, 0.0))


def measure(axis: str, times: int, who: str) -> Cell:
    """Measure one size in a process of its own.

    Raises
    ------
    RuntimeError
        If that fails, with what it said last.
    """
    command = [sys.executable, "-m", "tests.benchmarks.growth", axis, str(times), who]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{axis} x {times}, {who}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Cell(**found)


def cells(who: Sequence[str] = (OURS, PEER), times: Sequence[int] = TIMES) -> Iterator[Cell]:
    """Measure all sizes, one after another."""
    for axis in AXES:
        for each in times:
            for one in who:
                yield measure(axis, each, one)


def table(found: Sequence[Cell]) -> list[str]:
    """Return the table in Markdown: times as multiples of the smallest size, and beside the peer's."""
    lines = [
        "| work | ours | grew | memory | vectorbt rust | its memory |",
        "|---|---|---|---|---|---|",
    ]
    by = {(cell.axis, cell.times, cell.who): cell for cell in found}
    for (axis, times, who), cell in by.items():
        if who != OURS:
            continue
        first, peer = by[axis, 1, OURS], by[axis, times, PEER]
        name = AXES[axis].format(SMALLEST[axis] * times)
        lines.append(
            f"| {name} | {_time(cell.seconds)} | {cell.seconds / first.seconds:.3g} × | {_memory(cell)} | "
            f"{peer.seconds / cell.seconds:.3g} × ours | {_memory(peer)} |"
        )
    return lines


def draw(found: Sequence[Cell], path: Path) -> None:
    """Draw time and memory over size, both axes logarithmic, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "font.family": "sans-serif",
            "font.size": 9,
            "svg.hashsalt": "growth",
            "svg.fonttype": "none",
        }
    )
    figure, panels = plt.subplots(
        2, len(AXES), figsize=(11, 5.2), sharey="row", layout="constrained"
    )
    colours = {OURS: "#2563c9", PEER: "#d4631c"}
    for column, axis in enumerate(AXES):
        for row, name in enumerate(("seconds", "mebibytes")):
            panel = panels[row, column]
            for who, colour in colours.items():
                mine = [cell for cell in found if cell.axis == axis and cell.who == who]
                sizes = [SMALLEST[axis] * cell.times for cell in mine]
                values = [max(getattr(cell, name), 0.1 if row else 0.0) for cell in mine]
                panel.plot(sizes, values, marker="o", markersize=4, color=colour, label=who)
                if row == 0:
                    line = values[0] * np.array(sizes) / sizes[0]
                    panel.plot(sizes, line, color=colour, linewidth=0.8, linestyle=":")
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.minorticks_off()
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(which="major", color="#8a94a3", alpha=0.25, linewidth=0.6)
        panels[0, column].set_title(axis, fontsize=10)
        panels[1, column].set_xlabel(axis.split(", ")[1])
    panels[0, 0].set_ylabel("CPU time, s (dotted: linear)")
    panels[1, 0].set_ylabel("memory needed, MiB")
    panels[0, 0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1.0 else f"{seconds * 1e3:.1f} ms"


def _memory(cell: Cell) -> str:
    return f"{cell.mebibytes:,.0f} MiB" if cell.mebibytes >= 1.0 else "< 1 MiB"


def main(arguments: Sequence[str]) -> None:
    """Measure one size and print it as JSON, or all and draw them."""
    if arguments:
        axis, times, who = arguments
        sys.stdout.write(json.dumps(asdict(measure_here(axis, int(times), who))) + "\n")
        return
    found = []
    for cell in cells():
        sys.stderr.write(f"{cell}\n")
        found.append(cell)
    sys.stdout.write("\n".join(table(found)) + "\n")
    draw(found, PICTURE)


if __name__ == "__main__":
    main(sys.argv[1:])
