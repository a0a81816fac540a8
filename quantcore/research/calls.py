"""What stands behind the functions of `entrance`: settings given in Python, the commands' work, and its views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantcore.backtest.calls import configured
from quantcore.backtest.compiling import begin_compiling
from quantcore.backtest.view import NewRun, RunView
from quantcore.config import build, writable_folder
from quantcore.errors import ConfigError
from quantcore.frames import Bars
from quantcore.overrides import Overrides, override_keys, override_list
from quantcore.research import compare, sweep, walk_forward
from quantcore.research.chosen import parameter_texts
from quantcore.research.compare_view import ComparedRuns
from quantcore.research.executors import executor_of
from quantcore.research.study import study_of
from quantcore.research.sweep_result import judge
from quantcore.research.sweep_view import Sweep
from quantcore.research.trials import open_ledger
from quantcore.research.walk_forward_trials import counted
from quantcore.research.walk_forward_view import WalkForward


def sampled(
    node: str,
    parameters: Mapping[str, Any] | None,
    overrides: Overrides,
    sampling: str,
    sets: int | None,
    workers: int | None,
) -> list[str]:
    """Return overrides with those that the other arguments mean; an argument that says nothing adds none.

    Raises
    ------
    ConfigError
        If something is given as an argument and as an override.
    """
    given = override_list(overrides)
    meant: dict[str, Any] = {}
    if parameters is not None:
        meant[f"{node}.parameters"] = parameter_texts(parameters)
    if sampling != "grid":
        meant[f"{node}.sampling"] = sampling
    if sets is not None:
        meant[f"{node}.sets"] = sets
    if workers is not None:
        meant["workers"] = workers
    for key in override_keys(given):
        if key in meant:
            name = key.rpartition(".")[2]
            raise ConfigError(f"{name} must be given once, was an argument and the override {key}")
    return [*given, *override_list(meant)]


def sweep_called(experiment: str, overrides: Overrides, data: str | Path | Bars | None) -> Sweep:
    """Run a sweep; errors as `entrance.sweep`."""
    cfg, placed = configured("sweep", experiment, overrides, data)
    runs = writable_folder(cfg.runs, key="runs")
    open_ledger(cfg.ledger)  # a ledger that cannot be opened is refused before the long work
    settings = build(cfg.sweep, sweep.SweepSettings)
    executor = executor_of(cfg)
    study = study_of(cfg, placed)
    space = sweep.space_of(settings, study)
    begin_compiling()()
    began = datetime.now(UTC)
    with sweep.swept_sets(cfg, settings, space, study, executor, runs=runs) as (sets, outcomes):
        seconds = (datetime.now(UTC) - began).total_seconds()
        swept = judge(cfg, study, sets, outcomes, seconds=seconds)
    return Sweep(name=str(cfg.name), sets=sets, outcomes=outcomes, swept=swept)


def walk_called(
    experiment: str, overrides: Overrides, data: str | Path | Bars | None
) -> WalkForward:
    """Walk forward; errors as `entrance.walk_forward`."""
    cfg, placed = configured("walk_forward", experiment, overrides, data)
    ledger, executor = open_ledger(cfg.ledger), executor_of(cfg)
    began = datetime.now(UTC)
    wait = begin_compiling()
    prepared = walk_forward.prepare(cfg, placed)
    wait()
    found = walk_forward.walk_forward(prepared, executor=executor)
    walked = counted(found, prepared.study, ledger)
    name = str(cfg.name)
    return WalkForward(
        name=name,
        walked=walked,
        run=NewRun(name=f"{name}, walk-forward", result=walked.run),
        own=NewRun(name=name, result=walked.own),
        seconds=(datetime.now(UTC) - began).total_seconds(),
    )


def compare_called(runs: Sequence[Any], *, seed: int) -> ComparedRuns:
    """Compare runs; errors as `entrance.compare`."""
    if isinstance(runs, RunView) or not isinstance(runs, Sequence):
        raise ConfigError(f"runs must be a list of runs, was {type(runs).__name__}")
    for run in runs:
        if not isinstance(run, RunView):
            raise ConfigError(
                "runs must be what qc.backtest or qc.open_run gave, such as [one, other], "
                f"was {type(run).__name__}"
            )
    return ComparedRuns(compare.compare(list(runs), seed=seed))
