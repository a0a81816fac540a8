"""Spans of a walk-forward: which days train and which test, in order of time, with a gap between the two.

A day's return is realised by the day's own end, so days that train before a test begins know nothing of it, and a gap
is not needed against looking ahead. It is needed for the test to be a test: a position that stands across the border
earns on both sides of it, and choice and test would share one bet. So the last days before a test are *purged*, as
many as a position is held. What comes after a test trains only in cross-validation; there *embargo* and memory count
(`quantcore.research.cross_validation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.errors import ConfigError
from quantcore.timegrid import DAY_US
from quantcore.types import FloatArray, IntArray

SCHEMES = ("expanding", "rolling")
TRAIN_DAYS_MIN = 30
"""Fewest days with a position on which a choice may rest: below, the normal approximations of Sharpe ratios fail."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Days of one fold, as half-open ranges of row numbers.

    Parameters
    ----------
    number : int
        From 1, in order of time.
    train_start, train_stop : int
        Days to choose on; the purged ones are off already.
    test_start, test_stop : int
        Days to test on.
    """

    number: int
    train_start: int
    train_stop: int
    test_start: int
    test_stop: int

    @property
    def train(self) -> slice:
        """The training days as rows."""
        return slice(self.train_start, self.train_stop)

    @property
    def test(self) -> slice:
        """The test days as rows."""
        return slice(self.test_start, self.test_stop)


def plan_folds(
    n_days: int, *, scheme: str, train: int | None, test: int | None, count: int, purge: int
) -> tuple[Fold, ...]:
    """Return the folds of a record of days; their tests follow one another without gap or overlap to its end.

    Parameters
    ----------
    n_days : int
        Days of the record.
    scheme : str
        ``"expanding"``: each training span begins with the record; ``"rolling"``: it is as long as the first one.
    train : int or None
        Days before the first test; None is half of the record.
    test : int or None
        Days of a test, the last one may be shorter; None shares what is left among `count` tests, the first ones a
        day longer where it does not divide.
    count : int
        Number of tests where `test` is None.
    purge : int
        Days left out at the end of each training span, >= 0.

    Raises
    ------
    ConfigError
        If the record does not hold a training span and a test, or purging leaves nothing to train on.

    Examples
    --------
    >>> [(f.train, f.test) for f in plan_folds(10, scheme="rolling", train=4, test=3, count=2, purge=1)]
    [(slice(0, 3, None), slice(4, 7, None)), (slice(3, 6, None), slice(7, 10, None))]
    """
    if scheme not in SCHEMES:
        raise ConfigError(
            f"walk_forward.scheme must be one of {', '.join(SCHEMES)}, was {scheme!r}"
        )
    first = n_days // 2 if train is None else train
    left = n_days - first
    if first < 1 or left < 1:
        raise ConfigError(
            f"walk_forward.train_days must leave days to test on, was {first} of the {n_days} days that are traded"
        )
    if purge >= first:
        raise ConfigError(
            f"walk_forward.purge_days must be shorter than the training span of {first} days, was {purge}"
        )
    if test is None and count > left:
        raise ConfigError(
            f"walk_forward.folds must be at most {left}, the days left to test on, was {count}"
        )
    sizes = _shared(left, count) if test is None else _cut(left, test)
    stops = (first + np.cumsum(sizes)).tolist()
    return tuple(
        Fold(
            number=k + 1,
            train_start=0 if scheme == "expanding" else stop - sizes[k] - first,
            train_stop=stop - sizes[k] - purge,
            test_start=stop - sizes[k],
            test_stop=stop,
        )
        for k, stop in enumerate(stops)
    )


def check_training(folds: tuple[Fold, ...], *, warm_up: int) -> None:
    """Refuse folds that would choose on days on which nothing could be held yet.

    Parameters
    ----------
    folds : tuple of Fold
        All of them.
    warm_up : int
        Days of the record before the first position.

    Raises
    ------
    ConfigError
        If a training span is shorter than warm-up, `TRAIN_DAYS_MIN` days and purge together.
    """
    for fold in folds:
        purge = fold.test_start - fold.train_stop
        span = fold.test_start - fold.train_start
        # A rolling span that begins later has less, or nothing, of the warm-up inside.
        needed = max(warm_up - fold.train_start, 0) + TRAIN_DAYS_MIN + purge
        if span < needed:
            raise ConfigError(
                f"walk_forward.train_days must be at least {needed} days, was {span}: the strategy warms up for "
                f"{warm_up}, {purge} are purged, and a choice needs {TRAIN_DAYS_MIN} days of returns"
            )


def holding_days(weights: FloatArray, ts_us: IntArray) -> float:
    r"""Return how long a position is held on average, in days.

    .. math:: \frac{2 \sum_t \sum_i |w_{t,i}|}{\sum_t \sum_i |w_{t,i} - w_{t-1,i}|}

    rows, that is twice the mean gross exposure over the turnover: each unit of a position is bought once and sold once.

    Parameters
    ----------
    weights : float64 array, shape (n_rows, n_symbols)
        Target weights; NaN keeps what is held.
    ts_us : int64 array, shape (n_rows,)
        Evenly spaced stamps, microseconds since 1970.

    Returns
    -------
    float
        0 where nothing was held. What is held in the first and last row counts as bought and sold there.
    """
    held = np.nan_to_num(_kept(weights))
    gross = float(np.abs(held).sum())
    traded = float(np.abs(np.diff(held, axis=0, prepend=0.0)).sum()) + float(
        np.abs(held[-1:]).sum()
    )
    if gross == 0.0 or len(ts_us) < 2:
        return 0.0
    return 2.0 * gross / traded * float(ts_us[1] - ts_us[0]) / DAY_US


def _kept(weights: FloatArray) -> FloatArray:
    """Return weights in which a missing one is the last known."""
    rows = np.where(np.isnan(weights), 0, np.arange(len(weights))[:, np.newaxis])
    return np.asarray(np.take_along_axis(weights, np.maximum.accumulate(rows, axis=0), axis=0))


def _shared(total: int, count: int) -> list[int]:
    return [total // count + (k < total % count) for k in range(count)]


def _cut(total: int, size: int) -> list[int]:
    whole, rest = divmod(total, size)
    return [size] * whole + [rest] * (rest > 0)
