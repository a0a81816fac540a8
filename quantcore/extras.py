"""Packages that only some commands need: which extra of ours brings each, and the line for one that is not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType

from quantcore.errors import ConfigError

EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "aiohttp": "live",
        "alembic": "live",
        "apprise": "live",
        "arch": "research",
        "binance": "live",
        "cvxpy": "research",
        "nicegui": "live",
        "optuna": "research",
        "orjson": "live",
        "prometheus_client": "live",
        "psycopg": "live",
        "ray": "cluster",
        "sklearn": "research",
        "sqlalchemy": "research",
        "statsmodels": "research",
        "vectorbt": "research",
    }
)
"""Modules that the installation without extras lacks. `research` brings SQLAlchemy with Optuna, `live` by itself."""


def refusal(error: ModuleNotFoundError) -> str:
    """Return what to install for a module that was not found, in one line; empty if no extra of ours brings it."""
    module = (error.name or "").partition(".")[0]
    return _told(module) if module in EXTRAS else ""


def require(module: str) -> None:
    """Refuse to begin what needs a module later that is not installed.

    Raises
    ------
    ConfigError
        Naming the module and its extra.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(_told(module))


def _told(module: str) -> str:
    return f"{module} must be installed for this: pip install 'quantcore[{EXTRAS[module]}]'"
