"""What the sweep command says on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quantcore.backtest.markup import plural
from quantcore.research.sweep_result import Swept
from quantcore.research.sweep_wording import refusals, set_text, verdict

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 5
"""Best sets that are printed."""


def print_sweep(
    swept: Swept, parameters: Sequence[str], folder: Path, *, console: Console | None = None
) -> None:
    """Print the verdict, the best sets, what was refused, and as the last line the results folder's path."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    told, table, summary = (
        verdict(swept.found, swept.facts, swept.table, parameters),
        swept.table,
        swept.summary,
    )
    span = f"{summary['start']} to {summary['end']}" if summary["start"] else "no span"
    span += f", {plural(swept.facts.symbols, 'symbol')}"
    speed = summary["sets_per_second"]
    rate = "" if speed is None else f", {speed:,.1f} sets a second"
    screen.print(Text(f"{summary['experiment']}: {len(table):,} sets, {span}{rate}"))
    screen.print(Text(told.headline, style="bold"))
    for sentence in told.sentences:
        screen.print(Text(sentence))
    best = table["sharpe"].sort_values(ascending=False, kind="stable").dropna().index[:SHOWN]
    if len(best):
        lines = Table(box=None, pad_edge=False, header_style="dim")
        lines.add_column("Best sets", overflow="fold")
        for title in ("Sharpe", "Return a year", "Drawdown", "Round trips"):
            lines.add_column(title, justify="right", no_wrap=True)
        for number in best:
            row = table.loc[number]
            lines.add_row(
                set_text(row, parameters),
                f"{row['sharpe']:.2f}",
                f"{row['annual_return']:+.1%}",
                f"{row['max_drawdown']:.1%}",
                f"{row['trades']:,.0f}",
            )
        screen.print(lines)
    for reason, count in refusals(table).items():
        screen.print(Text(f"{plural(count, 'set')} refused: {reason}", style="dim"))
    for note in swept.facts.notes:
        screen.print(Text(f"note: {note}", style="dim"))
    screen.print(Text(f"report: {folder / 'sweep.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)
