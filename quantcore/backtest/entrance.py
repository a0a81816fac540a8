"""Backtests for callers in Python, and the package that is called like a function; imports nothing before a call."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantcore.backtest.view import NewRun, OpenedRun
    from quantcore.frames import Bars
    from quantcore.overrides import Overrides


def backtest(
    experiment: str = "quickstart",
    overrides: Overrides = (),
    *,
    data: str | Path | Bars | None = None,
) -> NewRun:
    """Run a backtest and return it.

    It is written down in the ledger of trials (the setting ``ledger``, ``"off"`` for none) as every command's runs
    are, so that what was tried in a notebook counts as well, the same on the same data once; `NewRun.trials` says how
    many count. Nothing else is written until `NewRun.save`.

    Parameters
    ----------
    experiment : str
        A file of ``conf/experiment`` by its name, such as ``"quickstart"`` or ``"trend"``.
    overrides : mapping of str to Any, or sequence of str
        What differs from it: ``{"account.capital": 770, "strategy.fast": 24, "risk": "paper"}``, a mapping of
        settings' paths to plain values, in which a group of settings is chosen by its option's name; or texts as on
        the command line, ``["account.capital=770"]``.
    data : str, Path or Bars, optional
        ``"synthetic"``, ``"store"``, the path of a folder of real data or of a store, or bars that are in memory;
        those are decided and executed on their own interval, unless ``data.interval`` is set. The experiment's own
        data if left out.

    Returns
    -------
    NewRun
        Numbers, tables, figures and pages, each made when it is asked for.

    Raises
    ------
    ConfigError
        If an experiment, option or setting is unknown or out of its range: one line, with the nearest name.
    DataGap
        If data is not there.
    SchemaMismatch
        If data is not what it should be.

    Examples
    --------
    In a notebook::

        run = qc.backtest("quickstart", {"account.capital": 770})
        run.metrics["sharpe"], run.equity, run.plot()
    """
    from quantcore.backtest import calls

    try:
        return calls.run_called(experiment, overrides, data)
    except calls.QuantcoreError as error:
        raise calls.told(error) from calls.cause(error)


def open_run(folder: str | Path) -> OpenedRun:
    """Return a backtest that was saved, from its results folder.

    Parameters
    ----------
    folder : str or Path
        ``data/runs/backtest/<time>-<experiment>``, as the command prints it and `NewRun.save` returns it.

    Raises
    ------
    DataGap
        If it is no results folder of a backtest, or a file is missing.
    SchemaMismatch
        If a file cannot be read.
    """
    from quantcore.backtest import calls

    try:
        return calls.open_called(folder)
    except calls.QuantcoreError as error:
        raise calls.told(error) from calls.cause(error)


class BacktestPackage(ModuleType):
    """The package `quantcore.backtest`, which is also the function of its name."""

    def __call__(
        self,
        experiment: str = "quickstart",
        overrides: Overrides = (),
        *,
        data: str | Path | Bars | None = None,
    ) -> NewRun:
        """Run a backtest; the function's own words replace these."""
        return backtest(experiment, overrides, data=data)

    __call__.__doc__ = backtest.__doc__


def make_callable(package: str) -> None:
    """Let a package be called: its name is also that of the function which people expect."""
    sys.modules[package].__class__ = BacktestPackage
