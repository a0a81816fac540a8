r"""Models of the variance of returns: exponentially weighted, GARCH and GJR.

Variances are per bar, in the square of the returns' unit. `range_volatility` measures them from the ranges of bars
and forecasts what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from quantcore.kernels.ewm import ewm_var_scan
from quantcore.kernels.garch import (
    MU,
    N_PARAMETERS,
    density_constant,
    garch_likelihood,
    garch_scan,
    maximise_garch,
    mean_square,
)
from quantcore.types import FloatArray

Presample: TypeAlias = float | Literal["mean_square", "backcast"]
"""The variance before the first row: a number, the mean squared residual re-evaluated at each mu, or an
exponentially weighted mean of the first 75 squared deviations from the sample mean (decay 0.94)."""

_NAMES = ("mu", "omega", "alpha", "gamma", "beta", "nu")
_ROWS_PER_PARAMETER = 10
_GRADIENT_MAX = 1e-6
_ROUNDING = 1e-12


def ewma_variance(
    returns: npt.ArrayLike,
    *,
    decay: float,
    initial_variance: float | Literal["first_square", "mean_square"],
) -> FloatArray:
    r"""Return the exponentially weighted variance about zero: of each row given the rows before it, and the forecast.

    .. math:: \sigma_{t+1}^2 = \lambda \sigma_t^2 + (1 - \lambda)\, r_t^2

    Parameters
    ----------
    returns : array-like, shape (n,) or (n, n_symbols)
        In any unit. A NaN leaves the variance as it is.
    decay : float
        :math:`\lambda` per bar, in (0, 1); RiskMetrics took 0.94 for days.
    initial_variance : float or {"first_square", "mean_square"}
        :math:`\sigma_0^2`: a number >= 0, the first known return squared, or the mean of all squares (which looks
        ahead: for description, not for trading).

    Returns
    -------
    float64 array, shape (n + 1,) or (n + 1, n_symbols)
        Entry t uses returns before t; with "first_square" the rows before a symbol's first return are NaN, and the
        row of that return uses it. The last entry is the forecast.

    Raises
    ------
    ValueError
        If `decay` or `initial_variance` is out of its range, a return is infinite, or a symbol has none.

    References
    ----------
    J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th ed., 1996, ch. 5. `kernels.ewm` has the same recursion
    with weights normalised from the start, which needs no initial variance.

    Examples
    --------
    >>> ewma_variance([0.2, 0.1], decay=0.5, initial_variance=0.02).round(6).tolist()
    [0.02, 0.03, 0.02]
    """
    values = np.asarray(returns, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"returns must have one or two dimensions, had shape {values.shape}")
    columns = np.ascontiguousarray(values if values.ndim == 2 else values[:, None])
    for i, column in enumerate(columns.T):
        _known(column, name="returns" if values.ndim == 1 else f"column {i} of returns")
    start = _initial_variance(columns, initial_variance)
    # The weight of an infinite past: with it the normalised recursion is the plain one from the first row on.
    state = np.column_stack([start, np.full(len(start), ewma_mean_lag(decay))])
    path = np.vstack([start, ewm_var_scan(columns, decay, state)])
    if initial_variance == "first_square":
        path[:-1][np.logical_and.accumulate(np.isnan(columns), axis=0)] = np.nan
    return path.reshape(len(values) + 1, *values.shape[1:])


def ewma_mean_lag(decay: float) -> float:
    r"""Return the mean lag :math:`1 / (1 - \lambda)` in bars, the newest counted as 1; `decay` must be in (0, 1)."""
    if not 0.0 < decay < 1.0:
        raise ValueError(f"decay must be in (0, 1), was {decay}")
    return 1.0 / (1.0 - decay)


def ewma_half_life(decay: float) -> float:
    r"""Return the bars :math:`\ln \tfrac12 / \ln \lambda` in which a weight halves; `decay` must be in (0, 1)."""
    ewma_mean_lag(decay)  # refuses what is out of range
    return math.log(0.5) / math.log(decay)


@dataclass(frozen=True, kw_only=True)
class GarchParameters:
    r"""Parameters of GARCH(1,1) or GJR with normal or t innovations.

    .. math:: r_t = \mu + e_t, \qquad h_{t+1} = \omega + (\alpha + \gamma 1[e_t < 0])\, e_t^2 + \beta h_t

    Parameters
    ----------
    mu : float
        Mean return per bar.
    omega : float
        In the square of the returns' unit, >= 0.
    alpha, beta : float
        >= 0.
    gamma : float
        What a fall adds to alpha, >= -alpha; 0 for the symmetric model.
    nu : float
        Degrees of freedom of innovations of unit variance, > 2; infinite for normal ones.

    Raises
    ------
    ValueError
        If a parameter is out of its range. A persistence of 1 or more is not refused, but has no long-run variance.
    """

    mu: float
    omega: float
    alpha: float
    beta: float
    gamma: float = 0.0
    nu: float = math.inf

    def __post_init__(self) -> None:
        if not math.isfinite(self.mu):
            raise ValueError(f"mu must be finite, was {self.mu}")
        for name in ("omega", "alpha", "beta"):
            value = getattr(self, name)
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, was {value}")
        if not -self.alpha <= self.gamma < math.inf:
            raise ValueError(f"gamma must be >= -alpha = {-self.alpha}, was {self.gamma}")
        if not self.nu > 2.0:
            raise ValueError(f"nu must be > 2, was {self.nu}")

    @property
    def persistence(self) -> float:
        r"""The decay per bar of a variance shock, :math:`\alpha + \gamma/2 + \beta`."""
        return self.alpha + 0.5 * self.gamma + self.beta

    @property
    def is_stationary(self) -> bool:
        """Whether the persistence is below 1, so that a long-run variance exists."""
        return self.persistence < 1.0

    @property
    def long_run_variance(self) -> float:
        r"""The unconditional variance :math:`\omega / (1 - \text{persistence})`; infinite if not stationary."""
        return self.omega / (1.0 - self.persistence) if self.is_stationary else math.inf

    @property
    def half_life(self) -> float:
        """Bars in which a deviation from the long-run variance halves; infinite if not stationary."""
        if self.persistence <= 0.0:
            return 0.0
        return math.log(0.5) / math.log(self.persistence) if self.is_stationary else math.inf


@dataclass(frozen=True, kw_only=True)
class GarchFit:
    """A GARCH or GJR model as estimated by `fit_garch`.

    Parameters
    ----------
    parameters : GarchParameters
        The estimates.
    standard_errors : mapping of str to float
        Of the estimated parameters, in the order mu, omega, alpha, gamma, beta, nu, from the inverse of the observed
        information (the Hessian); all NaN where a parameter lies on a bound, where that theory does not hold.
    log_likelihood : float
        At the maximum.
    n_returns : int
        Known returns behind it.
    variances : float64 array, shape (n,)
        Variance of each row's return given the rows before it.
    next_variance : float
        That of the row after the last.
    standardised : float64 array, shape (n,)
        Residuals over their standard deviations; NaN where the return is missing.
    converged : bool
        Whether the gradient vanishes at the estimates (in the directions that bounds leave open).
    at_bound : tuple of str
        Bounds that bind: "omega", "alpha", "alpha + gamma", "beta", "nu" or "persistence", which is held a millionth
        below 1: returns that would take it look non-stationary, see `is_stationary`.
    """

    parameters: GarchParameters
    standard_errors: Mapping[str, float]
    log_likelihood: float
    n_returns: int
    variances: FloatArray
    next_variance: float
    standardised: FloatArray
    converged: bool
    at_bound: tuple[str, ...]

    @property
    def is_stationary(self) -> bool:
        """Whether the persistence was found below its bound."""
        return "persistence" not in self.at_bound

    @property
    def long_run_variance(self) -> float:
        """The unconditional variance of the estimated model; infinite if not stationary."""
        return self.parameters.long_run_variance if self.is_stationary else math.inf

    def forecast(self, *, horizon: int) -> FloatArray:
        """Return the expected variances of the next `horizon` bars; see `garch_forecast`."""
        return garch_forecast(self.parameters, self.next_variance, horizon=horizon)


def fit_garch(
    returns: npt.ArrayLike,
    *,
    asymmetric: bool = False,
    distribution: Literal["normal", "t"] = "normal",
    mean: Literal["constant", "zero"] = "constant",
    presample: Presample = "mean_square",
) -> GarchFit:
    r"""Fit GARCH(1,1), or GJR if asymmetric, by maximum likelihood.

    The compiled likelihood and its gradient are maximised over coordinates in which no step leaves the model, from
    several starts, and finished by Newton's method. Returns are standardised for this, so that a change of unit
    changes the estimates by that unit and by rounding only.

    Parameters
    ----------
    returns : array-like, shape (n,)
        In any unit; at least ten known ones per estimated parameter. NaN is a bar without observation: it adds
        nothing to the likelihood and moves the variance by its expectation.
    asymmetric : bool
        Whether to estimate gamma.
    distribution : {"normal", "t"}
        Of the innovations. With "normal" on heavy-tailed returns the estimates stay consistent, but the standard
        errors are too small.
    mean : {"constant", "zero"}
        Whether to estimate mu or hold it at 0.
    presample : float or {"mean_square", "backcast"}
        Variance before the first row, :math:`h_0 = \omega + (\alpha + \gamma/2 + \beta) s`; see `Presample`.

    Returns
    -------
    GarchFit
        Check `converged`, and `at_bound` before using more of it than the variances.

    Raises
    ------
    ValueError
        If returns are too few, infinite or constant, or a setting is unknown.

    References
    ----------
    Bollerslev, "Generalized Autoregressive Conditional Heteroskedasticity", *Journal of Econometrics* 31(3), 1986;
    Glosten, Jagannathan and Runkle, *Journal of Finance* 48(5), 1993; start and standard errors as in Fiorentini,
    Calzolari and Panattoni, "Analytic Derivatives and the Computation of GARCH Estimates", *Journal of Applied
    Econometrics* 11(4), 1996. Deviation: the package arch starts from "backcast" and not from "mean_square".
    """
    if distribution not in ("normal", "t"):
        raise ValueError(f'distribution must be "normal" or "t", was {distribution!r}')
    if mean not in ("constant", "zero"):
        raise ValueError(f'mean must be "constant" or "zero", was {mean!r}')
    free = np.array([mean == "constant", True, True, asymmetric, True, distribution == "t"])
    values = _checked(returns, minimum=_ROWS_PER_PARAMETER * int(free.sum()))
    known = _known(values)
    centre = float(known.mean()) if free[MU] else 0.0
    if np.ptp(known) <= _ROUNDING * abs(float(known.mean())):
        raise ValueError(f"returns must vary, were all {known[0]}")
    scale = math.sqrt(mean_square(values, centre)[0])
    before = _presample_variance(values, presample)
    found = maximise_garch((values - centre) / scale, before / scale**2, free)
    units = np.array([scale, scale**2, 1.0, 1.0, 1.0, 1.0])
    errors = found.standard_errors * units
    vector = found.parameters * units
    vector[MU] += centre
    parameters = GarchParameters(**dict(zip(_NAMES, vector.tolist(), strict=True)))
    variances = garch_variances(values, parameters, presample=presample)
    return GarchFit(
        parameters=parameters,
        standard_errors={_NAMES[k]: float(errors[k]) for k in np.flatnonzero(free)},
        log_likelihood=garch_log_likelihood(values, parameters, presample=presample),
        n_returns=len(known),
        variances=variances[:-1],
        next_variance=float(variances[-1]),
        standardised=(values - parameters.mu) / np.sqrt(variances[:-1]),
        converged=found.slope < _GRADIENT_MAX,
        at_bound=found.at_bound,
    )


def garch_variances(
    returns: npt.ArrayLike, parameters: GarchParameters, *, presample: Presample
) -> FloatArray:
    """Return the conditional variances at given parameters: of each row, and of the row after the last.

    Parameters
    ----------
    returns : array-like, shape (n,)
        NaN is a bar without observation; see `fit_garch`.
    parameters : GarchParameters
        Nu plays no part.
    presample : float or {"mean_square", "backcast"}
        Variance before the first row; see `Presample`.

    Returns
    -------
    float64 array, shape (n + 1,)
        Entry t uses returns before t, apart from the two named presamples, which look at all or at the first 75.

    Raises
    ------
    ValueError
        If no return is known, one is infinite, `presample` is not positive, or a variance comes out as 0.
    """
    values = _checked(returns, minimum=1)
    before = _presample_variance(values, presample)
    if math.isnan(before):
        before = mean_square(values, parameters.mu)[0]
    p = parameters
    start = p.omega + p.persistence * before
    variances = garch_scan(values - p.mu, p.omega, p.alpha, p.gamma, p.beta, start)
    if not variances.min() > 0.0:
        raise ValueError(f"parameters must keep every variance > 0, was {variances.min()}")
    return variances


def garch_log_likelihood(
    returns: npt.ArrayLike, parameters: GarchParameters, *, presample: Presample
) -> float:
    r"""Return the log-likelihood of returns at given parameters.

    .. math:: \sum_t \ln f(e_t / \sqrt{h_t}) - \tfrac12 \ln h_t

    with f the density of a standard normal, or of Student's t scaled to unit variance.

    Parameters
    ----------
    returns : array-like, shape (n,)
        NaN adds nothing; see `fit_garch`.
    parameters : GarchParameters
        Normal innovations if nu is infinite.
    presample : float or {"mean_square", "backcast"}
        Variance before the first row; see `Presample`.

    Returns
    -------
    float
        In nats; minus infinity or NaN where a variance is 0.

    Raises
    ------
    ValueError
        As `garch_variances`.
    """
    values = _checked(returns, minimum=1)
    vector = np.array([getattr(parameters, name) for name in _NAMES])
    before = _presample_variance(values, presample)
    value = garch_likelihood(values, vector, before, np.empty(N_PARAMETERS))
    return value + int((~np.isnan(values)).sum()) * density_constant(parameters.nu)[0]


def garch_forecast(
    parameters: GarchParameters, next_variance: float, *, horizon: int
) -> FloatArray:
    r"""Return the expected variances of the next bars; their sum is the variance of the return over the horizon.

    .. math:: E\,h_{t+k} = p^{k-1} h_{t+1} + \omega \sum_{j=0}^{k-2} p^j

    Parameters
    ----------
    parameters : GarchParameters
        p is their persistence; from 1 on the path grows without limit.
    next_variance : float
        The variance of the next bar, known now; > 0.
    horizon : int
        Bars, >= 1.

    Returns
    -------
    float64 array, shape (horizon,)
        The first is `next_variance`.

    Raises
    ------
    ValueError
        If `next_variance` or `horizon` is out of its range.

    Examples
    --------
    >>> parameters = GarchParameters(mu=0.0, omega=0.1, alpha=0.1, beta=0.8)
    >>> garch_forecast(parameters, 2.0, horizon=3).round(6).tolist()
    [2.0, 1.9, 1.81]
    """
    if not 0.0 < next_variance < math.inf:
        raise ValueError(f"next_variance must be > 0 and finite, was {next_variance}")
    if horizon < 1:
        raise ValueError(f"horizon must be >= 1, was {horizon}")
    powers = parameters.persistence ** np.arange(horizon)
    earlier = np.concatenate([[0.0], np.cumsum(powers)[:-1]])
    return np.asarray(powers * next_variance + parameters.omega * earlier)


def _presample_variance(values: FloatArray, presample: float | str) -> float:
    """Return the variance before the first row; NaN stands for the mean squared residual at whatever mu."""
    if presample == "mean_square":
        return math.nan
    if presample == "backcast":
        known = values[~np.isnan(values)]
        deviations = known[:75] - known.mean()
        weights = 0.94 ** np.arange(len(deviations))
        return float(weights @ deviations**2 / weights.sum())
    if isinstance(presample, str) or not 0.0 < presample < math.inf:
        raise ValueError(f'presample must be > 0, "mean_square" or "backcast", was {presample!r}')
    return float(presample)


def _initial_variance(columns: FloatArray, choice: float | str) -> FloatArray:
    """Return the start of each column."""
    if choice == "mean_square":
        return np.asarray(np.nanmean(columns**2, axis=0))
    if choice == "first_square":
        first = np.isnan(columns).argmin(axis=0)
        return np.asarray(columns[first, np.arange(columns.shape[1])] ** 2)
    if isinstance(choice, str) or not 0.0 <= choice < math.inf:
        rule = '>= 0 and finite, "first_square" or "mean_square"'
        raise ValueError(f"initial_variance must be {rule}, was {choice!r}")
    return np.full(columns.shape[1], float(choice))


def _checked(returns: npt.ArrayLike, *, minimum: int) -> FloatArray:
    values = np.ascontiguousarray(returns, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"returns must have one dimension, had shape {values.shape}")
    known = len(_known(values))
    if known < minimum:
        raise ValueError(f"returns must hold at least {minimum} known values, held {known}")
    return values


def _known(values: FloatArray, *, name: str = "returns") -> FloatArray:
    """Return the values that are not NaN."""
    if np.isinf(values).any():
        at = int(np.isinf(values).argmax())
        raise ValueError(f"{name} must be finite or NaN, was {values[at]} at row {at}")
    known = values[~np.isnan(values)]
    if not len(known):
        raise ValueError(f"{name} must hold at least one known value, held none of {len(values)}")
    return known
