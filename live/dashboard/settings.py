"""Settings of the dashboard, as `conf/dashboard.yaml` has them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from live.dashboard.gate import LOOPBACK, TOKEN_MIN
from quantcore.errors import ConfigError

ANYWHERE = ("0.0.0.0", "::")
"""Addresses that are no names under which somebody could ask for the page."""

_NICEST = 19


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    """Where the page is served.

    Parameters
    ----------
    host : str
        Address that it binds to; one that other machines reach needs a token.
    port : int
        0 is any that is free.
    names : tuple of str
        Further names under which it may be asked for, such as that of a proxy before it.
    token : str
        Name of the environment variable that holds the token.
    certificate, key : str or None
        Files in PEM for HTTPS; both or none.
    look_s : float
        Seconds between two looks at the journal, in [0.05, 1].
    niceness : int
        By which it steps back from the processors, in [0, 19].
    """

    host: str
    port: int
    names: tuple[str, ...]
    token: str
    certificate: str | None
    key: str | None
    look_s: float
    niceness: int = 10

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be in [0, 65535], was {self.port}")
        if not 0.05 <= self.look_s <= 1.0:
            raise ConfigError(f"look_s must be in [0.05, 1], was {self.look_s}")
        if not 0 <= self.niceness <= _NICEST:
            raise ConfigError(f"niceness must be in [0, {_NICEST}], was {self.niceness}")
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("certificate and key must be given together, was one of them")
        if self.host in ANYWHERE and not self.names:
            raise ConfigError(
                f"names must say under which names the page may be asked for with host {self.host}, was empty"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it, and by no other name."""
        return self.host in LOOPBACK and not self.names

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every name under which it may be asked for."""
        own = LOOPBACK if self.host in (*LOOPBACK, *ANYWHERE) else (self.host,)
        return (*own, *self.names)

    def held_token(self) -> str | None:
        """Return the token of the environment; None where there is none and none is needed.

        Raises
        ------
        ConfigError
            If others reach the page and no token is set.
        """
        held = os.environ.get(self.token, "")
        if held:
            return held
        if self.is_local:
            return None
        raise ConfigError(
            f"{self.token} must hold a token of {TOKEN_MIN} characters or more where host is {self.host}, is not set"
        )
