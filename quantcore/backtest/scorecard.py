"""The system's targets against a run's results, each on its own: met, not met, or not measurable (DESIGN.md 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from quantcore.backtest.markup import MINUS, MISSING, plural, ratio, share
from quantcore.timegrid import MINUTE_US, interval_us

Verdict = Literal["met", "not met", "not measurable"]

RETURNS_MIN = 90
"""Daily returns below which nothing is said about return, Sharpe ratio and drawdown: a quarter of a year."""

_Z_95 = 1.959964
_UNCERTAIN = frozenset({"sharpe", "max_drawdown", "annual_return"})
_LONG_RECORD = frozenset({"ruin_probability", "liquidation_probability_24h"})
"""Targets that need months of returns, or positions with a history: a short run cannot measure them."""

_LIVE_ONLY = "A backtest has no {what}: measured live."


@dataclass(frozen=True)
class Score:
    """One line of the scorecard.

    Parameters
    ----------
    name : str
        What is measured.
    target, result : str
        With units; the result is a dash where there is none.
    verdict : str
        ``"met"``, ``"not met"`` or ``"not measurable"``.
    reason : str
        The sentence that says why.
    elsewhere : bool
        Whether runs of this kind cannot measure it at all, whatever they trade.
    """

    name: str
    target: str
    result: str
    verdict: Verdict
    reason: str
    elsewhere: bool = False


@dataclass(frozen=True)
class _Target:
    key: str
    name: str
    low: float | None
    high: float | None
    strict: bool
    unit: Literal["ratio", "share", "bps"]
    unknown: str

    def text(self) -> str:
        """Return the target as it is written in the design."""
        if self.low is not None and self.high is not None:
            return f"{_bound(self.low, self.unit)} to {_bound(self.high, self.unit)}"
        if self.low is not None:
            return f"{'>' if self.strict else '≥'} {_bound(self.low, self.unit)}"
        assert self.high is not None
        return f"{'<' if self.strict else '≤'} {_bound(self.high, self.unit)}"

    def holds(self, value: float) -> bool:
        """Return whether a value meets the target; only the lower end of a range binds."""
        if self.low is not None:
            return value > self.low if self.strict else value >= self.low
        assert self.high is not None
        return value < self.high if self.strict else value <= self.high


_TARGETS = (
    _Target(
        "sharpe",
        "Sharpe ratio",
        1.5,
        None,
        False,
        "ratio",
        "There are too few daily returns, or they do not vary.",
    ),
    _Target(
        "max_drawdown",
        "Maximum drawdown",
        -0.12,
        None,
        False,
        "share",
        "There is no equity curve to fall.",
    ),
    _Target(
        "annual_return",
        "Annual return",
        0.30,
        0.50,
        False,
        "share",
        "The span is under one day; a year cannot be extrapolated.",
    ),
    _Target(
        "ruin_probability",
        "Probability of ruin",
        None,
        0.01,
        True,
        "share",
        "The record is too short for an estimate, or nothing was held.",
    ),
    _Target(
        "liquidation_probability_24h",
        "24 h liquidation probability",
        None,
        0.005,
        True,
        "share",
        "The record is too short for an estimate, or nothing was held.",
    ),
    _Target("fill_rate", "Fill rate", 0.95, None, True, "share", "No order asked for a target."),
    _Target(
        "mean_slippage_bps", "Slippage", None, 5.0, True, "bps", "No order crossed the spread."
    ),
    _Target(
        "post_only_success",
        "Post-only success",
        0.70,
        None,
        True,
        "share",
        "No post-only order was sent.",
    ),
)

_LIVE_TARGETS = (
    ("Order latency p50", "< 50 ms", "exchange round trip"),
    ("Order latency p99", "< 200 ms", "exchange round trip"),
    ("Risk check", "< 10 ms", "wall clock"),
    ("Position update", "< 100 ms", "account stream"),
    ("Alert delivery", "< 1 s", "alerts"),
    ("API errors", "< 0.1 %", "exchange requests"),
    ("Uptime", "> 99.9 %", "process to keep up"),
    ("Data loss", "0", "live stream"),
)


def scorecard(metrics: Mapping[str, Any], *, execution_interval: str, returns: int) -> list[Score]:
    """Return every target of the design with a run's result.

    Parameters
    ----------
    metrics : mapping of str to Any
        `metrics.json`.
    execution_interval : str
        Interval of the execution bars, such as ``"1h"``.
    returns : int
        Number of daily returns; below `RETURNS_MIN` nothing is said about return, Sharpe ratio and drawdown.

    Returns
    -------
    list of Score
        In the order of DESIGN.md 7; targets of the live system are listed as not measurable, and so is everything
        where nothing was traded.
    """
    scores = [_score(target, metrics, execution_interval, returns) for target in _TARGETS]
    scores += [
        Score(name, target, MISSING, "not measurable", _LIVE_ONLY.format(what=what), elsewhere=True)
        for name, target, what in _LIVE_TARGETS
    ]
    return scores


def verdict_line(scores: list[Score]) -> str:
    """Return how many targets are met, not met and not measurable, as one sentence."""
    met = sum(s.verdict == "met" for s in scores)
    missed = [inline(s.name) for s in scores if s.verdict == "not met"]
    if not met + len(missed):
        return "No target is measurable in this run."
    line = f"{met} of {plural(met + len(missed), 'measurable target')} met"
    return f"{line}; missed: {', '.join(missed)}." if missed else f"{line}."


def _score(target: _Target, metrics: Mapping[str, Any], interval: str, returns: int) -> Score:
    value = metrics.get(target.key)
    shown = MISSING if value is None else _show(float(value), target.unit)
    coarse = interval_us(interval) > 5 * MINUTE_US

    def unknown(reason: str, *, result: str = MISSING, elsewhere: bool = False) -> Score:
        text = target.text()
        return Score(target.name, text, result, "not measurable", reason, elsewhere=elsewhere)

    if coarse and target.key in ("fill_rate", "post_only_success"):
        reason = (
            f"Execution bars of {interval} trade through almost any resting order, which flatters it; "
            "bars of 5 minutes or finer are needed."
        )
        return unknown(reason, elsewhere=True)
    if value is None and target.key in _LONG_RECORD:
        return unknown(target.unknown, elsewhere=True)
    if metrics.get("trades") == 0:
        return unknown("Nothing was traded.")
    if target.key in _UNCERTAIN and returns < RETURNS_MIN:
        return unknown(
            f"{plural(returns, 'daily return')} cannot carry a verdict: {RETURNS_MIN} are needed.",
            result=shown,
        )
    if value is None:
        return unknown(target.unknown)
    met = target.holds(value)
    reason = _reason(target, float(value), metrics, met=met)
    return Score(target.name, target.text(), shown, "met" if met else "not met", reason)


def _reason(target: _Target, value: float, metrics: Mapping[str, Any], *, met: bool) -> str:
    if target.key == "sharpe":
        low, high = metrics.get("sharpe_ci_low"), metrics.get("sharpe_ci_high")
        if low is not None and high is not None and target.low is not None:
            span = f"The 95 % interval runs from {ratio(low)} to {ratio(high)}"
            return f"{span}, which {_excluded(target.low, low, high, met=met)}."
    if target.key == "max_drawdown":
        water = (
            f"The longest time under water was {metrics.get('max_drawdown_days') or 0.0:.0f} days."
        )
        doubt = "It is one path's: the same returns in another order could miss it. "
        return f"{doubt}{water}" if met else water
    if target.key == "annual_return" and target.low is not None:
        found = _return_interval(value, metrics)
        if found is not None:
            span = f"By its volatility the 95 % interval runs from {share(found[0])} to {share(found[1])}"
            text = f"{span}, which {_excluded(target.low, *found, met=met)}."
            above = target.high is not None and value > target.high
            return f"{text} Above the range: check risk and costs." if above else text
    if target.key == "mean_slippage_bps":
        return "By the slippage model at taker fills, not by a real book."
    bound = target.low if target.low is not None else target.high
    assert bound is not None
    off = abs(value - bound)
    gap = f"{100.0 * off:.1f} points" if target.unit == "share" else _show(off, target.unit)
    return f"{gap} {'inside' if met else 'short of'} the target."


def _excluded(bound: float, low: float, high: float, *, met: bool) -> str:
    """Return whether an interval rules out that a lower bound's verdict is the other one."""
    sure = low >= bound if met else high < bound
    return f"{'excludes' if sure else 'does not exclude'} {'missing' if met else 'meeting'} it"


def _return_interval(annual: float, metrics: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the annual return times exp(± z σ / √years): the standard error of the mean growth rate."""
    volatility, start, end = (metrics.get(k) for k in ("annual_volatility", "start", "end"))
    if volatility is None or start is None or end is None:
        return None
    years = (pd.Timestamp(end) - pd.Timestamp(start)) / pd.Timedelta(days=365)
    half = _Z_95 * volatility / math.sqrt(years) if years > 0.0 else math.inf
    if half > 10.0:
        return None
    return (1.0 + annual) * math.exp(-half) - 1.0, (1.0 + annual) * math.exp(half) - 1.0


def inline(name: str) -> str:
    """Return a target's name as it stands inside a sentence.

    Examples
    --------
    >>> inline("Fill rate"), inline("API errors"), inline("Sharpe ratio")
    ('fill rate', 'API errors', 'Sharpe ratio')
    """
    kept = name.startswith("Sharpe") or name[1].isupper()
    return name if kept else name[0].lower() + name[1:]


def _bound(value: float, unit: str) -> str:
    """Return a bound of a target, without the decimals that a result has."""
    text = (
        f"{100.0 * value:g} %" if unit == "share" else f"{value:g}{' bps' if unit == 'bps' else ''}"
    )
    return text.replace("-", MINUS)


def _show(value: float, unit: str) -> str:
    if unit == "share":
        return share(value)
    return f"{ratio(value, decimals=1)} bps" if unit == "bps" else ratio(value)
