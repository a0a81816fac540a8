"""The numbers of the common span side by side, each made anew from what lies inside of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.attribution import PARTS
from quantcore.backtest.liquidation_risk import PATHS, SEED
from quantcore.backtest.metrics import TAIL_PROBABILITY, net_profit
from quantcore.backtest.outlook import CONFIDENCE, RETURNS_MIN
from quantcore.finance import performance, risk_metrics
from quantcore.finance.bootstrap import bootstrap_sharpe
from quantcore.research.compare_money import trips
from quantcore.research.compare_records import Record, numbers
from quantcore.research.compare_span import Piece, Span
from quantcore.timegrid import DAYS_PER_YEAR, index_us
from quantcore.types import FloatArray

COMMON, OWN = "common span", "own span"
_PERIOD = ("start", "end")


def metrics_table(runs: Sequence[Record], span: Span, symbols: pd.DataFrame) -> pd.DataFrame:
    """Return what the runs come to, one row per number.

    Parameters
    ----------
    runs : sequence of Record
        The runs.
    span : Span
        What they have in common.
    symbols : DataFrame
        What `symbol_table` gave.

    Returns
    -------
    DataFrame
        ``metric basis`` and a float column per label; NaN where there is no such number. Rows of the basis ``common
        span`` are made from what lies in it and named as in `metrics.json`, with costs as shares of the equity at the
        opening (``fees_share`` and so on); rows of the basis ``own span`` are `metrics.json` as each run has it.
    """
    common = [
        _common(run, piece, span, symbols[symbols["label"] == run.label])
        for run, piece in zip(runs, span.pieces, strict=True)
    ]
    own = [_numeric(run.metrics) for run in runs]
    rows: list[tuple[Any, ...]] = []
    for basis, values in ((COMMON, common), (OWN, own)):
        names = dict.fromkeys(name for found in values for name in found)
        rows += [(name, basis, *(found.get(name, math.nan) for found in values)) for name in names]
    columns = [run.label for run in runs]
    table = pd.DataFrame(rows, columns=["metric", "basis", *columns])
    return table.astype(dict.fromkeys(columns, np.float64))


def _common(run: Record, piece: Piece, span: Span, symbols: pd.DataFrame) -> dict[str, float]:
    daily, q = span.returns[run.label].to_numpy(np.float64), span.periods_per_year
    total = float(piece.nav[-1]) - 1.0
    annual = performance.annual_return(total, days=piece.days)
    deepest = float(np.nanmin(drawdown(run, piece)))
    low, high = _sharpe_interval(daily, q)
    at_risk, shortfall = math.nan, math.nan
    if len(daily):
        at_risk, shortfall = risk_metrics.historical_tail_loss(
            daily, tail_probability=TAIL_PROBABILITY
        )
    found = trips(run, span)
    closed = found[found["closed"]]
    years = piece.days / DAYS_PER_YEAR
    traded = float(symbols["traded"].sum()) * piece.equity
    return {
        "total_return": total,
        "annual_return": annual,
        "annual_volatility": performance.annual_volatility(daily, periods_per_year=q),
        "sharpe": performance.sharpe(daily, periods_per_year=q),
        "sharpe_ci_low": low,
        "sharpe_ci_high": high,
        "sortino": performance.sortino(daily, periods_per_year=q),
        "calmar": performance.calmar(annual, deepest),
        "max_drawdown": deepest,
        "max_drawdown_days": performance.longest_drawdown_days(piece.ts_us, piece.nav, start=1.0),
        "var_95_daily": at_risk,
        "es_95_daily": shortfall,
        "trades": float(len(found)),
        "win_rate": performance.win_rate(net_profit(closed)),
        "profit_factor": performance.profit_factor(net_profit(closed)),
        "leverage": _leverage(run, span),
        "turnover_annual": traded / piece.mean_equity / years if years > 0.0 else math.nan,
        "price_share": float(symbols["price"].sum()),
        **{f"{part}_share": 0.0 - float(symbols[part].sum()) for part in PARTS if part != "price"},
    }


def drawdown(run: Record, piece: Piece) -> FloatArray:
    """Return the drawdown at each row since the opening, <= 0; of a whole run as deep as the account recorded it."""
    depth = performance.drawdowns(piece.nav, start=1.0)
    if not piece.whole:
        return depth
    recorded = numbers(run.tables["equity"]["drawdown"])[-len(depth) :]
    return np.asarray(np.fmin(depth, recorded))


def _leverage(run: Record, span: Span) -> float:
    equity = run.tables["equity"]
    ts_us = index_us(pd.DatetimeIndex(equity["ts"]))
    inside = (ts_us > span.opening_us) & (ts_us <= span.closing_us)
    return float(np.nanmean(numbers(equity["leverage"])[inside]))


def _sharpe_interval(daily: FloatArray, q: float) -> tuple[float, float]:
    """Return the interval of the run's own report, drawn alike."""
    if len(daily) < RETURNS_MIN or not np.ptp(daily) > 0.0:
        return math.nan, math.nan
    found = bootstrap_sharpe(
        daily,
        periods_per_year=q,
        confidence=CONFIDENCE,
        n_paths=PATHS,
        mean_block=None,
        rng=np.random.default_rng(SEED),
    )
    return found.low, found.high


def _numeric(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: math.nan if value is None else float(value)
        for name, value in metrics.items()
        if name not in _PERIOD and (value is None or isinstance(value, int | float))
    }
