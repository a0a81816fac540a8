"""Settings of `conf/alerts.yaml`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from live.alerts.alert import Severity
from live.alerts.courier import Backoff
from live.alerts.pace import Pace, QuietHours, time_of_day
from live.alerts.rules.rule import Rule
from quantcore.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_NICEST = 19
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class ChannelSettings:
    """One way to a person.

    Parameters
    ----------
    url : str
        Name of the environment variable that holds its URL, as Apprise has them.
    least : Severity
        The least that it is told.
    reminder : int
        0 is told at once; 1 only with the first reminder of what nobody has acknowledged, and from then on, and so on.
    """

    url: str
    least: Severity
    reminder: int

    def __post_init__(self) -> None:
        check_variable("url", self.url)
        if self.reminder < 0:
            raise ValueError(f"reminder must be >= 0, was {self.reminder}")


@dataclass(frozen=True, kw_only=True)
class HeartbeatSettings:
    """The URL that is called as long as all is well, so that somebody else notices silence.

    Parameters
    ----------
    url : str
        Name of the environment variable that holds it; where that is not set, nothing is called.
    every_s : float
        Seconds, > 0.
    """

    url: str
    every_s: float

    def __post_init__(self) -> None:
        check_variable("url", self.url)
        if not 0.0 < self.every_s < math.inf:
            raise ValueError(f"every_s must be > 0, was {self.every_s}")


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """Commands that come from a chat of Telegram.

    Parameters
    ----------
    token : str
        Name of the environment variable that holds the bot's token.
    chats : tuple of int
        Who may command; empty takes no commands at all.
    base_url : str
        Of the API.
    confirm_s : float
        For which a dangerous command may be confirmed, > 0.
    old_s : float
        Age from which on a command is not carried out any more, > 0.
    """

    token: str
    chats: tuple[int, ...]
    base_url: str
    confirm_s: float
    old_s: float

    def __post_init__(self) -> None:
        check_variable("token", self.token)
        for name in ("confirm_s", "old_s"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be > 0, was {getattr(self, name)}")
        if not re.fullmatch(
            r"https://[^/@?#]+|http://(127\.0\.0\.1|localhost)(:\d+)?", self.base_url
        ):
            raise ValueError(
                f"base_url must be https://host, or http:// of this machine, was {self.base_url!r}"
            )


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """When the day's report comes.

    Parameters
    ----------
    at : str
        UTC time of the day, such as ``"06:00"``.
    overrides : tuple of str
        Of ``python -m live.monitor``, such as ``monitor.expectation=FOLDER``.
    """

    at: str
    overrides: tuple[str, ...]

    def __post_init__(self) -> None:
        time_of_day("at", self.at)


@dataclass(frozen=True, kw_only=True)
class AlertSettings:
    """All that the process does.

    Parameters
    ----------
    look_s : float
        Between two looks at the journal, > 0.
    niceness : int
        By which the process, and the tracker that it starts, step back from processors that others want: 0 to 19.
    channels : mapping of str to ChannelSettings
        By name, at least one of them told at once.
    pace : Pace
        How often messages go.
    quiet_hours : QuietHours or None
        In which only what is critical comes.
    reminders_s : tuple of float
        Seconds from a critical message to its first reminder, from that to the second, and so on; the last for ever.
    backoff : Backoff
        Of a channel that fails.
    heartbeat : HeartbeatSettings
        See there.
    commands : CommandSettings
        See there.
    daily_report : ReportSettings or None
        The day's report; None: none.
    rules : mapping of str to Rule
        By name.
    """

    look_s: float
    niceness: int
    channels: Mapping[str, ChannelSettings]
    pace: Pace
    quiet_hours: QuietHours | None
    reminders_s: tuple[float, ...]
    backoff: Backoff
    heartbeat: HeartbeatSettings
    commands: CommandSettings
    daily_report: ReportSettings | None
    rules: Mapping[str, Rule]

    def __post_init__(self) -> None:
        if not 0.0 < self.look_s < math.inf:
            raise ValueError(f"look_s must be > 0, was {self.look_s}")
        if not 0 <= self.niceness <= _NICEST:
            raise ValueError(f"niceness must be from 0 to {_NICEST}, was {self.niceness}")
        for name in self.channels:
            if not _NAME.fullmatch(name):
                raise ValueError(f"channels must have names of small letters, was {name!r}")
        if not any(each.reminder == 0 for each in self.channels.values()):
            raise ConfigError(
                "channels must have at least one with reminder 0, which is told at once"
            )
        if not self.reminders_s or not all(0.0 < each < math.inf for each in self.reminders_s):
            raise ValueError(
                f"reminders_s must be at least one, each > 0, was {list(self.reminders_s)}"
            )

    def channels_of(self, severity: Severity, reminders: int = 0) -> tuple[str, ...]:
        """Return the channels that are told something, by name."""
        return tuple(
            name
            for name, channel in self.channels.items()
            if severity >= channel.least and channel.reminder <= reminders
        )

    def remind_after_us(self, reminders: int) -> int:
        """Return how long after so many reminders the next one comes."""
        return int(self.reminders_s[min(reminders, len(self.reminders_s) - 1)] * 1e6)


def check_variable(name: str, value: str) -> None:
    """Raise ValueError, without the value, unless a setting is the name of an environment variable."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError(
            f"{name} must be the name of an environment variable in capitals; a URL or token stays there"
        )
