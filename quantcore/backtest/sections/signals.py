"""Where the signal came from: what each strategy earned on paper, what each regime brought, and the matrix used."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    chart,
    pair,
    percent,
    ratio,
    section,
    share,
    table,
    toned,
    whole,
)
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.strategy_profit import paper_returns, regime_profit, regime_spans
from quantcore.regime.detector import LABELS
from quantcore.signal_plane import Signals


def sources(story: Story) -> Section:
    """Return contributions by strategy and by regime; nothing for one strategy in one regime."""
    said = story.run.signals
    if said is None or (len(said.forecasts) == 1 and said.regimes.shape[1] == 1):
        return "", {}
    papers = paper_returns(said)
    spans = regime_spans(story.run.tables["equity"])
    figure = plots.contributions(
        pd.DatetimeIndex(papers.index),
        {str(name): 100.0 * papers[name].cumsum().to_numpy() for name in papers},
        wild=spans.get(LABELS[2][1], ()),
    )
    parts = [("By strategy, on paper", _by_strategy(papers, said))]
    regimes = regime_profit(story.run.tables["equity"])
    if len(regimes):
        parts.append(("By regime, the account", _by_regime(regimes)))
    body = chart("contributions") + pair(*parts)
    matrix = _matrix(said)
    if matrix:
        body += f"<h3>The matrix at the end</h3>{matrix}"
    shaded = " Shaded: the market's wild regime, as it was known then." if spans else ""
    lead = (
        "What each strategy's part of the target weights earned at closing prices, before costs, the no-trade band and "
        f"execution; the parts add up to what the targets earned.{shaded}"
    )
    return section("Strategies and regimes", lead, body), {"contributions": figure}


def _by_strategy(papers: pd.DataFrame, said: Signals) -> str:
    total = papers.sum()
    volatility = papers.std(ddof=1) * np.sqrt(_rows_per_year(papers))
    years = len(papers) / _rows_per_year(papers)
    counted = said.counted.mean(axis=0)
    rows = [
        [
            escape(name),
            toned(percent(total[name], signed=True), total[name]),
            share(volatility[name]),
            ratio(total[name] / years / volatility[name] if volatility[name] > 0.0 else None),
            ratio(counted[k]),
        ]
        for k, name in enumerate(said.forecasts)
    ]
    together = papers.sum(axis=1)
    spread = float(together.std(ddof=1) * np.sqrt(_rows_per_year(papers)))
    last = [
        "All",
        percent(float(together.sum()), signed=True),
        share(spread),
        ratio(float(together.sum()) / years / spread if spread > 0.0 else None),
        "",
    ]
    return table(
        ["Strategy", "Sum of returns", "Volatility", "Sharpe", "Multiplier"], rows, total=last
    )


def _by_regime(regimes: pd.DataFrame) -> str:
    rows = [
        [
            escape(str(name)),
            whole(row["days"]),
            toned(percent(row["total"], signed=True), row["total"]),
            share(row["volatility"]),
        ]
        for name, row in regimes.iterrows()
    ]
    return table(["Regime", "Days", "Sum of returns", "Volatility"], rows)


def _matrix(said: Signals) -> str:
    if "matrix/matrix" not in said.state:
        return ""
    matrix = said.state["matrix/matrix"]
    names = LABELS.get(len(matrix), ("any",))
    rows = [
        [escape(regime), *(percent(value, decimals=0) for value in weights)]
        for regime, weights in zip(names, matrix, strict=True)
    ]
    return table(["Regime", *said.forecasts], rows)


def _rows_per_year(papers: pd.DataFrame) -> float:
    index = pd.DatetimeIndex(papers.index)
    return float(pd.Timedelta(days=365) / (index[1] - index[0])) if len(index) > 1 else 1.0
