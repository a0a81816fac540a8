"""The sets of a study are written down in the ledger of trials, each as the backtest of it alone would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantcore.backtest.experiment import strategy_source
from quantcore.research.study import Study, Values
from quantcore.research.trials import (
    Ledger,
    Market,
    Occasion,
    Recorded,
    record_sets,
    trial_hashes,
)
from quantcore.types import FloatArray, IntArray


def record_study(
    ledger: Ledger | None,
    study: Study,
    sets: Sequence[Values],
    *,
    daily: FloatArray,
    days_us: IntArray,
    command: str,
) -> Recorded:
    """Write the sets of a sweep or of one fold down; `trials.count_trials` then counts for the best of them.

    Parameters
    ----------
    ledger : Ledger or None
        From `trials.open_ledger`; None writes nothing.
    study : Study
        What the sets change.
    sets : sequence of mapping of str to value
        By override path.
    daily : float64 array, shape (n_days, n_sets)
        Daily UTC returns, fractions; NaN for sets that were refused, which are left out.
    days_us : int64 array, shape (n_days,)
        The days, microseconds since 1970: of a fold those that were looked at, not the whole span.
    command : str
        What ran them, such as ``"sweep"``.

    Raises
    ------
    ValueError
        If the shapes differ, or no set has a return.
    """
    tried = np.flatnonzero(~np.isnan(daily).all(axis=0))
    occasion = Occasion(
        command=command,
        experiment=str(study.cfg.name),
        market=Market.of(study.data.bars),
        interval=study.data.interval,
    )
    trials = set_hashes(study, [sets[int(k)] for k in tried])
    return record_sets(ledger, occasion, trials=trials, daily=daily[:, tried], days_us=days_us)


def set_hashes(study: Study, sets: Sequence[Values]) -> list[str]:
    """Return what identifies each set among trials: the same as of a backtest with its values alone.

    Raises
    ------
    ConfigError
        If the settings refuse the first set of those that choose the same options.
    """
    alike: dict[Any, list[int]] = {}
    for number, values in enumerate(sets):
        options = tuple(sorted((p, str(v)) for p, v in values.items() if p in study.groups))
        alike.setdefault(options, []).append(number)
    found = [""] * len(sets)
    for numbers in alike.values():
        first = sets[numbers[0]]
        source = strategy_source(study.variant(first).signal.strategy)
        changes = [{p: v for p, v in sets[k].items() if p not in study.groups} for k in numbers]
        hashes = trial_hashes(study.chosen(first), changes, source=source)
        for number, trial in zip(numbers, hashes, strict=True):
            found[number] = trial
    return found
