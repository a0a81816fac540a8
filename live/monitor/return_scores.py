"""Return and risk against their targets (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binom

from live.monitor.estimates import CONFIDENCE, NOTHING, Estimate, State, around, fact, proportion
from live.monitor.record import Record
from live.monitor.score import Score, number, score, small_share, span
from quantcore.backtest.markup import plural, share
from quantcore.finance.bootstrap import politis_white_block
from quantcore.finance.performance import daily_returns, drawdowns, sharpe
from quantcore.finance.ruin import RuinEstimate, bootstrap_ruin
from quantcore.finance.sharpe import long_run_variance, robust_sharpe_error
from quantcore.finance.var_backtests import (
    christoffersen_independence,
    kupiec_pof,
    transitions,
)
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, index_us, interval_us
from quantcore.types import BoolArray, FloatArray

RETURNS_MIN = 30
"""Daily returns below which nothing is said about Sharpe ratio and return: their intervals would not hold."""
RECORD_MIN = 90
"""Daily returns below which nothing is said about a year ahead."""
RUIN_THRESHOLD, RUIN_DAYS, PATHS = 0.5, DAYS_PER_YEAR, 2_000


def whole_days(record: Record) -> pd.Series:
    """Return the returns of the UTC days that the record holds whole, by unit value."""
    equity = record.equity
    ts_us = index_us(pd.DatetimeIndex(equity["ts"]))
    daily = daily_returns(ts_us, equity["nav"].to_numpy(np.float64), start=record.nav_before)
    begun, ended = index_us(pd.DatetimeIndex(daily.index)), ts_us[-1]
    slack = min(2 * interval_us(record.interval), DAY_US // 4)
    whole = (begun + slack >= ts_us[0]) & (begun + DAY_US - slack <= ended)
    kept: pd.Series = daily[whole].dropna()
    return kept


def return_scores(record: Record, daily: pd.Series, rng: np.random.Generator) -> Iterator[Score]:
    """Yield Sharpe ratio, drawdown, return and ruin."""
    returns = daily.to_numpy(np.float64)
    n = len(returns)
    varies = n >= RETURNS_MIN and bool(np.ptp(returns) > 0.0)
    few = f"{plural(n, 'whole day')} of returns; {RETURNS_MIN} are needed for an interval."
    ratio = growth = NOTHING
    if n >= 2 and np.ptp(returns) > 0.0:
        annual = sharpe(returns, periods_per_year=DAYS_PER_YEAR)
        error = robust_sharpe_error(returns) * math.sqrt(DAYS_PER_YEAR) if varies else math.inf
        ratio = around(annual, error, n)
        logs = np.log1p(np.maximum(returns, -0.999_999))
        spread = math.sqrt(long_run_variance(logs) / n) if varies else math.inf
        growth = around(float(logs.mean()) * DAYS_PER_YEAR, spread * DAYS_PER_YEAR, n)
    yield score(
        "sharpe", "Sharpe ratio", "Return and risk", "≥ 1.5", number(ratio.value, 2),
        ratio.state(above=1.5) if varies else State.EARLY,
        f"{plural(n, 'day')}; {span(ratio, 1.0, '', 2)}, for dependent returns." if varies else few,
        ratio,
    )  # fmt: skip
    deepest = drawdowns(record.equity["nav"].to_numpy(np.float64), start=record.nav_before)
    ahead = _year_ahead(returns, rng)
    yield _drawdown(float(deepest.min(initial=0.0)), ahead, n)
    a_year = Estimate(
        value=math.expm1(growth.value), low=_expm1(growth.low), high=_expm1(growth.high), n=n
    )
    yield score(
        "annual_return", "Annual return", "Return and risk", "30 % to 50 %", share(a_year.value),
        a_year.state(above=0.30) if varies else State.EARLY,
        f"{plural(n, 'day')}, compounded to a year; {span(a_year, 100.0, ' %', 0)}." if varies else few,
        a_year,
    )  # fmt: skip
    ruin = NOTHING
    reason = f"{plural(n, 'whole day')} of returns; {RECORD_MIN} are needed to look a year ahead."
    if ahead is not None:
        ruin = Estimate(value=ahead.probability, low=ahead.low, high=ahead.high, n=n)
        reason = (
            f"Losing half within a year, {PATHS:,} resampled years; {span(ruin, 100.0, ' %', 2)}."
        )
    yield score(
        "ruin_probability", "Probability of ruin", "Return and risk", "< 1 %", share(ruin.value),
        ruin.state(below=0.01) if ahead is not None else State.EARLY, reason, ruin,
    )  # fmt: skip


def _expm1(value: float) -> float:
    return math.inf if value > 50.0 else math.expm1(value)


def _year_ahead(returns: FloatArray, rng: np.random.Generator) -> RuinEstimate | None:
    if len(returns) < RECORD_MIN or not np.ptp(returns) > 0.0 or (returns <= -1.0).any():
        return None
    lengths = [politis_white_block(each).stationary for each in (returns, np.abs(returns))]
    return bootstrap_ruin(
        returns,
        threshold=RUIN_THRESHOLD,
        horizon_days=RUIN_DAYS,
        n_paths=PATHS,
        mean_block=max(*lengths, 1.0),
        rng=rng,
    )


def _drawdown(deepest: float, ahead: RuinEstimate | None, n: int) -> Score:
    """Judge the drawdown: missed once it was deeper, met where the coming year keeps it in 95 % of cases."""
    found = fact(deepest, n)
    reason = f"{RECORD_MIN} whole days are needed to look a year ahead, there are {n}."
    state = State.MISSED if deepest < -0.12 else State.EARLY
    if ahead is not None:
        beyond = ahead.drawdown_probability(-0.12)
        chance = Estimate(value=beyond.value, low=beyond.low, high=beyond.high, n=n)
        reason = f"Chance of a deeper one within a year {share(chance.value)}; {span(chance, 100.0, ' %', 0)}."
        if state is not State.MISSED:
            held = chance.state(below=1.0 - CONFIDENCE)
            state = State.EARLY if held is State.MISSED else held
    return score(
        "max_drawdown", "Maximum drawdown", "Return and risk", "≥ −12 %", share(deepest), state,
        ("Deeper than the target already. " if deepest < -0.12 else "Inside so far. ") + reason, found,
    )  # fmt: skip


def risk_scores(record: Record, daily: pd.Series) -> Iterator[Score]:
    """Yield the chance of liquidation, the value at risk, and the losses beyond it."""
    equity = record.equity
    held = equity["gross_exposure"].to_numpy(np.float64) > 0.0
    spoken = record.risk is not None and "liquidation_probability" in equity
    chances = (
        equity["liquidation_probability"].to_numpy(np.float64)[held] if spoken else np.empty(0)
    )
    chances = chances[~np.isnan(chances)]
    estimate, state = NOTHING, State.UNKNOWN
    reason = "Nothing was held."
    if record.risk is None:
        reason = "The run has no risk controller."
    if len(chances):
        estimate = fact(float(chances.max()), len(chances))
        state = estimate.state(below=0.005)
        days = int(record.days)
        rate = proportion(min(record.liquidations, days), days)
        bound = f", so at most {share(rate.high)} a day (95 %)" if days else ""
        reason = (
            f"Largest of {plural(len(chances), 'risk check')} with positions; "
            f"{plural(record.liquidations, 'liquidation')} in {plural(days, 'day')}{bound}."
        )
        if state is State.MET and record.days < 1.0:
            state = State.EARLY
    yield score(
        "liquidation_probability_24h", "24 h liquidation probability", "Return and risk", "< 0.5 %",
        small_share(estimate.value), state, reason, estimate,
    )  # fmt: skip
    yield from _value_at_risk(record, daily)


def _value_at_risk(record: Record, daily: pd.Series) -> Iterator[Score]:
    limit = None if record.risk is None else record.risk.daily_var_max
    told = record.equity.get("daily_var", pd.Series(dtype=np.float64)).to_numpy(np.float64)
    told = told[~np.isnan(told)]
    if limit is not None and len(told):
        largest = fact(float(told.max()), len(told))
        over = int((told > limit).sum())
        yield score(
            "daily_var", "Daily value at risk", "Return and risk", f"≤ {100.0 * limit:g} %",
            f"{100.0 * largest.value:.2f} %", largest.state(below=limit),
            f"Largest of {plural(len(told), 'check')}; {over} were above the mode's limit, which prices can do"
            " between two decisions.", largest,
        )  # fmt: skip
    hits, confidence = exceedances(record, daily)
    yield _exceedances(hits, 1.0 - confidence)


def exceedances(record: Record, daily: pd.Series) -> tuple[BoolArray, float]:
    """Return whether each whole day lost more than the value at risk that was stated before it, and its confidence.

    The statement is the last one of the day before; days before which nothing was held are left out.
    """
    confidence = CONFIDENCE if record.risk is None else record.risk.var_confidence
    if "daily_var" not in record.equity:
        return np.empty(0, dtype=bool), confidence
    ts_us = index_us(pd.DatetimeIndex(record.equity["ts"]))
    begun = index_us(pd.DatetimeIndex(daily.index))
    before = np.searchsorted(ts_us, begun, side="right") - 1
    told = record.equity["daily_var"].to_numpy(np.float64)[np.maximum(before, 0)]
    fresh = (before >= 0) & (begun - ts_us[np.maximum(before, 0)] < DAY_US) & (told > 0.0)
    return -daily.to_numpy(np.float64)[fresh] > told[fresh], confidence


def _exceedances(hits: BoolArray, p: float) -> Score:
    n, k = len(hits), int(hits.sum())
    found = proportion(k, n)
    target = f"{100.0 * p:g} % of days"
    if not n:
        reason, state = "No whole day has followed a value at risk that was stated.", State.UNKNOWN
    else:
        too_many = float(binom.sf(k - 1, n, p))
        state = (
            State.MISSED
            if too_many < 1.0 - CONFIDENCE
            else State.MET
            if found.high <= 2.0 * p
            else State.EARLY
        )
        clumped = christoffersen_independence(transitions(hits)).p_value if n > 1 else math.nan
        pof = kupiec_pof(n, k, tail_probability=p).p_value
        reason = (
            f"{k} in {plural(n, 'day')}, {n * p:.1f} expected; {span(found, 100.0, ' %', 1)}; "
            f"Kupiec p = {pof:.2f}, Christoffersen p = {clumped:.2f}."
        )
        if clumped < 1.0 - CONFIDENCE and state is not State.EARLY:
            state, reason = State.MISSED, f"{reason} They come in clusters."
    return score(
        "var_exceedances", "Losses beyond the value at risk", "Return and risk", target, share(found.value), state,
        reason, found,
    )  # fmt: skip
