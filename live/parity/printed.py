"""What `parity` found, printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from live.parity.study import Study
from live.parity.wording import first_told, gap_told, notes, tables, verdict
from quantcore.backtest.markup import day

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100
"""Columns to which text is held on wide terminals."""


def print_study(study: Study, *, console: Console | None = None) -> None:
    """Print the verdict, the counts, the first difference with its surroundings, and the money."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    summary = study.summary
    head = Text(summary["experiment"], style="bold")
    head.append(
        f"  {day(summary['start'])} to {day(summary['end'])}, {len(summary['symbols'])} symbols, "
        f"{summary['bars']:,} bars, against {summary['against']}",
        style="dim",
    )
    screen.print(head, width=width)
    for key, name, exactly in tables(study):
        wrong = summary[f"differing_{key}"]
        line = Text(f"  {name:<15}{summary[key]:>9,} compared {exactly}, ")
        line.append(f"{wrong:,} differ", style="bold yellow" if wrong else "green")
        screen.print(line, width=width)
    screen.print(
        f"  largest difference in equity {summary['max_equity_error']:.2e} USDT", width=width
    )
    good = study.comparison.equal
    screen.print(Text(verdict(study), style="bold green" if good else "bold yellow"), width=width)
    if not good:
        screen.print(Text(first_told(study)), width=width)
        screen.print(Text(study.context.to_string(index=False), style="dim"), soft_wrap=True)
        screen.print(Text(gap_told(study)), width=width)
    for note in notes(study):
        screen.print(Text(f"note: {note}", style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the page is, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    screen.print(Text(f"report: {folder / 'parity.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)
