r"""Regimes by a statistical jump model: clusters of features in which every change of state costs a penalty.

Features of the daily return :math:`r_t`, with exponentially weighted means :math:`E_h` of half-life h days:

.. math::
    D_h = \sqrt{E_h[\min(r, 0)^2]}, \qquad
    x = \Big(\ln D_{10},\; \frac{E_{20}[r]}{D_{20}},\; \frac{E_{60}[r]}{D_{60}}\Big)

(the half-lives are settings, these the paper's): downside deviation, and two ratios of Sortino's kind. They are
standardised with mean and standard deviation of the fit window. States :math:`s_t` and centroids :math:`\theta_k`
minimise

.. math::
    \sum_t \ell(x_t, s_t) + \lambda \sum_t 1[s_t \ne s_{t-1}], \qquad \ell(x, k) = \tfrac12 \lVert x - \theta_k\rVert^2

by turns: the states by a dynamic programme, each centroid as the mean of its days. Online, the centroids stay and the
programme's forward recursion is the filter; the state of day t is the last one of the best path on data up to t:

.. math:: V_t(k) = \min_j \big(V_{t-1}(j) + \lambda\, 1[j \ne k]\big) + \ell(x_t, k)

Only differences of V matter, so the least is subtracted every day, which keeps V from growing. `step` gives a softmax
of :math:`-V/\tau`: a smooth measure of how clear the decision is, largest where V is least. It is **not** a calibrated
probability: the model has no likelihood, and the temperature is a choice.

References
----------
P. Nystrup, E. Lindström and H. Madsen, "Learning hidden Markov models with persistent states by penalizing jumps",
*Expert Systems with Applications* 150, 2020: coordinate descent, dynamic programme. Y. Shu, C. Yu and J. M. Mulvey,
"Downside risk reduction using regime-switching signals: a statistical jump model approach", *Journal of Asset
Management* 25, 2024: features, loss, online state. Deviations: returns are not in excess of a risk-free rate (daily,
it is small beside a coin's return); the downside deviation enters as its logarithm; features begin at the window's own
means instead of needing history before it; states are ordered by downside deviation, not by return, calm first; fixed
starts instead of random ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.kernels.ewm import half_life_decay
from quantcore.regime.window import Fit, check_window, check_window_settings
from quantcore.types import FloatArray, IntArray

N_FEATURES = 3
_POWERS = (0.5, 1.0, 2.0)
"""Exponents of the quantile levels that cut a feature into the states of a start: upper ones rare, as large, usual."""
_MAX_ROUNDS = 100
"""Of the coordinate descent; the paths are finitely many and the objective falls, so it ends by itself long before."""
# Places in the parameters; then the centroids by rows.
_PENALTY, _TEMPERATURE, _GAINS, _MEANS, _SDS, _CENTROIDS = 0, 1, 2, 5, 8, 11
# Places in the state: downside second moments at the three half-lives, means at the last two; then V.
_DOWNSIDE, _MEAN, _VALUES = 0, 3, 5


@dataclass(frozen=True, kw_only=True)
class JumpModelSettings:
    """Window, features and penalty of the jump model.

    Parameters
    ----------
    states : int
        2 to 4.
    fit_days : int
        Length of the trailing window in days, >= 60.
    downside_half_life : float
        Of the downside deviation in days, > 0, at most `fit_days`; the paper has 10.
    sortino_half_lives : tuple of float
        Of the two ratios in days, > 0, at most `fit_days`; the paper has 20 and 60.
    jump_penalty : float
        Cost of a change of state, >= 0, in units of the loss: half a squared distance between standardised features.
        The paper chooses it by the returns of a strategy, over a grid from 0 to some hundreds.
    temperature : float
        By which V is divided before the softmax, > 0, in the same units: at 1 a lead of V of 2.2 gives 90 %.
    """

    states: int
    fit_days: int
    downside_half_life: float
    sortino_half_lives: tuple[float, float]
    jump_penalty: float
    temperature: float

    def __post_init__(self) -> None:
        check_window_settings(self.states, self.fit_days)
        if not 0.0 < self.downside_half_life <= self.fit_days:
            rule = f"> 0 and <= fit_days = {self.fit_days}"
            raise ValueError(f"downside_half_life must be {rule}, was {self.downside_half_life}")
        if len(self.sortino_half_lives) != N_FEATURES - 1 or not all(
            0.0 < half_life <= self.fit_days for half_life in self.sortino_half_lives
        ):
            rule = f"two numbers > 0 and <= fit_days = {self.fit_days}"
            raise ValueError(f"sortino_half_lives must be {rule}, was {self.sortino_half_lives}")
        if not 0.0 <= self.jump_penalty < math.inf:
            raise ValueError(f"jump_penalty must be >= 0 and finite, was {self.jump_penalty}")
        if not 0.0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be > 0 and finite, was {self.temperature}")


def fit(returns: FloatArray, settings: JumpModelSettings) -> Fit:
    """Return the jump model of a window of daily returns, and the filter's state after its last day.

    The descent runs from several fixed starts, each of which sorts the days by quantiles of one feature; the least
    objective wins.

    Parameters
    ----------
    returns : float64 array, shape (fit_days,)
        Daily simple returns of the market, as fractions; without NaN.
    settings : JumpModelSettings
        Read only.

    Returns
    -------
    Fit
        Parameters: penalty, temperature, the gains of the three half-lives, means and standard deviations of the
        features, then the centroids by rows, shape ``(11 + 3 * states,)``. State: downside second moments, means and
        V, shape ``(5 + states,)``. Multiplying the returns by a number > 0 shifts the first feature's mean and leaves
        centroids and probabilities as they are, up to rounding; a change of sign changes everything. A state
        that no day of the best path is in keeps the centroid that it had last: with a large penalty one state rules.

    Raises
    ------
    ValueError
        If `returns` is of another length, not finite or constant, or has no loss in it.
    """
    window = check_window(returns, settings.fit_days)
    downside = float(np.mean(np.minimum(window, 0.0) ** 2))
    if not downside > 0.0:
        raise ValueError(f"returns must contain a loss, the least was {window.min()}")
    half_lives = (settings.downside_half_life, *settings.sortino_half_lives)
    gains = 1.0 - np.array([half_life_decay(float(half_life)) for half_life in half_lives])
    moments = np.array([downside] * N_FEATURES + [window.mean()] * (N_FEATURES - 1))
    features = features_scan(gains, moments.copy(), window)
    means, sds = features.mean(axis=0), features.std(axis=0)
    standardised = (features - means) / sds
    penalty = float(settings.jump_penalty)
    best, least = np.empty((settings.states, N_FEATURES)), np.inf
    for labels in _starts(standardised, settings.states):
        centroids = np.empty((settings.states, N_FEATURES))
        move_centroids(centroids, standardised, labels)
        objective = descend(centroids, standardised, penalty)
        if objective < least:
            best, least = centroids, objective
    calm_first = best[np.argsort(best[:, 0], kind="stable")]
    parameters = np.concatenate(
        [[penalty, settings.temperature], gains, means, sds, calm_first.ravel()]
    )
    state = np.concatenate([moments, np.zeros(settings.states)])
    scan(parameters, state, window)
    return Fit(parameters, state)


def _starts(features: FloatArray, states: int) -> Iterator[IntArray]:
    """Yield a state for each day, in several ways; every state has days in it, unless a feature has many ties."""
    levels = np.arange(1, states) / states
    for feature in features.T:
        for power in _POWERS:
            yield np.searchsorted(np.quantile(feature, levels**power), feature).astype(np.int64)


@inner()
def _features(moments: FloatArray, gains: FloatArray, value: float, features: FloatArray) -> None:
    """Advance the moments by one return in place, and write the features."""
    square = min(value, 0.0) ** 2
    for i in range(N_FEATURES):
        moments[_DOWNSIDE + i] += gains[i] * (square - moments[_DOWNSIDE + i])
    features[0] = 0.5 * math.log(moments[_DOWNSIDE])
    for i in range(1, N_FEATURES):
        at = _MEAN + i - 1
        moments[at] += gains[i] * (value - moments[at])
        features[i] = moments[at] / math.sqrt(moments[_DOWNSIDE + i])


@njit(cache=True, error_model="numpy")
def features_scan(gains: FloatArray, moments: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the features of every day, not standardised, advancing `moments` in place.

    Parameters
    ----------
    gains : float64 array, shape (3,)
        One less the decay per day, of the downside deviation and the two ratios.
    moments : float64 array, shape (5,)
        Downside second moments at the three half-lives, > 0, and means at the last two.
    returns : float64 array, shape (n_days,)
        As fractions, without NaN.

    Returns
    -------
    float64 array, shape (n_days, 3)
        Log of the downside deviation and two ratios; row t uses returns up to t.
    """
    n_days = returns.shape[0]
    features = np.empty((n_days, N_FEATURES))
    for t in range(n_days):
        _features(moments, gains, returns[t], features[t])
    return features


@njit(cache=True, error_model="numpy")
def half_squared_distances(points: FloatArray, centroids: FloatArray) -> FloatArray:
    r"""Return :math:`\tfrac12 \lVert x_t - \theta_k\rVert^2`, shape ``(n, states)``; points and centroids in rows."""
    n, width = points.shape
    states = centroids.shape[0]
    losses = np.empty((n, states))
    for t in range(n):
        for k in range(states):
            total = 0.0
            for i in range(width):
                total += (points[t, i] - centroids[k, i]) ** 2
            losses[t, k] = 0.5 * total
    return losses


@inner()
def _advance(values: FloatArray, losses: FloatArray, jump_penalty: float) -> float:
    """Advance V by one day in place, subtract its least entry, and return that."""
    states = values.shape[0]
    # The least entry is 0, so a jump from the best state costs the penalty alone.
    for k in range(states):
        values[k] = min(values[k], jump_penalty) + losses[k]
    least = float(values.min())
    for k in range(states):
        values[k] -= least
    return least


@njit(cache=True, error_model="numpy")
def online_path(losses: FloatArray, jump_penalty: float) -> IntArray:
    """Return for each day the last state of the best path on the days up to it.

    Parameters
    ----------
    losses : float64 array, shape (n, states)
        Of each day in each state; without NaN.
    jump_penalty : float
        Cost of a change of state, >= 0.

    Returns
    -------
    int64 array, shape (n,)
        The lowest of equally good states.
    """
    n, states = losses.shape
    values = np.zeros(states)
    path = np.empty(n, dtype=np.int64)
    for t in range(n):
        _advance(values, losses[t], jump_penalty)
        path[t] = np.argmin(values)
    return path


@njit(cache=True, error_model="numpy")
def best_path(losses: FloatArray, jump_penalty: float) -> tuple[IntArray, float]:
    """Return the path of states of least loss and penalties on the whole sample, and that objective.

    It looks ahead: for estimation and description, never for a decision.

    Parameters
    ----------
    losses, jump_penalty
        As in `online_path`.

    Returns
    -------
    path : int64 array, shape (n,)
        Of equally good paths, one that ends in the lowest state and, going back, stays where it can.
    objective : float
        0 for an empty sample.
    """
    n, states = losses.shape
    values = np.zeros(states)
    jumped = np.zeros((n, states), dtype=np.bool_)
    origin = np.zeros(n, dtype=np.int64)
    path = np.empty(n, dtype=np.int64)
    objective = 0.0
    for t in range(n):
        origin[t] = np.argmin(values)
        for k in range(states):
            jumped[t, k] = values[k] > jump_penalty
        objective += _advance(values, losses[t], jump_penalty)
    if n > 0:
        path[n - 1] = np.argmin(values)
    for t in range(n - 1, 0, -1):
        path[t - 1] = origin[t] if jumped[t, path[t]] else path[t]
    return path, objective


@njit(cache=True, error_model="numpy")
def move_centroids(centroids: FloatArray, points: FloatArray, path: IntArray) -> None:
    """Set each centroid to the mean of its state's points, in place; a state without points keeps its own."""
    n, width = points.shape
    sums, counts = np.zeros(centroids.shape), np.zeros(centroids.shape[0])
    for t in range(n):
        counts[path[t]] += 1.0
        for i in range(width):
            sums[path[t], i] += points[t, i]
    for k in range(centroids.shape[0]):
        if counts[k] > 0.0:
            centroids[k] = sums[k] / counts[k]


@njit(cache=True, error_model="numpy")
def descend(centroids: FloatArray, points: FloatArray, jump_penalty: float) -> float:
    """Improve the centroids by coordinate descent in place, and return the least objective found.

    Parameters
    ----------
    centroids : float64 array, shape (states, width)
        The start; overwritten.
    points : float64 array, shape (n, width)
        Standardised features, n >= 1.
    jump_penalty : float
        >= 0.

    Returns
    -------
    float
        At the centroids: no path has less, and no round of the descent changes the path any more.
    """
    path, objective = best_path(half_squared_distances(points, centroids), jump_penalty)
    for _ in range(_MAX_ROUNDS):
        before = path
        move_centroids(centroids, points, path)
        path, objective = best_path(half_squared_distances(points, centroids), jump_penalty)
        if (path == before).all():
            break
    return objective


@njit(cache=True, error_model="numpy")
def step(parameters: FloatArray, state: FloatArray, value: float) -> FloatArray:
    """Return the confidence in each state after one more day, advancing `state` in place.

    Parameters
    ----------
    parameters : float64 array, shape (11 + 3 * states,)
        From `fit`.
    state : float64 array, shape (5 + states,)
        From `fit` or an earlier step.
    value : float
        The day's return. A NaN leaves the state as it is, as if the day were not there, and the result with it.

    Returns
    -------
    float64 array, shape (states,)
        Softmax of -V / temperature, calm first; sums to 1, largest in the online state. Uses returns up to that day.
    """
    values = state[_VALUES:]
    states = values.shape[0]
    if not np.isnan(value):
        point = np.empty((1, N_FEATURES))
        _features(state[:_VALUES], parameters[_GAINS:_MEANS], value, point[0])
        for i in range(N_FEATURES):
            point[0, i] = (point[0, i] - parameters[_MEANS + i]) / parameters[_SDS + i]
        centroids = parameters[_CENTROIDS:].reshape((states, N_FEATURES))
        losses = half_squared_distances(point, centroids)
        _advance(values, losses[0], parameters[_PENALTY])
    confidences = np.empty(states)
    total = 0.0
    for k in range(states):
        confidences[k] = math.exp(-values[k] / parameters[_TEMPERATURE])
        total += confidences[k]
    for k in range(states):
        confidences[k] /= total
    return confidences


@njit(cache=True, error_model="numpy")
def scan(parameters: FloatArray, state: FloatArray, returns: FloatArray) -> FloatArray:
    """Return the confidences after every day, shape ``(n_days, states)``: `step` in order, advancing `state`."""
    n_days = returns.shape[0]
    confidences = np.empty((n_days, state.shape[0] - _VALUES))
    for t in range(n_days):
        confidences[t] = step(parameters, state, returns[t])
    return confidences
