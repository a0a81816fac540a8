r"""Regimes by the level of volatility: an exponentially weighted volatility against its own quantiles.

With :math:`\sigma_t` the exponentially weighted volatility of daily returns about zero, and :math:`q_1 < \dots <
q_{K-1}` quantiles of it within the fit window, the probability of each state is

.. math::
    P_t(\text{state} \ge k) = \Phi\!\left(\frac{\ln\sigma_t - \ln q_k}{s_t}\right), \qquad
    s_t = \frac{1}{\sqrt{2 n_t}}, \qquad
    n_t = \frac{(\sum_i \lambda^i)^2}{\sum_i \lambda^{2i}}

:math:`n_t` is the number of equally weighted days that would estimate as well; it rises to
:math:`(1 + \lambda)/(1 - \lambda)`, about 2.9 half-lives. :math:`s_t` is the standard error of the log of a standard
deviation from that many normal returns. So a volatility that stands on a threshold is above it with probability one
half, and the probabilities move as smoothly as the estimate deserves.

The quantiles count as known, and returns as normal given their volatility; fatter tails would widen
:math:`s_t` by :math:`\sqrt{(\kappa - 1)/2}`, with the kurtosis given the volatility, which the window's kurtosis
overstates. With one half-life and no model of how regimes change it is the plainest of the three detectors, and the
one the others must beat.

References
----------
J.P. Morgan/Reuters, *RiskMetrics Technical Document*, 4th ed., 1996, ch. 5 (volatility). Deviation: weights normalised
from the first day on instead of a start value. M. G. Kendall and A. Stuart, *The Advanced Theory of Statistics*,
vol. 1, 4th ed., 1977, ch. 10 (standard error of a standard deviation). L. Kish, *Survey Sampling*, 1965, ch. 11
(effective number).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import ewm_var_scan, ewm_var_step, half_life_decay
from quantcore.regime.window import Fit, check_window, check_window_settings
from quantcore.types import FloatArray

_HALF_LIVES_PER_WINDOW = 4.0
# Places in the parameters; then the logarithm of each threshold. And in the state.
_DECAY, _LOG_THRESHOLDS = 0, 1
_VARIANCE, _WEIGHT = 0, 1


@dataclass(frozen=True, kw_only=True)
class VolatilityStateSettings:
    """Window, half-life and thresholds of the volatility states.

    Parameters
    ----------
    states : int
        2 to 4.
    fit_days : int
        Length of the trailing window in days, >= 60.
    half_life : float
        Of the volatility in days, > 0, at most a quarter of `fit_days`.
    quantiles : tuple of float
        One less than there are states, increasing, in (0, 1): state k begins at the k-th quantile of the window's
        volatilities.
    """

    states: int
    fit_days: int
    half_life: float
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        check_window_settings(self.states, self.fit_days)
        longest = self.fit_days / _HALF_LIVES_PER_WINDOW
        if not 0.0 < self.half_life <= longest:
            raise ValueError(f"half_life must be > 0 and <= {longest}, was {self.half_life}")
        if len(self.quantiles) != self.states - 1:
            raise ValueError(f"quantiles must be {self.states - 1} numbers, was {self.quantiles}")
        bounds = (0.0, *self.quantiles, 1.0)
        if not all(low < high for low, high in itertools.pairwise(bounds)):
            raise ValueError(f"quantiles must increase within (0, 1), was {self.quantiles}")


def fit(returns: FloatArray, settings: VolatilityStateSettings) -> Fit:
    """Return the thresholds of a window of daily returns, and the volatility after its last day.

    The quantiles leave out the window's first half-life of days, in which the volatility rests on few returns.

    Parameters
    ----------
    returns : float64 array, shape (fit_days,)
        Daily simple returns of the market, as fractions; without NaN.
    settings : VolatilityStateSettings
        Read only.

    Returns
    -------
    Fit
        Parameters: decay per day and the log of each threshold, shape (states,). State: variance about zero and the
        sum of its weights, shape (2,). Multiplying the returns by a number shifts the log thresholds and leaves
        every probability as it is; so does a change of their signs.

    Raises
    ------
    ValueError
        If `returns` is of another length, not finite or constant, or does not move on so many days that a threshold
        is 0.
    """
    window = check_window(returns, settings.fit_days)
    decay = half_life_decay(float(settings.half_life))
    state = np.zeros((1, 2))
    volatilities = np.sqrt(ewm_var_scan(window[:, None], decay, state)[:, 0])
    settled = volatilities[math.ceil(settings.half_life) :]
    thresholds = np.quantile(settled, settings.quantiles)
    if not thresholds[0] > 0.0:
        raise ValueError(f"thresholds of volatility must be > 0, was {thresholds[0]}")
    return Fit(np.concatenate([[decay], np.log(thresholds)]), state[0])


@inner()
def _standard_error(decay: float, weight: float) -> float:
    r"""Return :math:`1/\sqrt{2 n}`, with :math:`n = w (1 + \lambda) / (2 - w (1 - \lambda))` for weights of sum w."""
    effective = weight * (1.0 + decay) / (2.0 - weight * (1.0 - decay))
    return 1.0 / math.sqrt(2.0 * effective)


@inner()
def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@njit(cache=True, error_model="numpy")
def step(parameters: FloatArray, state: FloatArray, value: float) -> FloatArray:
    """Return the probabilities of the states after one more day, advancing `state` in place.

    Parameters
    ----------
    parameters : float64 array, shape (states,)
        From `fit`.
    state : float64 array, shape (2,)
        From `fit` or an earlier step.
    value : float
        The day's return. A NaN leaves the state as it is, as if the day were not there, and the probabilities with it.

    Returns
    -------
    float64 array, shape (states,)
        Calm first; sums to 1. Uses returns up to that day.
    """
    decay = parameters[_DECAY]
    variance, weight = ewm_var_step(state[_VARIANCE], state[_WEIGHT], value, decay)
    state[_VARIANCE], state[_WEIGHT] = variance, weight
    log_volatility = 0.5 * math.log(variance) if variance > 0.0 else -np.inf
    error = _standard_error(decay, weight)
    states = parameters.shape[0]
    probabilities = np.empty(states)
    above = 1.0
    for k in range(states - 1):
        above_next = _normal_cdf((log_volatility - parameters[_LOG_THRESHOLDS + k]) / error)
        probabilities[k] = above - above_next
        above = above_next
    probabilities[states - 1] = above
    return probabilities


@njit(cache=True, error_model="numpy")
def scan(parameters: FloatArray, state: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the probabilities after every day, shape ``(n_days, states)``: `step` in order, advancing `state`."""
    n_days = returns.shape[0]
    probabilities = np.empty((n_days, parameters.shape[0]))
    for t in range(n_days):
        probabilities[t] = step(parameters, state, returns[t])
    return probabilities
