"""What must hold before a real order is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from live.settings import REAL_MONEY, LiveSettings
from quantcore.errors import ConfigError

ARMED = "QUANTCORE_ARMED"
"""Environment variable by which an operator arms a mode of real money: it holds the mode's name."""


def preflight(
    settings: LiveSettings,
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Refuse a mode of real money that the command line does not name, or that nobody armed.

    Parameters
    ----------
    settings : LiveSettings
        Of the mode.
    arguments : sequence of str
        Of the command line.
    environment : mapping of str to str
        Where it is armed.

    Raises
    ------
    ConfigError
        If it is refused.
    """
    mode = settings.mode
    if mode not in REAL_MONEY:
        return
    if f"conf={mode}" not in arguments:
        raise ConfigError(f"conf={mode} must stand on the command line, did not")
    other = [a for a in arguments if a.lstrip("+~").startswith("conf.")]
    if other:
        raise ConfigError(f"conf={mode} must stand alone on the command line, was with {other[0]}")
    if environment.get(ARMED) != mode:
        raise ConfigError(f"the environment variable {ARMED} must be {mode} to trade, was not")
