"""What was traded and what it cost: round trips, turnover, costs so far."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    TIMES,
    chart,
    known,
    money,
    pair,
    percent,
    plural,
    ratio,
    section,
    sentence,
    table,
    tile,
    tiles,
    toned,
    whole,
    words,
)
from quantcore.backtest.metrics import net_profit, signed_qty, slippage_costs
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.trades import OPEN
from quantcore.timegrid import DAY_US, index_us, to_index
from quantcore.types import BoolArray, FloatArray, IntArray

SHOWN_TRADES = 1200
"""Round trips drawn in the excursion chart; more would hide each other and slow the page."""


def trips(story: Story) -> Section:
    """Return win rate, profit factor, expectancy, excursions and durations of round trips."""
    m, trades = story.metrics, story.trades
    closed = trades[trades["exit_reason"] != OPEN]
    still_open = len(trades) - len(closed)
    if closed.empty:
        told = sentence(f"No round trip was closed; {still_open} still open at the end.")
        return section("Round trips", "", told), {}
    hours = closed["duration"].to_numpy("timedelta64[us]").astype(np.float64) / 3.6e9
    items = [
        tile("Win rate", escape(percent(m["win_rate"])), f"of {whole(len(closed))} closed"),
        tile("Profit factor", escape(ratio(m["profit_factor"])), "gains over losses"),
        tile(
            "Expectancy",
            toned(money(m["expectancy"], signed=True), m["expectancy"]),
            "USDT a round trip, net",
        ),
        tile(
            "Median time held",
            escape(_span_of(float(np.median(hours)))),
            f"{still_open} still open",
        ),
    ]
    step = max(1, -(-len(closed) // SHOWN_TRADES))
    net = net_profit(closed)
    note = f" The chart shows every {step}th." if step > 1 else ""
    lead = (
        "From flat to flat or to the other side, net of fees and funding. "
        f"Excursions are the worst and best PnL while held, as a share of the notional entered.{note}"
    )
    body = pair(("Excursions", chart("excursions")), ("Time held", chart("durations")))
    return section("Round trips", lead, tiles(items, small=True), body, _ended(closed, net)), {
        "excursions": _excursions(closed.iloc[::step], net[::step] > 0.0),
        "durations": plots.durations(hours),
    }


def _ended(closed: pd.DataFrame, net: FloatArray) -> str:
    reasons = (
        closed.assign(net=net)
        .groupby("exit_reason", observed=True)["net"]
        .agg(["count", "sum", "mean"])
    )
    rows = [
        (
            escape(words(str(reason))),
            whole(row["count"]),
            *(toned(money(row[c], signed=True), row[c]) for c in ("sum", "mean")),
        )
        for reason, row in reasons.sort_values("count", ascending=False).iterrows()
    ]
    return table(["How they ended", "Round trips", "Net, USDT", "Mean, USDT"], rows)


def _excursions(shown: pd.DataFrame, won: BoolArray) -> plots.Spec:
    labels = (shown["symbol"].astype(str) + " " + shown["side"].astype(str)).tolist()
    return plots.excursions(
        shown["mae"].to_numpy(np.float64), shown["mfe"].to_numpy(np.float64), won, labels
    )


def trading(story: Story) -> Section:
    """Return turnover by month, or by day of a short span, and what was paid so far."""
    fills, funding, curve = story.run.tables["fills"], story.run.tables["funding"], story.curve
    fill_us = index_us(pd.DatetimeIndex(fills["ts"]))
    funding_us = index_us(pd.DatetimeIndex(funding["ts"]))
    stamps = curve.ts_us[curve.first :]
    at_us = stamps if story.short else np.unique((stamps - 1) // DAY_US) * DAY_US + DAY_US
    paid = {
        "Fees": _running(fill_us, fills["fee"].to_numpy(np.float64), at_us),
        "Funding": _running(funding_us, funding["amount"].to_numpy(np.float64), at_us),
        "Slippage": _running(fill_us, slippage_costs(fills), at_us),
    }
    m = story.metrics
    lead = f"{ratio(m['turnover_annual'], decimals=0)}{TIMES} equity a year in {plural(len(fills), 'fill')}"
    if known(m["mean_slippage_bps"]):
        lost = ratio(m["mean_slippage_bps"], decimals=1)
        lead += f"; takers lost {lost} bps to spread and slippage, as modelled"
    lead += ". Funding falls where it was received."
    unit = "day" if story.short else "month"
    body = pair((f"Turnover by {unit}", chart("turnover")), ("Costs so far", chart("costs")))
    return section("Turnover and costs", lead, body), {
        "turnover": _turnover(story, fill_us),
        "costs": plots.cumulative_costs(to_index(at_us), paid),
    }


def _turnover(story: Story, fill_us: IntArray) -> plots.Spec:
    """Return traded notional over mean equity by day or month; a stamp at midnight belongs to the day that ends."""
    fills, curve = story.run.tables["fills"], story.curve
    unit, form = ("D", "%b %-d") if story.short else ("M", "%b %Y")
    own = pd.Series(curve.equity[curve.first :])
    mean_equity = own.groupby(_period(curve.ts_us[curve.first :] - 1, unit)).mean()
    traded = pd.Series(np.abs(signed_qty(fills)) * fills["price"].to_numpy(np.float64))
    notional = traded.groupby(_period(fill_us - 1, unit)).sum()
    notional = notional.reindex(mean_equity.index, fill_value=0.0)
    multiple = (notional / mean_equity.where(mean_equity > 0.0)).to_numpy(np.float64)
    names = [f"{pd.Timestamp(str(period)):{form}}" for period in mean_equity.index]
    return plots.turnover(names, multiple, unit="UTC day" if story.short else "Month")


def _running(stamps: Any, amounts: FloatArray, at: Any) -> FloatArray:
    order = np.argsort(stamps, kind="stable")
    so_far = np.concatenate([[0.0], np.cumsum(amounts[order])])
    return np.asarray(so_far[np.searchsorted(stamps[order], at, side="right")])


def _period(stamps_us: IntArray, unit: str) -> pd.Index:
    stamps = to_index(stamps_us).tz_localize(None).to_numpy()
    return pd.Index(np.datetime_as_string(stamps, unit=unit))  # type: ignore[call-overload]  # unit is "D" or "M"


def _span_of(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 48.0 else f"{hours / 24.0:.1f} days"
