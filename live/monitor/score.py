"""One target and what can be said of it, in numbers and in words (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from live.monitor.estimates import NOTHING, Estimate, State

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


def score(
    key: str,
    name: str,
    group: Group,
    target: str,
    value: str,
    state: State,
    reason: str,
    estimate: Estimate = NOTHING,
) -> Score:
    """Return a target; in the order of its fields."""
    return Score(
        key=key, name=name, group=group, target=target, value=value, state=state, reason=reason, estimate=estimate,
    )  # fmt: skip


def span(estimate: Estimate, scale: float, unit: str, decimals: int) -> str:
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


def counted(found: Iterable[Score]) -> dict[State, int]:
    """Return how many targets are in each state."""
    totals = dict.fromkeys(State, 0)
    for score in found:
        totals[score.state] += 1
    return totals


def number(value: float, decimals: int) -> str:
    """Return a number in words, a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:,.{decimals}f}".replace("-", "−")


def unit(value: float, decimals: int, of: str) -> str:
    """Return a number with its unit, a dash for NaN."""
    return "–" if math.isnan(value) else f"{number(value, decimals)} {of}"


def small_share(value: float) -> str:
    """Return a fraction of which the third decimal counts."""
    return "–" if math.isnan(value) else f"{100.0 * value:.3f} %"
