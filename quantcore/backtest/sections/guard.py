"""How near the account came to its limits: value at risk, liquidation, and the steps of the ladder."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import chart, pair, percent, plural, section, table, words
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.strategy_profit import label_spans
from quantcore.types import FloatArray

STEPS_SHOWN = 40


def guard(story: Story) -> Section:
    """Return value at risk and probability of liquidation over time, and what the controller did; nothing without."""
    equity = story.run.tables["equity"]
    if "daily_var" not in equity or not (equity["daily_var"] > 0.0).any():
        return "", {}
    at_risk = equity["daily_var"].to_numpy(np.float64)
    chance = equity["liquidation_probability"].to_numpy(np.float64)
    spans = label_spans(equity, "risk_level")
    figure = plots.limits_watched(
        pd.DatetimeIndex(equity["ts"]),
        at_risk,
        chance,
        reduced=spans.get("reduce", ()),
        halted=[*spans.get("halt", ()), *spans.get("stopped", ())],
    )
    distance = _distance(equity)
    nearest = float(np.nanmin(distance)) if np.isfinite(distance).any() else 1.0
    share = equity["risk_level"].value_counts(normalize=True)
    lead = (
        f"One day's value at risk was {percent(float(at_risk.mean()), decimals=2)} of equity on average and "
        f"{percent(float(at_risk.max()), decimals=2)} at most; the probability of liquidation within 24 hours at most "
        f"{percent(float(chance.max()), decimals=3)}. Targets were scaled down "
        f"{percent(float(share.get('reduce', 0.0)))} of the time, the account was halted "
        f"{percent(float(share.get('halt', 0.0) + share.get('stopped', 0.0)))} of it (shaded). At its nearest, "
        f"liquidation was a move of {percent(nearest)} away, of everything that was held against the account at once."
    )
    body = pair(
        ("Value at risk and probability of liquidation", chart("limits")),
        ("Distance to liquidation", chart("distance")),
    )
    return section("Limits", lead, body, _steps(story.run.tables["reasons"])), {
        "limits": figure,
        "distance": plots.liquidation_distance(pd.DatetimeIndex(equity["ts"]), distance),
    }


def _distance(equity: pd.DataFrame) -> FloatArray:
    """Return by how much everything held may move against a cross account until it is liquidated, at most 1.

    Margin balance less maintenance margin, over gross exposure; the maintenance margin is taken to stay as it is.
    """
    gross = equity["gross_exposure"].to_numpy(np.float64)
    room = equity["equity"].to_numpy(np.float64) * (
        1.0 - equity["margin_ratio"].to_numpy(np.float64)
    )
    moves = np.divide(room, gross, out=np.full(len(gross), np.nan), where=gross > 0.0)
    return np.asarray(np.minimum(moves, 1.0))


def _steps(reasons: pd.DataFrame) -> str:
    """Return the ladder's steps and emergencies, the latest last."""
    guards = reasons["stage"].isin(["controller", "liquidation_monitor"])
    steps = reasons[guards & (reasons["action"] != "cut")]
    if steps.empty:
        return ""
    shown = steps.tail(STEPS_SHOWN)
    rows = [
        (
            escape(f"{stamp:%Y-%m-%d %H:%M}"),
            escape(words(str(action))),
            escape(words(str(rule))),
            escape(_amount(str(rule), value)),
            escape(_amount(str(rule), limit)),
            escape(str(symbol)),
        )
        for stamp, action, rule, value, limit, symbol in zip(
            shown["ts"], shown["action"], shown["rule"], shown["value"], shown["limit"], shown["symbol"], strict=True
        )
    ]  # fmt: skip
    more = len(steps) - len(shown)
    earlier = f" ({plural(more, 'earlier step')} left out)" if more else ""
    title = f"<h3>What the limits did{earlier}</h3>"
    return title + table(
        ["When", "Step", "Cause", "Was", "Limit", "Symbol"], rows, text=(0, 1, 2, 5)
    )


def _amount(rule: str, value: float) -> str:
    return f"{value / 3.6e9:.0f} h" if rule == "cool_down" else percent(value)
