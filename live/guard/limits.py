"""The limits that a mode trades by: of each the strictest that any source asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Final

from live.guard.checks import Check, held_to, not_applicable, passed
from live.guard.modes import MODES
from quantcore.errors import ConfigError
from quantcore.risk.limits import RiskSettings

_LOWER_IS_STRICTER: Final = (
    "leverage_max", "net_max", "symbol_max", "cluster_max", "cluster_correlation", "daily_var_max", "drawdown_max",
    "drawdown_reduce", "drawdown_restore", "reduce_scale", "daily_loss_max", "halts_max", "size_limit",
    "liquidation_probability_max", "margin_ratio_max", "margin_ratio_after", "protective_stop",
)  # fmt: skip
_HIGHER_IS_STRICTER: Final = (
    "var_confidence", "cool_down_hours", "volatility_floor", "stress_move", "stage_capital",
)  # fmt: skip
_FIRST_COUNTS: Final = ("covariance_half_life_hours",)
"""No limits: how an estimate is made."""
_NEVER: Final = ("resume_hours",)
"""A stopped account that trades goes on by a person alone."""
_OF_TABLE: Final = ("leverage_max", "daily_var_max", "drawdown_max", "size_limit")

Sources = Mapping[str, RiskSettings | None]
"""Limits by where they come from, such as ``{"risk": ..., "conf.limits": ...}``."""


def strictest(mode: str, sources: Sources) -> RiskSettings:
    """Return the limits that hold: of each the strictest of all sources and of the mode's table (DESIGN.md 7).

    Parameters
    ----------
    mode : str
        One of `modes.MODES`.
    sources : mapping
        Those that are None limit nothing.

    Raises
    ------
    ConfigError
        If no source has limits.
    """
    given = [limits for limits in sources.values() if limits is not None]
    if not given:
        raise ConfigError(f"{' or '.join(sources)} must give limits for conf={mode}, gave none")
    found = given[0]
    for other in given[1:]:
        found = _stricter(found, other)
    table = MODES[mode]
    changes: dict[str, float | None] = {
        name: _lower(getattr(found, name), getattr(table, name)) for name in _OF_TABLE
    }
    return _in_order(found, {**changes, "resume_hours": None})


def check_limits(mode: str, sources: Sources, *, leverage: int) -> list[Check]:
    """Return what the strictest limits are, and whether the leverage that is set at the exchange is within the mode's.

    Parameters
    ----------
    leverage : int
        ``account.leverage_max``, set for every symbol.
    """
    table = MODES[mode]
    if table.leverage_max is None and not any(sources.values()):
        return [not_applicable("limits", f"conf={mode} has none, and none are given")]
    found = strictest(mode, sources)
    told = []
    for name in _OF_TABLE:
        asked = [
            f"{source} {_shown(getattr(limits, name))}"
            for source, limits in sources.items()
            if limits is not None
        ]
        if getattr(table, name) is not None:
            asked.append(f"mode {_shown(getattr(table, name))}")
        told.append(f"{name} {_shown(getattr(found, name))} ({', '.join(asked)})")
    most = table.leverage_max
    return [
        passed("limits", "the strictest of each: " + "; ".join(told)),
        held_to(
            "leverage within the mode",
            most is None or leverage <= most,
            f"account.leverage_max must be <= {_shown(most)}, is {leverage}",
        ),
    ]


def _stricter(one: RiskSettings, other: RiskSettings) -> RiskSettings:
    changes: dict[str, float | None] = {}
    for name in _LOWER_IS_STRICTER:
        changes[name] = _lower(getattr(one, name), getattr(other, name))
    for name in _HIGHER_IS_STRICTER:
        values = [v for v in (getattr(one, name), getattr(other, name)) if v is not None]
        changes[name] = max(values, default=None)
    return _in_order(one, changes)


def _in_order(limits: RiskSettings, changes: Mapping[str, float | None]) -> RiskSettings:
    """Return limits with changes, and what they leave no room for lowered with them."""
    held = {f.name: getattr(limits, f.name) for f in fields(RiskSettings)} | dict(changes)
    for name in ("net_max", "cluster_max"):
        held[name] = None if held[name] is None else min(held[name], held["leverage_max"])
    within = _lower(held["cluster_max"], held["leverage_max"])
    if held["symbol_max"] is not None:
        held["symbol_max"] = _lower(held["symbol_max"], within)
    most = held["drawdown_max"]
    if most is not None and held["drawdown_reduce"] > most:
        share = most / held["drawdown_reduce"]
        held["drawdown_reduce"] = most
        held["drawdown_restore"] *= share
    return replace(limits, **held)


def _lower(one: float | None, other: float | None) -> float | None:
    values = [value for value in (one, other) if value is not None]
    return min(values, default=None)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


STRICTNESS: Final = MappingProxyType(
    dict.fromkeys(_LOWER_IS_STRICTER, "lower")
    | dict.fromkeys(_HIGHER_IS_STRICTER, "higher")
    | dict.fromkeys(_FIRST_COUNTS, "first")
    | dict.fromkeys(_NEVER, "never")
)
"""Which way each limit is stricter; every field of `RiskSettings` has one."""
