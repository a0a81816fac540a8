"""What stands behind the functions of `entrance`: settings given in Python, data from anywhere, runs from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quantcore.backtest.counting import counted
from quantcore.backtest.experiment import place_bars, run_configured
from quantcore.backtest.report import open_folder
from quantcore.backtest.view import NewRun, OpenedRun
from quantcore.config import compose
from quantcore.errors import ConfigError, QuantcoreError
from quantcore.frames import Bars
from quantcore.overrides import (
    Overrides,
    cause,
    check_text,
    override_keys,
    override_list,
    place_overrides,
    told,
)
from quantcore.research.trials import open_ledger

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from quantcore.data.sources import MarketData

__all__ = ["QuantcoreError", "cause", "configured", "open_called", "run_called", "told"]

_OF_BARS = ("data.interval", "data.start")
"""Settings of the data that mean something for bars in memory."""


def run_called(experiment: str, overrides: Overrides, data: str | Path | Bars | None) -> NewRun:
    """Run a backtest; parameters and errors as `entrance.backtest`."""
    cfg, placed = configured("backtest", experiment, overrides, data)
    ledger = open_ledger(cfg.ledger)
    return NewRun(name=str(cfg.name), result=counted(run_configured(cfg, placed), ledger))


def configured(
    command: str, experiment: str, overrides: Overrides, data: str | Path | Bars | None
) -> tuple[DictConfig, MarketData | None]:
    """Return the configuration of a command as it is given in Python, and the data where it is bars in memory.

    Parameters
    ----------
    command : str
        Name of the primary configuration, such as ``"backtest"``.
    experiment, overrides, data
        As `entrance.backtest`.

    Raises
    ------
    ConfigError
        As `entrance.backtest`.
    """
    given = override_list(overrides)
    of_data = [key for key in override_keys(given) if key.split(".")[0] == "data"]
    chosen = [f"+experiment={check_text(experiment, 'experiment')}", *given]
    if isinstance(data, Bars):
        _check_of_bars(of_data)
        cfg = compose(command, chosen)
        interval = cfg.data.interval if "data.interval" in of_data else data.interval
        return cfg, place_bars(cfg, data, interval=interval)
    if data is not None:
        place = place_overrides(data)
        _check_given_once(data, place, of_data)
        chosen += place
    return compose(command, chosen), None


def open_called(folder: str | Path) -> OpenedRun:
    """Read a results folder; parameters and errors as `entrance.open_run`."""
    saved = open_folder(Path(folder).expanduser())
    return OpenedRun(name=str(saved.manifest.get("experiment", saved.folder.name)), saved=saved)


def _check_given_once(data: str | Path, place: Sequence[str], keys: Sequence[str]) -> None:
    for key in override_keys(place):
        if key in keys:
            raise ConfigError(
                f"data must be given once, was data={str(data)!r} and the override {key}"
            )


def _check_of_bars(keys: Sequence[str]) -> None:
    for key in keys:
        if key not in _OF_BARS:
            raise ConfigError(
                f"of bars that are handed over only {' and '.join(_OF_BARS)} must be set, was {key}"
            )
