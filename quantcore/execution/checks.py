"""Numbers out of their range, refused in one line."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from quantcore.types import FloatArray


def at_least_zero(value: float, name: str) -> None:
    """Refuse a number that is negative, infinite or NaN."""
    require(0.0 <= value < math.inf, f"{name} must be >= 0 and finite", value)


def above_zero(value: float, name: str) -> None:
    """Refuse a number that is not positive, infinite or NaN."""
    require(0.0 < value < math.inf, f"{name} must be > 0 and finite", value)


def require(holds: bool | np.bool_, rule: str, value: object) -> None:
    """Refuse a value where its rule does not hold.

    Raises
    ------
    ValueError
        Naming the rule and the value.
    """
    if not holds:
        raise ValueError(f"{rule}, was {value}")


def first(values: FloatArray, bad: npt.ArrayLike) -> object:
    """Return the first bad value, for a message; nothing where there is none."""
    found = values[np.asarray(bad, dtype=np.bool_)]
    return float(found[0]) if len(found) else None
