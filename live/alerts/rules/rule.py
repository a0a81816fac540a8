"""What every rule is, and what several have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from live.alerts.alert import Alert, Severity
from live.alerts.news import News

Memory = Mapping[str, Any]
"""What a rule remembers from look to look: JSON values, empty at first."""
Judged = tuple[Memory, list[Alert]]
"""What a rule remembers now, and what it has to say."""


class Rule(Protocol):
    """A frozen settings dataclass that judges."""

    def judge(self, news: News, memory: Memory) -> Judged:
        """Return what is to be remembered, and the alerts, of which `rule` is filled in by `judge_all`."""
        ...


def judge_all(
    rules: Mapping[str, Rule], news: News, memories: Mapping[str, Memory]
) -> tuple[dict[str, Memory], list[Alert]]:
    """Return what all rules remember, by name, and what they have to say."""
    kept: dict[str, Memory] = {}
    alerts: list[Alert] = []
    for name, rule in rules.items():
        kept[name], said = rule.judge(news, memories.get(name, {}))
        alerts += said
    return kept, alerts


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a ladder.

    Parameters
    ----------
    at : float
        Value from which on it is reached, > 0.
    severity : Severity
        Of the alert.
    """

    at: float
    severity: Severity

    def __post_init__(self) -> None:
        if not 0.0 < self.at < math.inf:
            raise ValueError(f"at must be > 0, was {self.at}")


def check_steps(steps: Sequence[Step]) -> None:
    """Raise ValueError unless there are steps that rise."""
    values = [step.at for step in steps]
    if not values or sorted(set(values)) != values:
        raise ValueError(f"steps must be at least one, each above the one before, were {values}")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError unless a setting is in [0, 1)."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be in [0, 1), was {value}")


def check_positive(owner: object, *names: str) -> None:
    """Raise ValueError unless settings are > 0 and finite."""
    for name in names:
        if not 0.0 < getattr(owner, name) < math.inf:
            raise ValueError(f"{name} must be > 0, was {getattr(owner, name)}")


def climbed(
    steps: Sequence[Step], told: int, value: float, *, again: float
) -> tuple[int, Step | None]:
    """Return how many steps are told now, and the step to tell of.

    Parameters
    ----------
    steps : sequence of Step
        Rising.
    told : int
        How many of them were told.
    value : float
        Now; NaN changes nothing.
    again : float
        Share of a step's value by which it must be undercut before it is told again.

    Examples
    --------
    >>> steps = (Step(at=0.1, severity=Severity.WARNING), Step(at=0.2, severity=Severity.CRITICAL))
    >>> climbed(steps, 0, 0.15, again=0.2), climbed(steps, 1, 0.09, again=0.2)[0], climbed(steps, 1, 0.07, again=0.2)[0]
    ((1, Step(at=0.1, severity=<Severity.WARNING: 1>)), 1, 0)
    """
    if math.isnan(value):
        return told, None
    reached = sum(value >= step.at for step in steps)
    if reached > told:
        return reached, steps[reached - 1]
    kept = sum(value >= step.at * (1.0 - again) for step in steps)
    return min(told, kept), None


def percent(value: float, digits: int = 1) -> str:
    """Return a fraction as a person reads it, with a minus sign as print has it."""
    return f"{100.0 * value:.{digits}f} %".replace("-", "−")


def span(seconds: float) -> str:
    """Return a length of time as a person reads it."""
    return f"{seconds:.0f} s" if seconds < 120.0 else f"{seconds / 60:.0f} min"
