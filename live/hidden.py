"""What must not be seen: names that stand for secrets, addresses and environments without them (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import parse_qs, urlsplit

from quantcore.errors import ConfigError

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
"""Names of variables: capitals, so that a key given in place of its name is refused before anything shows it."""
_SECRET = re.compile(r"KEY|SECRET|PASS|TOKEN|CREDENTIAL|ARMED")
"""In the name of a variable whose value no other process needs."""


def check_variable(name: str, variable: str) -> None:
    """Refuse what is no name of an environment variable, without showing it.

    Raises
    ------
    ConfigError
        If it is none: a key may have been given in its place.
    """
    if not _VARIABLE.fullmatch(variable):
        raise ConfigError(
            f"{name} must name an environment variable in capitals, what was given is not shown"
        )


def check_no_password(name: str, url: str) -> None:
    """Refuse a database's address that holds a password, without showing it.

    A command line is seen by every user of the machine, and settings are printed and kept.

    Raises
    ------
    ConfigError
        If it holds one.
    """
    try:
        parts = urlsplit(url)
        held = bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        return  # it is no address at all, as whoever opens it says
    if held:
        raise ConfigError(
            f"{name} must hold no password, does: PGPASSWORD or a .pgpass file holds it"
        )


def public_environment(environment: Mapping[str, str], hidden: Collection[str]) -> dict[str, str]:
    """Return what another process may know of an environment: no keys, passwords or tokens, nor what arms a mode.

    Parameters
    ----------
    environment : mapping of str to str
        Of this process.
    hidden : collection of str
        Further names that are left out.

    Examples
    --------
    >>> public_environment({"PATH": "/bin", "PGPASSWORD": "x", "MINE": "y"}, ["MINE"])
    {'PATH': '/bin'}
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in hidden and not _SECRET.search(name.upper())
    }
