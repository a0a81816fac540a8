"""Rules about the account: how far it has fallen, and how near it is to liquidation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from live.alerts.alert import Alert
from live.alerts.news import News
from live.alerts.rules.rule import (
    Judged,
    Memory,
    Step,
    check_fraction,
    check_steps,
    climbed,
    percent,
)


@dataclass(frozen=True, kw_only=True)
class Drawdown:
    """Tells each step that the drawdown passes.

    Parameters
    ----------
    steps : tuple of Step
        Falls from the peak, fractions.
    again : float
        Share of a step by which the account must have recovered from it before it is told again, in [0, 1).
    """

    steps: tuple[Step, ...]
    again: float

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_fraction("again", self.again)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each closed bar."""
        told, alerts = int(memory.get("told", 0)), []
        for row in news.account:
            told, step = climbed(self.steps, told, -row.drawdown, again=self.again)
            if step is not None:
                alerts.append(
                    Alert(
                        rule="drawdown",
                        severity=step.severity,
                        title=f"Drawdown {percent(row.drawdown)}, past the step of {percent(step.at, 0)}",
                        text=f"Equity {row.equity:,.2f} USDT. {self._next(told)}",
                        advice="Look at positions and limits; /pause opens nothing new, /flatten closes everything.",
                        event_us=row.ts_us,
                    )
                )
        return {"told": told}, alerts

    def _next(self, told: int) -> str:
        if told == len(self.steps):
            return "That was the last step."
        return f"The next step is {percent(self.steps[told].at, 0)}."


class _Gauge(NamedTuple):
    """One value that may pass steps; the steps of what is nearer the smaller it is are reciprocals."""

    name: str
    steps: Sequence[Step]
    value: float
    title: str
    event_us: int | None = None


@dataclass(frozen=True, kw_only=True)
class Liquidation:
    """Tells how near liquidation is: by its probability, the margin in use, and the distance of each position.

    Parameters
    ----------
    probability : tuple of Step
        Within 24 hours, for the whole account, as the liquidation monitor has it.
    margin_ratio : tuple of Step
        Maintenance margin over margin balance; at 1 the account is liquidated.
    distance : tuple of Step
        Fraction by which a position's mark may move until it is liquidated; each step nearer than the one before.
    again : float
        Share of a step by which it must be better before it is told again, in [0, 1).
    """

    probability: tuple[Step, ...]
    margin_ratio: tuple[Step, ...]
    distance: tuple[Step, ...]
    again: float

    def __post_init__(self) -> None:
        check_steps(self.probability)
        check_steps(self.margin_ratio)
        check_steps(self.distance[::-1])
        check_fraction("again", self.again)

    def judge(self, news: News, memory: Memory) -> Judged:
        """Look at each closed bar, and at what is held now."""
        told: dict[str, int] = dict(memory)
        alerts: list[Alert] = []
        for gauge in self._gauges(news):
            told[gauge.name], step = climbed(
                gauge.steps, told.get(gauge.name, 0), gauge.value, again=self.again
            )
            if step is not None:
                alerts.append(
                    Alert(
                        rule="liquidation",
                        severity=step.severity,
                        title=gauge.title,
                        advice="Lower the leverage or add margin; /flatten closes everything.",
                        event_us=gauge.event_us,
                        key=gauge.name,
                    )
                )
        if news.holdings is not None:  # of what is not held any more nothing is remembered
            held = {f"distance {each.symbol}" for each in news.holdings}
            told = {k: n for k, n in told.items() if not k.startswith("distance ") or k in held}
        return told, alerts

    def _gauges(self, news: News) -> Iterator[_Gauge]:
        for row in news.account:
            chance, ratio = row.liquidation_probability, row.margin_ratio
            yield _Gauge(
                "probability",
                self.probability,
                chance,
                f"Liquidation probability {percent(chance, 2)} within 24 h",
                row.ts_us,
            )
            yield _Gauge(
                "margin ratio",
                self.margin_ratio,
                ratio,
                f"Margin ratio {percent(ratio)}: at 100 % the account is liquidated",
                row.ts_us,
            )
        steps = [Step(at=1.0 / step.at, severity=step.severity) for step in self.distance]
        for held in news.holdings or ():
            away = held.liquidation_distance
            yield _Gauge(
                f"distance {held.symbol}",
                steps,
                1.0 / away if away > 0.0 else math.inf if away <= 0.0 else math.nan,
                f"{held.symbol} is {percent(away)} away from its liquidation price",
            )
