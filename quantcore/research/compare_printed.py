"""A comparison, printed: which runs, what differs, the numbers side by side, and a verdict for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from quantcore.backtest.markup import MISSING, money, percent, plural, ratio
from quantcore.research.compare_figures import symbol_differences
from quantcore.research.compare_settings import changes
from quantcore.research.compare_wording import (
    MARK,
    MONEY,
    RETURNS,
    TRADING,
    interval,
    mark_told,
    span_told,
    trips_told,
    values,
)
from quantcore.research.comparison import Comparison

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""Columns to which the tables are held on wide terminals."""

_NAME_WIDTH, _RUN_WIDTH = 20, 15
_SETTINGS_SHOWN = 20
_SYMBOLS_SHOWN = 5


def print_comparison(found: Comparison, *, console: Console | None = None) -> None:
    """Print a comparison; colours appear on a terminal only, wide tables are parted to its width."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    screen.print(Text(f"{plural(len(found.labels), 'run')} compared", style="bold"), width=width)
    screen.print(Text(span_told(found.summary), style="dim"), width=width)
    screen.print()
    for line in _runs_told(found):
        screen.print(Text(line), width=width)
    for warning in found.summary["warnings"]:
        screen.print(Text(f"note: {warning}", style="yellow"), width=width)
    screen.print()
    screen.print(Text(f"What differs from {found.labels[0]}", style="bold"), width=width)
    for line in _settings(found):
        screen.print(Text(line), width=width)
    screen.print()
    for labels in _fitting(found.labels, width):
        screen.print(_metrics(found, labels), width=width)
    if found.metrics["best"].any():
        screen.print(Text(mark_told(found.summary["confidence"]), style="dim"), width=width)
    screen.print()
    for verdict, beside in zip(
        found.summary["verdicts"], found.summary["against_base"], strict=True
    ):
        counts = verdict["kind"] in ("better", "worse")
        screen.print(Text(verdict["text"], style="bold" if counts else ""), width=width)
        for line in (_beside_told(beside), *_sources_told(found, verdict["label"])):
            screen.print(Text(line, style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the page is, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    screen.print(Text(f"report: {folder / 'compare.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def _runs_told(found: Comparison) -> Iterator[str]:
    for entry in found.summary["runs"]:
        base = ", the base" if entry["label"] == found.labels[0] else ""
        yield (
            f"{entry['label']}  {entry['name']}{base}: {money(entry['capital'], decimals=0)} USDT, "
            f"{entry['interval']}, {entry['start'][:10]} to {entry['end'][:10]}"
        )
        if entry["folder"]:
            yield f"   {entry['folder']}"


def _settings(found: Comparison) -> Iterator[str]:
    """Yield what each run has set otherwise than the base."""
    base = found.labels[0]
    for label in found.labels[1:]:
        told = changes(found.settings, label, base)
        if not told:
            yield f"{label}  the same settings as {base}"
        for k, change in enumerate(told[:_SETTINGS_SHOWN]):
            yield f"{'   ' if k else f'{label}  '}{change}"
        if len(told) > _SETTINGS_SHOWN:
            yield f"   and {len(told) - _SETTINGS_SHOWN} more, in the report"


def _metrics(found: Comparison, labels: Sequence[str]) -> Table:
    table = _table("In the common span")
    table.add_column("", style="dim", overflow="fold")
    for label in labels:
        table.add_column(label, justify="right", overflow="fold")
    for group in (RETURNS, TRADING, MONEY):
        for metric, name, told in group:
            numbers, best = values(found.metrics, metric)
            cells = [told(numbers[label]) + (MARK if label == best else "") for label in labels]
            if all(cell == MISSING for cell in cells):
                continue
            table.add_row(name, *cells)
            if metric == "sharpe":
                table.add_row("  95 % interval", *(interval(found.metrics, x) for x in labels))
    table.caption = "price PnL before slippage, and costs: shares of the opening equity"
    table.caption_justify = "left"
    return table


def _beside_told(beside: dict[str, float]) -> str:
    return (
        f"   a year {percent(beside['mean'], signed=True)}, tracking error {percent(beside['tracking_error'])}, "
        f"correlation {ratio(beside['correlation'])}"
    )


def _sources_told(found: Comparison, label: str) -> Iterator[str]:
    beside = next(b for b in found.summary["against_base"] if b["label"] == label)
    yield f"   {beside['told']}"
    apart = symbol_differences(found)[label]
    widest = apart[apart != 0.0].abs().sort_values(ascending=False, kind="stable").index
    if len(widest):
        named = _listed(apart.loc[widest[:_SYMBOLS_SHOWN]])
        yield f"   by symbol: {named}"
    yield f"   {trips_told(beside)}"


def _listed(apart: pd.Series) -> str:
    return ", ".join(f"{s} {percent(float(v), signed=True)}" for s, v in apart.items())


def _fitting(labels: Sequence[str], width: int) -> Iterator[list[str]]:
    """Yield the runs by as many as fit beside each other, each time with the base first."""
    base, others = labels[0], list(labels[1:])
    room = max((width - _NAME_WIDTH) // _RUN_WIDTH - 1, 1)
    for k in range(0, len(others), room):
        yield [base, *others[k : k + room]]


def _table(title: str) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        caption_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
