"""What a walk-forward does and found, printed: from plan and summary alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quantcore.backtest.markup import day, percent, plural, ratio
from quantcore.research.walk_forward_plan import Plan
from quantcore.research.walk_forward_verdict import (
    FAILS,
    HOLDS,
    Summary,
    chosen_heading,
    chosen_text,
)
from quantcore.timegrid import to_index

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""Columns to which the tables are held on wide terminals."""
_STYLES = {HOLDS: "bold green", FAILS: "bold yellow"}


def print_plan(plan: Plan, *, experiment: str, sets: int, console: Console | None = None) -> None:
    """Print what will be done, before the sets are evaluated: that takes longest."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    days = to_index(plan.days_us)
    first, last = plan.folds[0], plan.folds[-1]
    head = Text(experiment, style="bold")
    head.append(
        f"  {plural(sets, 'parameter set')}, {plural(len(plan.folds), 'test')} from {day(days[first.test_start])} to "
        f"{day(days[last.test_stop - 1])}, the first after {plural(first.test_start, 'day')} of training",
        style="dim",
    )
    screen.print(head, width=width)
    for note in plan.notes:
        screen.print(Text(note, style="dim"), width=width)
    screen.file.flush()


def print_walk(summary: Summary, *, console: Console | None = None) -> None:
    """Print the verdict and the folds."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    screen.print()
    first, *others = summary["sentences"]
    screen.print(Text(first, style=_STYLES.get(summary["verdict"], "bold")), width=width)
    for sentence in others:
        screen.print(Text(sentence), width=width)
    screen.print()
    screen.print(_folds(summary), width=width)
    screen.print()
    screen.print(_compared(summary), width=width)
    told = (
        f"in the tests: {percent(summary['total_return_oos'], signed=True)} at a drawdown of "
        f"{percent(summary['max_drawdown_oos'])}; {summary['seconds']:.0f} s"
    )
    if summary["refused"]:
        told += (
            f"; {plural(summary['refused'], 'set')} refused by the settings (sets.parquet says why)"
        )
    screen.print(Text(told, style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the pages are, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    for name in ("walk_forward", "tearsheet"):
        screen.print(Text(f"report: {folder / f'{name}.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def _folds(summary: Summary) -> Table:
    found = _table("What was chosen, and what came of it (annual Sharpe ratios)")
    found.add_column("Test", no_wrap=True)
    for name in ("Training", "Deflated", "Test", "All sets"):
        found.add_column(name, justify="right", no_wrap=True, min_width=6)
    found.add_column(chosen_heading(summary), overflow="fold")
    for fold in summary["folds"]:
        found.add_row(
            f"from {fold['test_start']}",
            ratio(fold["train_sharpe"]),
            percent(fold["train_deflated"], decimals=0),
            ratio(fold["test_sharpe"]),
            ratio(fold["mean_test_sharpe"]),
            chosen_text(fold["chosen"]) if fold["held"] else "cash",
        )
    return found


def _compared(summary: Summary) -> Table:
    found = _table("Over all tests")
    found.add_column("", no_wrap=True)
    found.add_column("Sharpe ratio", justify="right")
    for name, value in (
        ("The joined account", summary["sharpe_oos"]),
        ("The chosen sets' own backtests", summary["sharpe_chosen"]),
        ("The best in training", summary["sharpe_best_in_training"]),
        ("Mean of all sets", summary["sharpe_mean_of_sets"]),
        ("The experiment as it stands", summary["sharpe_experiment"]),
        ("The best in hindsight", summary["sharpe_best_in_hindsight"]),
    ):
        found.add_row(name, ratio(value))
    return found


def _table(title: str) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
