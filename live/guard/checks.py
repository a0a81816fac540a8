"""What a check says: its name, how it ended, and one line with the rule and the value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from quantcore.errors import ConfigError


class Verdict(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of the pre-flight.

    Parameters
    ----------
    name : str
        What was looked at, such as ``"margin type"``.
    verdict : Verdict
        How it ended.
    line : str
        The rule and the value; never a key.
    """

    name: str
    verdict: Verdict
    line: str


def passed(name: str, line: str) -> Check:
    """Return a check that holds."""
    return Check(name=name, verdict=Verdict.PASSED, line=line)


def failed(name: str, line: str) -> Check:
    """Return a check that does not hold."""
    return Check(name=name, verdict=Verdict.FAILED, line=line)


def not_applicable(name: str, line: str) -> Check:
    """Return a check that has no meaning here, and why."""
    return Check(name=name, verdict=Verdict.NOT_APPLICABLE, line=line)


def held_to(name: str, holds: bool, line: str) -> Check:
    """Return a check that holds or does not, with the same line."""
    return passed(name, line) if holds else failed(name, line)


def failures(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that do not hold."""
    return [check for check in checks if check.verdict is Verdict.FAILED]


def lines(checks: Iterable[Check]) -> list[str]:
    """Return the checklist as a person reads it, one line for each check."""
    shown = list(checks)
    width = max((len(check.name) for check in shown), default=0)
    return [f"{check.verdict.value:<14}  {check.name:<{width}}  {check.line}" for check in shown]


def refuse(mode: str, checks: Iterable[Check]) -> None:
    """Refuse the start where a check does not hold.

    Raises
    ------
    ConfigError
        Naming every check that failed, and its line.
    """
    shown = list(checks)
    broken = failures(shown)
    if broken:
        told = "; ".join(f"{check.name}: {check.line}" for check in broken)
        raise ConfigError(
            f"conf={mode} must pass all {len(shown)} checks before it starts, failed {len(broken)}: {told}"
        )
