"""Every target of DESIGN.md 7 against a record: number, interval, window, and what can be said of it (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import binom

from live.monitor.estimates import (
    CONFIDENCE,
    NOTHING,
    Estimate,
    State,
    around,
    clustered_ratio,
    fact,
    proportion,
    quantile,
)
from live.monitor.record import Record, Stability, expected_bars
from quantcore.backtest.markup import plural, share
from quantcore.execution.parents import Parents, parent_orders
from quantcore.execution.settings import ROUTER_INTERVAL_US
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
UPTIME_DAYS_MIN = 7.0
"""Below which a share of 99.9 % is ten minutes or less, so that one restart decides."""
BEAT_LATE_S = 45.0
"""Between two heartbeats, from which on the loop counts as away."""
SEED = 7
NOT_OF_A_BACKTEST = "A backtest has none."
"""Reason of a target that only a live run has."""

Group = Literal["Return and risk", "Execution", "Latency", "Stability"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One target.

    Parameters
    ----------
    key, name, group : str
        What is measured, for programs and for people.
    target, value : str
        With units; the value is a dash where there is none.
    state : State
        What can be said.
    reason : str
        The sentence that says why, with interval and window.
    estimate : Estimate
        The number behind, in the target's own unit.
    """

    key: str
    name: str
    group: Group
    target: str
    value: str
    state: State
    reason: str
    estimate: Estimate


def scores(record: Record) -> list[Score]:
    """Return every target, in the order of DESIGN.md 7."""
    daily = whole_days(record)
    rng = np.random.default_rng(SEED)
    return [
        *_returns(record, daily, rng),
        *_risk(record, daily),
        *_execution(record),
        *_latencies(record.stability),
        *_stability(record),
    ]


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


def _score(
    key: str,
    name: str,
    group: Group,
    target: str,
    value: str,
    state: State,
    reason: str,
    estimate: Estimate = NOTHING,
) -> Score:
    return Score(
        key=key, name=name, group=group, target=target, value=value, state=state, reason=reason, estimate=estimate,
    )  # fmt: skip


def _span(estimate: Estimate, scale: float, unit: str, decimals: int) -> str:
    """Return an interval in words, empty where no end is known."""
    low, high = (
        f"{scale * end:,.{decimals}f}".replace("-", "−") for end in (estimate.low, estimate.high)
    )
    if math.isinf(estimate.low) and math.isinf(estimate.high):
        return "no interval yet"
    if math.isinf(estimate.high):
        return f"90 % interval from {low}{unit} on"
    if math.isinf(estimate.low):
        return f"90 % interval up to {high}{unit}"
    return f"90 % interval {low} to {high}{unit}"


def _returns(record: Record, daily: pd.Series, rng: np.random.Generator) -> Iterator[Score]:
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
    yield _score(
        "sharpe", "Sharpe ratio", "Return and risk", "≥ 1.5", _number(ratio.value, 2),
        ratio.state(above=1.5) if varies else State.EARLY,
        f"{plural(n, 'day')}; {_span(ratio, 1.0, '', 2)}, for dependent returns." if varies else few,
        ratio,
    )  # fmt: skip
    deepest = drawdowns(record.equity["nav"].to_numpy(np.float64), start=record.nav_before)
    ahead = _year_ahead(returns, rng)
    yield _drawdown(float(deepest.min(initial=0.0)), ahead, n)
    a_year = Estimate(
        value=math.expm1(growth.value), low=_expm1(growth.low), high=_expm1(growth.high), n=n
    )
    yield _score(
        "annual_return", "Annual return", "Return and risk", "30 % to 50 %", share(a_year.value),
        a_year.state(above=0.30) if varies else State.EARLY,
        f"{plural(n, 'day')}, compounded to a year; {_span(a_year, 100.0, ' %', 0)}." if varies else few,
        a_year,
    )  # fmt: skip
    ruin = NOTHING
    reason = f"{plural(n, 'whole day')} of returns; {RECORD_MIN} are needed to look a year ahead."
    if ahead is not None:
        ruin = Estimate(value=ahead.probability, low=ahead.low, high=ahead.high, n=n)
        reason = (
            f"Losing half within a year, {PATHS:,} resampled years; {_span(ruin, 100.0, ' %', 2)}."
        )
    yield _score(
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
        reason = f"Chance of a deeper one within a year {share(chance.value)}; {_span(chance, 100.0, ' %', 0)}."
        if state is not State.MISSED:
            held = chance.state(below=1.0 - CONFIDENCE)
            state = State.EARLY if held is State.MISSED else held
    return _score(
        "max_drawdown", "Maximum drawdown", "Return and risk", "≥ −12 %", share(deepest), state,
        ("Deeper than the target already. " if deepest < -0.12 else "Inside so far. ") + reason, found,
    )  # fmt: skip


def _risk(record: Record, daily: pd.Series) -> Iterator[Score]:
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
    yield _score(
        "liquidation_probability_24h", "24 h liquidation probability", "Return and risk", "< 0.5 %",
        _small_share(estimate.value), state, reason, estimate,
    )  # fmt: skip
    yield from _value_at_risk(record, daily)


def _value_at_risk(record: Record, daily: pd.Series) -> Iterator[Score]:
    limit = None if record.risk is None else record.risk.daily_var_max
    told = record.equity.get("daily_var", pd.Series(dtype=np.float64)).to_numpy(np.float64)
    told = told[~np.isnan(told)]
    if limit is not None and len(told):
        largest = fact(float(told.max()), len(told))
        over = int((told > limit).sum())
        yield _score(
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
            f"{k} in {plural(n, 'day')}, {n * p:.1f} expected; {_span(found, 100.0, ' %', 1)}; "
            f"Kupiec p = {pof:.2f}, Christoffersen p = {clumped:.2f}."
        )
        if clumped < 1.0 - CONFIDENCE and state is not State.EARLY:
            state, reason = State.MISSED, f"{reason} They come in clusters."
    return _score(
        "var_exceedances", "Losses beyond the value at risk", "Return and risk", target, share(found.value), state,
        reason, found,
    )  # fmt: skip


def _execution(record: Record) -> Iterator[Score]:
    measurable = (
        record.stability is not None or interval_us(record.execution_interval) <= ROUTER_INTERVAL_US
    )
    parents = parent_orders(record.orders, record.fills)
    if len(parents):  # the last decision's orders may still be at work
        parents = parents.where(parents.decision_us < parents.decision_us.max())
    where = " on a simulated exchange" if record.simulated and record.stability else ""
    coarse = f"Bars of {record.execution_interval} trade through almost any resting order."
    rate = NOTHING
    if measurable and len(parents):
        filled = parents.filled / parents.wanted
        rate = clustered_ratio(filled, np.ones(len(parents)), parents.decision_us)
    yield _score(
        "fill_rate", "Fill rate", "Execution", "> 95 %", share(rate.value), rate.state(above=0.95),
        f"{plural(len(parents), 'wanted trade')}{where}; {_span(rate, 100.0, ' %', 1)}."
        if measurable else coarse, rate,
    )  # fmt: skip
    cost = _slippage(parents)
    against = "the price at the decision" if record.stability else "the model's reference price"
    yield _score(
        "slippage_bps", "Slippage", "Execution", "< 5 bps", _unit(cost.value, 2, "bps"), cost.state(below=5.0),
        f"Against {against}, weighted by notional{where}; {_span(cost, 1.0, ' bps', 1)}."
        if cost.n else "Nothing was filled of which that price is known.", cost,
    )  # fmt: skip
    posted, hits = _posted(record)
    found = proportion(hits, posted) if measurable else NOTHING
    yield _score(
        "post_only_success", "Post-only success", "Execution", "> 70 %", share(found.value),
        found.state(above=0.70),
        f"Filled whole as maker: {hits:,} of {plural(posted, 'order')}{where}; {_span(found, 100.0, ' %', 1)}."
        if measurable and posted else "No post-only order has ended." if measurable else coarse, found,
    )  # fmt: skip


def _slippage(parents: Parents) -> Estimate:
    known = (parents.paid > 0.0) & ~np.isnan(parents.spread) & ~np.isnan(parents.paid)
    measured = parents.where(known)
    if not len(measured):
        return NOTHING
    return clustered_ratio(1e4 * measured.spread, measured.paid, measured.decision_us)


def _posted(record: Record) -> tuple[int, int]:
    """Return how many post-only orders have ended, and how many of them were filled whole, as maker."""
    orders = record.orders
    ended = orders[
        (orders["time_in_force"] == "GTX") & ~orders["status"].isin(["new", "partially_filled"])
    ]
    crossed = set(record.fills.loc[record.fills["liquidity"] == "taker", "order_id"])
    whole = (ended["status"] == "filled") & ~ended["order_id"].isin(crossed)
    return len(ended), int(whole.sum())


def _latencies(live: Stability | None) -> Iterator[Score]:
    if live is None:
        for key, name, target in (
            ("order_latency_p50", "Order latency p50", "< 50 ms"),
            ("order_latency_p99", "Order latency p99", "< 200 ms"),
            ("risk_check", "Risk check", "< 10 ms"),
            ("position_update", "Position update", "< 100 ms"),
            ("alert_delivery", "Alert delivery", "< 1 s"),
        ):
            yield _score(key, name, "Latency", target, "–", State.UNKNOWN, NOT_OF_A_BACKTEST)
        return
    trips, sent = live.round_trip_us / 1e3, quantile(live.sent_after_us / 1e3, 0.99)
    for key, name, q, most in (
        ("order_latency_p50", "Order latency p50", 0.50, 50.0),
        ("order_latency_p99", "Order latency p99", 0.99, 200.0),
    ):
        yield _latency(
            key, name, trips, q, most,
            f"From sending to the answer; before it, from decision to sending, 99 % take {_unit(sent.value, 0, 'ms')}.",
        )  # fmt: skip
    check = _latency(
        "risk_check", "Risk check", live.account_us / 1e3, 0.99, 10.0,
        "Of risk check, sizer and router together, at a close." if len(live.account_us) else "No step was timed.",
    )  # fmt: skip
    if check.state is State.MISSED:
        check = _score(
            check.key, check.name, check.group, check.target, check.value, State.UNKNOWN,
            f"{check.reason} Its part alone is not measured here.", check.estimate,
        )  # fmt: skip
    yield check
    yield _latency(
        "position_update", "Position update", live.update_us / 1e3, 0.99, 100.0,
        "From the exchange's time of a fill to its booking, as good as the two clocks agree.",
    )  # fmt: skip
    yield _latency(
        "alert_delivery", "Alert delivery", live.alert_us / 1e3, 0.99, 1000.0,
        "From what the alerts knew to the receiver's answer." if len(live.alert_us) else
        "No alert was delivered, or the alerts do not run beside this journal.",
    )  # fmt: skip


def _latency(
    key: str, name: str, values_ms: FloatArray, share_of: float, most_ms: float, told: str
) -> Score:
    found = quantile(values_ms, share_of)
    target = "< 1 s" if most_ms == 1000.0 else f"< {most_ms:g} ms"
    at = "median" if share_of == 0.5 else f"{100.0 * share_of:g} %"
    reason = f"{at} of {found.n:,}; {_span(found, 1.0, ' ms', 1)}. {told}" if found.n else told
    return _score(
        key, name, "Latency", target, _unit(found.value, 1, "ms"), found.state(below=most_ms), reason, found,
    )  # fmt: skip


def _stability(record: Record) -> Iterator[Score]:
    live = record.stability
    if live is None:
        for key, name, target in (
            ("api_errors", "API errors", "< 0.1 %"),
            ("uptime", "Uptime", "> 99.9 %"),
            ("data_loss", "Data loss", "0"),
        ):
            yield _score(key, name, "Stability", target, "–", State.UNKNOWN, NOT_OF_A_BACKTEST)
        return
    errors = proportion(live.failures, max(live.requests, live.failures))
    yield _score(
        "api_errors", "API errors", "Stability", "< 0.1 %", _small_share(errors.value), errors.state(below=0.001),
        f"{live.failures:,} of {plural(live.requests, 'request')} not served or not answered; "
        f"{_span(errors, 100.0, ' %', 3)}. Refusals by the rules of trading are none."
        if errors.n else "No heartbeat counted requests.", errors,
    )  # fmt: skip
    yield _uptime(live)
    wanted, held = expected_bars(record), len(live.closes_us)
    lost = fact(float(wanted - held), wanted) if wanted else NOTHING
    early = record.days < 1.0 and lost.value == 0.0
    told = f"; {plural(len(live.skipped), 'decision')} not taken" if len(live.skipped) else ""
    yield _score(
        "data_loss", "Data loss", "Stability", "0", "–" if not wanted else f"{wanted - held:,} bars",
        State.EARLY if early else lost.state(below=0.0),
        f"{held:,} of {wanted:,} closed bars of {record.execution_interval} are in the journal{told}.", lost,
    )  # fmt: skip


def _uptime(live: Stability) -> Score:
    beats_s = live.beats_us / 1e6
    estimate, state, reason = NOTHING, State.UNKNOWN, "The journal has no heartbeats."
    if len(beats_s) > 1:
        gaps = np.diff(beats_s)
        away_s = float(gaps[gaps > BEAT_LATE_S].sum())
        span_s = float(beats_s[-1] - beats_s[0])
        estimate = fact(1.0 - away_s / span_s, len(beats_s))
        days = span_s / 86_400.0
        state = estimate.state(above=0.999)
        if days < UPTIME_DAYS_MIN:
            state = State.EARLY
        times = int((gaps > BEAT_LATE_S).sum())
        reason = (
            f"Away {plural(times, 'time')}, {away_s / 60.0:.1f} min of {_duration(span_s)} on this machine's clock"
            + (f"; {UPTIME_DAYS_MIN:g} days are needed." if days < UPTIME_DAYS_MIN else ".")
        )
    return _score(
        "uptime", "Uptime", "Stability", "> 99.9 %",
        "–" if math.isnan(estimate.value) else f"{100.0 * estimate.value:.2f} %", state, reason, estimate,
    )  # fmt: skip


def counted(found: Iterable[Score]) -> dict[State, int]:
    """Return how many targets are in each state."""
    totals = dict.fromkeys(State, 0)
    for score in found:
        totals[score.state] += 1
    return totals


def _duration(seconds: float) -> str:
    return f"{seconds / 86_400.0:.1f} days" if seconds >= 172_800.0 else f"{seconds / 3600.0:.1f} h"


def _number(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:,.{decimals}f}".replace("-", "−")


def _unit(value: float, decimals: int, unit: str) -> str:
    return "–" if math.isnan(value) else f"{_number(value, decimals)} {unit}"


def _small_share(value: float) -> str:
    """Return a fraction of which the third decimal counts."""
    return "–" if math.isnan(value) else f"{100.0 * value:.3f} %"
