r"""Market Impact Model: how far an order of ours moves the price, and what that costs.

Two laws: the square root, which holds for perpetuals too and whose coefficient is fitted to our own fills, and Almgren
and others (2005), which tells lasting from passing impact but was measured on shares. Impact and cost are >= 0 when
they are against us, whichever side we trade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quantcore.execution.checks import above_zero, at_least_zero, first, require
from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray

MEAN_OF_PEAK = 2.0 / 3.0
"""Mean over peak impact of an order that is worked along a square-root path: the integral of sqrt(q) over [0, 1]."""
OBSERVATIONS_MIN = 20
"""Fewer fills than this say nothing about a coefficient whose noise is many times its effect."""

_HUBER = 1.345  # 95 % as efficient as least squares where the noise is normal
_NORMAL_QUARTILE = (
    0.6744897501960817  # median absolute deviation of a normal variable over its standard deviation
)
_STEPS = 200


@dataclass(frozen=True)
class SquareRootImpact:
    """Impact of orders, as fractions of price."""

    peak: FloatArray
    """How far the price has moved when an order is done."""
    mean_cost: FloatArray
    """What the order has paid on average, 2/3 of the peak; half-spread and fees are not in it."""


@dataclass(frozen=True)
class CoefficientFit:
    """A coefficient of the square-root law, as estimated from fills."""

    coefficient: float
    """Y, shrunk towards the prior, >= 0."""
    standard_error: float
    """Of the shrunk coefficient."""
    sample_coefficient: float
    """What the fills alone say; may be negative."""
    sample_error: float
    """Its standard error, robust to unequal noise; large-sample."""
    sample_weight: float
    """Share of the fills in `coefficient`, in [0, 1]; the rest is the prior."""
    noise: float
    """Standard deviation of a fill's slippage about the law, in daily volatilities; outliers do not count."""
    n_observations: int
    """Fills without a NaN."""


@dataclass(frozen=True, kw_only=True)
class PowerLaws:
    r"""Coefficients of Almgren and others (2005); dimensionless. The defaults are their estimates from US shares."""

    permanent: float = 0.314
    r""":math:`\gamma`."""
    temporary: float = 0.142
    r""":math:`\eta`."""
    turnover_exponent: float = 0.25
    r""":math:`\delta`, of shares outstanding over daily volume."""
    rate_exponent: float = 0.6
    r""":math:`\beta`, of the rate of trading."""

    def __post_init__(self) -> None:
        for name in ("permanent", "temporary", "turnover_exponent", "rate_exponent"):
            at_least_zero(getattr(self, name), name)


EQUITIES_2005 = PowerLaws()


@dataclass(frozen=True)
class PowerLawImpact:
    """Impact of an order traded at a constant rate, in basis points, one value per horizon."""

    permanent_bps: float
    """I: what remains; the same for every horizon."""
    temporary_bps: FloatArray
    """K: what the rate of trading adds while it lasts."""
    realised_bps: FloatArray
    """J = I/2 + K, the mean cost of the order."""


def square_root_law(
    notionals: npt.ArrayLike,
    *,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
    coefficient: float,
) -> SquareRootImpact:
    r"""Return peak impact and mean cost of orders by the square-root law.

    .. math:: I = Y \sigma_d \sqrt{Q / V}, \qquad \text{mean cost} = \tfrac{2}{3} I

    How fast an order is worked makes no difference to it, as long as it takes neither minutes nor weeks.

    Parameters
    ----------
    notionals : array-like
        Q, of whole orders, in USDT; the sign does not matter.
    daily_notionals : array-like
        V, traded by the whole market in a day, in USDT, >= 0. No volume makes the impact infinite.
    daily_vols : array-like
        :math:`\sigma_d`, standard deviation of daily returns as a fraction, >= 0.
    coefficient : float
        Y, of order 1, >= 0; `fit_coefficient` estimates it.

    Returns
    -------
    SquareRootImpact
        Fractions of price in the shape to which the arguments broadcast; 0 for no order, else NaN where one of them
        is.

    Raises
    ------
    ValueError
        If a volume, a volatility or the coefficient is negative.

    References
    ----------
    Tóth and others, "Anomalous Price Impact and the Critical Nature of Liquidity in Financial Markets", *Physical
    Review X* 1, 2011; for Bitcoin Donier and Bonart, "A Million Metaorder Analysis of Market Impact on the Bitcoin",
    *Market Microstructure and Liquidity* 1(2), 2015, who find the whole path of an order to be a square root.

    Examples
    --------
    >>> found = square_root_law(50e3, daily_notionals=20e6, daily_vols=0.04, coefficient=1.0)
    >>> float(found.peak.round(6)), float(found.mean_cost.round(6))
    (0.002, 0.001333)
    """
    at_least_zero(coefficient, "coefficient")
    volumes = _not_negative(daily_notionals, "daily_notionals")
    vols = _not_negative(daily_vols, "daily_vols")
    orders = np.abs(np.asarray(notionals, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = coefficient * vols * np.sqrt(orders / volumes)
    peak = np.where(volumes == 0.0, np.inf, peak)
    peak = np.where(orders == 0.0, 0.0, peak)
    return SquareRootImpact(peak, MEAN_OF_PEAK * peak)


@inner()
def square_root_impact(
    coefficient: float, daily_vol: float, notional: float, daily_notional: float
) -> float:
    """Return the peak impact of one order as a fraction of price: `square_root_law` for a kernel.

    Parameters
    ----------
    coefficient : float
        Y, >= 0.
    daily_vol : float
        Standard deviation of daily returns, >= 0.
    notional : float
        Of the order, USDT; the sign does not matter.
    daily_notional : float
        Of the market in a day, USDT.

    Returns
    -------
    float
        0 for no order, infinite where there is no volume, NaN where an argument is.
    """
    if notional == 0.0:
        return 0.0
    if daily_notional <= 0.0:
        return math.inf
    return coefficient * daily_vol * math.sqrt(abs(notional) / daily_notional)


def fit_coefficient(
    slippages: npt.ArrayLike,
    notionals: npt.ArrayLike,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
    *,
    prior: float,
    prior_error: float,
) -> CoefficientFit:
    r"""Return the coefficient of the square-root law that realised orders show, shrunk towards a prior.

    .. math:: \frac{s_i}{\sigma_i} = Y x_i + e_i, \quad x_i = \tfrac{2}{3} \sqrt{Q_i / V_i}, \qquad
        \hat Y_w = w \hat Y + (1 - w) Y_0, \quad
        w = \frac{\tau^2}{\tau^2 + \mathrm{se}^2 \frac{n - 1}{n - 3}}

    In units of volatility the noise of all orders is alike. Y is Huber's estimate through the origin, its scale the
    median absolute residual of the least absolute deviations. The weight of the fills is what they can tell: it rises
    with their number and size, and the last factor, the variance of Student's t with n - 1 degrees of freedom, keeps a
    few fills that happen to agree from passing for knowledge.

    Parameters
    ----------
    slippages : array-like, shape (n,)
        What each order paid against the price at its arrival, as a fraction, less the half-spread; > 0 is against us.
        An order that was not filled is no zero: leave it out.
    notionals, daily_notionals : array-like, shape (n,)
        Of the whole orders (not of their slices) and of the market in a day, in USDT, > 0.
    daily_vols : array-like, shape (n,)
        Standard deviation of daily returns, > 0, as known when the order was sent.
    prior : float
        :math:`Y_0`, >= 0.
    prior_error : float
        :math:`\tau`, how far from it Y may well be, > 0; infinite takes the fills alone.

    Returns
    -------
    CoefficientFit
        Orders with a NaN are left out.

    Raises
    ------
    ValueError
        If shapes differ, fewer than 20 orders are complete, a value is infinite or an argument is out of its range.

    References
    ----------
    Huber, *Robust Statistics*, 1981, ch. 7 (regression, asymptotic variance); the shrinkage is the mean of the
    posterior for a normal prior and a normal estimate. Deviation: the variance allows for unequal noise (White 1980),
    and a negative posterior mean is cut to 0.

    Examples
    --------
    >>> size = np.linspace(1e4, 1e6, 40)
    >>> paid = 2.0 / 3.0 * 0.03 * np.sqrt(size / 1e8) * 0.8
    >>> found = fit_coefficient(paid, size, np.full(40, 1e8), np.full(40, 0.03), prior=1.0, prior_error=0.5)
    >>> round(found.coefficient, 6), found.n_observations
    (0.8, 40)
    """
    at_least_zero(prior, "prior")
    require(prior_error > 0.0, "prior_error must be > 0", prior_error)
    x, y = _explained(slippages, notionals, daily_notionals, daily_vols)
    sample, scale = _huber_slope(x, y)
    error = _slope_error(x, y - sample * x, scale)
    n = len(x)
    variance = error**2 * (n - 1) / (n - 3)
    weight = 1.0 / (1.0 + variance / prior_error**2)
    return CoefficientFit(
        coefficient=max(weight * sample + (1.0 - weight) * prior, 0.0),
        standard_error=math.sqrt(weight * variance),
        sample_coefficient=sample,
        sample_error=error,
        sample_weight=weight,
        noise=scale,
        n_observations=n,
    )


def power_law_impact(
    qty: float,
    *,
    daily_volume: float,
    daily_vol: float,
    outstanding: float,
    horizon_days: npt.ArrayLike,
    laws: PowerLaws = EQUITIES_2005,
) -> PowerLawImpact:
    r"""Return lasting and passing impact of an order that is traded at a constant rate.

    .. math:: I = \gamma \sigma \frac{X}{V} \left(\frac{\Theta}{V}\right)^{\delta}, \qquad
        K = \eta \sigma \left(\frac{X}{V T}\right)^{\beta}, \qquad J = \frac{I}{2} + K

    Parameters
    ----------
    qty : float
        X, in shares or coins; the sign does not matter.
    daily_volume : float
        V, in the same unit, > 0.
    daily_vol : float
        :math:`\sigma`, as a fraction, >= 0.
    outstanding : float
        :math:`\Theta`, shares outstanding, > 0. A perpetual has none: `square_root_law` is the model for it.
    horizon_days : array-like
        T, days of volume time, > 0.
    laws : PowerLaws
        The coefficients; those of the paper by default.

    Returns
    -------
    PowerLawImpact
        Basis points, in the shape of the horizons.

    Raises
    ------
    ValueError
        If an argument is NaN or out of its range.

    References
    ----------
    Almgren, Thum, Hauptmann and Li, "Direct Estimation of Equity Market Impact", *Risk*, July 2005.

    Examples
    --------
    >>> found = power_law_impact(
    ...     656100, daily_volume=6.561e6, daily_vol=0.0157, outstanding=1.728e9, horizon_days=[0.1, 0.5]
    ... )
    >>> round(found.permanent_bps), found.realised_bps.round().tolist()
    (20, [32.0, 18.0])
    """
    require(math.isfinite(qty), "qty must be finite", qty)
    above_zero(daily_volume, "daily_volume")
    at_least_zero(daily_vol, "daily_vol")
    above_zero(outstanding, "outstanding")
    days = np.asarray(horizon_days, dtype=np.float64)
    good = np.isfinite(days) & (days > 0.0)
    require(good.all(), "horizon_days must be > 0 and finite", first(days, ~good))
    share = abs(qty) / daily_volume
    turnover = (outstanding / daily_volume) ** laws.turnover_exponent
    permanent = 1e4 * laws.permanent * daily_vol * share * turnover
    temporary = 1e4 * laws.temporary * daily_vol * (share / days) ** laws.rate_exponent
    return PowerLawImpact(permanent, np.asarray(temporary), np.asarray(permanent / 2.0 + temporary))


def _explained(
    slippages: npt.ArrayLike,
    notionals: npt.ArrayLike,
    daily_notionals: npt.ArrayLike,
    daily_vols: npt.ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return what the law multiplies by Y and what was paid, both in daily volatilities, of the complete orders."""
    named = {
        "slippages": slippages,
        "notionals": notionals,
        "daily_notionals": daily_notionals,
        "daily_vols": daily_vols,
    }
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
    shape = columns["slippages"].shape
    require(len(shape) == 1, "slippages must be of shape (n,)", shape)
    for name, column in columns.items():
        require(column.shape == shape, f"{name} must be of shape {shape}", column.shape)
        bad = np.isinf(column)
        if name != "slippages":
            bad |= column <= 0.0
        rule = "be finite or NaN" if name == "slippages" else "be > 0 and finite, or NaN"
        require(not bad.any(), f"{name} must {rule}", first(column, bad))
    rows = np.column_stack(list(columns.values()))
    known = rows[~np.isnan(rows).any(axis=1)]
    rule = f"a fit needs at least {OBSERVATIONS_MIN} orders without NaN, of {len(rows)}"
    require(len(known) >= OBSERVATIONS_MIN, rule, len(known))
    paid, orders, volumes, vols = known.T
    return MEAN_OF_PEAK * np.sqrt(orders / volumes), paid / vols


def _huber_slope(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope through the origin and scale of the residuals; the scale stays that of the first, robust slope."""
    ratio = y / x
    order = np.argsort(ratio, kind="stable")
    weights = np.cumsum(x[order])
    slope = float(ratio[order[np.searchsorted(weights, 0.5 * weights[-1])]])
    scale = float(np.median(np.abs(y - slope * x))) / _NORMAL_QUARTILE
    # More than half of the orders on one line leave no scale to tell outliers by, and nothing to improve.
    for _ in range(_STEPS if scale > 0.0 else 0):
        distance = np.abs(y - slope * x)
        weight = _HUBER * scale / np.maximum(distance, _HUBER * scale)
        better = float((weight * x * y).sum() / (weight * x * x).sum())
        if abs(better - slope) <= 1e-12 * abs(better):
            break
        slope = better
    return slope, scale


def _slope_error(x: FloatArray, residuals: FloatArray, scale: float) -> float:
    """Return the standard error of a Huber slope through the origin, robust to unequal noise."""
    bound = _HUBER * scale if scale > 0.0 else math.inf
    score = np.clip(residuals, -bound, bound)
    curvature = float((x**2 * (np.abs(residuals) <= bound)).sum())
    n = len(x)
    return math.sqrt(float((x**2 * score**2).sum()) * n / (n - 1)) / curvature


def _not_negative(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    require(not (array < 0.0).any(), f"{name} must be >= 0", first(array, array < 0.0))
    return array
