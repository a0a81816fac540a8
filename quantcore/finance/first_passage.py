r"""Probability that a mark reaches its liquidation price in time: in closed form, and with jumps by quadrature.

The mark follows :math:`d\log S = (\mu - s^2/2)\,dt + s\,dW`, with or without log-normal jumps that are not compensated,
and is watched continuously. Volatility, drift and jump intensity are annual, on 365 days.
`quantcore.finance.liquidation_probability` simulates whole accounts from their marks' own history.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from quantcore.kernels import passage
from quantcore.types import FloatArray

HOURS_PER_YEAR = 8760.0
_REPLICATES = 8
_TAIL = 1e-9


def first_passage(
    distance: npt.ArrayLike,
    *,
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    annual_drift: npt.ArrayLike = 0.0,
    horizon_hours: float = 24.0,
) -> FloatArray:
    """Return the probability that a mark reaches its liquidation price, in closed form and without jumps.

    Parameters
    ----------
    distance : array-like
        From mark to liquidation price as a fraction of the mark (`liquidation.liquidation_distance`); infinite
        where there is none.
    side : array-like
        > 0 long, < 0 short.
    annual_vol, annual_drift : array-like
        s >= 0 and mu. All four broadcast against each other.
    horizon_hours : float
        >= 0.

    Returns
    -------
    float64 array, of the broadcast shape
        In [0, 1]; NaN where an input is NaN. It falls with distance and rises with horizon, and without drift it
        rises with volatility.

    Raises
    ------
    ValueError
        If a volatility or the horizon is negative, or a side is 0.

    References
    ----------
    `kernels.passage.passage_probability`, which compiled code calls directly.

    Examples
    --------
    >>> first_passage(0.095, side=1, annual_vol=0.8).round(6).tolist()
    0.018007
    """
    probabilities = np.vectorize(passage.passage_probability, otypes=[np.float64])
    distances = np.asarray(distance, dtype=np.float64)
    return np.asarray(
        probabilities(distances, *_law(side, annual_vol, annual_drift, horizon_hours))
    )


def leverage_max(
    limit: float,
    *,
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    maintenance_rate: npt.ArrayLike,
    annual_drift: npt.ArrayLike = 0.0,
    horizon_hours: float = 24.0,
) -> FloatArray:
    r"""Return the highest leverage at which a position entered now keeps its liquidation probability at a limit.

    A position of leverage L is liquidated at the distance :math:`d = (1/L - r) / (1 \mp r)`, long and short. The
    distance whose `first_passage` is the limit is found by bisection, and L follows. It falls with volatility (without
    drift), horizon and maintenance rate, and rises with the limit.

    Parameters
    ----------
    limit : float
        Probability in (0, 1); 0.005 is the project's (DESIGN.md 7).
    side, annual_vol, annual_drift : array-like
        As in `first_passage`.
    maintenance_rate : array-like
        r in [0, 1), of the bracket at the liquidation price. Its cum is left out, which in higher brackets understates
        the leverage. All four broadcast against each other.
    horizon_hours : float
        >= 0.

    Returns
    -------
    float64 array, of the broadcast shape
        Notional over margin, at most 1 / r; not capped at what the exchange allows. NaN where an input is NaN.

    Raises
    ------
    ValueError
        If `limit` is not in (0, 1), a maintenance rate not in [0, 1), a volatility or the horizon negative, a side 0.

    Examples
    --------
    >>> leverage_max(0.005, side=1, annual_vol=[0.6, 0.8], maintenance_rate=0.005).round(2).tolist()
    [11.19, 8.62]
    """
    if not 0.0 < limit < 1.0:
        raise ValueError(f"limit must be in (0, 1), was {limit}")
    rate = np.asarray(maintenance_rate, dtype=np.float64)
    if ((rate < 0.0) | (rate >= 1.0)).any():
        raise ValueError(f"maintenance_rate must be in [0, 1), was {rate.tolist()}")
    distances = np.vectorize(passage.passage_distance, otypes=[np.float64])
    law = _law(side, annual_vol, annual_drift, horizon_hours)
    return np.asarray(1.0 / (rate + distances(limit, *law) * (1.0 - law[0] * rate)))


def _law(
    side: npt.ArrayLike,
    annual_vol: npt.ArrayLike,
    annual_drift: npt.ArrayLike,
    horizon_hours: float,
) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return signs, volatilities, drifts and years as `kernels.passage` takes them, checked."""
    sign = np.sign(np.asarray(side, dtype=np.float64))
    vol = np.asarray(annual_vol, dtype=np.float64)
    if (vol < 0.0).any():
        raise ValueError(f"annual_vol must be >= 0, was {vol.tolist()}")
    if (sign == 0.0).any():
        raise ValueError("side must be > 0 or < 0, was 0")
    if not 0.0 <= horizon_hours < math.inf:
        raise ValueError(f"horizon_hours must be >= 0, was {horizon_hours}")
    return sign, vol, np.asarray(annual_drift, dtype=np.float64), horizon_hours / HOURS_PER_YEAR


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Log-normal jumps of mark prices (Merton 1976), not compensated by a drift.

    Parameters
    ----------
    intensity : float
        Jumps per year, >= 0.
    mean, sd : float
        Of the change of the log mark; sd >= 0.
    shared : bool
        One process that moves all symbols by the same log size; otherwise each symbol has its own of that intensity.

    Raises
    ------
    ValueError
        If a number is not finite, or intensity or sd is negative.
    """

    intensity: float
    mean: float
    sd: float
    shared: bool = True

    def __post_init__(self) -> None:
        for name, lowest in (("intensity", 0.0), ("mean", -math.inf), ("sd", 0.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= lowest):
                raise ValueError(f"{name} must be finite and >= {lowest:g}, was {value}")


@dataclass(frozen=True, kw_only=True)
class JumpDiffusion:
    """A mark's law: annual volatility >= 0 and drift of its diffusion, and its jumps."""

    annual_vol: float
    jumps: Jumps
    annual_drift: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.annual_vol < math.inf:
            raise ValueError(f"annual_vol must be finite and >= 0, was {self.annual_vol}")
        if not math.isfinite(self.annual_drift):
            raise ValueError(f"annual_drift must be finite, was {self.annual_drift}")


def first_passage_with_jumps(
    distance: float,
    process: JumpDiffusion,
    *,
    side: float,
    horizon_hours: float = 24.0,
    n_points: int = 2**16,
    rng: np.random.Generator,
) -> tuple[float, float]:
    r"""Return the probability that a mark with jumps reaches its liquidation price, and its standard error.

    .. math:: P = 1 - \sum_n e^{-\lambda T} \frac{(\lambda T)^n}{n!}\, E\bigl[\text{survival} \mid n \text{ jumps}\bigr]

    The term without jumps is the closed form; each other is the mean of a product of bridge probabilities
    (`kernels.passage.jump_survival`) over scrambled Sobol points of the jumps' times and sizes and the diffusion
    between them.

    Parameters
    ----------
    distance, side, horizon_hours
        As in `first_passage`, scalars.
    process : JumpDiffusion
        Volatility, drift and jumps. With more than some ten expected within the horizon it takes seconds.
    n_points : int
        Points to share out among the numbers of jumps, >= 1; at the default the standard error is below 1e-4.
    rng : Generator
        Scrambles the points.

    Returns
    -------
    tuple of float
        Probability in [0, 1], and the standard error from 8 independent scrambles, 0 without jumps.

    Raises
    ------
    ValueError
        If an argument breaks a rule above or is NaN.

    References
    ----------
    Merton, "Option pricing when underlying stock returns are discontinuous", *Journal of Financial Economics* 3, 1976;
    Metwally and Atiya, *Journal of Derivatives* 10(1), 2002. Numbers of jumps beyond a tail of 1e-9 are left out.
    """
    if n_points < 1:
        raise ValueError(f"n_points must be >= 1, was {n_points}")
    signs, _, _, years = _law(side, process.annual_vol, process.annual_drift, horizon_hours)
    sign, vol, drift = float(signs), process.annual_vol, process.annual_drift
    plain = passage.passage_probability(float(distance), sign, vol, drift, years)
    if math.isnan(plain):
        raise ValueError(f"distance and side must be numbers, was {distance} and {side}")
    barrier, away = passage.log_barrier(float(distance), sign), sign * (drift - 0.5 * vol * vol)
    expected = process.jumps.intensity * years
    if expected == 0.0 or not 0.0 < barrier < math.inf:
        return plain, 0.0
    counts = np.arange(1, int(expected + 12.0 * math.sqrt(expected) + 30.0))
    shares = np.exp(counts * math.log(expected) - expected - special.gammaln(counts + 1.0))
    survivals = np.full(_REPLICATES, math.exp(-expected) * (1.0 - plain))
    for n, share in zip(counts[shares > _TAIL], shares[shares > _TAIL], strict=True):
        size = max(5, math.ceil(math.log2(n_points / _REPLICATES * math.sqrt(share))))
        for k in range(_REPLICATES):
            times, increments, sizes = _jump_points(int(n), size, years, process.jumps, rng)
            survivals[k] += share * passage.jump_survival(
                barrier, away, vol, times, increments, sign * sizes
            )
    error = float(survivals.std(ddof=1)) / math.sqrt(_REPLICATES)
    return min(max(1.0 - float(survivals.mean()), 0.0), 1.0), error


def _jump_points(
    n: int, log2_size: int, years: float, jumps: Jumps, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return stretches of time, standard normal increments and jump sizes of paths with n jumps."""
    from scipy.stats import qmc

    uniform = qmc.Sobol(3 * n, rng=rng).random_base2(log2_size)
    ends = np.sort(uniform[:, :n], axis=1)
    times = years * np.diff(ends, axis=1, prepend=0.0, append=1.0)
    normal = special.ndtri(np.clip(uniform[:, n:], 1e-15, 1.0 - 1e-15))
    sizes = jumps.mean + jumps.sd * normal[:, n:]
    return np.maximum(times, 0.0), np.ascontiguousarray(normal[:, :n]), np.ascontiguousarray(sizes)
