"""Chance by counting: a draw depends on the seed and on what it is for, never on the draws before it."""

from __future__ import annotations

import math
from hashlib import blake2b
from statistics import NormalDist

from live.simulator.scenario import FaultRule

_NORMAL = NormalDist()


def draw(seed: int, *what: int | str) -> float:
    """Return a number within (0, 1), uniform over all that it may be for.

    A generator would have to be saved and would mix what happens to one client with what happens to another; the
    hash of a count needs neither.

    Parameters
    ----------
    seed : int
        Of the scenario.
    *what : int or str
        What it is for, such as the rule, the stream and the message's number.

    Examples
    --------
    >>> draw(7, 0, "btcusdt@trade", 1) == draw(7, 0, "btcusdt@trade", 1) != draw(8, 0, "btcusdt@trade", 1)
    True
    """
    digest = blake2b(repr((seed, *what)).encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52


def delay_s(rule: FaultRule, chance: float) -> float:
    """Return the delay in seconds that a draw gives by a rule's distribution, never below 0.

    Parameters
    ----------
    rule : FaultRule
        With `distribution`, `seconds` and `spread`.
    chance : float
        Within (0, 1); the delay grows with it.

    Examples
    --------
    >>> uniform = FaultRule(kind="latency", distribution="uniform", seconds=0.5, spread=0.5)
    >>> delay_s(uniform, 0.25)
    0.25
    """
    if rule.distribution == "uniform":
        return rule.seconds + rule.spread * (2.0 * chance - 1.0)
    if rule.distribution == "exponential":
        return -rule.seconds * math.log1p(-chance)
    if rule.distribution == "lognormal":
        return rule.seconds * math.exp(rule.spread * _NORMAL.inv_cdf(chance))
    return rule.seconds
