"""Where an exchange account is reached, with which patience, and the credentials that nothing shows."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from live.hidden import check_variable
from quantcore.errors import ConfigError

MASK = "***"
_RECV_WINDOW_MAX_MS = 60_000
_LONG = re.compile(r"[A-Za-z0-9]{60,}")
"""Keys, signatures and listen keys have 64 letters and digits."""


class Credentials:
    """An API key and its secret; no text, copy or pickle of it shows them.

    Parameters
    ----------
    api_key, api_secret : str
        As the exchange gave them.
    """

    __slots__ = ("api_key", "api_secret")

    def __init__(self, api_key: str, api_secret: str) -> None:
        self.api_key = api_key
        self.api_secret = api_secret

    def __repr__(self) -> str:
        return f"Credentials({MASK})"

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Credentials:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials must not be pickled")

    def scrub(self, text: str) -> str:
        """Return a text without key and secret, nor anything as long as a signature or a listen key."""
        for hidden in filter(None, (self.api_secret, self.api_key)):
            text = text.replace(hidden, MASK)
        return _LONG.sub(MASK, text)


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """How to reach an exchange account.

    Parameters
    ----------
    rest_url, stream_url : str
        Such as ``"https://fapi.binance.com"`` and ``"wss://fstream.binance.com"``.
    api_key, api_secret : str
        *Names* of the environment variables that hold them.
    credentials : Credentials or None
        Given directly, by a simulator; they go before the variables.
    permissions_url : str or None
        Where the key's permissions are told, such as ``"https://api.binance.com/sapi"``; None where there is no such
        host.
    recv_window_ms : int
        How old a request may be when it arrives, in [1, 60000].
    timeout_s : float
        Until an answer is given up, > 0; what it asked for is then unknown.
    read_attempts : int
        How often a read is tried in all, >= 1.
    patience_s : float
        How long an order that opens may wait for the limits, >= 0; after that it is not sent.
    exit_patience_s : float
        The same for what reduces, cancels or reads, >= `patience_s`; a ban is at least two minutes.
    clock_speed : float
        Of `ExchangeClock`: 1; of a simulator its own; 0 in lock-step.
    clock_seconds : float
        Between two measurements of the clock, on the wall, > 0.
    clock_off_max_ms : int or None
        How far this machine's clock may be off before it is reported; None for an exchange of another time.
    stuck_seconds : float
        In TRIGGERING, after which a conditional order is told as stuck, > 0.
    mute_seconds : float
        After an order was accepted, within which the user stream must tell of it, > 0.
    ping_seconds : float
        Between two pings of ours on the user stream, > 0; two unanswered ones and it is replaced.
    queue_max : int
        Events that may wait for the loop, >= 1; what comes beyond is lost, and told as `Doubt`.

    Raises
    ------
    ConfigError
        If an address, a name or a number is out of its range.
    """

    rest_url: str
    stream_url: str
    api_key: str = "BINANCE_API_KEY"
    api_secret: str = "BINANCE_API_SECRET"  # a variable's name
    credentials: Credentials | None = None
    permissions_url: str | None = None
    recv_window_ms: int = 5000
    timeout_s: float = 10.0
    read_attempts: int = 4
    patience_s: float = 10.0
    exit_patience_s: float = 150.0
    clock_speed: float = 1.0
    clock_seconds: float = 300.0
    clock_off_max_ms: int | None = 1000
    stuck_seconds: float = 3.0
    mute_seconds: float = 5.0
    ping_seconds: float = 20.0
    queue_max: int = 100_000

    def __post_init__(self) -> None:
        self._check_addresses()
        if not 1 <= self.recv_window_ms <= _RECV_WINDOW_MAX_MS:
            raise ConfigError(
                f"recv_window_ms must be in [1, {_RECV_WINDOW_MAX_MS}], was {self.recv_window_ms}"
            )
        for name in ("timeout_s", "clock_seconds", "stuck_seconds", "mute_seconds", "ping_seconds"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be > 0, was {getattr(self, name)}")
        for name in ("read_attempts", "queue_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, was {getattr(self, name)}")
        if not 0.0 <= self.patience_s <= self.exit_patience_s < math.inf:
            raise ConfigError(
                f"patience_s must be in [0, exit_patience_s = {self.exit_patience_s}], was {self.patience_s}"
            )
        if not 0.0 <= self.clock_speed < math.inf:
            raise ConfigError(f"clock_speed must be >= 0, was {self.clock_speed}")

    def _check_addresses(self) -> None:
        _check_url("rest_url", self.rest_url, ("http://", "https://"))
        _check_url("stream_url", self.stream_url, ("ws://", "wss://"))
        if self.permissions_url is not None:
            _check_url("permissions_url", self.permissions_url, ("http://", "https://"))
        for name in ("api_key", "api_secret"):
            check_variable(name, getattr(self, name))

    def find_credentials(self, environment: Mapping[str, str] = os.environ) -> Credentials:
        """Return the credentials given or, read now, those of the environment.

        Raises
        ------
        ConfigError
            If a variable is not set or empty; it is named, its value never.
        """
        if self.credentials is not None:
            return self.credentials
        found = []
        for setting in ("api_key", "api_secret"):
            name = getattr(self, setting)
            value = environment.get(name, "").strip()
            if not value:
                raise ConfigError(
                    f"{setting}: the environment variable {name} must be set, was not"
                )
            found.append(value)
        return Credentials(*found)


def _check_url(name: str, url: str, schemes: tuple[str, ...]) -> None:
    if not url.startswith(schemes):
        raise ConfigError(f"{name} must start with {' or '.join(schemes)}, was {url}")
