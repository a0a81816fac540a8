"""What runs have in common in time: the instants between which they are compared, and their returns there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quantcore.errors import DataGap
from quantcore.research.compare_records import Record, numbers
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, to_index
from quantcore.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class Piece:
    """The part of one run that lies in the common span.

    Parameters
    ----------
    ts_us : int64 array, shape (n_rows,)
        Stamps of its equity rows after the opening, the last at the closing.
    nav : float64 array, shape (n_rows,)
        Value of one unit, 1 at the opening.
    equity : float
        USDT at the opening.
    mean_equity : float
        USDT, over the rows.
    days : float
        Length of the part, as the run's own report measures it: of a whole run from its first row.
    flow : float
        USDT deposited in the span, less what was withdrawn.
    whole : bool
        Whether the span is all of the run.
    """

    ts_us: IntArray = field(repr=False)
    nav: FloatArray = field(repr=False)
    equity: float
    mean_equity: float
    days: float
    flow: float
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Span:
    """The span in which all runs can be compared.

    Parameters
    ----------
    opening_us, closing_us : int
        Instants between which everything is compared, microseconds since 1970.
    returns : DataFrame, shape (n_days, n_runs)
        Fractions from one common day's end to the next, index ``ts`` = that day's 00:00 UTC, columns the labels. Days
        after an account was lost have no return and are left out.
    periods_per_year : float
        Returns in 365 days; 365 where every day of the span is a common one.
    pieces : tuple of Piece
        By run.
    """

    opening_us: int
    closing_us: int
    returns: pd.DataFrame = field(repr=False)
    periods_per_year: float
    pieces: tuple[Piece, ...] = field(repr=False)


def common_span(runs: Sequence[Record]) -> Span:
    """Return where all runs have a row at the end of the same UTC days, and their returns between those.

    Runs that begin together are compared from their beginning; others from the end of the first day that they share.

    Raises
    ------
    DataGap
        If the runs share no day.
    """
    ends = [_day_ends(run.ts_us) for run in runs]
    shared = ends[0]
    for other in ends[1:]:
        shared = np.intersect1d(shared, other)
    together = len({run.begin_us for run in runs}) == 1
    if len(shared) < (1 if together else 2):
        spans = ", ".join(f"{run.label} {_told(run)}" for run in runs)
        raise DataGap(f"runs must share at least two days to be compared: {spans}")
    opening_us = runs[0].begin_us if together else int(shared[0])
    marks = np.stack([_levels(run, shared, together=together) for run in runs], axis=1)
    if together and _asleep(runs, shared):
        opening_us, marks, shared = int(shared[0]), marks[1:], shared[1:]
    elif not together:
        shared = shared[1:]
    growth = np.full(marks[1:].shape, np.nan)
    np.divide(marks[1:], marks[:-1], out=growth, where=marks[:-1] > 0.0)
    found = pd.DataFrame(
        growth - 1.0,
        index=to_index((shared - 1) // DAY_US * DAY_US),
        columns=[run.label for run in runs],
    ).rename_axis(index="ts")
    closing_us = int(shared[-1])
    days = np.ceil((closing_us - opening_us) / DAY_US)
    return Span(
        opening_us=opening_us,
        closing_us=closing_us,
        returns=found.dropna(),
        periods_per_year=DAYS_PER_YEAR * len(found) / days,
        pieces=tuple(_piece(run, opening_us, closing_us, together=together) for run in runs),
    )


def _day_ends(ts_us: IntArray) -> IntArray:
    """Return the last stamp of each UTC day; midnight belongs to the day that ends there."""
    day = (ts_us - 1) // DAY_US
    return np.asarray(ts_us[np.append(day[1:] != day[:-1], True)], dtype=np.int64)


def _levels(run: Record, shared: IntArray, *, together: bool) -> FloatArray:
    found = run.nav[np.searchsorted(run.ts_us, shared)]
    return np.concatenate([[1.0], found]) if together else found


def _asleep(runs: Sequence[Record], shared: IntArray) -> bool:
    """Return whether the first day of all runs is a first row at midnight before which nothing happened."""
    return len(shared) > 1 and all(
        run.ts_us[0] == shared[0] and shared[0] % DAY_US == 0 and run.nav[0] == 1.0 for run in runs
    )


def _piece(run: Record, opening_us: int, closing_us: int, *, together: bool) -> Piece:
    ts_us, nav, equity = run.ts_us, run.nav, numbers(run.tables["equity"]["equity"])
    inside = (ts_us > opening_us) & (ts_us <= closing_us)
    before = int(np.searchsorted(ts_us, opening_us, side="right")) - 1
    level, worth = (1.0, run.capital) if before < 0 else (float(nav[before]), float(equity[before]))
    whole = together and closing_us == int(ts_us[-1])
    start_us = int(ts_us[0]) if whole else opening_us
    return Piece(
        ts_us=ts_us[inside],
        nav=nav[inside] / level if level > 0.0 else np.full(int(inside.sum()), np.nan),
        equity=worth,
        mean_equity=float(np.nanmean(equity if whole else equity[inside])),
        days=(closing_us - start_us) / DAY_US,
        flow=float(run.flow[inside].sum()),
        whole=whole,
    )


def _told(run: Record) -> str:
    first, last = to_index(run.ts_us[[0, -1]])
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
