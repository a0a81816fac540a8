"""The account's money: equity, exposure and margin, profit by symbol."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.attribution import PARTS
from quantcore.backtest.markup import (
    TIMES,
    chart,
    day,
    known,
    money,
    pair,
    percent,
    plural,
    ratio,
    section,
    share,
    switch,
    table,
    toned,
    whole,
)
from quantcore.backtest.sections.story import Section, Story, records
from quantcore.backtest.strategy_profit import regime_spans
from quantcore.finance import performance
from quantcore.regime.detector import LABELS
from quantcore.timegrid import DAY_US, to_index

DAILY_FROM = 90
"""Days from which exposure is drawn by day instead of by decision."""

_PART_NAMES = {
    "price": "Price",
    "slippage": "Slippage",
    "fees": "Fees",
    "funding": "Funding",
    "liquidation": "Liquidation",
}


def equity(story: Story) -> Section:
    """Return the equity curve against BTC held, and the drawdown beneath."""
    m, curve, capital = story.metrics, story.curve, story.run.capital
    benchmark = story.found.benchmark
    wild = regime_spans(story.run.tables["equity"]).get(LABELS[2][1], ())
    figure = plots.equity_curve(
        story.index,
        capital * curve.nav,
        curve.drawdown,
        capital * curve.benchmark,
        benchmark_name=benchmark,
        wild=wild,
    )
    scale = str(figure["layout"]["yaxis"]["type"])
    lead = f"What {money(capital, decimals=0)} USDT at the start became."
    if np.any(curve.flow):
        lead += " Deposits and withdrawals are taken out of the curve."
    if benchmark not in ("", "BTC held"):
        lead += f" {benchmark}, its first day in the data, with the same capital."
    if wild:
        lead += " Shaded: the market's wild regime, as it was known then."
    if known(m["beta"]):
        lead += f" Against BTC: beta {ratio(m['beta'])}, alpha {percent(m['alpha'], signed=True)} a year."
    switches = switch("equity", "scale", "Scale", [("linear", "Linear", ""), ("log", "Log", "")])
    if benchmark:
        views = [("both", "With BTC", scale), ("alone", "Account only", "linear")]
        switches = switch("equity", "view", "Curves", views) + switches
    deepest = performance.drawdown_table(curve.ts_us, curve.nav, start=1.0).head(5)
    rows = [
        (
            toned(share(row.depth), row.depth),
            whole(row.days) if row.days >= 10.0 else ratio(row.days, decimals=1),
            escape(day(row.peak_ts)),
            escape(day(row.trough_ts)),
            escape("not yet" if pd.isna(row.recovery_ts) else day(row.recovery_ts)),
        )
        for row in records(deepest)
    ]
    drawn = table(["Depth", "Days", "Peak", "Trough", "Recovered"], rows)
    body = chart("equity", scale=scale, view="both")
    if rows:
        body += f"<h3>Deepest drawdowns, at decisions</h3>{drawn}"
    aside = f'<div class="switches">{switches}</div>'
    return section("Equity", lead, body, aside=aside), {"equity": figure}


def risk(story: Story) -> Section:
    """Return exposure and margin ratio."""
    own = np.where(story.curve.equity > 0.0, story.curve.equity, np.nan)
    gross, net = story.column("gross_exposure") / own, story.column("net_exposure") / own
    drawn = pd.DataFrame({"gross": gross, "net": net}, index=story.index)
    daily = story.curve.days > DAILY_FROM
    if daily:
        by_day = drawn.iloc[story.curve.first :].groupby(
            (story.curve.ts_us[story.curve.first :] - 1) // DAY_US
        )
        drawn = by_day.agg({"gross": "max", "net": "mean"})
        drawn.index = to_index(drawn.index.to_numpy(np.int64) * DAY_US)
    margin = story.column("margin_ratio")
    worst = float(np.nanmax(margin)) if np.isfinite(margin).any() else 0.0
    highest = float(np.nanmax(gross)) if np.isfinite(gross).any() else None
    count = story.metrics["liquidations"]
    gone = plural(count, "liquidation") if count else "no position was liquidated"
    lead = (
        f"Gross exposure reached {ratio(highest)}{TIMES} equity. The margin ratio at decisions peaked at "
        f"{worst:.2g}{_from_liquidation(worst)}; {gone}."
    )
    title = "Exposure: highest gross, mean net of each day" if daily else "Exposure"
    body = pair((title, chart("exposure")), ("Margin ratio", chart("margin")))
    return section("Exposure and margin", lead, body), {
        "exposure": plots.exposure(
            pd.DatetimeIndex(drawn.index), drawn["gross"].to_numpy(), drawn["net"].to_numpy()
        ),
        "margin": plots.margin_ratio(story.index, margin),
    }


def _from_liquidation(worst: float) -> str:
    if not 0.0 < worst < 1.0:
        return ", with liquidation at 1"
    times = 1.0 / worst
    far = f"{times:,.0f}" if times >= 10.0 else f"{times:.1f}"
    return f" and liquidation comes at 1, {far} times as much"


def symbols(story: Story) -> Section:
    """Return net profit by symbol, split into price, slippage, fees, funding and liquidation fees."""
    split = story.by_symbol
    parts = [p for p in PARTS if p != "liquidation" or bool((split[p] != 0.0).any())]
    rows = [_profit_row(str(symbol), row, parts) for symbol, row in split.iterrows()]
    total = _profit_row("All", split.sum(), parts) if len(rows) > 1 else None
    head = ["Symbol", "Net", *(_PART_NAMES[p] for p in parts), "Fills"]
    figure = plots.profit_by_symbol(
        list(split.index), {_PART_NAMES[p]: split[p].to_numpy(np.float64) for p in parts}
    )
    lead = (
        "USDT over the whole span, costs negative; the parts add up to the net. "
        "Price is before slippage: the two together are the price PnL at fill prices."
    )
    return section("Profit by symbol", lead, chart("symbols"), table(head, rows, total=total)), {
        "symbols": figure
    }


def _profit_row(name: str, row: pd.Series, parts: Sequence[str]) -> list[str]:
    net = toned(money(row["net"], signed=True), row["net"])
    split = [escape(money(row[p], signed=True)) for p in parts]
    return [escape(name), f"<b>{net}</b>", *split, whole(row["fills"])]
