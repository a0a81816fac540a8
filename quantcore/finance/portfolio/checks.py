"""What the optimisers refuse: covariances without an inverse, vectors of another length or not finite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quantcore.finance.covariance import correlation, volatilities
from quantcore.types import FloatArray

ROUNDING = 1e-10  # an eigenvalue of a correlation matrix within it is zero


def parts(covariance: npt.ArrayLike, *, singular: bool) -> tuple[FloatArray, FloatArray]:
    """Return volatilities and correlations; `singular` says whether the least eigenvalue may be 0."""
    corr = correlation(covariance)
    least = float(np.linalg.eigvalsh(corr)[0])
    if least < (-ROUNDING if singular else ROUNDING):
        word = "semidefinite" if singular else "definite"
        raise ValueError(
            f"covariance must be positive {word}, its correlations' least eigenvalue was {least:.3g}"
        )
    return volatilities(covariance), corr


def vector(name: str, values: npt.ArrayLike, n: int) -> FloatArray:
    """Return one finite number per symbol, or refuse."""
    vector = np.array(values, dtype=np.float64)
    if vector.shape != (n,):
        raise ValueError(
            f"{name} must have the {n} entries of covariance, had shape {vector.shape}"
        )
    require(np.isfinite(vector), f"{name} must be finite", vector)
    return vector


def require(good: npt.ArrayLike, rule: str, values: FloatArray) -> None:
    """Refuse values that break a rule, naming the first and where it is."""
    kept = np.asarray(good, dtype=np.bool_)
    if not kept.all():
        at = tuple(int(k) for k in np.argwhere(~kept)[0])
        raise ValueError(f"{rule}, was {values[at]} at {', '.join(map(str, at))}")
