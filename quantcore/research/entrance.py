"""Sweeps, walk-forwards and comparisons for callers in Python; imports nothing before a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantcore.errors import QuantcoreError
from quantcore.overrides import cause, told

if TYPE_CHECKING:
    from quantcore.backtest.view import NewRun, OpenedRun
    from quantcore.frames import Bars
    from quantcore.overrides import Overrides
    from quantcore.research.compare_view import ComparedRuns
    from quantcore.research.sweep_view import Sweep
    from quantcore.research.walk_forward_view import WalkForward


def sweep(
    experiment: str = "quickstart",
    parameters: Mapping[str, Any] | None = None,
    overrides: Overrides = (),
    *,
    data: str | Path | Bars | None = None,
    sampling: str = "grid",
    sets: int | None = None,
    workers: int | None = None,
) -> Sweep:
    """Run many parameter sets and say what the best of them is worth.

    The sets are written down in the ledger of trials, as those of the command are. A sweep that is interrupted goes on
    when it is called again with the same, here or as the command: until it has ended, what it found is kept in a folder
    below ``data/runs/.partial`` (the setting ``runs``), and ``{"resume": False}`` begins anew. Nothing else is written
    until `Sweep.report` is given a path.

    Parameters
    ----------
    experiment : str
        A file of ``conf/experiment`` by its name.
    parameters : mapping of str to values, optional
        What varies, by override path: a list of values, ``{"strategy.fast": [12, 24, 48]}``; an interval
        ``(low, high)``, which random and sobol sampling draw from; or text in Hydra's sweep grammar,
        ``"range(8, 64, 8)"``. Options of a group are chosen by its name: ``{"portfolio": ["fixed", "half_kelly"]}``.
        The experiment's own ``sweep.parameters`` if left out.
    overrides : mapping of str to Any, or sequence of str
        What is the same for all sets, as in `backtest`.
    data : str, Path or Bars, optional
        As in `backtest`.
    sampling : str
        ``"grid"``: all combinations; ``"random"``, ``"sobol"``, or ``"tpe"``: a search by Optuna.
    sets : int, optional
        How many, of all but a grid.
    workers : int, optional
        Processes at a time; as many as there are processors if left out.

    Returns
    -------
    Sweep
        Table, best set and the one rather to take, verdict, figures and page.

    Raises
    ------
    ConfigError
        If an experiment, setting or parameter is unknown or out of its range: one line, with the nearest name.
    DataGap
        If data is not there.
    SchemaMismatch
        If data is not what it should be.

    Examples
    --------
    In a notebook::

        swept = qc.sweep("quickstart", {"strategy.fast": [12, 24, 48], "strategy.slow": [96, 192]})
        swept, swept.plot(), qc.backtest("quickstart", swept.rather)
    """
    from quantcore.research import calls

    try:
        further = calls.sampled("sweep", parameters, overrides, sampling, sets, workers)
        return calls.sweep_called(experiment, further, data)
    except QuantcoreError as error:
        raise told(error) from cause(error)


def walk_forward(
    experiment: str = "quickstart",
    parameters: Mapping[str, Any] | None = None,
    overrides: Overrides = (),
    *,
    data: str | Path | Bars | None = None,
    sampling: str = "grid",
    sets: int | None = None,
    workers: int | None = None,
) -> WalkForward:
    """Choose parameters on each training span, trade them in the test after it, and say what the choice is worth.

    Sets and joined account are written down in the ledger of trials, as those of the command are.

    Parameters
    ----------
    experiment, data, workers
        As in `sweep`.
    parameters : mapping of str to values, optional
        What is chosen among, as in `sweep`; the experiment's own ``walk_forward.parameters`` if left out.
    overrides : mapping of str to Any, or sequence of str
        As in `backtest`, and how it is tested: ``{"walk_forward.folds": 4, "walk_forward.scheme": "rolling"}``.
    sampling : str
        ``"grid"``, ``"random"`` or ``"sobol"``.
    sets : int, optional
        How many, of all but a grid.

    Returns
    -------
    WalkForward
        The joined account as a run, folds, cross-validation, verdict, figures and page.

    Raises
    ------
    ConfigError
        As `sweep`; or if the record is too short for the spans.
    DataGap
        If data is not there.
    SchemaMismatch
        If data is not what it should be.

    Examples
    --------
    In a notebook::

        walked = qc.walk_forward("quickstart", {"strategy.fast": [12, 24, 48]}, {"walk_forward.folds": 4})
        walked, walked.run.metrics["sharpe"], walked.folds, walked.plot("folds")
    """
    from quantcore.research import calls

    try:
        further = calls.sampled("walk_forward", parameters, overrides, sampling, sets, workers)
        return calls.walk_called(experiment, further, data)
    except QuantcoreError as error:
        raise told(error) from cause(error)


def compare(runs: Sequence[NewRun | OpenedRun], *, seed: int = 7) -> ComparedRuns:
    """Compare runs, the first being the base, and say whether their differences are luck.

    Parameters
    ----------
    runs : sequence of NewRun or OpenedRun
        Two or more, from `backtest`, `open_run`, or a walk-forward's ``run`` and ``own``.
    seed : int
        Of the resampled series.

    Returns
    -------
    ComparedRuns
        Verdicts, tables, figures and page.

    Raises
    ------
    ConfigError
        If there are fewer than two runs or too many, or one is none.
    DataGap
        If the runs share no two days.

    Examples
    --------
    In a notebook::

        runs = [qc.backtest("quickstart"), qc.backtest("quickstart", {"strategy.fast": 24})]
        qc.compare(runs)
    """
    from quantcore.research import calls

    try:
        return calls.compare_called(runs, seed=seed)
    except QuantcoreError as error:
        raise told(error) from cause(error)
