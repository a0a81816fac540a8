"""Numbers that look random and are a function of their keys alone: what the bars do not say, the same for everybody."""

from __future__ import annotations

import zlib

import numpy as np

from quantcore.types import FloatArray, IntArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def seed_of(symbol: str) -> int:
    """Return a symbol's key, which does not depend on what other symbols there are."""
    return zlib.crc32(symbol.encode())


def uniform(*keys: IntArray | int) -> FloatArray:
    """Return numbers in [0, 1) of the broadcast shape of some integer keys, at least one-dimensional.

    References
    ----------
    Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014 (SplitMix64's finaliser).
    Deviation: it is chained over several keys.
    """
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            mixed = state + np.asarray(key, dtype=np.int64).astype(np.uint64) + _GOLDEN
            mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
            mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
            state = mixed ^ (mixed >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)
