"""Channels: each is a URL of Apprise, read from an environment variable at the point of use and never shown."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from live.alerts.alert import Severity
from live.alerts.outbox import Due
from quantcore.errors import ConfigError

if TYPE_CHECKING:
    from apprise import Apprise, AppriseResult

Send = Callable[[Due], str]
"""Sends a message and returns why that failed, empty if it did not; blocks, and may be called in any thread."""
_TYPES: Final = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}
_TIMEOUT_S: Final = 20.0


def secret_of(variable: str, key: str) -> str:
    """Return what an environment variable holds.

    Raises
    ------
    ConfigError
        If it is not set; the message has its name.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{key} must name an environment variable that is set, {variable} is not")
    return value


def apprise_channel(name: str, variable: str) -> Send:
    """Return what sends over the URL that an environment variable holds.

    Raises
    ------
    ConfigError
        If the variable is not set, or holds no URL that Apprise knows; the URL is not told.
    """
    import apprise

    quieten()
    key = f"channels.{name}.url"
    url = secret_of(variable, key)
    channel = apprise.Apprise()
    if not channel.add(url) or len(channel) != 1:
        raise ConfigError(
            f"{key} must name a variable with one URL of Apprise, {variable} holds none"
        )
    return lambda due: _send(channel, due)


def quieten() -> None:
    """Let libraries that write URLs into their logs write nothing."""
    for library in ("apprise", "urllib3", "requests"):
        logger = logging.getLogger(library)
        logger.propagate = False
        logger.handlers = [logging.NullHandler()]


def _send(channel: Apprise, due: Due) -> str:
    result = channel.notify(
        title=due.subject,
        body=due.body,
        notify_type=_TYPES[due.severity],
        body_format="text",
        timeout=_TIMEOUT_S,
    )
    return "" if result else _failure(result)


def _failure(result: AppriseResult) -> str:
    """Return what may be told of a failure: the number that the service gave, and nothing of what libraries write."""
    said = " ".join(str(entry) for entry in result.logs())
    found = re.search(r"error=(\d{3})\b", said)
    return f"answered {found.group(1)}" if found else "no answer, or a refusal"
