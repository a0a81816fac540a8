r"""Value at risk and expected shortfall: of a sample or of a distribution.

Losses are positive numbers, :math:`L = -r`, in the unit of the returns (fractions here), and p is the probability of
the tail: 0.05 for a confidence of 95 %. Every ``..._tail_loss`` returns

.. math:: \mathrm{VaR}_p = \inf\{x : P(L > x) \le p\}, \qquad \mathrm{ES}_p = \frac1p \int_0^p \mathrm{VaR}_u\,du

`extremes` adds peaks over threshold, `risk_contributions` a portfolio by position, `tail_forecasts` rolling forecasts
and `var_backtests` the tests of them.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from quantcore.types import FloatArray

if TYPE_CHECKING:
    from quantcore.finance.volatility_models import GarchParameters

# scipy and the GARCH models are imported where they are used: every backtest starts with this module, and needs only
# the historical losses.

ROUNDING = 1e-12
"""Share of n p, or of a spread, that counts as rounding error."""
DOF_MIN, DOF_MAX = 1.0, 1000.0
"""Range of the degrees of freedom that are fitted; at the upper end the distribution is normal to every purpose."""

_NORMAL = NormalDist()


def check_tail_probability(tail_probability: float) -> None:
    """Raise ``ValueError`` unless a tail probability lies in (0, 1)."""
    if not 0.0 < tail_probability < 1.0:
        raise ValueError(f"tail_probability must be in (0, 1), was {tail_probability}")


def known_values(values: npt.ArrayLike, name: str, *, at_least: int = 1) -> FloatArray:
    """Return what is not NaN of a one-dimensional array.

    Raises
    ------
    ValueError
        If the array has another dimension, holds an infinity or fewer than `at_least` known values; `name` is what
        the message calls it.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, had shape {array.shape}")
    if np.isinf(array).any():
        raise ValueError(
            f"{name} must be finite or NaN, was infinite at {int(np.isinf(array).argmax())}"
        )
    known = array[~np.isnan(array)]
    if len(known) < at_least:
        raise ValueError(f"{name} must hold at least {at_least} known values, held {len(known)}")
    return known


def historical_tail_loss(returns: npt.ArrayLike, *, tail_probability: float) -> tuple[float, float]:
    r"""Return historical value at risk and expected shortfall.

    .. math::

        \mathrm{VaR} = L_{(k)},\; k = \lceil n p \rceil, \qquad
        \mathrm{ES} = \mathrm{VaR} + \frac{1}{n p} \sum_t \max(L_t - \mathrm{VaR}, 0)

    where :math:`L_{(k)}` is the k-th largest loss.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is dropped. With fewer than 1 / p of them both numbers are the worst return.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    tuple of float
        Value at risk and expected shortfall as fractions, > 0 for losses.

    Raises
    ------
    ValueError
        If `tail_probability` is not in (0, 1), no return is known or one is infinite.

    References
    ----------
    Rockafellar and Uryasev, "Conditional value-at-risk for general loss distributions", *Journal of Banking &
    Finance* 26, 2002. Deviation: none; the order statistic is not interpolated.

    Examples
    --------
    >>> historical_tail_loss([-0.04, -0.02, 0.01, 0.03], tail_probability=0.5)
    (0.02, 0.03)
    """
    check_tail_probability(tail_probability)
    losses = np.sort(-known_values(returns, "returns"))[::-1]
    mass = len(losses) * tail_probability
    at_risk = float(losses[math.ceil(mass * (1.0 - ROUNDING)) - 1])
    return at_risk, at_risk + float(np.maximum(losses - at_risk, 0.0).sum()) / mass


def normal_tail_loss(mean: float, sigma: float, *, tail_probability: float) -> tuple[float, float]:
    r"""Return value at risk and expected shortfall of a normal return.

    .. math:: \mathrm{VaR} = -\mu + \sigma z_{1-p}, \qquad \mathrm{ES} = -\mu + \sigma \varphi(z_{1-p}) / p

    Parameters
    ----------
    mean : float
        Of the return.
    sigma : float
        Its standard deviation, > 0.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    tuple of float
        In the unit of the return, > 0 for losses.

    Raises
    ------
    ValueError
        If an argument is out of its range or not finite.

    References
    ----------
    McNeil, Frey and Embrechts, *Quantitative Risk Management*, 2nd ed., 2015, section 2.3.4.

    Examples
    --------
    >>> tuple(round(loss, 6) for loss in normal_tail_loss(0.0, 0.02, tail_probability=0.05))
    (0.032897, 0.041254)
    """
    _check_finite(mean=mean)
    _check_positive(sigma=sigma)
    at_risk, shortfall = normal_factors(tail_probability)
    return sigma * at_risk - mean, sigma * shortfall - mean


class StudentT(NamedTuple):
    """A t distribution: location and scale in the unit of the returns, degrees of freedom."""

    location: float
    scale: float
    dof: float


def student_t_scale(sigma: float, *, dof: float) -> float:
    r"""Return the scale :math:`\sigma \sqrt{(\nu - 2)/\nu}` of a t distribution of standard deviation `sigma`.

    Raises
    ------
    ValueError
        If `dof` is not > 2 (there is no standard deviation) or `sigma` is not > 0.
    """
    _check_positive(sigma=sigma)
    if not 2.0 < dof < math.inf:
        raise ValueError(f"dof must be > 2 for a standard deviation to exist, was {dof}")
    return sigma * math.sqrt((dof - 2.0) / dof)


def student_t_tail_loss(
    location: float, scale: float, *, dof: float, tail_probability: float
) -> tuple[float, float]:
    r"""Return value at risk and expected shortfall of a return with a t distribution.

    .. math::

        \mathrm{VaR} = -m - s\, q, \qquad
        \mathrm{ES} = -m + s\, \frac{f_\nu(q)}{p} \frac{\nu + q^2}{\nu - 1}, \qquad q = t_\nu^{-1}(p)

    Parameters
    ----------
    location, scale : float
        m and s > 0, in the unit of the return; s is not the standard deviation, see `student_t_scale`.
    dof : float
        :math:`\nu` > 0.
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    tuple of float
        In the unit of the return, > 0 for losses; the shortfall is infinite for :math:`\nu \le 1`.

    Raises
    ------
    ValueError
        If an argument is out of its range or not finite.

    References
    ----------
    McNeil, Frey and Embrechts (2015), section 2.3.4.
    """
    from scipy.special import gammaln, stdtrit

    check_tail_probability(tail_probability)
    _check_finite(location=location)
    _check_positive(scale=scale, dof=dof)
    q = float(stdtrit(dof, tail_probability))
    at_risk = -location - scale * q
    if dof <= 1.0:
        return at_risk, math.inf
    log_density = gammaln((dof + 1.0) / 2.0) - gammaln(dof / 2.0) - math.log(dof * math.pi) / 2.0
    density = math.exp(float(log_density) - (dof + 1.0) / 2.0 * math.log1p(q * q / dof))
    factor = density / tail_probability * (dof + q * q) / (dof - 1.0)
    return at_risk, -location + scale * factor


def fit_student_t(returns: npt.ArrayLike) -> StudentT:
    r"""Fit a t distribution by maximum likelihood.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Any unit; NaN is dropped.

    Returns
    -------
    StudentT
        Degrees of freedom in [1, 1000]; at 1000 the tails are no fatter than normal ones.

    Raises
    ------
    ValueError
        If fewer than four returns are known (three parameters), one is infinite, or half of them or more are equal:
        the likelihood then has no maximum.

    References
    ----------
    Lange, Little and Taylor, "Robust statistical modeling using the t distribution", *Journal of the American
    Statistical Association* 84(408), 1989. Deviation: the degrees of freedom are bounded.
    """
    from scipy.optimize import minimize
    from scipy.special import digamma, gammaln

    known = known_values(returns, "returns", at_least=4)
    values, counts = np.unique(known, return_counts=True)
    if 2 * int(counts.max()) >= len(known):
        raise ValueError(
            f"returns must be different in more than half of the rows, {int(counts.max())} of {len(known)} were "
            f"{float(values[counts.argmax()])}"
        )
    centre = float(np.median(known))
    unit = float(np.median(np.abs(known - centre)))
    scaled = (known - centre) / unit

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        m, s, nu = at[0], math.exp(at[1]), math.exp(at[2])
        u = (scaled - m) / s
        logs = np.log1p(u * u / nu)
        weights = (nu + 1.0) / (nu + u * u)
        constant = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - math.log(nu * math.pi) / 2.0
        square = float(np.mean(weights * u * u))
        slope = digamma((nu + 1.0) / 2.0) - digamma(nu / 2.0) + (square - 1.0) / nu - logs.mean()
        by = np.array([np.mean(weights * u) / s, square - 1.0, 0.5 * nu * float(slope)])
        return -float(constant) + at[1] + (nu + 1.0) / 2.0 * float(logs.mean()), -by

    found = minimize(
        loss,
        np.array([0.0, math.log(1.2), math.log(4.0)]),
        jac=True,
        method="SLSQP",  # L-BFGS-B calls threaded LAPACK on its tiny matrices: ten times slower on a busy machine
        bounds=[
            (scaled.min(), scaled.max()),
            (-20.0, 20.0),
            (math.log(DOF_MIN), math.log(DOF_MAX)),
        ],
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    m, s, nu = (float(x) for x in found.x)
    return StudentT(centre + unit * m, unit * math.exp(s), math.exp(nu))


class CornishFisherLoss(NamedTuple):
    """Value at risk and expected shortfall; worth nothing unless `monotone`."""

    value_at_risk: float
    expected_shortfall: float
    monotone: bool


def cornish_fisher_monotone(skew: float, excess_kurtosis: float) -> bool:
    r"""Return whether the Cornish-Fisher expansion is a quantile function: nowhere falling.

    Its slope :math:`1 + \tfrac{S}{3} z + \tfrac{K}{8}(z^2 - 1) - \tfrac{S^2}{36}(6 z^2 - 5)` must have no two roots:

    .. math::

        \frac{S^2}{9} \le 4 \Bigl(\frac K8 - \frac{S^2}{6}\Bigr) \Bigl(1 - \frac K8 + \frac{5 S^2}{36}\Bigr),
        \qquad \frac K8 \ge \frac{S^2}{6}

    Without skew that is :math:`0 \le K \le 8`; no K will do for :math:`|S| > 6(\sqrt2 - 1) \approx 2.49`.

    References
    ----------
    Maillard, "A User's Guide to the Cornish Fisher Expansion", 2012, section 3.

    Examples
    --------
    >>> cornish_fisher_monotone(-0.5, 3.0), cornish_fisher_monotone(-2.0, 3.0), cornish_fisher_monotone(0.0, 9.0)
    (True, False, False)
    """
    square = excess_kurtosis / 8.0 - skew**2 / 6.0
    constant = 1.0 - excess_kurtosis / 8.0 + 5.0 * skew**2 / 36.0
    return square >= 0.0 and constant >= 0.0 and skew**2 / 9.0 <= 4.0 * square * constant


def cornish_fisher_tail_loss(
    mean: float, sigma: float, *, skew: float, excess_kurtosis: float, tail_probability: float
) -> CornishFisherLoss:
    r"""Return value at risk and expected shortfall by the Cornish-Fisher expansion, and whether it holds.

    .. math::

        w(z) = z + \tfrac S6 (z^2 - 1) + \tfrac K{24} (z^3 - 3z) - \tfrac{S^2}{36} (2z^3 - 5z), \qquad
        \mathrm{VaR} = -\mu - \sigma w(z_p)

    and the shortfall integrates w over the tail:

    .. math::

        \mathrm{ES} = -\mu + \sigma \frac{\varphi(z_p)}{p} \Bigl(
        1 + \tfrac S6 z_p - \tfrac K{24} (1 - z_p^2) + \tfrac{S^2}{36} (1 - 2 z_p^2) \Bigr)

    Outside its domain (`cornish_fisher_monotone`) the formulas still give numbers, but of no distribution: a rarer
    loss can come out smaller. They are returned with `monotone` False, for the caller to refuse.

    Parameters
    ----------
    mean, sigma : float
        Of the return; `sigma` > 0.
    skew, excess_kurtosis : float
        S and K (normal: 0). They are parameters: unless both are small, the expansion's own moments differ from
        them (Maillard 2012, section 4).
    tail_probability : float
        p, in (0, 1).

    Returns
    -------
    CornishFisherLoss
        In the unit of the return, > 0 for losses.

    Raises
    ------
    ValueError
        If an argument is out of its range or not finite.

    References
    ----------
    Favre and Galeano, "Mean-modified value-at-risk optimization with hedge funds", *Journal of Alternative
    Investments* 5(2), 2002; Maillard (2012), as in `cornish_fisher_monotone`.
    """
    check_tail_probability(tail_probability)
    _check_finite(mean=mean, skew=skew, excess_kurtosis=excess_kurtosis)
    _check_positive(sigma=sigma)
    z = _NORMAL.inv_cdf(tail_probability)
    s, k, s2 = skew / 6.0, excess_kurtosis / 24.0, skew**2 / 36.0
    w = z + s * (z**2 - 1.0) + k * (z**3 - 3.0 * z) - s2 * (2.0 * z**3 - 5.0 * z)
    tail = 1.0 + s * z - k * (1.0 - z**2) + s2 * (1.0 - 2.0 * z**2)
    return CornishFisherLoss(
        -mean - sigma * w,
        -mean + sigma * _NORMAL.pdf(z) / tail_probability * tail,
        cornish_fisher_monotone(skew, excess_kurtosis),
    )


class FilteredReturns(NamedTuple):
    """Returns without their changing volatility: shocks (NaN where missing), mean, variance of the next period."""

    standardised: FloatArray
    mean: float
    next_variance: float


def garch_filter(
    returns: npt.ArrayLike,
    parameters: GarchParameters | None = None,
    *,
    start_variance: float | None = None,
) -> FilteredReturns:
    r"""Return the shocks :math:`z_t = (r_t - \mu)/\sqrt{h_t}` behind returns, and the variance of the next one.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is a period without observation.
    parameters : GarchParameters, optional
        Of GARCH(1,1) or GJR; by default those that `volatility_models.fit_garch` estimates with a constant mean and
        normal innovations (a quasi-likelihood: the shocks may have any distribution).
    start_variance : float, optional
        :math:`h_0` for given parameters, > 0; by default their long-run variance. A fit chooses its own.

    Returns
    -------
    FilteredReturns
        In the unit of the returns and its square.

    Raises
    ------
    ValueError
        If no return is known, one is infinite, the variance is not positive, a fit gets too few or constant returns
        or converges neither inside the model nor on a bound, or `start_variance` comes without `parameters`.
    """
    from quantcore.finance.volatility_models import fit_garch
    from quantcore.kernels.garch import garch_scan

    known_values(returns, "returns")
    if parameters is None:
        if start_variance is not None:
            raise ValueError(f"start_variance must come with parameters, was {start_variance}")
        fit = fit_garch(returns)
        # On a bound the likelihood may be flat (alpha = 0: no clustering to see), but the filter is as good anywhere.
        if not (fit.converged or fit.at_bound):
            raise ValueError(f"returns must let the GARCH fit converge, ended at {fit.parameters}")
        return FilteredReturns(fit.standardised, fit.parameters.mu, fit.next_variance)
    p = parameters
    start = p.long_run_variance if start_variance is None else start_variance
    _check_positive(start_variance=start)
    residuals = np.asarray(returns, dtype=np.float64) - p.mu
    variances = garch_scan(residuals, p.omega, p.alpha, p.gamma, p.beta, start)
    if not (variances > 0.0).all():
        raise ValueError(f"parameters must keep the variance > 0, was {variances.min()}")
    return FilteredReturns(residuals / np.sqrt(variances[:-1]), p.mu, float(variances[-1]))


def filtered_historical_tail_loss(
    returns: npt.ArrayLike,
    *,
    tail_probability: float,
    parameters: GarchParameters | None = None,
    start_variance: float | None = None,
) -> tuple[float, float]:
    r"""Return the next period's value at risk and expected shortfall by filtered historical simulation.

    The historical losses of the past shocks at the next period's volatility, :math:`\mu + \sqrt{h_{n+1}}\, z_t`.

    Parameters
    ----------
    returns : array-like, shape (n,)
        Fractions per period; NaN is a period without observation.
    tail_probability : float
        p, in (0, 1).
    parameters, start_variance
        Of the filter, see `garch_filter`; by default fitted.

    Returns
    -------
    tuple of float
        As fractions, > 0 for losses.

    Raises
    ------
    ValueError
        As `garch_filter` and `historical_tail_loss`.

    References
    ----------
    Barone-Adesi, Giannopoulos and Vosper, "VaR without correlations for portfolios of derivative securities",
    *Journal of Futures Markets* 19(5), 1999, for one period.
    """
    check_tail_probability(tail_probability)
    shocks, mean, variance = garch_filter(returns, parameters, start_variance=start_variance)
    return historical_tail_loss(
        mean + math.sqrt(variance) * shocks, tail_probability=tail_probability
    )


def normal_factors(tail_probability: float) -> tuple[float, float]:
    """Return value at risk and expected shortfall of a standard normal return."""
    check_tail_probability(tail_probability)
    z = -_NORMAL.inv_cdf(tail_probability)
    return z, _NORMAL.pdf(z) / tail_probability


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, was {value}")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be finite and > 0, was {value}")
