"""Execution, latencies and stability against their targets (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from live.monitor.beats import Beats
from live.monitor.estimates import (
    NOTHING,
    Estimate,
    State,
    clustered_ratio,
    clustered_share,
    fact,
    proportion,
    quantile,
)
from live.monitor.record import Record, Stability, expected_bars
from live.monitor.score import NOT_OF_A_BACKTEST, Score, score, small_share, span, unit
from quantcore.backtest.markup import plural, share
from quantcore.execution.parents import Parents, parent_orders
from quantcore.execution.settings import ROUTER_INTERVAL_US
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray

UPTIME_DAYS_MIN = 7.0
"""Below which a share of 99.9 % is ten minutes or less, so that one restart decides."""


def execution_scores(record: Record) -> Iterator[Score]:
    """Yield fill rate, slippage and post-only success."""
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
        rate = clustered_share(filled, parents.decision_us)
    yield score(
        "fill_rate", "Fill rate", "Execution", "> 95 %", share(rate.value), rate.state(above=0.95),
        f"{plural(len(parents), 'wanted trade')}{where}; {span(rate, 100.0, ' %', 1)}."
        if measurable else coarse, rate,
    )  # fmt: skip
    cost = _slippage(parents)
    against = "the price at the decision" if record.stability else "the model's reference price"
    yield score(
        "slippage_bps", "Slippage", "Execution", "< 5 bps", unit(cost.value, 2, "bps"), cost.state(below=5.0),
        f"Against {against}, weighted by notional{where}; {span(cost, 1.0, ' bps', 1)}."
        if cost.n else "Nothing was filled of which that price is known.", cost,
    )  # fmt: skip
    posted, hits = _posted(record)
    found = proportion(hits, posted) if measurable else NOTHING
    yield score(
        "post_only_success", "Post-only success", "Execution", "> 70 %", share(found.value),
        found.state(above=0.70),
        f"Filled whole as maker: {hits:,} of {plural(posted, 'order')}{where}; {span(found, 100.0, ' %', 1)}."
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


def latency_scores(live: Stability | None) -> Iterator[Score]:
    """Yield the latencies of orders, risk check, fills and alerts."""
    if live is None:
        for key, name, target in (
            ("order_latency_p50", "Order latency p50", "< 50 ms"),
            ("order_latency_p99", "Order latency p99", "< 200 ms"),
            ("risk_check", "Risk check", "< 10 ms"),
            ("position_update", "Position update", "< 100 ms"),
            ("alert_delivery", "Alert delivery", "< 1 s"),
        ):
            yield score(key, name, "Latency", target, "–", State.UNKNOWN, NOT_OF_A_BACKTEST)
        return
    trips, sent = live.round_trip_us / 1e3, quantile(live.sent_after_us / 1e3, 0.99)
    for key, name, q, most in (
        ("order_latency_p50", "Order latency p50", 0.50, 50.0),
        ("order_latency_p99", "Order latency p99", 0.99, 200.0),
    ):
        yield _latency(
            key, name, trips, q, most,
            f"From sending to the answer; before it, from decision to sending, 99 % take {unit(sent.value, 0, 'ms')}.",
        )  # fmt: skip
    check = _latency(
        "risk_check", "Risk check", live.account_us / 1e3, 0.99, 10.0,
        "Of risk check, sizer and router together, at a close." if len(live.account_us) else "No step was timed.",
    )  # fmt: skip
    if check.state is State.MISSED:
        check = score(
            check.key, check.name, check.group, check.target, check.value, State.UNKNOWN,
            f"{check.reason} Its part alone is not measured here.", check.estimate,
        )  # fmt: skip
    yield check
    yield _latency(
        "position_update", "Position update", live.update_us / 1e3, 0.99, 100.0,
        "From the exchange's time of a fill to its booking, as good as the two clocks agree." if len(live.update_us)
        else "No fill was heard, or the exchange waits for the loop.",
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
    at = "Median" if share_of == 0.5 else f"{100.0 * share_of:g} %"
    reason = f"{at} of {found.n:,}; {span(found, 1.0, ' ms', 1)}. {told}" if found.n else told
    return score(
        key, name, "Latency", target, unit(found.value, 1, "ms"), found.state(below=most_ms), reason, found,
    )  # fmt: skip


def stability_scores(record: Record) -> Iterator[Score]:
    """Yield errors of the API, uptime and data loss."""
    live = record.stability
    if live is None:
        for key, name, target in (
            ("api_errors", "API errors", "< 0.1 %"),
            ("uptime", "Uptime", "> 99.9 %"),
            ("data_loss", "Data loss", "0"),
        ):
            yield score(key, name, "Stability", target, "–", State.UNKNOWN, NOT_OF_A_BACKTEST)
        return
    asked, failed = live.beats.requests, live.beats.failures
    errors = proportion(failed, max(asked, failed))
    yield score(
        "api_errors", "API errors", "Stability", "< 0.1 %", small_share(errors.value), errors.state(below=0.001),
        f"{failed:,} of {plural(asked, 'request')} not served or not answered; "
        f"{span(errors, 100.0, ' %', 3)}. Refusals by the rules of trading are none."
        if errors.n else "No heartbeat counted requests.", errors,
    )  # fmt: skip
    yield _uptime(live.beats)
    wanted, held = expected_bars(record), len(live.closes_us)
    lost = fact(float(wanted - held), wanted) if wanted else NOTHING
    early = record.days < 1.0 and lost.value == 0.0
    told = f"; {plural(len(live.skipped), 'decision')} not taken" if len(live.skipped) else ""
    yield score(
        "data_loss", "Data loss", "Stability", "0", "–" if not wanted else plural(wanted - held, "bar"),
        State.EARLY if early else lost.state(below=0.0),
        f"{held:,} of {wanted:,} closed bars of {record.execution_interval} are in the journal{told}.", lost,
    )  # fmt: skip


def _uptime(beats: Beats) -> Score:
    estimate, state, reason = NOTHING, State.UNKNOWN, "The journal has no heartbeats."
    if beats.n > 1:
        span_s, away_s = beats.span_us / 1e6, beats.away_us / 1e6
        estimate = fact(1.0 - away_s / span_s, beats.n)
        days = span_s / 86_400.0
        state = estimate.state(above=0.999)
        if days < UPTIME_DAYS_MIN:
            state = State.EARLY
        reason = (
            f"Away {plural(beats.away, 'time')}, {away_s / 60.0:.1f} min of {_duration(span_s)} on this machine's clock"
            + (f"; {UPTIME_DAYS_MIN:g} days are needed." if days < UPTIME_DAYS_MIN else ".")
        )
    return score(
        "uptime", "Uptime", "Stability", "> 99.9 %",
        "–" if math.isnan(estimate.value) else f"{100.0 * estimate.value:.2f} %", state, reason, estimate,
    )  # fmt: skip


def _duration(seconds: float) -> str:
    return f"{seconds / 86_400.0:.1f} days" if seconds >= 172_800.0 else f"{seconds / 3600.0:.1f} h"
