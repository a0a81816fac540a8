r"""Transient impact: a trade's push that decays, what a series of trades then costs, and the cheapest one.

Any kernel of decay may be looked at; for an exponential one Obizhaeva and Wang's schedule is the optimum. Cost is > 0
where it is against us; volumes and quantities are signed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from quantcore.execution.checks import above_zero, at_least_zero, first, require
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class PowerLawDecay:
    r"""A trade's push at each lag: :math:`G(l) = G_0 / (1 + l / l_0)^\beta`, lags in bars."""

    initial: float
    r""":math:`G_0`, price units per unit of pushed volume, > 0."""
    scale: float
    r""":math:`l_0`, bars, > 0."""
    exponent: float
    r""":math:`\beta`, >= 0."""

    def __post_init__(self) -> None:
        above_zero(self.initial, "initial")
        above_zero(self.scale, "scale")
        at_least_zero(self.exponent, "exponent")

    def at(self, lags: FloatArray) -> FloatArray:
        """Return the push that is left after lags >= 0."""
        return np.asarray(self.initial / (1.0 + lags / self.scale) ** self.exponent)


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay:
    r"""A trade's push at each lag: :math:`G(l) = G_0 e^{-\rho l}`, lags in bars."""

    initial: float
    r""":math:`G_0`, price units per unit of pushed volume, > 0."""
    rate: float
    r""":math:`\rho`, per bar, >= 0."""

    def __post_init__(self) -> None:
        above_zero(self.initial, "initial")
        at_least_zero(self.rate, "rate")

    def at(self, lags: FloatArray) -> FloatArray:
        """Return the push that is left after lags >= 0."""
        return np.asarray(self.initial * np.exp(-self.rate * lags))


Decay = PowerLawDecay | ExponentialDecay


@dataclass(frozen=True)
class TransientImpact:
    """What a series of trades does to the price, one value per bar."""

    kernel: FloatArray = field(repr=False)
    """Push left after 0, 1, ... bars, for a unit."""
    price_shifts: FloatArray = field(repr=False)
    """Price less what it would have been, after each bar's trade."""
    costs: FloatArray = field(repr=False)
    """What each trade paid above the price that would have been, in price units times coins; earlier ones included."""

    @property
    def cost(self) -> float:
        """Cost of the whole series."""
        return math.fsum(self.costs.tolist())


@dataclass(frozen=True)
class BlockSchedule:
    """A block at once, a constant rate, a block at the end; signed as the order."""

    qty: float
    """X, the whole order."""
    first_block: float
    rate: float
    """Per unit of time."""
    last_block: float

    def cost(self, block_impact: float) -> float:
        r"""Return the expected cost in price units times coins, :math:`G_0 X^2 / (\rho T + 2)`.

        Parameters
        ----------
        block_impact : float
            :math:`G_0`, by how many price units a coin traded at once moves the price. Permanent impact costs the
            same in every schedule and is not in it.
        """
        at_least_zero(block_impact, "block_impact")
        # X = (rho T + 2) first_block, and X first_block is the same as X**2 / (rho T + 2).
        return block_impact * abs(self.qty * self.first_block)


def propagate(
    signed_volumes: npt.ArrayLike, decay: Decay, *, volume_exponent: float
) -> TransientImpact:
    r"""Return what a series of trades does to the price when each one's push decays, and what it costs.

    .. math:: p_t = \sum_{s \le t} G(t - s) f(v_s), \quad f(v) = \operatorname{sign}(v) |v|^{\delta}, \qquad
        c_t = v_t \Bigl(\sum_{s < t} G(t - s) f(v_s) + \frac{G(0) f(v_t)}{1 + \delta}\Bigr)

    A trade pays the mean of its own path: 2/3 of its push for a square root, 1/2 for a linear one.

    Parameters
    ----------
    signed_volumes : array-like, shape (n_bars,)
        v, bought > 0, in coins; 0 where nothing is traded.
    decay : PowerLawDecay or ExponentialDecay
        G.
    volume_exponent : float
        :math:`\delta`, > 0. Some pairs of decay and exponent let a round trip earn money from its own impact:
        exponential decay unless :math:`\delta = 1`, a power law where :math:`\beta + \delta < 1` (Gatheral 2010). They
        describe prices well enough, but no schedule may be optimised on them.

    Returns
    -------
    TransientImpact
        Price units and price units times coins, shape (n_bars,).

    Raises
    ------
    ValueError
        If a volume is NaN or infinite, there is none, or the exponent is not positive.

    References
    ----------
    Bouchaud, Gefen, Potters and Wyart, "Fluctuations and Response in Financial Markets", *Quantitative Finance* 4,
    2004; Gatheral, "No-Dynamic-Arbitrage and Market Impact", *Quantitative Finance* 10, 2010. Deviation: a trade's
    cost to itself, which continuous time does not have, is that of its own square-root (or other) path.

    Examples
    --------
    >>> found = propagate([100.0, 0.0, -100.0], ExponentialDecay(initial=0.01, rate=0.5), volume_exponent=1.0)
    >>> found.price_shifts.round(3).tolist(), round(found.cost, 3)
    ([1.0, 0.607, -0.632], 63.212)
    """
    above_zero(volume_exponent, "volume_exponent")
    volumes = np.asarray(signed_volumes, dtype=np.float64)
    shaped = volumes.ndim == 1 and len(volumes) > 0
    require(shaped, "signed_volumes must be of shape (n_bars,), n_bars >= 1", volumes.shape)
    good = np.isfinite(volumes)
    require(good.all(), "signed_volumes must be finite", first(volumes, ~good))
    kernel = decay.at(np.arange(len(volumes), dtype=np.float64))
    pushes = np.sign(volumes) * np.abs(volumes) ** volume_exponent
    shifts = np.convolve(pushes, kernel)[: len(volumes)]
    before = shifts - kernel[0] * pushes
    costs = volumes * (before + kernel[0] * pushes / (1.0 + volume_exponent))
    return TransientImpact(kernel, shifts, costs)


def obizhaeva_wang(qty: float, *, resilience: float, horizon: float) -> BlockSchedule:
    r"""Return the cheapest schedule where each trade moves the price linearly and its push decays exponentially.

    .. math:: x_0 = x_T = \frac{X}{\rho T + 2}, \qquad \dot x = \frac{\rho X}{\rho T + 2}

    Parameters
    ----------
    qty : float
        X, coins to be traded, signed.
    resilience : float
        :math:`\rho`, per unit of time, >= 0; 0 is impact that stays, where only the two blocks are left.
    horizon : float
        T, > 0.

    Returns
    -------
    BlockSchedule
        Blocks and rate, which add up to the order: ``first_block + rate * horizon + last_block``.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Obizhaeva and Wang, "Optimal Trading Strategy and Supply/Demand Dynamics", *Journal of Financial Markets* 16, 2013;
    the risk-neutral case in continuous time.

    Examples
    --------
    >>> plan = obizhaeva_wang(1000.0, resilience=2.0, horizon=4.0)
    >>> plan.first_block, plan.rate, plan.last_block, plan.cost(0.5)
    (100.0, 200.0, 100.0, 50000.0)
    """
    require(math.isfinite(qty), "qty must be finite", qty)
    at_least_zero(resilience, "resilience")
    above_zero(horizon, "horizon")
    block = qty / (resilience * horizon + 2.0)
    return BlockSchedule(qty, block, resilience * block, block)
