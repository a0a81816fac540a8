"""A fault at work: the periods in which it is in force, and the counts by which its chance is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from live.simulator.chance import delay_s, draw
from live.simulator.scenario import FaultRule, rule_of

SCOPE_LIMIT = 10_000
"""Accounts or streams that a fault tells apart; those beyond share one count."""


def microseconds(seconds: float) -> int:
    """Return seconds as whole microseconds."""
    return round(seconds * 1_000_000)


@dataclass(kw_only=True)
class Schedule:
    """A rule with what it has counted.

    Parameters
    ----------
    rule : FaultRule
        What happens.
    seed, place : int
        Of the scenario, and the rule's place in it: what its chance is drawn from.
    base_us : int
        Simulated time from which `at_seconds` counts, microseconds.
    met : dict of str to int
        Requests per account or messages per stream that it met while in force.
    told : dict of str to int
        The period of which the log was told last, per stream.
    happened : int
        How often it happened.
    occurrence : int
        The next period that the exchange itself has not been told of.
    """

    rule: FaultRule
    seed: int
    place: int
    base_us: int
    met: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    happened: int = 0
    occurrence: int = 0

    def __post_init__(self) -> None:
        rule = self.rule
        self._first_us = self.base_us + microseconds(rule.at_seconds)
        self._every_us = microseconds(rule.every_seconds or 0.0)
        self._lasts_us = (
            None if rule.duration_seconds is None else microseconds(rule.duration_seconds)
        )

    def begin_us(self, period: int) -> int:
        """Return when a period begins."""
        return self._first_us + period * self._every_us

    def end_us(self, period: int) -> int | None:
        """Return when a period ends, None if never."""
        return None if self._lasts_us is None else self.begin_us(period) + self._lasts_us

    def period(self, now_us: int) -> int | None:
        """Return the number of the period in which the rule is in force, from 0, None outside of all."""
        since_us = now_us - self._first_us
        if since_us < 0:
            return None
        number, since_us = divmod(since_us, self._every_us) if self._every_us else (0, since_us)
        return number if self._lasts_us is None or since_us < self._lasts_us else None

    def hit(self, scope: str, now_us: int) -> Hit | None:
        """Count one more request or message; return its place if the fault happens to it.

        Parameters
        ----------
        scope : str
            The account or the stream.
        now_us : int
            Simulated time, microseconds.
        """
        period = self.period(now_us)
        if period is None:
            return None
        if scope not in self.met and len(self.met) >= SCOPE_LIMIT:
            scope = ""
        number = self.met[scope] = self.met.get(scope, 0) + 1
        spent = self.rule.times is not None and self.happened >= self.rule.times
        if spent or self.rule.nth not in (None, number):
            return None
        chance = self.rule.probability
        if chance < 1.0 and draw(self.seed, self.place, scope, number) >= chance:
            return None
        return Hit(period, draw(self.seed, self.place, scope, number, "delay"))

    def occurs(self, period: int, scope: str = "") -> bool:
        """Return whether the fault happens in a period, to a stream or to the exchange itself: by chance alone."""
        if self.rule.times is not None and period >= self.rule.times:
            return False
        chance = self.rule.probability
        return chance == 1.0 or draw(self.seed, self.place, scope, period) < chance

    def in_force(self, now_us: int, scope: str = "") -> int | None:
        """Return the number of the period in force if the fault happens in it."""
        period = self.period(now_us)
        return period if period is not None and self.occurs(period, scope) else None

    def due(self, now_us: int) -> list[int]:
        """Return the periods that began since the last call, up to now, and in which the fault happens."""
        begun = []
        while self.begin_us(self.occurrence) <= now_us:
            if self.occurrence and not self._every_us:
                break
            if self.occurs(self.occurrence):
                begun.append(self.occurrence)
            self.occurrence += 1
        return begun

    def state(self) -> dict[str, Any]:
        """Return the rule and its counts as plain values of which JSON can be made."""
        kept = ("place", "base_us", "happened", "occurrence")
        counts = {"met": dict(self.met), "told": dict(self.told)}
        return {"rule": self.rule.plain()} | {name: getattr(self, name) for name in kept} | counts

    @staticmethod
    def of(state: Mapping[str, Any], seed: int) -> Schedule:
        """Return what `state` has kept."""
        counts = {"met": dict(state["met"]), "told": dict(state["told"])}
        return Schedule(**{**state, **counts, "rule": rule_of(state["rule"]), "seed": seed})


@dataclass(frozen=True)
class Hit:
    """A fault that happens: in which period, and the chance that gives its delay."""

    period: int
    chance: float

    def delay_s(self, rule: FaultRule) -> float:
        """Return the delay in seconds."""
        return delay_s(rule, self.chance)
