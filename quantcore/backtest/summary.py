"""What a run prints when it is done: headline numbers, costs, scorecard, and the results folder as the last line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcore.backtest.markup import TIMES, money, percent, plural, ratio, whole
from quantcore.backtest.result import Run
from quantcore.backtest.scorecard import inline, scorecard
from quantcore.backtest.sections import verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {"met": ("green", "✓"), "not met": ("yellow", "✗"), "not measurable": ("dim", "○")}
WIDTH = 100
"""Columns to which the summary is held on wide terminals."""


def print_summary(
    run: Run,
    metrics: Mapping[str, Any],
    folder: Path,
    *,
    experiment: str,
    console: Console | None = None,
) -> None:
    """Print a run's summary; the last line is the results folder's path and nothing else.

    Parameters
    ----------
    run : Run
        The finished run.
    metrics : mapping of str to Any
        `metrics.json`.
    folder : Path
        Where the results are.
    experiment : str
        For the heading.
    console : rich Console or None
        Where to print; stdout if None. Colours appear on a terminal only.
    """
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    span = f"{str(metrics['start'])[:10]} to {str(metrics['end'])[:10]}"
    head = Text(experiment, style="bold")
    head.append(
        f"  {span}, {plural(metrics['symbols'], 'symbol')}, {run.interval} decisions", style="dim"
    )
    screen.print(head, width=width)
    screen.print(Text(verdict(metrics, run.bars.interval)), width=width)
    screen.print()
    screen.print(_columns(_headline(metrics)), width=width)
    screen.print(_columns(_costs(metrics), title="Costs, USDT"), width=width)
    for part in _scores(metrics, run.bars.interval):
        screen.print(part, width=width)
    for note in run.notes:
        screen.print(Text(f"note: {note}", style="dim"), width=width)
    screen.print(Text(f"report: {folder / 'tearsheet.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def _headline(m: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Total return", percent(m["total_return"], signed=True)),
        ("Annual return", percent(m["annual_return"], signed=True)),
        ("Volatility", percent(m["annual_volatility"])),
        ("Sharpe ratio", ratio(m["sharpe"])),
        (
            "  95 % interval",
            f"{ratio(m['sharpe_ci_low'])} to {ratio(m['sharpe_ci_high'])}",
        ),
        ("Sortino / Calmar", f"{ratio(m['sortino'])} / {ratio(m['calmar'])}"),
        ("Maximum drawdown", percent(m["max_drawdown"])),
        ("Under water", f"{whole(m['max_drawdown_days'])} days"),
        ("Daily VaR / ES", f"{percent(m['var_95_daily'])} / {percent(m['es_95_daily'])}"),
        ("Capital", money(m["capital"])),
        ("Final equity", money(m["final_equity"])),
        ("BTC held", percent(m["benchmark_return"], signed=True)),
        ("Alpha / beta", f"{percent(m['alpha'], signed=True)} / {ratio(m['beta'])}"),
        ("Round trips", f"{whole(m['trades'])}, {percent(m['win_rate'])} gained"),
        ("Profit factor", ratio(m["profit_factor"])),
        ("Turnover a year", f"{ratio(m['turnover_annual'], decimals=0)}{TIMES}"),
        ("Liquidations", whole(m["liquidations"])),
    ]


def _costs(m: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Price PnL", money(m["gross_pnl"], signed=True)),
        ("Fees", money(m["fees"])),
        (
            "Slippage in PnL",
            f"{money(m['slippage_cost'])} ({ratio(m['mean_slippage_bps'], decimals=1)} bps)",
        ),
        ("Funding", money(m["funding"])),
        ("Liquidation fees", money(m["liquidation_fees"])),
        ("Deposits, net", money(m["deposits"], signed=True)),
    ]


def _columns(pairs: Sequence[tuple[str, str]], *, title: str | None = None) -> Table:
    """Return name and value pairs in two columns, read downwards."""
    table = _table(title)
    for _ in range(2):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
    half = -(-len(pairs) // 2)
    for i in range(half):
        right = pairs[i + half] if i + half < len(pairs) else ("", "")
        table.add_row(*pairs[i], *right)
    return table


def _scores(metrics: Mapping[str, Any], interval: str) -> tuple[Table, Text]:
    from rich.text import Text

    table = _table("Scorecard")
    for justify in ("left", "right", "right", "left"):
        table.add_column(justify=justify)
    unknown = []
    for score in scorecard(metrics, execution_interval=interval):
        style, mark = _STYLES[score.verdict]
        if score.verdict == "not measurable":
            unknown.append(inline(score.name))
        else:
            table.add_row(
                score.name, score.target, score.result, Text(f"{mark} {score.verdict}", style=style)
            )
    return table, Text(f"not measurable here: {', '.join(unknown)}", style="dim")


def _table(title: str | None) -> Table:
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
