"""The runs that are compared: where their folders lie, and what a comparison reads of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.report import SavedRun
from quantcore.backtest.result import RUN_TABLES, Run, check_columns
from quantcore.backtest.view import NewRun, OpenedRun
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.finance import performance
from quantcore.settings import nearest
from quantcore.timegrid import DAY_US, index_us
from quantcore.types import FloatArray, IntArray

RUNS_MAX = 26
"""Runs are named by letters."""

_LATEST = re.compile(r"(?:(?P<command>[A-Za-z_]+)/)?latest(?:~(?P<back>\d+))?")
_BACKTEST = "backtest"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished run, as a comparison reads it.

    Parameters
    ----------
    label : str
        The letter it goes by.
    name : str
        Its experiment.
    folder : str
        Name of its results folder; ``""`` where it was never written.
    capital : float
        USDT before the first row.
    settings, manifest, metrics : mapping of str to Any
        `config.yaml`, `manifest.json`, `metrics.json`.
    tables : mapping of str to DataFrame
        Those of a results folder.
    """

    label: str
    name: str
    folder: str
    capital: float
    settings: Mapping[str, Any] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)
    tables: Mapping[str, pd.DataFrame] = field(repr=False)

    @property
    def ts_us(self) -> IntArray:
        """Stamps of the equity rows, shape ``(n_rows,)``."""
        return index_us(pd.DatetimeIndex(self.tables["equity"]["ts"]))

    @property
    def nav(self) -> FloatArray:
        """Value of one unit at each equity row, 1 before the first, shape ``(n_rows,)``."""
        table = self.tables["equity"]
        if "nav" in table:
            return numbers(table["nav"])
        return performance.unit_values(numbers(table["equity"]), self.flow, capital=self.capital)

    @property
    def flow(self) -> FloatArray:
        """USDT deposited (> 0) or withdrawn since the row before, shape ``(n_rows,)``."""
        table = self.tables["equity"]
        if "flow" in table:
            return numbers(table["flow"])
        moved, ts_us = self.tables["cash_flows"], self.ts_us
        flow = np.zeros(len(ts_us))
        rows = np.searchsorted(ts_us, index_us(pd.DatetimeIndex(moved["ts"])))
        np.add.at(flow, np.minimum(rows, len(ts_us) - 1), numbers(moved["amount"]))
        return flow

    @property
    def spacing_us(self) -> int:
        """Time between two decisions: the shortest between two equity rows; a day where there is one row."""
        gaps = np.diff(self.ts_us)
        return int(gaps.min()) if len(gaps) else DAY_US

    @property
    def begin_us(self) -> int:
        """When the first row's interval begins."""
        return int(self.ts_us[0]) - self.spacing_us


def records(runs: Iterable[SavedRun | Run | NewRun | OpenedRun]) -> tuple[Record, ...]:
    """Return runs as a comparison reads them, the first under the letter A.

    Raises
    ------
    ConfigError
        If there are fewer than two runs or more than `RUNS_MAX`.
    DataGap
        If a table of a results folder is missing.
    SchemaMismatch
        If a table lacks a column, or the equity has no row.
    """
    given = list(runs)
    if not 2 <= len(given) <= RUNS_MAX:
        raise ConfigError(f"a comparison must have 2 to {RUNS_MAX} runs, had {len(given)}")
    return tuple(_record(run, chr(ord("A") + k)) for k, run in enumerate(given))


def find_folder(name: str, runs: Path) -> Path:
    """Return the results folder that a name means.

    Parameters
    ----------
    name : str
        A folder's path; its bare name under ``<runs>/<command>/``; or as in git ``latest``, ``latest~1`` for the one
        before, and so on, of the backtests, or ``walk_forward/latest`` of another command.
    runs : Path
        Root of the results folders.

    Raises
    ------
    ConfigError
        If nothing goes by that name, naming the nearest that there is.
    """
    if Path(name).is_dir():
        return Path(name)
    latest = _LATEST.fullmatch(name)
    if latest:
        command, back = latest["command"] or _BACKTEST, int(latest["back"] or 0)
        finished = _finished(runs / command)
        if not finished:
            raise ConfigError(
                f"{name} must be the results of a backtest or walk-forward, {runs / command} holds none"
            )
        if back >= len(finished):
            raise ConfigError(
                f"{name} must be one of the {len(finished)} results under {runs / command}"
            )
        return finished[-1 - back]
    folders = [folder for command in _subfolders(runs) for folder in _finished(command)]
    for folder in folders:
        if name in (folder.name, f"{folder.parent.name}/{folder.name}"):
            return folder
    near = nearest(name, [folder.name for folder in folders])
    raise ConfigError(
        f"run must be a results folder, its name under {runs}, latest or latest~1, was {name!r}"
        + (f"; nearest: {near}" if near else "")
    )


def numbers(column: pd.Series) -> FloatArray:
    """Return a column as float64."""
    return column.to_numpy(dtype=np.float64)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _finished(command: Path) -> list[Path]:
    """Return the results folders of a command that hold a run, the oldest first: their names begin with the time."""
    return [folder for folder in _subfolders(command) if (folder / "metrics.json").is_file()]


def _bare(given: SavedRun | Run | NewRun | OpenedRun) -> SavedRun | Run:
    if isinstance(given, OpenedRun):
        return given.saved
    return given.result if isinstance(given, NewRun) else given


def _record(given: SavedRun | Run | NewRun | OpenedRun, label: str) -> Record:
    run = _bare(given)
    metrics: Mapping[str, Any]
    if isinstance(run, SavedRun):
        tables, metrics = dict(run.tables), run.metrics
        folder, place = run.folder.resolve().name, str(run.folder)
    else:
        tables = {**run.tables, "trades": run_trades(run)}
        known = given.metrics if isinstance(given, NewRun) else None
        metrics = known or compute_metrics(run, trades=tables["trades"])
        folder, place = "", f"run {label}"
    _check(tables, place)
    return Record(
        label=label,
        name=str(run.manifest.get("experiment") or folder or "run"),
        folder=folder,
        capital=float(metrics["capital"]),
        settings=_settings(run.config_yaml, place),
        manifest=run.manifest,
        metrics=metrics,
        tables=tables,
    )


def _check(tables: Mapping[str, pd.DataFrame], place: str) -> None:
    names: Sequence[str] = (*RUN_TABLES, "trades")
    missing = [name for name in names if name not in tables]
    if missing:
        raise DataGap(f"a results folder must hold {missing[0]}.parquet, {place} does not")
    for name in names:
        if name != "targets":
            check_columns(tables[name], name)
    if tables["equity"].empty:
        raise SchemaMismatch(f"table equity must have at least one row, {place} has none")


def _settings(text: str, place: str) -> Mapping[str, Any]:
    if not text.strip():
        return {}
    settings = yaml.safe_load(text)
    if not isinstance(settings, Mapping):
        raise SchemaMismatch(f"config.yaml of {place} must be a mapping, was {type(settings)}")
    return settings
