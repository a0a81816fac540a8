"""What a rule has to say, and how much it matters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How much an alert matters."""

    INFO = 0
    """To be read some time."""
    WARNING = 1
    """To be looked at today."""
    CRITICAL = 2
    """To be looked at now: comes in quiet hours as well, and again until a person has acknowledged it."""


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing that a person should know.

    Parameters
    ----------
    rule : str
        Which rule says so, as `conf/alerts.yaml` names it.
    severity : Severity
        How much it matters.
    title : str
        What is the matter, with its figure, short enough for a subject line.
    text : str
        What else is known of it; may be empty.
    advice : str
        What a person can do about it; empty if nothing is to be done.
    event_us : int or None
        When it happened, microseconds since 1970 of the exchange's clock; None of what the journal does not tell.
    key : str
        What it is about within its rule, such as a symbol: alerts of one rule and key are told as one.
    """

    rule: str
    severity: Severity
    title: str
    text: str = ""
    advice: str = ""
    event_us: int | None = None
    key: str = ""
