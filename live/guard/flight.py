"""A start as it is asked for: the settings of a command, and the limits by which it may trade."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import open_dict

from live.guard.limits import Sources, strictest
from live.guard.modes import MODES
from live.guard.preflight import Flight
from live.guard.set_up import Wanted
from live.settings import LiveSettings
from quantcore.account_plane import AccountSettings
from quantcore.config import build, compose, conf_folder, plain_settings
from quantcore.risk.limits import RiskSettings

if TYPE_CHECKING:
    from omegaconf import DictConfig

_THIS_MACHINE = ("http://127.0.0.1", "ws://127.0.0.1")
"""Stands for a simulator that has not been found yet."""


def flight_of(
    cfg: DictConfig,
    settings: LiveSettings,
    *,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    ask: Callable[[str], str] | None = None,
) -> Flight:
    """Return the start that a command asks for; symbols and what the journal says are not known yet.

    Parameters
    ----------
    cfg : DictConfig
        Of ``live.yaml``.
    settings : LiveSettings
        Its ``conf``.
    arguments : sequence of str
        Of the process, without its name.
    environment : mapping
        Of the process.
    ask : callable or None
        Shows a question on a terminal and returns what was typed; None where there is no terminal.

    Raises
    ------
    ConfigError
        If a setting is unknown or out of its range.
    """
    mode = settings.mode
    account = build(cfg.account, AccountSettings)
    own = None if MODES[mode].leverage_max is None else compose("live", [f"conf={mode}"])
    dead_man = cfg.dead_mans_switch
    return Flight(
        mode=mode,
        arguments=arguments,
        environment=environment,
        rest_url=settings.rest_url or _THIS_MACHINE[0],
        stream_url=settings.stream_url or _THIS_MACHINE[1],
        permissions_url=settings.permissions_url,
        wanted=Wanted(
            symbols=(), leverage=account.leverage_max, isolated=account.margin == "isolated"
        ),
        limits=_sources(cfg, mode, own),
        fresh=True,
        changed=() if own is None else _changed(plain_settings(cfg), plain_settings(own)),
        loose=tuple(loose_files(conf_folder())),
        dry_run=bool(cfg.dry_run),
        dead_man=None if dead_man is None else bool(dead_man),
        ask=ask,
        key_names=(settings.api_key, settings.api_secret),
    )


def limited(cfg: DictConfig, flight: Flight) -> DictConfig:
    """Return the settings with the strictest of all limits as their ``risk``, by which the account then trades."""
    if not any(flight.limits.values()):
        return cfg
    held = asdict(strictest(flight.mode, flight.limits))
    changed = copy.deepcopy(cfg)
    with open_dict(changed):
        changed.risk = {
            "_target_": f"{RiskSettings.__module__}.{RiskSettings.__qualname__}",
            **held,
        }
    return changed


def loose_files(folder: Path) -> list[str]:
    """Return the option files and folders that others than their owner and his group may write, with their modes."""
    found = []
    for path in (folder, *sorted(folder.rglob("*"))):
        mode = path.stat().st_mode & 0o777
        if mode & 0o002 and (path.is_dir() or path.suffix == ".yaml"):
            found.append(f"{path.name} ({mode:04o})")
    return found


def _sources(cfg: DictConfig, mode: str, own: DictConfig | None) -> Sources:
    """Return the limits that were composed, and those of the mode's own option file, which an experiment outranks."""
    limits = build(cfg.risk, RiskSettings) if cfg.risk else None
    if own is None:
        return {"risk": limits}
    return {"risk": limits, f"conf={mode}": build(own.risk, RiskSettings)}


def _changed(given: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings of ``conf`` that are not as its option file has them."""
    mine, theirs = given["conf"], own["conf"]
    return tuple(sorted(f"conf.{k}" for k in mine | theirs if mine.get(k) != theirs.get(k)))
