"""How a comparison is put into words and numbers, alike in the printed tables and on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from quantcore.backtest.markup import MISSING, TIMES, known, plural, ratio, share, whole
from quantcore.research.compare_metrics import COMMON

MARK = "*"
"""Follows a number that stands out beyond luck."""

TEXT_MAX = 44
"""Letters of a setting's value that are shown."""


def _signed(value: float) -> str:
    return share(value, signed=True)


def _times(value: float) -> str:
    return f"{ratio(value, decimals=1)}{TIMES}" if known(value) else MISSING


def _days(value: float) -> str:
    return plural(round(value), "day") if known(value) else MISSING


Shown = tuple[str, str, Callable[[float], str]]

RETURNS: tuple[Shown, ...] = (
    ("total_return", "Total return", _signed),
    ("annual_return", "Annual return", _signed),
    ("annual_volatility", "Volatility", share),
    ("sharpe", "Sharpe ratio", ratio),
    ("sortino", "Sortino", ratio),
    ("calmar", "Calmar", ratio),
    ("max_drawdown", "Maximum drawdown", share),
    ("max_drawdown_days", "Under water", _days),
    ("var_95_daily", "Daily VaR", share),
    ("es_95_daily", "Daily ES", share),
)
TRADING: tuple[Shown, ...] = (
    ("trades", "Round trips", whole),
    ("win_rate", "  of closed, gained", share),
    ("profit_factor", "Profit factor", ratio),
    (
        "leverage",
        "Mean leverage",
        lambda value: f"{ratio(value)}{TIMES}" if known(value) else MISSING,
    ),
    ("turnover_annual", "Turnover a year", _times),
)
MONEY: tuple[Shown, ...] = (
    ("price_share", "Price PnL", _signed),
    ("slippage_share", "Slippage", share),
    ("fees_share", "Fees", share),
    ("funding_share", "Funding", share),
    ("liquidation_share", "Liquidation", share),
)
"""Shares of the equity at the opening; price PnL is before slippage, costs are positive when paid."""


def values(metrics: pd.DataFrame, metric: str) -> tuple[dict[str, float], str]:
    """Return a number of the common span by run, and the run that stands out."""
    row = metrics[(metrics["metric"] == metric) & (metrics["basis"] == COMMON)].iloc[0]
    labels = [c for c in metrics.columns if c not in ("metric", "basis", "best")]
    return {str(label): float(row[label]) for label in labels}, str(row["best"])


def interval(metrics: pd.DataFrame, label: str) -> str:
    """Return the interval of a run's own Sharpe ratio."""
    low, high = (values(metrics, f"sharpe_ci_{end}")[0][label] for end in ("low", "high"))
    return f"{ratio(low)} to {ratio(high)}" if known(low) else MISSING


def shortened(text: str) -> str:
    """Return a setting's value without its middle where it is long.

    Examples
    --------
    >>> shortened("strategies.trend.TrendSettings")
    'strategies.trend.TrendSettings'
    """
    if len(text) <= TEXT_MAX:
        return text
    half = TEXT_MAX // 2
    return f"{text[: half - 1]}…{text[-half:]}"


def named(entry: Mapping[str, Any]) -> str:
    """Return a run's letter and experiment."""
    return f"{entry['label']} · {entry['name']}"


def span_told(summary: Mapping[str, Any]) -> str:
    """Return the common span and how many days it has."""
    first, last = (str(summary[key])[:10] for key in ("start", "end"))
    return f"{first} to {last}, {plural(summary['days'], 'common day')}"


def trips_told(beside: Mapping[str, Any]) -> str:
    """Return in a sentence how far the round trips of a run are those of the base."""
    one, other = beside["label"], beside["base"]
    if not beside["trips"] or not beside["base_trips"]:
        return (
            f"{one} made {plural(beside['trips'], 'round trip')}, {other} {beside['base_trips']:,}."
        )
    mine = beside["same_hours"] / beside["hours"] if beside["hours"] else 0.0
    theirs = beside["same_hours"] / beside["base_hours"] if beside["base_hours"] else 0.0
    same = f"{beside['same']:,}" if beside["same"] else "none"
    return (
        f"{one} made {plural(beside['trips'], 'round trip')}, {other} {beside['base_trips']:,}, of which {same} "
        f"the same to the bar. {other} held the same side in {100.0 * mine:.0f} % of the time in "
        f"which {one} held a symbol, {one} in {100.0 * theirs:.0f} % of {other}'s."
    )


def mark_told(confidence: float) -> str:
    """Return what the mark behind a number means."""
    return (
        f"{MARK} differs from every other run by more than luck ({100.0 * (1.0 - confidence):g} % level over all "
        "pairs, Holm); only returns, volatility and the Sharpe ratio are tested, a drawdown is one number of one path"
    )
