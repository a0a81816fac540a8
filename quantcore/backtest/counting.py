"""A finished run is written down in the ledger of trials, and counts what else was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from quantcore.backtest.curves import curves
from quantcore.backtest.result import Run
from quantcore.research.trials import (
    Ledger,
    Market,
    Occasion,
    count_trials,
    record_run,
    trial_hash,
)


def counted(run: Run, ledger: Ledger | None, *, command: str = "backtest") -> Run:
    """Write a run down as tried, and return it with what its Sharpe ratio is to be deflated by (`Run.trials`).

    The same settings and strategy on the same data and span are written once. A ledger that cannot be read or written
    loses no result: the count says so.

    Parameters
    ----------
    run : Run
        The finished run; settings, experiment and data are those of its `config_yaml` and `manifest`.
    ledger : Ledger or None
        From `research.trials.open_ledger`; None writes nothing and counts the declared variants alone.
    command : str
        What made it.

    Returns
    -------
    Run
        The same, with `trials`; as it was where it has no daily return.
    """
    daily = curves(run).daily
    if not daily.notna().any():
        return run
    known = run.manifest.get("data_fingerprint")
    occasion = Occasion(
        command=command,
        experiment=str(run.manifest.get("experiment", "")),
        market=Market.of(run.bars, None if known is None else str(known)),
        interval=run.interval,
    )
    recorded = record_run(ledger, occasion, trial=run_hash(run), daily=daily)
    return replace(run, trials=count_trials(recorded, declared=run.variants))


def run_hash(run: Run) -> str:
    """Return what identifies a run's settings and strategy among trials."""
    held = yaml.safe_load(run.config_yaml)
    settings: Mapping[str, Any] = held if isinstance(held, dict) else {}
    source = run.manifest.get("strategy_source")
    return trial_hash(settings, source=None if source is None else str(source))
