"""The tracker's report: one self-contained page in the look of the tearsheet, and a short text for alerts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd

from live.monitor.estimates import State
from live.monitor.score import NOT_OF_A_BACKTEST, Score, counted
from live.monitor.tracker import Comparison, Period, Track
from quantcore import plots
from quantcore.backtest.markup import (
    chart,
    money,
    percent,
    plural,
    section,
    sentence,
    share,
    stacked,
    table,
    tile,
    tiles,
    toned,
    whole,
)
from quantcore.backtest.tearsheet import frame
from quantcore.timegrid import index_us
from quantcore.types import FloatArray

_MARKS: Mapping[State, tuple[str, str]] = {
    State.MET: ("yes", "✓"),
    State.MISSED: ("no", "✗"),
    State.EARLY: ("", "…"),
    State.UNKNOWN: ("", "○"),
}
_ADVERB = {"day": "Daily", "week": "Weekly"}
_SYMBOLS_SHOWN = 12
_MISSED_SHOWN = 4


def page(track: Track) -> str:
    """Return the report as one HTML page that needs no network."""
    figures: dict[str, plots.Spec] = {"equity": _equity(track)}
    parts = [_header(track), _headline(track), section("Equity", _span(track), chart("equity"))]
    parts.append(_scorecard(track))
    if track.comparison is not None:
        figures |= _figures(track.comparison)
        parts.append(_comparison(track.comparison))
    elif track.why_not:
        parts.append(section("Against the backtest", "", sentence(track.why_not)))
    parts += [_period(track), _footer(track)]
    title = f"{track.record.name} · {_ADVERB[track.period.words].lower()} report"
    return frame(title, "\n".join(parts), figures)


def text(track: Track) -> str:
    """Return the report in a few lines of plain text, for a phone."""
    period, totals = track.period, counted(track.scores)
    missed = [score for score in track.scores if score.state is State.MISSED]
    lines = [
        f"{track.record.name}, {period.words} to {_minute(period.end)} UTC: "
        f"{percent(period.growth, signed=True, decimals=2)} ({money(period.profit, signed=True)} USDT), "
        f"equity {money(period.equity)} USDT.",
        f"Drawdown at most {percent(-period.deepest, decimals=2)}. {plural(period.fills, 'fill')}, "
        f"{money(period.turnover, decimals=0)} USDT traded, fees {money(period.fees)}, "
        f"funding {money(abs(period.funding))} {_way(period)}.",
        f"Targets: {totals[State.MET]} met, {totals[State.MISSED]} not met, {totals[State.EARLY]} too early to say, "
        f"{totals[State.UNKNOWN]} not measured.",
    ]
    if missed:
        named = [f"{score.name} {score.value} (asked {score.target})" for score in missed]
        more = len(named) - _MISSED_SHOWN
        lines.append(
            f"Not met: {'; '.join(named[:_MISSED_SHOWN])}{f'; and {more} more' if more > 0 else ''}."
        )
    if track.comparison is not None:
        lines.append(_verdict(track.comparison))
    return "\n".join(lines)


def _header(track: Track) -> str:
    record, period = track.record, track.period
    facts = [
        ("", f"{_minute(period.start)} to {_minute(period.end)} UTC"),
        (f"{record.days:,.1f} days", "measured"),
        (record.interval, "decisions"),
    ]
    listed = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    kind = "backtest" if record.stability is None else "live run"
    where = " on a simulated exchange" if record.stability is not None and record.simulated else ""
    good = period.growth >= 0.0 and (
        track.comparison is None or track.comparison.watched.alarm is None
    )
    return (
        f'<header><p class="kicker">{_ADVERB[period.words]} report of a {kind}{where}</p>'
        f"<h1>{escape(record.name)}</h1>"
        f'<ul class="facts">{listed}</ul>'
        f'<p class="verdict{"" if good else " bad"}">{escape(_opening(track))}</p></header>'
    )


def _opening(track: Track) -> str:
    period, totals = track.period, counted(track.scores)
    earned = "gained" if period.growth >= 0.0 else "lost"
    told = (
        f"The {period.words} {earned} {percent(abs(period.growth), decimals=2)}. Targets: {totals[State.MET]} met, "
        f"{totals[State.MISSED]} not met, {totals[State.EARLY]} too early to say."
    )
    if track.comparison is not None and track.comparison.watched.alarm is not None:
        told += f" {_verdict(track.comparison)}"
    return told


def _headline(track: Track) -> str:
    period = track.period
    deepest = next(score for score in track.scores if score.key == "max_drawdown")
    ratio = next(score for score in track.scores if score.key == "sharpe")
    items = [
        tile("Equity", money(period.equity), "USDT"),
        tile(
            f"Return of the {period.words}",
            toned(percent(period.growth, signed=True, decimals=2), period.growth),
            f"{money(period.profit, signed=True)} USDT",
        ),
        tile(
            "Maximum drawdown",
            toned(percent(deepest.estimate.value, decimals=2), deepest.estimate.value),
            f"target {deepest.target}",
        ),
        tile("Sharpe ratio", escape(ratio.value), _aside(ratio)),
    ]
    return f"<div>{tiles(items)}</div>"


def _aside(ratio: Score) -> str:
    found = ratio.estimate
    if math.isinf(found.low) or math.isinf(found.high):
        return "no interval yet"
    return f"90 % interval {found.low:.1f} to {found.high:.1f}".replace("-", "−")


def _span(track: Track) -> str:
    record = track.record
    return (
        f"From {_minute(record.start)} to {_minute(record.end)} UTC, a point for each closed bar."
    )


def _equity(track: Track) -> plots.Spec:
    equity = track.record.equity
    nothing = np.full(len(equity), np.nan)
    return plots.equity_curve(
        pd.DatetimeIndex(equity["ts"]),
        equity["equity"].to_numpy(np.float64),
        np.minimum(equity["drawdown"].to_numpy(np.float64), 0.0),
        nothing,
        benchmark_name="",
    )


def _scorecard(track: Track) -> str:
    totals = counted(track.scores)
    lead = (
        f"{totals[State.MET]} met, {totals[State.MISSED]} not met, {totals[State.EARLY]} too early to say, "
        f"{totals[State.UNKNOWN]} not measured. A target is met, or not, only where the interval lies wholly on one "
        "side of it: such a verdict is wrong in at most 5 % of cases."
    )
    shown = [score for score in track.scores if score.reason != NOT_OF_A_BACKTEST]
    rows = []
    for group in dict.fromkeys(score.group for score in shown):
        rows.append(f'<tr><td class="wide" colspan="5"><b>{escape(group)}</b></td></tr>')
        rows += [_row(score) for score in shown if score.group == group]
    drawn = stacked(["Target", "Asked", "Measured", "State", "Why"], rows, text=(3, 4))
    hidden = [score.name for score in track.scores if score not in shown]
    left_out = sentence(f"Only a live run has these: {', '.join(hidden)}.") if hidden else ""
    return section("Scorecard", lead, drawn, left_out)


def _row(score: Score) -> str:
    tone, mark = _MARKS[score.state]
    return (
        f'<tr><td>{escape(score.name)}</td><td class="side">{escape(score.target)}</td>'
        f'<td>{escape(score.value)}</td><td class="text side"><span class="badge {tone}">{mark} {score.state.value}'
        f'</span></td><td class="wrap wide">{escape(score.reason)}</td></tr>'
    )


def _verdict(found: Comparison) -> str:
    """Return what the sequential test says, in a sentence."""
    if found.watched.alarm is None:
        way = share(float(found.watched.sums[-1]))
        return f"No alarm against the backtest: {way} of the way to one."
    day = f"{found.days[found.watched.alarm]:%Y-%m-%d}"
    return f"It has stayed behind what the backtest promised: alarm on {day}."


def _comparison(found: Comparison) -> str:
    expected = found.expected
    where = "outside" if found.outside else "inside"
    lead = (
        f"{_verdict(found)} After {plural(len(found.growth), 'whole day')} growth is {where} the band, "
        f"made of {plural(expected.n_days, 'backtest day')} resampled in blocks."
    )
    low, middle, high = (_gain(float(end)) for end in found.band[-1])
    facts = table(
        ["", "Promised", "This run"],
        [
            ("Mean a day", _day_gain(expected.mean), _day_gain(_mean(found))),
            ("Growth so far", middle, _gain(float(found.growth[-1]))),
            ("Band", f"{low} to {high}", where),
        ],
    )
    told = (
        f"Although nothing changes, the test raises an alarm within {expected.horizon} days in "
        f"{share(expected.false_alarm)} of cases. Were the promised mean gone, it would do so in "
        f"{share(found.gone.found)} of cases, {_until(found.gone.median_days)}; were it a loss of the same size, in "
        f"{share(found.turned.found)}, {_until(found.turned.median_days)}."
    )
    test = f'<h3>Sequential test</h3><p class="lead">{escape(told)}</p>'
    return section("Against the backtest", lead, chart("band"), facts, test, chart("sums"))


def _gain(growth: float) -> str:
    return percent(growth - 1.0, signed=True)


def _day_gain(mean: float) -> str:
    return percent(mean, decimals=3, signed=True)


def _mean(found: Comparison) -> float:
    """Return the mean return of the run's days."""
    before = np.concatenate([[1.0], found.growth[:-1]])
    return float((found.growth / before - 1.0).mean())


def _until(days: float) -> str:
    return (
        "the median beyond the horizon"
        if math.isinf(days)
        else f"the median after {days:,.0f} days"
    )


def _figures(found: Comparison) -> dict[str, plots.Spec]:
    live = 100.0 * (found.growth - 1.0)
    low, middle, high = (100.0 * (found.band[:, n] - 1.0) for n in range(3))
    ends = {
        "mode": "lines",
        "line": {"width": 0, "color": "@second"},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    growth = plots.layout(320, "growth, %", legend=True)
    sums = plots.layout(200, "% of the limit", legend=False)
    sums["yaxis"] |= {"rangemode": "tozero"}
    sums["shapes"] = [_limit()]
    return {
        "band": {
            "data": [
                _line(found.days, low, "low") | ends,
                _line(found.days, high, "Band of the backtest")
                | ends
                | {"fill": "tonexty", "fillcolor": "@accent-soft", "showlegend": True},
                _line(found.days, middle, "Median")
                | {"line": {"color": "@second", "width": 1.2, "dash": "dot"}},
                _line(found.days, live, "This run") | {"line": {"color": "@accent", "width": 1.8}},
            ],
            "layout": growth,
        },
        "sums": {
            "data": [
                _line(found.days, 100.0 * found.watched.sums, "Sum")
                | {"line": {"color": "@accent", "width": 1.6}}
            ],
            "layout": sums,
        },
    }


def _limit() -> plots.Spec:
    line = {"color": "@loss", "width": 1.2, "dash": "dash"}
    return {"type": "line", "line": line, "xref": "paper", "x0": 0, "x1": 1, "y0": 100, "y1": 100}


def _line(days: pd.DatetimeIndex, values: FloatArray, name: str) -> plots.Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": (index_us(days) // 1000).tolist(),
        "y": [float(f"{value:.6g}") for value in values.tolist()],
        "hovertemplate": "%{y:.2f} %",
    }


def _period(track: Track) -> str:
    period = track.period
    numbers = tiles(
        [
            tile("Fills", whole(period.fills), f"{money(period.turnover, decimals=0)} USDT traded"),
            tile("Fees", money(period.fees), "USDT paid"),
            tile("Funding", money(abs(period.funding)), f"USDT {_way(period)}"),
            tile("Decisions not taken", whole(period.skipped), "late, or away"),
        ],
        small=True,
    )
    rows = [
        (escape(symbol), money(paid), money(fee), whole(n))
        for symbol, paid, fee, n in period.symbols[:_SYMBOLS_SHOWN]
    ]
    drawn = (
        "<h3>By symbol</h3>" + table(["Symbol", "Traded, USDT", "Fees, USDT", "Fills"], rows)
        if rows
        else sentence("Nothing was traded.")
    )
    return section(f"The {period.words} in numbers", "", numbers, drawn)


def _way(period: Period) -> str:
    return "paid" if period.funding >= 0.0 else "received"


def _footer(track: Track) -> str:
    told = "Times are the exchange's, in UTC; intervals hold the truth in 90 % of cases, 5 % beyond each end."
    if track.record.stability is not None and track.record.simulated:
        told += " The exchange is simulated: fills, slippage and latencies are those of this machine and of a model."
    return f"<footer>{escape(told)}</footer>"


def _minute(stamp: pd.Timestamp) -> str:
    return f"{stamp:%Y-%m-%d %H:%M}"
