"""Numbers that look random and are a function of their keys alone: what the bars do not say, the same for everybody."""

from __future__ import annotations

import zlib

import numpy as np

from quantcore.kernels.compiled import inner


def seed_of(symbol: str) -> int:
    """Return a symbol's key, which does not depend on what other symbols there are."""
    return zlib.crc32(symbol.encode())


@inner()
def uniform(seed: int, place: int, time: int, kind: int) -> float:
    """Return a number in [0, 1) of four integer keys.

    References
    ----------
    Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014 (SplitMix64's finaliser).
    Deviation: it is chained over the keys.
    """
    state = np.uint64(0)
    for key in (seed, place, time, kind):
        state = state + np.uint64(key) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return float(state >> np.uint64(11)) * 2.0**-53
