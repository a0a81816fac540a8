"""What `feasibility` found, printed: from summary and tables alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from quantcore.backtest.markup import day, known, money, plural, ratio, share, whole, words
from quantcore.backtest.verdict import is_limit
from quantcore.research.feasibility_wording import (
    Summary,
    Tables,
    capital_name,
    fine,
    from_capital,
    position_range,
    records,
    refusal_rules,
    rough,
    times,
    usdt,
    verdict_told,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""Columns to which the tables are held on wide terminals."""


def print_study(summary: Summary, tables: Tables, *, console: Console | None = None) -> None:
    """Print what the account can hold, the verdict, and what other capitals would have come to."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    span = f"{day(summary['start'])} to {day(summary['end'])}"
    head = Text(summary["experiment"], style="bold")
    head.append(
        f"  {span}, {plural(summary['symbols'], 'symbol')}, {summary['interval']} decisions",
        style="dim",
    )
    screen.print(head, width=width)
    screen.print()
    screen.print(_symbols(summary, tables["symbols"]), width=width)
    for line in (*_columns_told(summary), _rounding_told(summary), _allocations_told(summary)):
        screen.print(Text(line, style="dim"), width=width)
    screen.print()
    good = summary["verdict"] == "feasible"
    screen.print(
        Text(verdict_told(summary), style="bold green" if good else "bold yellow"), width=width
    )
    screen.print()
    screen.print(_capitals(tables["capitals"]), width=width)
    for line in _refusals_told(tables["capitals"]):
        screen.print(Text(line, style="dim"), width=width)
    for note in [note for note in summary["notes"] if not is_limit(note)]:
        screen.print(Text(f"note: {note}", style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the page is, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    screen.print(Text(f"report: {folder / 'feasibility.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def _symbols(summary: Summary, symbols: pd.DataFrame) -> Table:
    from rich.text import Text

    found = _table(
        f"What {usdt(summary['capital'])} can hold: {summary['tradable']} of "
        f"{plural(len(symbols), 'symbol')} at their typical target"
    )
    for name in (
        "",
        "",
        "Smallest order",
        "of equity",
        "One lot",
        "Target",
        "Fits",
        "Held",
        "From",
    ):
        found.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in records(symbols):
        mark = Text("✓", style="green") if row["tradable"] else Text("✗", style="yellow")
        found.add_row(
            mark,
            row["symbol"],
            money(row["smallest_order"]),
            share(row["smallest_share"]),
            share(row["lot_share"]),
            share(row["target_weight"]),
            rough(row["fits_share"]),
            rough(row["held_share"]),
            from_capital(row["capital_min"]),
        )
    return found


def _columns_told(summary: Summary) -> list[str]:
    limit = summary["size_limit"]
    told = "smallest order in USDT and one lot at the last price; target: median weight where it is wanted"
    if limit < 1.0:
        told += f", at the normal size, of which the mode holds {100.0 * limit:g} % in sum"
    return [
        f"{told}; fits, held: share of the decisions that want it at which its smallest order is within its weight, "
        "and at which the backtest held it; from: USDT from which the smallest order is within the target"
    ]


def _rounding_told(summary: Summary) -> str:
    rounding = summary["rounding"]
    greedy = rounding["greedy"]
    if not known(greedy["deviation"]):
        return "nothing to round"
    return (
        f"rounding: whole lots differ from the target by {share(greedy['deviation'])} of its gross exposure at the "
        f"median decision, {share(greedy['difference_volatility'])} a year of equity in volatility (the target has "
        f"{share(greedy['target_volatility'])})"
    )


def _allocations_told(summary: Summary) -> str:
    told = summary["allocations"]
    if not told["decisions"]:
        return "no allocation to compare"
    return (
        f"greedy against exact: on {plural(told['decisions'], 'sampled decision')} a tracking error of "
        f"{fine(told['greedy_tracking_error_median'])} and {fine(told['exact_tracking_error_median'])} of equity at "
        f"the median ({told['exact_proven']} proven); the same lots at {told['same_lots']}, greedy worse by "
        f"{fine(told['greedy_excess_mean'])} on average and {fine(told['greedy_excess_max'])} at most"
    )


def _capitals(capitals: pd.DataFrame) -> Table:
    found = _table("What the same targets would have made of other capitals", gap=1)
    names = "USDT|Return|Sharpe, 95 %|Drawdown|Turnover|Positions|Costs|Refused"
    for name in names.split("|"):
        found.add_column(name, justify="right", no_wrap=True)
    for row in records(capitals):
        found.add_row(
            capital_name(row),
            share(row["total_return"], signed=True),
            f"{ratio(row['sharpe'])} ({_tenths(row['sharpe_ci_low'])} to {_tenths(row['sharpe_ci_high'])})",
            share(row["max_drawdown"]),
            times(row["turnover_annual"]),
            position_range(row),
            share(row["costs"]),
            whole(row["refusals"]),
        )
    return found


def _refusals_told(capitals: pd.DataFrame) -> list[str]:
    rules = refusal_rules(capitals)
    said = [
        "turnover: multiples of equity a year; positions: median (least to most); costs: of capital"
    ]
    for row in records(capitals):
        counts = [
            f"{words(r).lower()} {row[f'refused_{r}']:,}" for r in rules if row[f"refused_{r}"]
        ]
        if counts:
            said.append(f"refused or cut with {capital_name(row)}: {', '.join(counts)}")
        if row["halted_share"] > 0.0:
            said.append(
                f"flat with {capital_name(row)}, halted by losses: {share(row['halted_share'])} of the time"
            )
    return said


def _tenths(value: float | None) -> str:
    return ratio(value, decimals=1)


def _table(title: str, *, gap: int = 2) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=None,
        pad_edge=False,
        padding=(0, gap, 0, 0),
    )
