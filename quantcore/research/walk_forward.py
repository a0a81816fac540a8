"""``python -m quantcore.research.walk_forward +experiment=NAME``: parameters chosen forward, tested, and joined.

Every parameter set is backtested once over the whole record; choices read rows of its daily returns (what that implies
stands in `quantcore.research.forward`). What was chosen is then traded once, in one account from the first test day to
the end, and that account is the result: a results folder like a backtest's, with what the choice is worth beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quantcore.backtest.curves import curves
from quantcore.backtest.engine import Decided
from quantcore.backtest.metrics import compute_metrics
from quantcore.backtest.outlook import outlook
from quantcore.backtest.result import Run
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError, QuantcoreError
from quantcore.research.evidence import Evidence, examine
from quantcore.research.executors import Executor, executor_of
from quantcore.research.folds import check_training
from quantcore.research.forward import first_traded
from quantcore.research.outcomes import REFUSED, Outcomes
from quantcore.research.relay import Leg, trade_legs
from quantcore.research.sets import Sets
from quantcore.research.study import Study, study_of
from quantcore.research.sweep import SweepSettings, sample
from quantcore.research.sweep import run as run_sets
from quantcore.research.walk_forward_plan import (
    Plan,
    WalkForwardSettings,
    check_switchable,
    make_plan,
)
from quantcore.research.walk_forward_result import (
    WalkedForward,
    kept_returns,
    summary_of,
    tables_of,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A walk-forward before its sets are evaluated.

    Parameters
    ----------
    study : Study
        Configuration and data.
    settings : WalkForwardSettings
        What was asked.
    sets : Sets
        What is chosen among.
    own : Decided
        What the experiment's own settings say.
    plan : Plan
        The spans.
    seed : int
        Of the simulated records.
    """

    study: Study
    settings: WalkForwardSettings
    sets: Sets
    own: Decided
    plan: Plan
    seed: int


def prepare(cfg: DictConfig, data: MarketData | None = None) -> Prepared:
    """Read the settings, load the data unless it is given, and plan the spans.

    Raises
    ------
    ConfigError
        If a setting or parameter is refused, or the data is too short for the spans.
    DataGap, SchemaMismatch
        As a backtest of the same configuration.
    """
    from quantcore.backtest.experiment import shown
    from quantcore.config import build

    settings: WalkForwardSettings = build(cfg.walk_forward, WalkForwardSettings)
    study = study_of(cfg, data)
    space, sets = sample(
        SweepSettings(
            parameters=list(settings.parameters), sampling=settings.sampling, sets=settings.sets
        ),
        study,
        seed=cfg.seed,
    )
    for path in space.paths:
        check_switchable(path)
    if len(sets) < 2:
        raise ConfigError(
            f"walk_forward.parameters must give at least two sets to choose among, gave {len(sets)}"
        )
    own = study.decided({}, progress=shown("forecasts"))
    return Prepared(
        study=study,
        settings=settings,
        sets=sets,
        own=own,
        plan=make_plan(settings, own),
        seed=cfg.seed,
    )


def walk_forward(prepared: Prepared, *, executor: Executor, show: bool = True) -> WalkedForward:
    """Evaluate all sets, choose, and trade what was chosen.

    Parameters
    ----------
    prepared : Prepared
        What to do.
    executor : Executor
        Where the sets are evaluated.
    show : bool
        Whether a terminal sees a progress bar.

    Raises
    ------
    ConfigError
        If fewer than two sets are accepted by the settings and ever hold a position.
    """
    study, settings, sets, plan = prepared.study, prepared.settings, prepared.sets, prepared.plan
    outcomes = run_sets(study, sets, executor=executor, store=None, show=show)
    kept = _accepted(outcomes)
    if not np.array_equal(outcomes.days_us, plan.days_us):
        raise QuantcoreError(
            f"the sets must have returns on the {len(plan.days_us)} days planned, had them on {len(outcomes.days_us)}"
        )
    returns = kept_returns(outcomes, kept)
    check_training(plan.folds, warm_up=first_traded(returns))
    evidence = examine(
        returns,
        plan.folds,
        settings.chooser(seed=prepared.seed),
        plan.validation,
        cash_if_doubtful=settings.cash_if_doubtful,
    )
    run = _joined(prepared, evidence, kept)
    return WalkedForward(
        settings=settings,
        plan=plan,
        sets=sets,
        outcomes=outcomes,
        kept=kept,
        evidence=evidence,
        run=run,
        own=_as_it_stands(prepared),
    )


def _accepted(outcomes: Outcomes) -> list[int]:
    refused = outcomes.table[REFUSED].to_numpy(dtype=object)
    kept = np.flatnonzero(refused == "").tolist()
    if len(kept) < 2:
        first = next(text for text in refused if text)
        raise ConfigError(
            f"walk_forward.parameters must give at least two sets that the settings accept, gave {len(kept)} of "
            f"{len(refused)}; refused: {first}"
        )
    return [int(k) for k in kept]


def _joined(prepared: Prepared, evidence: Evidence, kept: list[int]) -> Run:
    """Return the account that trades each fold's choice in its test."""
    from quantcore.backtest.experiment import manifest
    from quantcore.config import resolved_yaml

    study, cfg = prepared.study, prepared.study.cfg
    decided: dict[int, Decided] = {}
    legs = []
    for step in evidence.steps:
        number = kept[step.choice.chosen]
        values = dict(prepared.sets.row(number))
        if number not in decided:
            decided[number] = study.decided(values)
        legs.append(
            Leg(
                from_us=int(prepared.plan.days_us[step.fold.test_start]),
                decided=decided[number],
                variant=study.variant(values),
                held=step.held,
            )
        )
    described = manifest(cfg, prepared.own.signal.strategy)
    return trade_legs(
        legs,
        config_yaml=resolved_yaml(cfg),
        manifest={**described, "command": "quantcore.research.walk_forward"},
    )


def _as_it_stands(prepared: Prepared) -> Run:
    """Return the experiment's own settings, traded over the same span."""
    from quantcore.backtest.experiment import manifest
    from quantcore.config import resolved_yaml

    cfg = prepared.study.cfg
    first = int(prepared.plan.days_us[prepared.plan.folds[0].test_start])
    own = Leg(from_us=first, decided=prepared.own, variant=prepared.study.variant({}), held=True)
    return trade_legs(
        [own], config_yaml=resolved_yaml(cfg), manifest=manifest(cfg, prepared.own.signal.strategy)
    )


def main(cfg: DictConfig) -> int:
    """Walk forward through the configured experiment and publish what was found."""
    from quantcore.backtest.compiling import begin_compiling
    from quantcore.backtest.folder import publish, to_json
    from quantcore.config import writable_folder
    from quantcore.research.trials import open_ledger
    from quantcore.research.walk_forward_printed import print_folder, print_plan, print_walk
    from quantcore.research.walk_forward_trials import counted

    began = datetime.now(UTC)
    runs = writable_folder(cfg.runs, key="runs")
    executor, ledger = executor_of(cfg), open_ledger(cfg.ledger)
    wait = begin_compiling()
    prepared = prepare(cfg)
    print_plan(prepared.plan, experiment=cfg.name, sets=len(prepared.sets))
    wait()
    walked = counted(walk_forward(prepared, executor=executor), prepared.study, ledger)
    ahead = outlook(walked.run, curves(walked.run))
    metrics = compute_metrics(walked.run, ahead=ahead)
    seconds = (datetime.now(UTC) - began).total_seconds()
    summary = summary_of(walked, metrics, experiment=cfg.name, seconds=seconds)
    print_walk(summary)

    def fill(folder: Path) -> None:
        from quantcore.backtest.report import fill_run
        from quantcore.research.walk_forward_report import page

        tables = tables_of(walked)
        fill_run(walked.run, folder, cfg.name, metrics=metrics, ahead=ahead)
        (folder / "summary.json").write_text(to_json(summary), "utf-8")
        for name, table in tables.items():
            table.to_parquet(folder / f"{name}.parquet", index=table.index.name == "ts")
        (folder / "walk_forward.html").write_text(page(summary, tables), "utf-8")

    print_folder(publish(runs, "walk_forward", cfg.name, fill))
    return 0


if __name__ == "__main__":
    from quantcore.config import run_command

    raise SystemExit(run_command("walk_forward", main))
