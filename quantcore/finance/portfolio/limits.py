"""What a portfolio may hold: a box for each weight, bounds for their sum and for their gross sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class WeightLimits:
    """What a portfolio may hold.

    Parameters
    ----------
    lower, upper : float or array-like, shape (n_symbols,)
        Box of each weight, finite.
    net : tuple of float
        Lowest and highest sum of the weights.
    gross_max : float
        Largest sum of the absolute weights, > 0; may be infinite.

    Raises
    ------
    ValueError
        If bounds cross, or no weights can satisfy them.
    """

    lower: npt.ArrayLike
    upper: npt.ArrayLike
    net: tuple[float, float]
    gross_max: float

    def __post_init__(self) -> None:
        low, high = np.asarray(self.lower, np.float64), np.asarray(self.upper, np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
            raise ValueError(
                f"lower must be finite and <= upper, were {low.tolist()} and {high.tolist()}"
            )
        if not self.net[0] <= self.net[1]:
            raise ValueError(f"net must be (lowest, highest), was {self.net}")
        if not self.gross_max > 0.0:
            raise ValueError(f"gross_max must be > 0, was {self.gross_max}")

    def box(self, n_symbols: int) -> tuple[FloatArray, FloatArray]:
        """Return the bounds of each weight, checked against the number of symbols and each other."""
        low, high = (
            np.broadcast_to(np.asarray(b, np.float64), (n_symbols,))
            for b in (self.lower, self.upper)
        )
        least_gross = np.maximum(np.maximum(low, -high), 0.0).sum()
        if low.sum() > self.net[1] or high.sum() < self.net[0] or least_gross > self.gross_max:
            raise ValueError(
                f"limits must leave a portfolio: {n_symbols} weights of sums {low.sum():g} to {high.sum():g} and gross "
                f"{least_gross:g} or more cannot have net {self.net} and gross {self.gross_max:g}"
            )
        return low, high


LONG_ONLY = WeightLimits(lower=0.0, upper=1.0, net=(1.0, 1.0), gross_max=1.0)
"""Fully invested without short positions."""
