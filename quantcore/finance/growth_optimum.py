"""Growth optima within limits: a cap on the gross size and a box, exact to rounding; what `kelly` is made of.

A quadratic problem is solved by Lawson and Hanson's non-negative least squares, a logarithmic one by Newton steps over
quadratic ones.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from quantcore.types import FloatArray

ROUNDING = 1e-12


class Limits(NamedTuple):
    """A cap on the sum of absolute weights and a box per asset that holds 0."""

    gross_cap: float
    lower: FloatArray
    upper: FloatArray


class Scenarios(NamedTuple):
    """Returns, shape (n_scenarios, n_assets), and their probabilities, all above 0."""

    returns: FloatArray
    probabilities: FloatArray


def quadratic_optimum(mean: FloatArray, matrix: FloatArray, limits: Limits) -> FloatArray:
    """Maximise ``mean @ w - w @ matrix @ w / 2`` within limits.

    In the coordinates where the matrix is a unit one, the answer is the point of a polytope nearest to the optimum
    without limits. Of the cap's 2**n faces those are added that an optimum so far has crossed.
    """
    scale = np.sqrt(np.diag(matrix))
    root = np.linalg.cholesky(matrix / np.outer(scale, scale))
    centre = solve_triangular(root, mean / scale, lower=True)
    size = float(np.linalg.norm(centre))
    weights: FloatArray = np.zeros(len(mean))
    if size == 0.0:
        return weights
    unit, centre = size / scale, centre / size
    eye = np.eye(len(mean))
    normals = np.vstack([eye, -eye])
    bounds = np.concatenate([limits.upper, -limits.lower]) / np.concatenate([unit, unit])
    normals, bounds = normals[np.isfinite(bounds)], bounds[np.isfinite(bounds)]
    free = np.abs(solve_triangular(root, centre, lower=True, trans="T")).max()
    while True:
        faces = solve_triangular(root, normals.T, lower=True)
        point = centre + _nearest(faces, faces.T @ centre - bounds)
        point = solve_triangular(root, point, lower=True, trans="T")
        # What the limits leave of a bet far larger is no more exact than this.
        weights = unit * np.where(np.abs(point) <= ROUNDING * free, 0.0, point)
        if np.abs(weights).sum() <= limits.gross_cap * (1.0 + ROUNDING):
            return weights
        face = np.where(weights < 0.0, -unit, unit)
        if (normals == face).all(axis=1).any():
            return weights
        normals, bounds = np.vstack([normals, face]), np.append(bounds, limits.gross_cap)


def _nearest(faces: FloatArray, beyond: FloatArray) -> FloatArray:
    """Return the z of least norm with ``-faces.T @ z >= beyond`` (Lawson and Hanson 1974, ch. 23, algorithm LDP)."""
    if not (beyond > 0.0).any():
        return np.zeros(len(faces))
    length = np.linalg.norm(faces, axis=0)
    system = np.vstack([-faces, beyond]) / length
    aim = np.append(np.zeros(len(faces)), 1.0)
    multipliers, _ = nnls(system, aim, maxiter=100 * (len(length) + 1))
    residual = system @ multipliers - aim
    return np.asarray(-residual[:-1] / residual[-1])


def growth_optimum(scenarios: Scenarios, limits: Limits, lambda_: float, t: float) -> FloatArray:
    """Maximise ``(1 - t) E log W + t (1 - E W**-lambda_) / lambda_`` within limits, by Newton's method."""
    returns, probabilities = scenarios
    power = lambda_ if t > 0.0 else 0.0

    def value(held: FloatArray) -> float:
        change = returns @ held
        if change.min() <= -1.0:
            return -math.inf
        logs = np.log1p(change)
        with np.errstate(over="ignore"):
            risk = probabilities @ np.expm1(-power * logs) / power if power > 0.0 else 0.0
        return float((1.0 - t) * (probabilities @ logs) - t * risk)

    weights: FloatArray = np.zeros(returns.shape[1])
    for _ in range(200):
        wealth = 1.0 + returns @ weights
        averse = t * wealth**-power
        pull = probabilities * (1.0 - t + averse) / wealth
        bend = probabilities * (1.0 - t + (power + 1.0) * averse) / wealth**2
        gradient, curvature = pull @ returns, (returns.T * bend) @ returns
        target = quadratic_optimum(gradient + curvature @ weights, curvature, limits)
        step = target - weights
        # From here the next error is the square of this one.
        if np.abs(returns @ step / wealth).max() <= 1e-7:
            return target
        share, slope, now = 1.0, float(gradient @ step), value(weights)
        while value(weights + share * step) < now + 1e-4 * share * slope - 1e-15:
            share *= 0.5
        weights = weights + share * step
    raise ValueError(f"gross_cap must bound the growth of these scenarios, was {limits.gross_cap}")


def inside(weights: FloatArray, limits: Limits) -> FloatArray:
    """Take the rounding errors out: exactly in the box and under the cap."""
    weights = np.clip(weights, limits.lower, limits.upper)
    gross = float(np.abs(weights).sum())
    return weights if gross <= limits.gross_cap else weights * (limits.gross_cap / gross)


def as_limits(
    n_assets: int, gross_cap: float, lower: npt.ArrayLike, upper: npt.ArrayLike
) -> Limits:
    """Return the limits of `n_assets` assets; refuse those that forbid no bet at all."""
    require(gross_cap > 0.0, "gross_cap must be > 0", gross_cap)
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    for name, bound in (("lower", low), ("upper", high)):
        fits = bound.shape in ((), (n_assets,))
        require(fits, f"{name} must be a number or of shape ({n_assets},)", bound.shape)
    require((low <= 0.0).all(), "lower must be <= 0", low.max())
    require((high >= 0.0).all(), "upper must be >= 0", high.min())
    return Limits(gross_cap, np.broadcast_to(low, n_assets), np.broadcast_to(high, n_assets))


def as_scenarios(
    returns: npt.ArrayLike, probabilities: npt.ArrayLike, *, independent: bool = True
) -> Scenarios:
    """Return the scenarios of positive probability; refuse what is not a distribution, or dependent assets."""
    weights = as_vector(probabilities, "probabilities")
    require((weights >= 0.0).all(), "probabilities must be >= 0", weights.min())
    total = weights.sum()
    require(abs(total - 1.0) <= 1e-9, "probabilities must add up to 1", total)
    matrix = np.asarray(returns, dtype=np.float64)
    fits = matrix.ndim == 2 and len(matrix) == len(weights) and matrix.shape[1] > 0
    require(fits, f"returns must be of shape ({len(weights)}, n_assets)", matrix.shape)
    require_finite(matrix, "returns")
    matrix, weights = matrix[weights > 0.0], weights[weights > 0.0]
    if independent:
        rows, n_assets = matrix.shape
        require(rows >= n_assets, f"returns must have at least {n_assets} rows", rows)
        as_positive_definite((matrix.T * weights) @ matrix, "second moment of returns", n_assets)
    return Scenarios(matrix, weights)


def as_vector(values: npt.ArrayLike, name: str) -> FloatArray:
    """Return a non-empty vector of finite numbers; refuse anything else."""
    vector = np.asarray(values, dtype=np.float64)
    require(vector.ndim == 1 and len(vector) > 0, f"{name} must be a vector", vector.shape)
    require_finite(vector, name)
    return vector


def as_positive_definite(values: npt.ArrayLike, name: str, n_assets: int) -> FloatArray:
    """Return a symmetric positive definite matrix; refuse anything else."""
    matrix = np.asarray(values, dtype=np.float64)
    fits = matrix.shape == (n_assets, n_assets)
    require(fits, f"{name} must be of shape ({n_assets}, {n_assets})", matrix.shape)
    require_finite(matrix, name)
    variances = np.diag(matrix)
    require((variances > 0.0).all(), f"{name} must have variances > 0", variances.min())
    correlations = matrix / np.sqrt(np.outer(variances, variances))
    lopsided = np.abs(correlations - correlations.T).max()
    require(lopsided <= 1e-9, f"{name} must be symmetric, its largest difference", lopsided)
    least = np.linalg.eigvalsh(correlations)[0]
    rule = f"{name} must be positive definite, the least eigenvalue of its correlations"
    require(least > 1e-10, rule, least)
    return matrix


def require_finite(values: FloatArray, name: str) -> None:
    """Refuse NaN and infinity."""
    bad = values[~np.isfinite(values)]
    require(not len(bad), f"{name} must be finite", bad[:1])


def require(holds: bool | np.bool_, rule: str, value: object) -> None:
    """Refuse a value that breaks a rule, naming both."""
    if not holds:
        raise ValueError(f"{rule}, was {value}")
