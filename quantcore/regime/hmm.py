r"""Regimes by a hidden Markov model: daily returns are normal, with mean and variance of a state that cannot be seen.

.. math::
    r_t \mid S_t = k \;\sim\; N(\mu_k, \sigma_k^2), \qquad P(S_{t+1} = j \mid S_t = i) = A_{ij}

`fit` estimates means, variances and transitions from a window by EM; `step` is Hamilton's filter at those values, and
uses returns up to its day only. States are ordered by variance, calm first.

**What it cannot do.** Normal emissions take every large return for turbulence, and states leave at a constant rate
whatever their age. With more states than the window shows, EM splits one of them, and the order by variance then says
little. Estimates are those of the window: a calm of two years knows no crash.

References
----------
J. D. Hamilton, *Econometrica* 57(2), 1989: model and filter. L. R. Rabiner, *Proceedings of the IEEE* 77(2), 1989: EM.
C. Biernacki, G. Celeux and G. Govaert, "Choosing starting values for the EM algorithm", *Computational Statistics and
Data Analysis* 41, 2003: short runs from several starts, the best one continued. T. Rydén, T. Teräsvirta and
S. Åsbrink, "Stylized facts of daily return series and the hidden Markov model", *Journal of Applied Econometrics*
13, 1998: daily returns. Deviations: floor under the variances and pseudo-counts in the transitions (see
`kernels.hmm.em_step`); fixed starts instead of random ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.hmm import (
    em,
    filter_step,
    normal_log_likelihoods,
    predict_step,
    stationary_distribution,
)
from quantcore.regime.window import Fit, check_window, check_window_settings
from quantcore.types import FloatArray, IntArray

_LOCAL_DAYS = (5, 21)
"""Days over which volatility and mean are taken for the starts."""
_SHORT_RUN = 20
"""Steps of EM that each start is given."""


@dataclass(frozen=True, kw_only=True)
class HmmSettings:
    """Window and estimation of the hidden Markov model.

    Parameters
    ----------
    states : int
        2 to 4.
    fit_days : int
        Length of the trailing window in days, >= 60.
    variance_floor : float
        Least variance of a state as a fraction of the window's, in (0, 1).
    pseudo_count : float
        Transitions that each cell of the matrix is given before any is seen, > 0: no regime is final.
    tolerance : float
        EM ends when a step gains less than this in log-likelihood of the whole window, > 0.
    max_iterations : int
        Steps of EM from the best start at most, >= 1. What it has then is used: it never gets worse by a step.
    """

    states: int
    fit_days: int
    variance_floor: float
    pseudo_count: float
    tolerance: float
    max_iterations: int

    def __post_init__(self) -> None:
        check_window_settings(self.states, self.fit_days)
        if not 0.0 < self.variance_floor < 1.0:
            raise ValueError(f"variance_floor must be in (0, 1), was {self.variance_floor}")
        if not 0.0 < self.pseudo_count < math.inf:
            raise ValueError(f"pseudo_count must be > 0 and finite, was {self.pseudo_count}")
        if not 0.0 < self.tolerance < math.inf:
            raise ValueError(f"tolerance must be > 0 and finite, was {self.tolerance}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be >= 1, was {self.max_iterations}")


class HmmParameters(NamedTuple):
    """The parameters of a fit by name: `means` and `variances` of shape (states,), `transition` (states, states)."""

    means: FloatArray
    variances: FloatArray
    transition: FloatArray


def fit(returns: FloatArray, settings: HmmSettings) -> Fit:
    """Return the model of a window of daily returns, and the filtered probabilities after its last day.

    EM runs a few steps from each of several fixed starts and is continued from the one that got furthest. A start
    sorts the days into states by quantiles of a local volatility or a local mean.

    Parameters
    ----------
    returns : float64 array, shape (fit_days,)
        Daily simple returns of the market, as fractions; without NaN.
    settings : HmmSettings
        Read only.

    Returns
    -------
    Fit
        Parameters: means, variances, then the transition matrix by rows, shape ``(2 * states + states**2,)``;
        `named` takes them apart. State: the filtered probabilities, shape (states,), by `scan` over the window from
        the stationary distribution. Multiplying the returns by a number c > 0 multiplies means by c and variances by
        c squared, and leaves transitions and probabilities as they are, up to rounding; a change of sign turns the
        means' signs only.

    Raises
    ------
    ValueError
        If `returns` is of another length, not finite or constant.
    """
    window = check_window(returns, settings.fit_days)
    # EM sees returns of unit variance, so that no constant in it has a unit.
    centre, scale = window.mean(), window.std()
    values = (window - centre) / scale
    best, furthest = None, -np.inf
    for labels in _starts(values, settings.states):
        model = _model_of(values, labels, settings)
        objective = _improve(values, model, settings, min(_SHORT_RUN, settings.max_iterations))
        if objective > furthest:
            best, furthest = model, objective
    assert best is not None, "there is at least one start"
    _improve(values, best, settings, settings.max_iterations)
    parameters = _flat(best, centre, scale)
    state = stationary_distribution(named(parameters, settings.states).transition)
    scan(parameters, state, window)
    return Fit(parameters, state)


def named(parameters: FloatArray, states: int) -> HmmParameters:
    """Return the parameters of a fit by name."""
    return HmmParameters(
        parameters[:states],
        parameters[states : 2 * states],
        parameters[2 * states :].reshape(states, states),
    )


class _Model(NamedTuple):
    """What EM improves in place."""

    start: FloatArray
    transition: FloatArray
    means: FloatArray
    variances: FloatArray


def _starts(values: FloatArray, states: int) -> Iterator[IntArray]:
    """Yield a state for each day, in four ways."""
    levels = np.arange(1, states) / states
    for days in _LOCAL_DAYS:
        weights = np.full(days, 1.0 / days)
        for measure in (values**2, values):
            local = np.convolve(measure, weights, mode="same")
            yield np.searchsorted(np.quantile(local, levels), local).astype(np.int64)


def _model_of(values: FloatArray, labels: IntArray, settings: HmmSettings) -> _Model:
    """Return the model of days whose states are known."""
    states = settings.states
    member = np.equal.outer(np.arange(states), labels)
    days = np.maximum(member.sum(axis=1), 1)
    means = (member @ values) / days
    squares = (member * (values - means[:, None]) ** 2).sum(axis=1)
    transition = np.full((states, states), settings.pseudo_count)
    np.add.at(transition, (labels[:-1], labels[1:]), 1.0)
    return _Model(
        start=np.full(states, 1.0 / states),
        transition=transition / transition.sum(axis=1, keepdims=True),
        means=means,
        variances=np.maximum(squares / days, settings.variance_floor),
    )


def _improve(values: FloatArray, model: _Model, settings: HmmSettings, iterations: int) -> float:
    """Run EM on values of unit variance, in place, and return the objective."""
    return em(
        values,
        *model,
        settings.variance_floor,
        float(settings.pseudo_count),
        settings.tolerance,
        iterations,
    )


def _flat(model: _Model, centre: float, scale: float) -> FloatArray:
    """Return the parameters in the returns' unit, states in order of variance."""
    order = np.argsort(model.variances, kind="stable")
    return np.concatenate(
        [
            centre + scale * model.means[order],
            scale**2 * model.variances[order],
            model.transition[np.ix_(order, order)].ravel(),
        ]
    )


@inner()
def _states(parameters: FloatArray) -> int:
    """Return K from the length K * (K + 2)."""
    return int(math.sqrt(parameters.shape[0] + 1.0)) - 1


@njit(cache=True, error_model="numpy")
def step(parameters: FloatArray, state: FloatArray, value: float) -> FloatArray:
    """Return the filtered probabilities of the states after one more day, advancing `state` in place.

    Parameters
    ----------
    parameters : float64 array, shape (2 * states + states**2,)
        From `fit`.
    state : float64 array, shape (states,)
        From `fit` or an earlier step: the probabilities after the day before.
    value : float
        The day's return. A NaN is a day on which the chain moves unseen: the probabilities are predicted, not
        updated, so that without news they approach the stationary distribution. To hold them would claim that
        regimes wait for data.

    Returns
    -------
    float64 array, shape (states,)
        Calm first; sums to 1. Uses returns up to that day: filtered, not smoothed.
    """
    states = _states(parameters)
    transition = parameters[2 * states :].reshape((states, states))
    if np.isnan(value):
        predict_step(state, transition)
    else:
        log_likelihoods = normal_log_likelihoods(
            np.full(1, value), parameters[:states], parameters[states : 2 * states]
        )
        filter_step(state, transition, log_likelihoods[0])
    return state.copy()


@njit(cache=True, error_model="numpy")
def scan(parameters: FloatArray, state: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the probabilities after every day, shape ``(n_days, states)``: `step` in order, advancing `state`."""
    n_days = returns.shape[0]
    probabilities = np.empty((n_days, state.shape[0]))
    for t in range(n_days):
        probabilities[t] = step(parameters, state, returns[t])
    return probabilities
