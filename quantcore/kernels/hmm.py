r"""Hidden Markov chains of finitely many states: filter, smoother, most likely path, and EM for normal emissions.

A chain :math:`S_t` on K states has :math:`A_{ij} = P(S_{t+1} = j \mid S_t = i)`; what is observed on day t has in
state k the log-likelihood :math:`\ell_{tk}`. The *filtered* probability uses data up to t, and is all that may be
traded on; the *smoothed* one uses the whole sample, and serves estimation:

.. math::
    p_{t|t-1} = A^\top p_{t-1|t-1}, \qquad
    p_{t|t}(k) = \frac{p_{t|t-1}(k)\, e^{\ell_{tk}}}{\sum_j p_{t|t-1}(j)\, e^{\ell_{tj}}}, \qquad
    p_{t|T}(i) = p_{t|t}(i) \sum_j A_{ij}\, \frac{p_{t+1|T}(j)}{p_{t+1|t}(j)}

The sum in the filter is the likelihood of day t given the days before. Each day's likelihoods are divided by the
largest among the states that are possible, so that neither an outlier nor a long sample underflows.

References
----------
J. D. Hamilton, "A New Approach to the Economic Analysis of Nonstationary Time Series and the Business Cycle",
*Econometrica* 57(2), 1989 (filter). C.-J. Kim, "Dynamic linear models with Markov-switching", *Journal of
Econometrics* 60, 1994 (smoother). L. R. Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in
Speech Recognition", *Proceedings of the IEEE* 77(2), 1989 (Viterbi's path, sec. III.B; EM, sec. III.C).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from quantcore.kernels.compiled import inner
from quantcore.types import FloatArray, IntArray

_LOG_TWO_PI = math.log(2.0 * math.pi)
_EMPTY = 1e-6
"""Expected days in a state below which nothing is learnt about its mean and variance."""


def stationary_distribution(transition: FloatArray) -> FloatArray:
    r"""Return the stationary distribution of a chain with one recurrent class, :math:`\pi^\top A = \pi^\top`.

    From :math:`(I - A + \mathbf 1 \mathbf 1^\top)^\top \pi = \mathbf 1`, which has one solution exactly then.

    Parameters
    ----------
    transition : float64 array, shape (states, states)
        Rows sum to 1.

    Returns
    -------
    float64 array, shape (states,)
        Sums to 1.

    Raises
    ------
    numpy.linalg.LinAlgError
        If two sets of states never reach each other.

    References
    ----------
    S. Resnick, *Adventures in Stochastic Processes*, 1992, prop. 2.14.1.

    Examples
    --------
    >>> stationary_distribution(np.array([[0.97, 0.03], [0.08, 0.92]])).round(6).tolist()
    [0.727273, 0.272727]
    """
    n = len(transition)
    pi = np.linalg.solve((np.eye(n) - transition + 1.0).T, np.ones(n))
    return np.asarray(pi / pi.sum(), dtype=np.float64)


@njit(cache=True, error_model="numpy")
def normal_log_likelihoods(
    values: FloatArray, means: FloatArray, variances: FloatArray
) -> FloatArray:
    """Return the log-density of each value under each state's normal distribution.

    Parameters
    ----------
    values : float64 array, shape (n,)
        NaN gives NaN.
    means, variances : float64 array, shape (states,)
        In the values' unit and its square; variances > 0.

    Returns
    -------
    float64 array, shape (n, states)
    """
    n, states = values.shape[0], means.shape[0]
    log_likelihoods = np.empty((n, states))
    for k in range(states):
        constant = -0.5 * (_LOG_TWO_PI + math.log(variances[k]))
        half_precision = 0.5 / variances[k]
        for t in range(n):
            deviation = values[t] - means[k]
            log_likelihoods[t, k] = constant - half_precision * deviation * deviation
    return log_likelihoods


@inner()
def _predict(probabilities: FloatArray, transition: FloatArray, predicted: FloatArray) -> None:
    states = probabilities.shape[0]
    for j in range(states):
        total = 0.0
        for i in range(states):
            total += probabilities[i] * transition[i, j]
        predicted[j] = total


@inner()
def _update(predicted: FloatArray, log_likelihoods: FloatArray, filtered: FloatArray) -> float:
    """Write the filtered probabilities and return the day's log-likelihood; the arrays may be the same."""
    states = predicted.shape[0]
    largest = -np.inf
    for k in range(states):
        if predicted[k] > 0.0 and log_likelihoods[k] > largest:
            largest = log_likelihoods[k]
    if largest == -np.inf:
        filtered[:] = predicted
        return largest
    total = 0.0
    for k in range(states):
        # Where the prediction is 0 the likelihood may exceed the largest without bound, and 0 * inf is NaN.
        weight = (
            predicted[k] * math.exp(log_likelihoods[k] - largest) if predicted[k] > 0.0 else 0.0
        )
        filtered[k] = weight
        total += weight
    for k in range(states):
        filtered[k] /= total
    return largest + math.log(total)


@njit(cache=True, error_model="numpy")
def predict_step(probabilities: FloatArray, transition: FloatArray) -> None:
    """Advance the probabilities by one day on which nothing is observed, in place.

    Parameters
    ----------
    probabilities : float64 array, shape (states,)
        Filtered; sums to 1.
    transition : float64 array, shape (states, states)
        Rows sum to 1.
    """
    predicted = np.empty(probabilities.shape[0])
    _predict(probabilities, transition, predicted)
    probabilities[:] = predicted


@njit(cache=True, error_model="numpy")
def filter_step(
    probabilities: FloatArray, transition: FloatArray, log_likelihoods: FloatArray
) -> float:
    r"""Advance the filtered probabilities by one day in place, and return the log-likelihood of that day.

    Parameters
    ----------
    probabilities : float64 array, shape (states,)
        :math:`p_{t-1|t-1}`, overwritten by :math:`p_{t|t}`.
    transition : float64 array, shape (states, states)
        Rows sum to 1.
    log_likelihoods : float64 array, shape (states,)
        Of the day's observation in each state; minus infinity where it is impossible, never NaN.

    Returns
    -------
    float
        Given the days before. Minus infinity if no possible state allows the observation: the step is then a
        prediction only.
    """
    predicted = np.empty(probabilities.shape[0])
    _predict(probabilities, transition, predicted)
    return _update(predicted, log_likelihoods, probabilities)


@njit(cache=True, error_model="numpy")
def filter_scan(
    start: FloatArray, transition: FloatArray, log_likelihoods: FloatArray
) -> tuple[FloatArray, float]:
    """Return the filtered probabilities of every day and the log-likelihood of all.

    Parameters
    ----------
    start : float64 array, shape (states,)
        Distribution of the first day's state before its observation; sums to 1.
    transition : float64 array, shape (states, states)
        Rows sum to 1.
    log_likelihoods : float64 array, shape (n, states)
        As in `filter_step`, one row per day.

    Returns
    -------
    filtered : float64 array, shape (n, states)
        Row t uses days up to t.
    log_likelihood : float
        0 for an empty sample.
    """
    n, states = log_likelihoods.shape
    filtered = np.empty((n, states))
    predicted = start.copy()
    total = 0.0
    for t in range(n):
        if t > 0:
            _predict(filtered[t - 1], transition, predicted)
        total += _update(predicted, log_likelihoods[t], filtered[t])
    return filtered, total


@njit(cache=True, error_model="numpy")
def smooth(filtered: FloatArray, transition: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the smoothed probabilities of every day and the expected number of transitions, given the whole sample.

    Row t uses days after t: for estimation and description, never for a decision at t.

    Parameters
    ----------
    filtered : float64 array, shape (n, states)
        From `filter_scan`.
    transition : float64 array, shape (states, states)
        The same as there.

    Returns
    -------
    smoothed : float64 array, shape (n, states)
        The last row is that of `filtered`.
    transitions : float64 array, shape (states, states)
        Entry i, j is the expected number of steps from i to j; they sum to n - 1.
    """
    n, states = filtered.shape
    smoothed = filtered.copy()
    transitions = np.zeros((states, states))
    predicted = np.empty(states)
    for t in range(n - 2, -1, -1):
        _predict(filtered[t], transition, predicted)
        for j in range(states):
            # A state that was not predicted has smoothed probability 0 as well.
            predicted[j] = smoothed[t + 1, j] / predicted[j] if predicted[j] > 0.0 else 0.0
        for i in range(states):
            total = 0.0
            for j in range(states):
                joint = filtered[t, i] * transition[i, j] * predicted[j]
                transitions[i, j] += joint
                total += joint
            smoothed[t, i] = total
    return smoothed, transitions


@njit(cache=True, error_model="numpy")
def viterbi(
    start: FloatArray, transition: FloatArray, log_likelihoods: FloatArray
) -> tuple[IntArray, float]:
    """Return the most likely path of states given the whole sample, and its log-probability with the observations.

    Parameters
    ----------
    start, transition, log_likelihoods
        As in `filter_scan`.

    Returns
    -------
    path : int64 array, shape (n,)
        Of equally likely paths, one that ends in the lowest state and comes from the lowest ones.
    log_probability : float
        Of path and observations together; 0 for an empty sample.
    """
    n, states = log_likelihoods.shape
    path = np.empty(n, dtype=np.int64)
    if n == 0:
        return path, 0.0
    log_transition = np.log(transition)
    score = np.log(start) + log_likelihoods[0]
    reached = np.empty(states)
    before = np.zeros((n, states), dtype=np.int64)
    for t in range(1, n):
        for j in range(states):
            best = 0
            for i in range(1, states):
                if score[i] + log_transition[i, j] > score[best] + log_transition[best, j]:
                    best = i
            before[t, j] = best
            reached[j] = score[best] + log_transition[best, j] + log_likelihoods[t, j]
        score[:] = reached
    path[n - 1] = np.argmax(score)
    for t in range(n - 1, 0, -1):
        path[t - 1] = before[t, path[t]]
    return path, score[path[n - 1]]


@njit(cache=True, error_model="numpy")
def em_step(
    values: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    means: FloatArray,
    variances: FloatArray,
    variance_floor: float,
    pseudo_count: float,
) -> float:
    r"""Improve a chain with normal emissions by one step of EM in place, and return the objective before the step.

    The objective is :math:`\ln L + c \sum_{ij} \ln A_{ij}`: the log-likelihood with c pseudo-counts in each cell of
    the transition matrix. With :math:`\gamma_t` the smoothed probabilities and N the expected transitions,

    .. math::
        \pi = \gamma_1, \quad
        A_{ij} \propto N_{ij} + c, \quad
        \mu_k = \frac{\sum_t \gamma_{tk} r_t}{\sum_t \gamma_{tk}}, \quad
        \sigma_k^2 = \max\Big(f,\, \frac{\sum_t \gamma_{tk} (r_t - \mu_k)^2}{\sum_t \gamma_{tk}}\Big)

    Parameters
    ----------
    values : float64 array, shape (n,)
        Without NaN; n >= 2.
    start, transition, means, variances : float64 arrays, shapes (states,), (states, states), (states,), (states,)
        Overwritten. A state that the sample never visits keeps mean and variance; a row of the matrix that is never
        left from, and has no pseudo-counts, stays as it is.
    variance_floor : float
        f, > 0, in the square of the values' unit. Without one the likelihood is unbounded: a state can sit on one
        value.
    pseudo_count : float
        c, >= 0. Above 0 no transition becomes impossible, so that the filter can always leave a state.

    Returns
    -------
    float
        Never falls from step to step, up to rounding, once the variances are above the floor.

    References
    ----------
    L. R. Rabiner, *Proceedings of the IEEE* 77(2), 1989, eqs. 40 and 53. Deviations: expectations by filter and
    smoother instead of scaled alpha and beta (the same numbers); floor and pseudo-counts, for the reasons above.
    """
    n, states = values.shape[0], means.shape[0]
    filtered, objective = filter_scan(
        start, transition, normal_log_likelihoods(values, means, variances)
    )
    if pseudo_count > 0.0:
        objective += pseudo_count * np.log(transition).sum()
    smoothed, transitions = smooth(filtered, transition)
    start[:] = smoothed[0]
    for k in range(states):
        leaving = transitions[k].sum() + states * pseudo_count
        if leaving > 0.0:
            transition[k] = (transitions[k] + pseudo_count) / leaving
        occupancy = smoothed[:, k].sum()
        if occupancy < _EMPTY:
            continue
        total = 0.0
        for t in range(n):
            total += smoothed[t, k] * values[t]
        means[k] = total / occupancy
        total = 0.0
        for t in range(n):
            deviation = values[t] - means[k]
            total += smoothed[t, k] * deviation * deviation
        variances[k] = max(variance_floor, total / occupancy)
    return objective


@njit(cache=True, error_model="numpy")
def em(
    values: FloatArray,
    start: FloatArray,
    transition: FloatArray,
    means: FloatArray,
    variances: FloatArray,
    variance_floor: float,
    pseudo_count: float,
    tolerance: float,
    max_iterations: int,
) -> float:
    """Repeat `em_step` in place until a step gains less than `tolerance`, at most `max_iterations` times.

    Parameters
    ----------
    values, start, transition, means, variances, variance_floor, pseudo_count
        As in `em_step`.
    tolerance : float
        Of the objective, >= 0: a sum over all days, without unit.
    max_iterations : int
        >= 1.

    Returns
    -------
    float
        The objective before the last step taken.
    """
    objective = -np.inf
    for _ in range(max_iterations):
        before = objective
        objective = em_step(
            values, start, transition, means, variances, variance_floor, pseudo_count
        )
        if objective - before < tolerance:
            break
    return objective
