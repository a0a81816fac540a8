"""A set of a sweep and the backtest of it alone are one trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.counting import counted, run_hash
from quantcore.backtest.curves import curves
from quantcore.config import compose
from quantcore.research.study import Study, Values, study_of
from quantcore.research.trials import count_trials, open_ledger
from quantcore.research.tried import record_study, set_hashes
from quantcore.timegrid import index_us

SETS: list[Values] = [
    {"strategy.fast": 4, "account.capital": 500},
    {"strategy.fast": 12, "account.capital": 7700.0},
    {"strategy.fast": 12, "strategy": "breakout"},  # breakout has no setting of that name
    {"portfolio": "risk_parity", "risk": "paper"},
    {"strategy": "breakout"},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    market = f"data.root={tmp_path_factory.mktemp('market')}"
    small = ["data.n_symbols=3", "data.days=40", "data.late_listings=0", market]
    return study_of(compose("backtest", ["+experiment=quickstart", *small]))


def test_a_set_has_the_hash_of_its_backtest_alone(study: Study) -> None:
    sets = [values for values in SETS if "strategy.fast" not in values or "strategy" not in values]
    hashes = set_hashes(study, sets)
    assert len(set(hashes)) == len(sets)
    for number in (0, 3):
        assert hashes[number] == run_hash(study.run(sets[number]))


def test_a_sweep_and_a_backtest_of_its_best_set_are_one_trial(study: Study, tmp_path: Path) -> None:
    ledger = open_ledger(str(tmp_path / "trials.jsonl"))
    run = study.run(SETS[0])
    known = curves(run).daily
    daily = np.random.default_rng(1).normal(0.0, 0.01, (len(known), len(SETS)))
    daily[:, 0] = known
    daily[:, 2] = np.nan  # refused
    days_us = index_us(pd.DatetimeIndex(known.index))
    done = record_study(ledger, study, SETS, daily=daily, days_us=days_us, command="sweep")
    assert len(done.entry.trials) == 4
    assert (done.entry.command, done.entry.experiment) == ("sweep", "quickstart")
    assert count_trials(done, declared=None).found == 4
    count = counted(run, ledger).trials
    assert count is not None
    assert count.found == 4
    assert ledger is not None
    assert len(ledger.read().entries) == 1
