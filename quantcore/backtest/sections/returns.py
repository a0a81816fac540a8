"""Daily returns: by month or week, their distribution, the worst of them."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    chart,
    day,
    money,
    pair,
    plural,
    ratio,
    section,
    sentence,
    share,
    stacked,
    tile,
    tiles,
    toned,
)
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.verdict import RATIO_RETURNS_MIN
from quantcore.finance import calendar, performance

WORST_DAYS = 10
ROLLING_DAYS = 90
_SMALLEST = 5e-5
"""Loss below which a day is not listed: it would read 0.00 %."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def months(story: Story) -> Section:
    """Return the table of monthly returns, or of daily ones for a short span, tinted by size."""
    daily = story.curve.daily
    if story.short:
        returns, title = calendar.weekly_returns(daily), "Days"
        head: tuple[str, ...] = ("", *_WEEKDAYS, "Week")
        lead = "Return of each UTC day in per cent, by the Monday that begins the week."
    else:
        returns, title = calendar.monthly_returns(daily), "Months"
        head = ("", *_MONTHS, "Year")
        lead = (
            "Compound return of each month in per cent; the first and the last may be incomplete."
        )
    if returns.empty:
        return section(title, "There is no whole day."), {}
    decimals = 2 if story.short else 1
    largest = float(np.nanmax(np.abs(returns.iloc[:, :-1].to_numpy(np.float64)))) or 1.0
    body = ""
    for label, row in returns.iterrows():
        values = row.to_numpy(np.float64)
        cells = "".join(_heat(v, largest, decimals) for v in values[:-1])
        total = toned(_bare(values[-1], decimals), values[-1])
        name = f"{pd.Timestamp(str(label)):%b %-d}" if story.short else str(label)
        body += f'<tr><td>{escape(name)}</td>{cells}<td class="year">{total}</td></tr>'
    top = "".join(f"<th>{name}</th>" for name in head)
    kind = "heat weeks" if story.short else "heat"
    grid = f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    return section(title, lead, grid), {}


def _heat(value: float, largest: float, decimals: int) -> str:
    if not np.isfinite(value):
        return "<td></td>"
    tone = "fall" if value < 0.0 else "gain"
    heat = f"{45.0 * abs(value) / largest:.0f}"
    return f'<td class="{tone}" style="--heat:{heat}">{escape(_bare(value, decimals))}</td>'


def _bare(value: float, decimals: int) -> str:
    return ratio(100.0 * value, signed=True, decimals=decimals)


def distribution(story: Story) -> Section:
    """Return the distribution of daily returns with its tails, and the rolling Sharpe ratio."""
    m, daily = story.metrics, story.curve.daily
    if story.found.returns < RATIO_RETURNS_MIN:
        told = sentence(
            f"{plural(story.found.returns, 'daily return')} make no distribution: "
            f"tails and ratios need {RATIO_RETURNS_MIN} at least."
        )
        return section("Daily returns", "", told), {}
    values = daily.to_numpy(np.float64)
    at_risk, shortfall = (np.nan if m[k] is None else m[k] for k in ("var_95_daily", "es_95_daily"))
    items = [
        tile("VaR 95 %, daily", escape(share(at_risk)), "loss exceeded one day in twenty"),
        tile("ES 95 %, daily", escape(share(shortfall)), "mean loss beyond it"),
        tile("Skew", escape(ratio(performance.skewness(values))), "0 when symmetric"),
        tile("Kurtosis", escape(ratio(performance.raw_kurtosis(values))), "3 when normal"),
    ]
    figures = {
        "distribution": plots.return_distribution(
            values, value_at_risk=at_risk, expected_shortfall=shortfall
        )
    }
    body = chart("distribution")
    if len(daily) > ROLLING_DAYS + 30:
        rolled = calendar.rolling_sharpe(
            daily, window=ROLLING_DAYS, periods_per_year=story.curve.days_per_year
        )
        figures["rolling"] = plots.rolling_sharpe(
            pd.DatetimeIndex(rolled.index), rolled.to_numpy(np.float64), window_days=ROLLING_DAYS
        )
        last = f"Sharpe ratio of the last {ROLLING_DAYS} days"
        body = pair(("Distribution", body), (last, chart("rolling")))
    lead = f"{plural(story.found.returns, 'day')}, by UTC."
    return section("Daily returns", lead, tiles(items, small=True), body), figures


def bad_days(story: Story) -> Section:
    """Return the worst days, with the symbols that lost most on each."""
    worst = calendar.worst_days(story.curve.daily, count=WORST_DAYS)
    worst = worst[worst <= -_SMALLEST]
    if worst.empty:
        return section("Worst days", "No day lost money."), {}
    rows = []
    day_rows: Any = story.by_day  # the stubs do not know a timestamp as a row's label
    for at, value in worst.items():
        profits = day_rows.loc[at].sort_values(kind="stable")
        losers = [f"{s}\u00a0{money(v)}" for s, v in profits[profits < 0.0].head(3).items()]
        change = float(profits.sum())
        rows.append(
            f"<tr><td>{escape(day(at))}</td>"
            f'<td class="side">{toned(share(value), value)}</td>'
            f'<td class="wide">{toned(money(change, signed=True), change)} <span class="unit">USDT</span></td>'
            f'<td class="text wide">{escape(", ".join(losers)) or "none"}</td></tr>'
        )
    count = "most negative UTC day" if len(rows) == 1 else f"{len(rows)} most negative UTC days"
    lead = f"The {count}, and the symbols that lost most on each (USDT, after costs)."
    head = ["Day", "Return", "USDT", "Largest losers, USDT"]
    return section("Worst days", lead, stacked(head, rows, text=(3,))), {}
