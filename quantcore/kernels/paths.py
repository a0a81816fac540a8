r"""Paths resampled from a track record, and what becomes of each: stationary bootstrap, compiled and in parallel.

A path strings together blocks of consecutive days. Each block begins on a day drawn evenly from the record, which is
joined to a circle, and its length is geometric: after any day the next block begins with probability p = 1 / mean block
length (Politis and Romano 1994). Days are log growth, so that wealth is a sum; -inf is the loss of everything.

Every path has a random number generator of its own, started from its own seed. So a path depends on its seed alone: not
on the number of threads, not on the other paths, and a longer horizon continues it. The generator is SplitMix64
(Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014): 64 bits of state, one addition and a
mixing of bits per number, 2**64 numbers until it repeats.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from quantcore.types import FloatArray

SeedArray = npt.NDArray[np.uint64]

LOWEST = 0
DEEPEST = 1
FINAL = 2
N_OUTCOMES = 3
"""Columns of the outcomes of a path: log wealth at its lowest, its deepest log drawdown, and log wealth at the end."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_ALWAYS = np.uint64(0x100000000)


@njit(cache=True, error_model="numpy")
def random_bits(state: np.uint64) -> np.uint64:
    """Return the 64 random bits of a state of SplitMix64; the next state is ``state + _GAMMA``."""
    bits = (state ^ (state >> np.uint64(30))) * _MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * _MIX_2
    return bits ^ (bits >> np.uint64(31))


def restart_threshold(mean_block: float) -> np.uint64:
    """Return of how many of the 2**32 values of half the random bits a new block begins; `mean_block` >= 1 day."""
    return np.uint64(round(2.0**32 / mean_block))


@njit(cache=True, error_model="numpy")
def next_day(day: int, bits: np.uint64, restart: np.uint64, n_days: int) -> int:
    """Return the day that follows in the path: mostly the next of the circle, sometimes any.

    Parameters
    ----------
    day : int
        The day before, in [0, n_days).
    bits : uint64
        Random: the upper half says whether a new block begins, the lower half on which day.
    restart : uint64
        From `restart_threshold`.
    n_days : int
        Length of the record, < 2**32; each day is as likely as any other to 2**-32.
    """
    anywhere = np.int64(((bits & _LOWER_HALF) * np.uint64(n_days)) >> np.uint64(32))
    after = np.int64(day + 1) if day + 1 < n_days else np.int64(0)
    return int(anywhere if (bits >> np.uint64(32)) < restart else after)


@njit(cache=True, error_model="numpy")
def resample(steps: FloatArray, seed: np.uint64, restart: np.uint64, path: FloatArray) -> np.uint64:
    """Fill `path` with one resampling of `steps`; return the state of the generator after it."""
    n_days, state = steps.shape[0], seed + _GAMMA
    day = next_day(0, random_bits(state), _ALWAYS, n_days)
    for t in range(path.shape[0]):
        path[t] = steps[day]
        state = state + _GAMMA
        day = next_day(day, random_bits(state), restart, n_days)
    return state


@njit(cache=True, error_model="numpy")
def walk(
    steps: FloatArray, seed: np.uint64, restart: np.uint64, horizon: int, outcome: FloatArray
) -> None:
    """Write the outcomes of one path, without keeping it.

    Parameters
    ----------
    steps : float64 array, shape (n_days,)
        Log growth of each day of the record; -inf is allowed.
    seed : uint64
        Start of the path's generator.
    restart : uint64
        From `restart_threshold`.
    horizon : int
        Days of the path.
    outcome : float64 array, shape (3,)
        Filled: `LOWEST` and `DEEPEST`, <= 0 because both count from the start, and `FINAL`.
    """
    n_days, state = steps.shape[0], seed + _GAMMA
    day = next_day(0, random_bits(state), _ALWAYS, n_days)
    wealth = lowest = peak = deepest = 0.0
    for _ in range(horizon):
        wealth += steps[day]
        lowest = wealth if wealth < lowest else lowest
        peak = wealth if wealth > peak else peak
        deepest = wealth - peak if wealth - peak < deepest else deepest
        state = state + _GAMMA
        day = next_day(day, random_bits(state), restart, n_days)
    outcome[LOWEST] = lowest
    outcome[DEEPEST] = deepest
    outcome[FINAL] = wealth


@njit(cache=True, error_model="numpy")
def path_outcomes(
    steps: FloatArray, seeds: SeedArray, restart: np.uint64, horizon: int
) -> FloatArray:
    """Return the outcomes of one path per seed, shape ``(n_paths, 3)``; arguments as in `walk`."""
    outcomes = np.empty((seeds.shape[0], N_OUTCOMES))
    for k in range(seeds.shape[0]):
        walk(steps, seeds[k], restart, horizon, outcomes[k])
    return outcomes


@njit(cache=True, error_model="numpy")
def record_outcomes(
    steps: FloatArray, seeds: SeedArray, restart: np.uint64, n_paths: int, horizon: int
) -> FloatArray:
    """Return the outcomes of paths through records that might have been: resamplings of `steps`, one per seed.

    Parameters
    ----------
    steps : float64 array, shape (n_days,)
        Log growth of each day of the record.
    seeds : uint64 array, shape (n_records,)
        Each resamples a record of the same length and seeds its paths.
    restart : uint64
        From `restart_threshold`, the same for records and for paths.
    n_paths : int
        Paths per record.
    horizon : int
        Days of a path.

    Returns
    -------
    float64 array, shape (n_records, n_paths, 3)
    """
    n_records = seeds.shape[0]
    outcomes = np.empty((n_records, n_paths, N_OUTCOMES))
    for b in range(n_records):
        record = np.empty(steps.shape[0])
        state = resample(steps, seeds[b], restart, record)
        for k in range(n_paths):
            state = state + _GAMMA
            walk(record, random_bits(state), restart, horizon, outcomes[b, k])
    return outcomes
