r"""Cointegration of two price series, and how fast their spread reverts.

Two log prices that wander are cointegrated if some :math:`y_t - \beta x_t` does not. Engle and Granger estimate the
hedge ratio by least squares and test the residual for a unit root; because the residual was made to look stationary,
its t statistic has critical values of its own, those of MacKinnon. A spread that reverts is described by an
Ornstein-Uhlenbeck process,

.. math:: dX = \kappa\,(\mu - X)\,dt + \sigma\,dW, \qquad
    X_{t+dt} = \mu + \phi\,(X_t - \mu) + \varepsilon, \quad \phi = e^{-\kappa\,dt}

These are estimates from a window, not folds: they are re-fitted at fixed instants (DESIGN.md 1). A search over pairs
makes many tests: of n(n - 1)/2 pairs without any relation, five in a hundred pass at 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from quantcore.features.folding import positive, whole
from quantcore.types import FloatArray

Trend = Literal["n", "c", "ct", "ctt"]
"""Deterministic terms: none, a constant, and a linear, and a quadratic trend."""
_EXACT = 1e-12
"""Residuals below this share of the regressed values are rounding."""
_MOST_SERIES = 12


@dataclass(frozen=True, kw_only=True)
class EngleGranger:
    """The result of `engle_granger`.

    Parameters
    ----------
    hedge_ratio : float
        Units of x against one of y; of log prices: notional against notional.
    intercept : float
        In the unit of y; 0 without a constant.
    t_statistic : float
        Of the residual's unit root; the more negative, the stronger the evidence of cointegration.
    p_value : float
        Probability of a statistic this low without cointegration.
    critical_values : float64 array, shape (3,)
        At 1 %, 5 % and 10 %; NaN without a constant, for which none are published.
    residuals : float64 array, shape (n,)
        The spread: y minus everything that was fitted to it.
    """

    hedge_ratio: float
    intercept: float
    t_statistic: float
    p_value: float
    critical_values: FloatArray
    residuals: FloatArray


def engle_granger(
    y: npt.ArrayLike, x: npt.ArrayLike, *, lags: int, trend: Trend = "c"
) -> EngleGranger:
    r"""Test whether two series are cointegrated, against the null hypothesis that they are not.

    .. math:: y_t = a + \beta x_t + z_t, \qquad
        \Delta z_t = \gamma z_{t-1} + \sum_{j=1}^{p} \delta_j \Delta z_{t-j} + e_t

    by least squares, and the t statistic of :math:`\gamma`.

    Parameters
    ----------
    y, x : array-like, shape (n,)
        Log prices; which of them is y changes the result.
    lags : int
        Lagged changes p in the test regression, >= 0.
    trend : {"c", "n", "ct", "ctt"}
        Deterministic terms beside x: a constant, none, a linear or a quadratic trend as well.

    Returns
    -------
    EngleGranger
        With hedge ratio, statistic, p-value and critical values.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing or infinite, a series is constant, y is an exact linear function of x,
        or there are fewer rows than the regressions need.

    References
    ----------
    Engle and Granger, "Co-integration and Error Correction", *Econometrica* 55(2), 1987. P-values: MacKinnon,
    "Approximate Asymptotic Distribution Functions for Unit-Root and Cointegration Tests", *Journal of Business &
    Economic Statistics* 12(2), 1994. Critical values: `mackinnon_critical_values` with n - 1 rows, as usual.
    """
    from statsmodels.tsa.adfvalues import mackinnonp

    target, regressor = _series("y", y), _series("x", x)
    _check_trend(trend)
    if len(target) != len(regressor):
        raise ValueError(f"x must have the {len(target)} rows of y, had {len(regressor)}")
    for name, values in (("y", target), ("x", regressor)):
        _refuse_constant(name, values)
    terms = _trend_terms(len(target), trend)
    _require_rows("y", len(target), more_than=1 + terms.shape[1])
    coefficients, residuals = _least_squares(target, np.column_stack([regressor, terms]))
    if _size(residuals) <= _EXACT * max(_size(target), _size(coefficients[0] * regressor)):
        raise ValueError("y must not be an exact linear function of x, was one")
    statistic = adf_statistic(residuals, lags=lags)
    critical_values = np.full(3, math.nan)
    if trend != "n":
        critical_values = mackinnon_critical_values(2, len(target) - 1, trend=trend)
    return EngleGranger(
        hedge_ratio=float(coefficients[0]),
        intercept=0.0 if trend == "n" else float(coefficients[1]),
        t_statistic=statistic,
        p_value=float(mackinnonp(statistic, regression=trend, N=2)),
        critical_values=critical_values,
        residuals=residuals,
    )


def adf_statistic(values: npt.ArrayLike, *, lags: int) -> float:
    r"""Return the augmented Dickey-Fuller t statistic of a series with mean 0, such as a residual.

    .. math:: t = \hat\gamma / \operatorname{se}(\hat\gamma), \qquad
        \Delta z_t = \gamma z_{t-1} + \sum_{j=1}^{p} \delta_j \Delta z_{t-j} + e_t

    Parameters
    ----------
    values : array-like, shape (n,)
        The regression has no constant.
    lags : int
        Lagged changes p, >= 0.

    Returns
    -------
    float
        Dimensionless; negative where the series reverts to 0.

    Raises
    ------
    ValueError
        If a value is missing or infinite, the series is constant, follows the regression exactly, or has fewer rows
        than the regression needs.

    References
    ----------
    Said and Dickey, "Testing for Unit Roots in Autoregressive-Moving Average Models of Unknown Order", *Biometrika*
    71(3), 1984.
    """
    z = _series("values", values)
    p = whole("lags", lags, least=0)
    _require_rows("values", len(z), more_than=2 * (1 + p))
    _refuse_constant("values", z)
    changes = np.diff(z)
    n = len(changes) - p
    design = np.column_stack([z[p:-1], *(changes[p - j : p - j + n] for j in range(1, p + 1))])
    coefficients, residuals = _least_squares(changes[p:], design)
    variance = float(residuals @ residuals) / (n - 1 - p)
    error = math.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])
    if _size(residuals) <= _EXACT * _size(z):
        raise ValueError("values must not follow the test regression exactly, did")
    return float(coefficients[0]) / error


def mackinnon_critical_values(n_series: int, n_rows: float, *, trend: Trend = "c") -> FloatArray:
    r"""Return the critical values of the unit-root test of a residual, at 1 %, 5 % and 10 %.

    .. math:: c(T) = b_\infty + b_1 / T + b_2 / T^2 + b_3 / T^3

    Parameters
    ----------
    n_series : int
        Series in the regression, 1 to 12; 1 is the test of a series itself.
    n_rows : float
        Rows T, > 0; infinity gives the asymptotic values.
    trend : {"c", "n", "ct", "ctt"}
        Deterministic terms; "n" for one series only.

    Returns
    -------
    float64 array, shape (3,)
        A statistic below a value rejects the unit root at its level.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    MacKinnon, "Critical Values for Cointegration Tests", Queen's University working paper 1227, 2010.
    """
    from statsmodels.tsa.adfvalues import mackinnoncrit

    _check_trend(trend)
    most = 1 if trend == "n" else _MOST_SERIES
    if whole("n_series", n_series, least=1) > most:
        raise ValueError(f"n_series must be in [1, {most}] with trend {trend!r}, was {n_series}")
    if not n_rows > 0:
        raise ValueError(f"n_rows must be > 0, was {n_rows}")
    rows = math.inf if math.isinf(n_rows) else float(n_rows)
    return np.asarray(mackinnoncrit(N=n_series, regression=trend, nobs=rows), dtype=np.float64)


def mean_reversion_speed(phi: float, *, dt: float = 1.0) -> float:
    r"""Return the speed :math:`\kappa = -\ln(\phi) / dt` of the process whose values dt apart have coefficient phi.

    Parameters
    ----------
    phi : float
        Coefficient of a first-order autoregression, > 0. One that is not positive belongs to no process in
        continuous time: the series jumps across its mean from bar to bar, which is noise rather than a spread.
    dt : float
        Time between two values, > 0.

    Returns
    -------
    float
        Per unit of dt; 0 at phi = 1 and negative beyond.

    Raises
    ------
    ValueError
        If `phi` or `dt` is not finite and > 0.
    """
    return -math.log(positive("phi", phi)) / positive("dt", dt)


def half_life(phi: float, *, dt: float = 1.0) -> float:
    r"""Return the time in which an expected deviation from the mean halves, :math:`\ln 2 / \kappa`.

    Exact, where :math:`\ln 2\, dt / (1 - \phi)` is its limit for phi near 1.

    Parameters
    ----------
    phi : float
        Coefficient of a first-order autoregression, > 0.
    dt : float
        Time between two values, > 0.

    Returns
    -------
    float
        In the unit of `dt`; infinite where phi >= 1: nothing reverts.

    Raises
    ------
    ValueError
        As `mean_reversion_speed`.

    Examples
    --------
    >>> half_life(0.5)
    1.0
    """
    speed = mean_reversion_speed(phi, dt=dt)
    return math.log(2.0) / speed if speed > 0.0 else math.inf


@dataclass(frozen=True, kw_only=True)
class OrnsteinUhlenbeck:
    """A spread as `fit_ornstein_uhlenbeck` describes it.

    Parameters
    ----------
    phi : float
        Coefficient of the autoregression over one dt.
    speed : float
        Per unit of time; <= 0 where the spread does not revert.
    half_life : float
        In units of time; infinite where the spread does not revert.
    mean : float
        What the spread reverts to; NaN where it does not.
    sigma : float
        Standard deviation per square root of a unit of time.
    stationary_deviation : float
        Standard deviation of the spread around its mean in the long run; infinite where it does not revert.
    """

    phi: float
    speed: float
    half_life: float
    mean: float
    sigma: float
    stationary_deviation: float


def fit_ornstein_uhlenbeck(spread: npt.ArrayLike, *, dt: float = 1.0) -> OrnsteinUhlenbeck:
    r"""Fit an Ornstein-Uhlenbeck process by maximum likelihood, given the first value.

    The exact transition makes it least squares, :math:`X_{t+dt} = a + \phi X_t + \varepsilon`; with the mean square s²
    of the residuals

    .. math:: \kappa = -\ln\phi / dt, \quad \mu = a / (1 - \phi), \quad
        \sigma^2 = 2\kappa s^2 / (1 - \phi^2), \quad \operatorname{sd} = s / \sqrt{1 - \phi^2}

    Parameters
    ----------
    spread : array-like, shape (n,)
        At equal distances in time, n >= 4.
    dt : float
        Time between two values, > 0.

    Returns
    -------
    OrnsteinUhlenbeck
        In the units of `spread` and `dt`. The estimate of phi is biased downwards by about (1 + 3 phi)/n, so that
        the half-life of a short window is too short.

    Raises
    ------
    ValueError
        If a value is missing or infinite, the spread is constant or shorter, `dt` is not > 0, or the fitted phi is
        not > 0 (`mean_reversion_speed`).

    References
    ----------
    Tang and Chen, "Parameter Estimation and Bias Correction for Diffusion Processes", *Journal of Econometrics* 149(1),
    2009. Kendall, "Note on Bias in the Estimation of Autocorrelation", *Biometrika* 41, 1954. Deviation: no correction.
    """
    values = _series("spread", spread)
    _require_rows("spread", len(values), more_than=3)
    _refuse_constant("spread", values)
    # Around the mean, so that the constant and the coefficient do not share their rounding.
    centre = float(values.mean())
    before = values[:-1] - centre
    _refuse_constant("spread before its last value", before)
    design = np.column_stack([before, np.ones(len(before))])
    (phi, constant), residuals = _least_squares(values[1:] - centre, design)
    square = float(residuals @ residuals) / len(residuals)
    speed = mean_reversion_speed(float(phi), dt=dt)
    reverts = speed > 0.0
    # 2 kappa / (1 - phi^2) is positive on both sides of phi = 1 and tends to 1 / dt there.
    per_time = 2.0 * speed / -math.expm1(-2.0 * speed * dt) if speed != 0.0 else 1.0 / dt
    return OrnsteinUhlenbeck(
        phi=float(phi),
        speed=speed,
        half_life=half_life(float(phi), dt=dt),
        mean=centre + float(constant) / (1.0 - float(phi)) if reverts else math.nan,
        sigma=math.sqrt(square * per_time),
        stationary_deviation=math.sqrt(square * per_time / (2.0 * speed)) if reverts else math.inf,
    )


def _least_squares(target: FloatArray, design: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return coefficients and residuals; columns are brought to one size first, so that rank means the same for all."""
    sizes = np.sqrt((design**2).mean(axis=0))
    solution, _, rank, _ = np.linalg.lstsq(design / np.where(sizes > 0.0, sizes, 1.0), target)
    if rank < design.shape[1]:
        raise ValueError(
            f"regressors must be linearly independent, were {design.shape[1]} of rank {rank}"
        )
    coefficients = np.asarray(solution / sizes, dtype=np.float64)
    return coefficients, target - design @ coefficients


def _trend_terms(n: int, trend: Trend) -> FloatArray:
    """Return the deterministic columns: powers of the row's number from 1 on, the constant first."""
    powers = range({"n": 0, "c": 1, "ct": 2, "ctt": 3}[trend])
    times = np.arange(1.0, n + 1.0)
    return np.column_stack([times**k for k in powers]) if powers else np.empty((n, 0))


def _series(name: str, values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, had shape {array.shape}")
    bad = ~np.isfinite(array)
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(f"{name} must be finite, was {array[at]} at row {at}")
    return array


def _refuse_constant(name: str, values: FloatArray) -> None:
    if len(values) and values.min() == values.max():
        raise ValueError(f"{name} must not be constant, was {values[0]} in every row")


def _require_rows(name: str, n: int, *, more_than: int) -> None:
    if n <= more_than:
        raise ValueError(f"{name} must have more than {more_than} rows, had {n}")


def _check_trend(trend: str) -> None:
    if trend not in get_args(Trend):
        raise ValueError(f"trend must be one of {', '.join(get_args(Trend))}, was {trend!r}")


def _size(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))
