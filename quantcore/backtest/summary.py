"""What a run prints: headline numbers, costs and scorecard when it is done, the results folder as the last line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcore.backtest.curves import curves
from quantcore.backtest.markup import (
    MISSING,
    TIMES,
    known,
    money,
    percent,
    plural,
    ratio,
    share,
    whole,
)
from quantcore.backtest.metrics import span
from quantcore.backtest.result import Recorded
from quantcore.backtest.scorecard import Score, inline
from quantcore.backtest.verdict import Findings, findings, is_limit, trials_told

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {"met": ("green", "✓"), "not met": ("yellow", "✗")}
WIDTH = 100
"""Columns to which the summary is held on wide terminals."""


def print_heading(run: Recorded, *, experiment: str, console: Console | None = None) -> None:
    """Print what was run and what became of the money: at once, before anything is estimated from it.

    Parameters
    ----------
    run : Recorded
        The finished run.
    experiment : str
        Its name.
    console : rich Console or None
        Where to print; stdout if None. Colours appear on a terminal only.
    """
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    about = span(run)
    head = Text(experiment, style="bold")
    head.append(
        f"  {str(about['start'])[:10]} to {str(about['end'])[:10]}, {plural(about['symbols'], 'symbol')}, "
        f"{run.interval} decisions",
        style="dim",
    )
    width = min(screen.width, WIDTH)
    screen.print(head, width=width)
    final = float(run.tables["equity"]["equity"].iloc[-1])
    screen.print(Text(f"{money(run.capital)} USDT became {money(final)}."), width=width)
    screen.file.flush()


def print_summary(
    run: Recorded, metrics: Mapping[str, Any], *, console: Console | None = None
) -> None:
    """Print a run's summary, before its report is written: that takes longer than the run.

    Parameters
    ----------
    run : Recorded
        The finished run.
    metrics : mapping of str to Any
        `metrics.json`.
    console : rich Console or None
        Where to print; stdout if None. Colours appear on a terminal only.
    """
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    width = min(screen.width, WIDTH)
    found = findings(run, metrics, curves(run))
    screen.print(Text(found.verdict), width=width)
    if found.traded:
        screen.print()
        screen.print(_columns(_headline(found)), width=width)
        screen.print(_columns(_costs(found.metrics), title="Costs, USDT"), width=width)
    for part in _scores(found.scores):
        screen.print(part, width=width)
    if found.traded:
        screen.print(Text(f"trials: {trials_told(run, found.metrics)}", style="dim"), width=width)
    notes = [note for note in run.notes if not is_limit(note)]
    for note in [*notes, "The report also tells what the model leaves out in every run."]:
        screen.print(Text(f"note: {note}", style="dim"), width=width)


def print_folder(folder: Path, *, console: Console | None = None) -> None:
    """Print where the report is, and as the last line the results folder's path and nothing else."""
    from rich.console import Console
    from rich.text import Text

    screen = Console(highlight=False) if console is None else console
    screen.print(Text(f"report: {folder / 'tearsheet.html'}", style="dim"), soft_wrap=True)
    screen.print(Text(str(folder)), soft_wrap=True)


def _headline(found: Findings) -> list[tuple[str, str]]:
    m = found.metrics
    pairs = [
        ("Total return", share(m["total_return"], signed=True)),
        ("Annual return", share(m["annual_return"], signed=True)),
        ("Volatility", share(m["annual_volatility"])),
        ("Sharpe ratio", ratio(m["sharpe"])),
        (
            "  95 % interval",
            f"{ratio(m['sharpe_ci_low'])} to {ratio(m['sharpe_ci_high'])}",
        ),
        ("Sortino / Calmar", f"{ratio(m['sortino'])} / {ratio(m['calmar'])}"),
        ("Maximum drawdown", share(m["max_drawdown"])),
        ("Under water", plural(round(m["max_drawdown_days"]), "day")),
        ("Daily VaR / ES", f"{share(m['var_95_daily'])} / {share(m['es_95_daily'])}"),
        ("Capital", money(m["capital"])),
        ("Final equity", money(m["final_equity"])),
        (found.benchmark, percent(m["benchmark_return"], signed=True)),
        ("Alpha / beta", f"{percent(m['alpha'], signed=True)} / {ratio(m['beta'])}"),
        ("Round trips", f"{whole(m['trades'])}, {whole(found.closed)} closed"),
        ("  of closed, gained", percent(m["win_rate"])),
        ("Profit factor", ratio(m["profit_factor"])),
        ("Turnover a year", f"{ratio(m['turnover_annual'], decimals=0)}{TIMES}"),
        ("Liquidations", whole(m["liquidations"])),
    ]
    return [(name, text) for name, text in pairs if MISSING not in text]


def _costs(m: Mapping[str, Any]) -> list[tuple[str, str]]:
    bps = m["mean_slippage_bps"]
    relative = f" ({ratio(bps, decimals=1)} bps)" if known(bps) else ""
    return [
        ("Price PnL", money(m["gross_pnl"], signed=True)),
        ("Fees", money(m["fees"])),
        ("Slippage in PnL", f"{money(m['slippage_cost'])}{relative}"),
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


def _scores(scores: Sequence[Score]) -> list[Table | Text]:
    """Return the measured targets, and one line each for what this run and what no backtest could measure."""
    from rich.text import Text

    measured = [s for s in scores if s.verdict != "not measurable"]
    unknown = [inline(s.name) for s in scores if s.verdict == "not measurable" and not s.elsewhere]
    elsewhere = sum(s.elsewhere for s in scores)
    parts: list[Table | Text] = []
    if measured:
        table = _table("Scorecard")
        for justify in ("left", "right", "right", "left"):
            table.add_column(justify=justify)
        for score in measured:
            style, mark = _STYLES[score.verdict]
            table.add_row(
                score.name, score.target, score.result, Text(f"{mark} {score.verdict}", style=style)
            )
        parts.append(table)
    if unknown:
        parts.append(Text(f"not measurable in this run: {', '.join(unknown)}", style="dim"))
    later = f"{plural(elsewhere, 'target')} {'is' if elsewhere == 1 else 'are'}"
    parts.append(Text(f"{later} measured live, on finer bars or on longer records", style="dim"))
    return parts


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
