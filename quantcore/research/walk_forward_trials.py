"""A walk-forward in the ledger of trials: its sets as what was tried, its joined account as one trial more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from quantcore.backtest.curves import curves
from quantcore.backtest.result import Run
from quantcore.research.study import Study
from quantcore.research.trials import (
    SETTINGS,
    Ledger,
    Market,
    Occasion,
    count_trials,
    record_run,
    trial_hash,
)
from quantcore.research.tried import record_study
from quantcore.research.walk_forward_result import WalkedForward

COMMAND = "walk_forward"


def counted(walked: WalkedForward, study: Study, ledger: Ledger | None) -> WalkedForward:
    """Write down every set, then the joined account as a trial of this procedure, and return what is counted with it.

    The same procedure with other parameters or spans is another trial.

    Parameters
    ----------
    walked : WalkedForward
        What was found.
    study : Study
        Of the sets.
    ledger : Ledger or None
        From `trials.open_ledger`; None writes nothing and counts what the strategies' files declare.
    """
    outcomes, run = walked.outcomes, walked.run
    sets = record_study(
        ledger,
        study,
        [walked.sets.row(k) for k in range(len(walked.sets))],
        daily=outcomes.daily,
        days_us=outcomes.days_us,
        command=COMMAND,
    )
    occasion = Occasion(
        command=COMMAND,
        experiment=str(study.cfg.name),
        market=Market.of(run.bars, str(run.manifest["data_fingerprint"])),
        interval=run.interval,
    )
    joined = record_run(ledger, occasion, trial=_procedure_hash(run), daily=curves(run).daily)
    return replace(
        walked,
        run=replace(run, trials=count_trials(joined, declared=run.variants)),
        counted=count_trials(sets, declared=run.variants),
    )


def _procedure_hash(run: Run) -> str:
    settings: Mapping[str, Any] = yaml.safe_load(run.config_yaml)
    source = run.manifest.get("strategy_source")
    return trial_hash(
        settings,
        source=None if source is None else str(source),
        parts=(*SETTINGS, COMMAND),
    )
