"""When a message may go: so many in a span, and in quiet hours critical ones alone (pure)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from live.alerts.alert import Severity

_SECOND_US = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Limit:
    """At most so many messages in any span of that length.

    Parameters
    ----------
    messages : int
        How many, >= 1.
    seconds : float
        The span, > 0.
    """

    messages: int
    seconds: float

    def __post_init__(self) -> None:
        if self.messages < 1:
            raise ValueError(f"messages must be >= 1, was {self.messages}")
        if not 0.0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be > 0, was {self.seconds}")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often messages go, for each severity; what may not go yet is gathered into the next message.

    Parameters
    ----------
    gather_s : float
        For which the first alert waits for others of the same moment, >= 0.
    critical, warning, info : tuple of Limit
        All of a severity's limits hold.
    """

    gather_s: float
    critical: tuple[Limit, ...]
    warning: tuple[Limit, ...]
    info: tuple[Limit, ...]

    def __post_init__(self) -> None:
        if not 0.0 <= self.gather_s < math.inf:
            raise ValueError(f"gather_s must be >= 0, was {self.gather_s}")

    def limits(self, severity: Severity) -> tuple[Limit, ...]:
        """Return the limits of a severity."""
        found: tuple[Limit, ...] = getattr(self, severity.name.lower())
        return found

    def span_us(self, severity: Severity) -> int:
        """Return how far back messages count."""
        return max((int(each.seconds * _SECOND_US) for each in self.limits(severity)), default=0)

    def next_us(self, severity: Severity, made_us: Sequence[int]) -> int:
        """Return the time from which on another message may go, 0 if any time is right.

        Parameters
        ----------
        severity : Severity
            Of the message.
        made_us : sequence of int
            When the messages of that severity were made, in order.
        """
        found = 0
        for limit in self.limits(severity):
            if len(made_us) >= limit.messages:
                found = max(found, made_us[-limit.messages] + int(limit.seconds * _SECOND_US))
        return found


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """The hours of a day in which only what is critical comes.

    Parameters
    ----------
    begin, end : str
        Times of day such as ``"22:00"``; an end before the begin is that of the next day.
    zone : str
        Name of their time zone, such as ``"Europe/Berlin"``.
    """

    begin: str
    end: str
    zone: str

    def __post_init__(self) -> None:
        begin, end = time_of_day("begin", self.begin), time_of_day("end", self.end)
        if begin == end:
            raise ValueError(f"end must differ from begin, was {self.end!r}")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"zone must name a time zone, was {self.zone!r}") from error

    def until_us(self, now_us: int) -> int | None:
        """Return when the quiet hours end in which a time is, None if it is in none."""
        zone = ZoneInfo(self.zone)
        here = datetime.fromtimestamp(now_us / _SECOND_US, UTC).astimezone(zone)
        begin, end = time_of_day("begin", self.begin), time_of_day("end", self.end)
        now = here.time()
        is_quiet = begin <= now < end if begin < end else now >= begin or now < end
        if not is_quiet:
            return None
        day = here.date() if now < end else here.date() + timedelta(days=1)
        return int(datetime.combine(day, end, zone).timestamp() * _SECOND_US)


def time_of_day(name: str, text: str) -> time:
    """Return a time such as ``"07:30"``.

    Raises
    ------
    ValueError
        If it is none; the message has the name.
    """
    try:
        return datetime.strptime(text, "%H:%M").replace(tzinfo=UTC).time()
    except ValueError as error:
        raise ValueError(f"{name} must be a time such as '07:30', was {text!r}") from error
