"""What the commands call: one run, or the parameter sets of a sweep or fold, is written down as tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from quantcore.errors import DataGap
from quantcore.research.trials.clusters import independent, lead
from quantcore.research.trials.entries import Entry, Kept, Score
from quantcore.research.trials.ledger import Contents, Ledger
from quantcore.research.trials.market import Market
from quantcore.timegrid import DAY_US, index_us
from quantcore.types import FloatArray, IntArray

KEPT_MAX = 64
"""Most trials of one line whose returns are kept: two years of them take 125 KB."""

_ROUNDING = 1e-12
"""Below this share of the mean, a standard deviation is rounding error, as in `finance.performance`."""


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """What the trials of one line have in common.

    Parameters
    ----------
    command, experiment : str
        By which command, such as ``"backtest"``, with which experiment.
    market : Market
        On what (`Market.of`).
    interval : str
        Of decisions, such as ``"1h"``.
    """

    command: str
    experiment: str
    market: Market
    interval: str


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What was tried now, and what the ledger held before.

    Parameters
    ----------
    entry : Entry
        What was tried.
    market : Market
        On what.
    ledger : Ledger or None
        None: it is off.
    held : Contents or None
        What the ledger held before; None where it is off or could not be read.
    fault : str
        Why the ledger could not be read or written, as a clause; else empty.
    """

    entry: Entry
    market: Market
    ledger: Ledger | None
    held: Contents | None = field(default=None, repr=False)
    fault: str = ""


def record_run(
    ledger: Ledger | None, occasion: Occasion, *, trial: str, daily: pd.Series
) -> Recorded:
    """Write one run down; nothing is written where the ledger knows it already or is None.

    A ledger that cannot be read or written loses no result: `Recorded.fault` says why, and `count_trials` passes it on.

    Parameters
    ----------
    ledger : Ledger or None
        From `open_ledger`.
    occasion : Occasion
        What it was tried on.
    trial : str
        `trial_hash` of its settings.
    daily : Series, shape (n_days,)
        Daily UTC returns, fractions, with the days as index (`Curves.daily`); NaN on days without one.

    Raises
    ------
    ValueError
        If there is no daily return.
    """
    days_us = index_us(pd.DatetimeIndex(daily.index))
    column = daily.to_numpy(np.float64)[:, np.newaxis]
    return record_sets(ledger, occasion, trials=[trial], daily=column, days_us=days_us)


def record_sets(
    ledger: Ledger | None,
    occasion: Occasion,
    *,
    trials: Sequence[str],
    daily: FloatArray,
    days_us: IntArray,
) -> Recorded:
    """Write the parameter sets of a sweep or of one fold down, as one line.

    The line holds every set's hash, and of the largest `KEPT_MAX` clusters and the best set the daily returns of one
    representative. Ten thousand sets over two years make a line of 230 KB and take a few seconds if all are
    independent, else less.

    Parameters
    ----------
    ledger : Ledger or None
        From `open_ledger`; None writes nothing.
    occasion : Occasion
        What they were tried on.
    trials : sequence of str
        `trial_hashes` of the sets; one that comes twice counts once.
    daily : float64 array, shape (n_days, n_sets)
        Daily UTC returns, fractions; NaN on days without one. A set without any return was not tried, and is left out.
    days_us : int64 array, shape (n_days,)
        The days, microseconds since 1970, increasing.

    Raises
    ------
    ValueError
        If the shapes differ, or no set has a return.
    """
    entry = make_entry(occasion, trials=trials, daily=daily, days_us=days_us)
    market = occasion.market
    if ledger is None:
        return Recorded(entry=entry, market=market, ledger=None)
    held = None
    try:
        held = ledger.read()
        if not held.knows(entry):
            known = entry.fingerprint in held.markets
            ledger.add([entry] if known else [market, entry])
    except DataGap as error:
        return Recorded(entry=entry, market=market, ledger=ledger, held=held, fault=str(error))
    return Recorded(entry=entry, market=market, ledger=ledger, held=held)


def make_entry(
    occasion: Occasion, *, trials: Sequence[str], daily: FloatArray, days_us: IntArray
) -> Entry:
    """Return the line of the ledger for some sets; arguments and errors as `record_sets`."""
    if daily.shape != (len(days_us), len(trials)):
        raise ValueError(
            f"daily must have shape ({len(days_us)}, {len(trials)}), had {daily.shape}"
        )
    names, first = np.unique(np.array(trials, dtype=str), return_index=True)
    tried = np.sort(first[~np.isnan(daily[:, first]).all(axis=0)])
    if not len(tried):
        raise ValueError(f"daily must hold a return of at least one set, had {len(names)} without")
    first_day, returns = _on_calendar(daily[:, tried], days_us)
    hashes = tuple(trials[k] for k in tried)
    scores = score(hashes, returns)
    sharpes = np.array([s.sharpe for s in scores])
    varying = np.flatnonzero(np.isfinite(sharpes))
    best = int(varying[sharpes[varying].argmax()]) if len(varying) else 0
    kept, clusters, effective, effective_kept = _represent(returns, scores, varying, best)
    return Entry(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        command=occasion.command,
        experiment=occasion.experiment,
        fingerprint=occasion.market.fingerprint,
        interval=occasion.interval,
        first_day=first_day,
        trials=hashes,
        best=scores[best],
        kept=kept,
        clusters=clusters,
        effective=effective,
        effective_kept=effective_kept,
    )


def score(trials: Sequence[str], returns: FloatArray) -> list[Score]:
    """Return what each column of returns, shape (n_days, n_trials), came to; NaN moments where it does not vary."""
    known = ~np.isnan(returns)
    days = known.sum(axis=0)
    mean = np.where(known, returns, 0.0).sum(axis=0) / days
    centred = np.where(known, returns - mean, 0.0)
    square = centred * centred
    second = square.sum(axis=0) / days
    varies = (second > 0.0) & (np.sqrt(second) > _ROUNDING * np.abs(mean)) & (days > 1)
    safe = np.where(varies, second, 1.0)
    sharpe = mean / np.sqrt(safe * days / np.maximum(days - 1, 1))
    skew = (square * centred).sum(axis=0) / days / safe**1.5
    kurtosis = (square * square).sum(axis=0) / days / safe**2
    moments = np.where(varies, np.stack([sharpe, skew, kurtosis]), np.nan)
    return [
        Score(trial=trial, days=int(n), sharpe=s, skew=g, kurtosis=k)
        for trial, n, (s, g, k) in zip(trials, days, moments.T.tolist(), strict=True)
    ]


def _on_calendar(daily: FloatArray, days_us: IntArray) -> tuple[int, FloatArray]:
    """Return the first day and the returns with a row for each day; NaN where decisions are rarer than daily."""
    days = days_us // DAY_US
    first, n_days = int(days[0]), int(days[-1] - days[0]) + 1
    if n_days == len(days):
        return first, daily
    rows = np.full((n_days, daily.shape[1]), np.nan)
    rows[days - first] = daily
    return first, rows


def _represent(
    returns: FloatArray, scores: Sequence[Score], varying: IntArray, best: int
) -> tuple[tuple[Kept, ...], int, float, float]:
    """Return the representatives, how many clusters there are, and the independent trials in all and in those kept."""
    if not len(varying):  # nothing was held in any: they are one and the same
        alone = Kept(score=scores[0], stands_for=len(scores), returns=returns[:, 0])
        return (alone,), 1, 1.0, 1.0
    # A ruined account has no returns afterwards; that it earns nothing is near enough to see what it is like.
    whole = np.nan_to_num(returns[:, varying])
    labels, leaders = lead(whole)
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    of_best = labels[np.searchsorted(varying, best)]
    chosen = np.sort(order[:KEPT_MAX])
    if of_best not in chosen:
        chosen = np.sort(np.append(order[: KEPT_MAX - 1], of_best))
    kept = tuple(
        Kept(
            score=scores[trial],
            stands_for=int(size),
            returns=returns[:, trial],
        )
        for trial, size in zip(varying[leaders[chosen]].tolist(), sizes[chosen], strict=True)
    )
    effective = independent(whole[:, leaders])
    some = len(chosen) < len(leaders)
    return (
        kept,
        len(leaders),
        effective,
        independent(whole[:, leaders[chosen]]) if some else effective,
    )
