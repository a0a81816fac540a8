"""Hidden Markov kernels against sums over every path, textbook examples, and their own interpreted twins."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from quantcore.kernels.hmm import (
    em,
    em_step,
    filter_scan,
    filter_step,
    normal_log_likelihoods,
    predict_step,
    smooth,
    stationary_distribution,
    viterbi,
)
from quantcore.types import FloatArray, IntArray

Chain = tuple[FloatArray, FloatArray, FloatArray]


def chain(seed: int, states: int, n: int) -> Chain:
    """A random start, transition matrix, and log-likelihoods."""
    rng = np.random.default_rng(seed)
    start = rng.dirichlet(np.ones(states))
    transition = rng.dirichlet(np.ones(states), size=states)
    return start, transition, rng.normal(0.0, 2.0, (n, states))


def every_path(
    start: FloatArray, transition: FloatArray, log_likelihoods: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Every path of states and its probability together with the observations."""
    n, states = log_likelihoods.shape
    paths = np.array(list(itertools.product(range(states), repeat=n)))
    weights = start[paths[:, 0]] * np.exp(log_likelihoods[np.arange(n), paths]).prod(axis=1)
    return paths, weights * transition[paths[:, :-1], paths[:, 1:]].prod(axis=1)


def shares(paths: IntArray, weights: FloatArray, t: int, states: int) -> FloatArray:
    found = np.array([weights[paths[:, t] == k].sum() for k in range(states)])
    return np.asarray(found / weights.sum())


CHAINS = [chain(seed, states, 6) for seed, states in enumerate((2, 3, 4, 2, 3))]


@pytest.mark.parametrize("model", CHAINS)
def test_filter_sums_over_every_path_up_to_its_day(model: Chain) -> None:
    start, transition, log_likelihoods = model
    n, states = log_likelihoods.shape
    filtered, log_likelihood = filter_scan(start, transition, log_likelihoods)
    for t in range(n):
        paths, weights = every_path(start, transition, log_likelihoods[: t + 1])
        np.testing.assert_allclose(filtered[t], shares(paths, weights, t, states), rtol=1e-12)
    assert log_likelihood == pytest.approx(np.log(weights.sum()), rel=1e-12)


@pytest.mark.parametrize("model", CHAINS)
def test_smoother_sums_over_every_path_of_the_whole_sample(model: Chain) -> None:
    start, transition, log_likelihoods = model
    n, states = log_likelihoods.shape
    smoothed, transitions = smooth(filter_scan(start, transition, log_likelihoods)[0], transition)
    paths, weights = every_path(start, transition, log_likelihoods)
    expected = [shares(paths, weights, t, states) for t in range(n)]
    np.testing.assert_allclose(smoothed, expected, rtol=1e-11)
    for i, j in itertools.product(range(states), repeat=2):
        steps = ((paths[:, :-1] == i) & (paths[:, 1:] == j)).sum(axis=1)
        assert transitions[i, j] == pytest.approx(steps @ weights / weights.sum(), rel=1e-11)


@pytest.mark.parametrize("model", CHAINS)
def test_viterbi_finds_the_best_of_every_path(model: Chain) -> None:
    paths, weights = every_path(*model)
    path, log_probability = viterbi(*model)
    np.testing.assert_array_equal(path, paths[weights.argmax()])
    assert log_probability == pytest.approx(np.log(weights.max()), rel=1e-12)


def test_smoothed_probabilities_are_not_the_filtered_ones_before_the_last_day() -> None:
    start, transition, log_likelihoods = chain(0, 2, 40)
    filtered, _ = filter_scan(start, transition, log_likelihoods)
    smoothed, _ = smooth(filtered, transition)
    assert np.abs(smoothed - filtered).max() > 0.1
    np.testing.assert_array_equal(smoothed[-1], filtered[-1])


def test_filter_does_not_change_when_the_future_is_cut_but_the_smoother_does() -> None:
    start, transition, log_likelihoods = chain(1, 3, 50)
    filtered, _ = filter_scan(start, transition, log_likelihoods)
    smoothed, _ = smooth(filtered, transition)
    for n in (0, 1, 20, 49):
        cut, _ = filter_scan(start, transition, log_likelihoods[:n])
        np.testing.assert_array_equal(cut, filtered[:n])
    assert np.abs(smooth(filtered[:20], transition)[0] - smoothed[:20]).max() > 0.001


def test_steps_in_order_are_the_scan_bit_for_bit() -> None:
    start, transition, log_likelihoods = chain(2, 3, 30)
    filtered, log_likelihood = filter_scan(start, transition, log_likelihoods)
    state, total = filtered[0].copy(), filter_scan(start, transition, log_likelihoods[:1])[1]
    for t in range(1, 30):
        total += filter_step(state, transition, log_likelihoods[t])
        np.testing.assert_array_equal(state, filtered[t])
    assert total == log_likelihood


@pytest.mark.parametrize("outlier", [-1e4, -1e300, 1e300])
def test_neither_outliers_nor_long_samples_underflow(outlier: float) -> None:
    start, transition, _ = chain(3, 2, 0)
    log_likelihoods = np.tile([outlier, outlier - 1.0], (5000, 1))
    filtered, _ = filter_scan(start, transition, log_likelihoods)
    np.testing.assert_allclose(filtered.sum(axis=1), 1.0, rtol=1e-12)


def test_an_impossible_observation_is_a_prediction_of_log_likelihood_minus_infinity() -> None:
    _, transition, _ = chain(4, 2, 0)
    state = np.array([0.3, 0.7])
    assert filter_step(state, transition, np.full(2, -np.inf)) == -np.inf
    np.testing.assert_array_equal(state, np.array([0.3, 0.7]) @ transition)


def test_a_state_that_cannot_be_reached_stays_at_zero_however_likely_the_day_is_there() -> None:
    state = np.array([1.0, 0.0])
    log_likelihood = filter_step(state, np.eye(2), np.array([-5.0, 2000.0]))
    np.testing.assert_array_equal(state, [1.0, 0.0])
    assert log_likelihood == -5.0


def test_predictions_alone_approach_the_stationary_distribution() -> None:
    state, transition, _ = chain(5, 4, 0)
    for _ in range(500):
        predict_step(state, transition)
    np.testing.assert_allclose(state, stationary_distribution(transition), rtol=1e-10)


def test_stationary_distribution_refuses_a_chain_in_two_parts() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        stationary_distribution(np.eye(2))


def test_log_likelihoods_are_those_of_scipy() -> None:
    values, means = np.array([-0.1, 0.0, 0.3]), np.array([0.0, 0.1])
    variances = np.array([0.01, 0.04])
    expected = stats.norm.logpdf(values[:, None], means, np.sqrt(variances))
    np.testing.assert_allclose(normal_log_likelihoods(values, means, variances), expected)


def simulated(seed: int, n: int) -> tuple[FloatArray, IntArray]:
    """Values of two states that stay, of means 0.05 and -0.1 and standard deviations 1 and 3."""
    rng = np.random.default_rng(seed)
    stays = np.array([0.98, 0.95])
    states = np.zeros(n, dtype=np.int64)
    for t in range(1, n):
        before = states[t - 1]
        states[t] = before if rng.random() < stays[before] else 1 - before
    return rng.normal(np.array([0.05, -0.1])[states], np.array([1.0, 3.0])[states]), states


def guess() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """A start for EM: start, transition, means, variances."""
    return (
        np.array([0.5, 0.5]),
        np.array([[0.9, 0.1], [0.1, 0.9]]),
        np.array([0.1, -0.1]),
        np.array([0.5, 6.0]),
    )


def test_em_step_is_the_weighted_mean_and_variance_over_every_path() -> None:
    values = np.array([0.1, -0.4, 2.0, -3.0, 0.2, 0.3])
    model = guess()
    log_likelihoods = normal_log_likelihoods(values, model[2], model[3])
    paths, weights = every_path(model[0], model[1], log_likelihoods)
    log_prior = 0.5 * np.log(model[1]).sum()
    objective = em_step(values, *model, 1e-3, 0.5)
    assert objective == pytest.approx(np.log(weights.sum()) + log_prior)
    gamma = np.array([shares(paths, weights, t, 2) for t in range(6)])
    means = gamma.T @ values / gamma.sum(axis=0)
    squares = (gamma * (values[:, None] - means) ** 2).sum(axis=0)
    np.testing.assert_allclose(model[0], gamma[0])
    np.testing.assert_allclose(model[2], means)
    np.testing.assert_allclose(model[3], squares / gamma.sum(axis=0))
    for i, j in itertools.product(range(2), repeat=2):
        steps = ((paths[:, :-1] == i) & (paths[:, 1:] == j)).sum(axis=1) @ weights / weights.sum()
        leaving = (paths[:, :-1] == i).sum(axis=1) @ weights / weights.sum()
        assert model[1][i, j] == pytest.approx((steps + 0.5) / (leaving + 1.0))


@pytest.mark.parametrize("pseudo_count", [0.0, 1.0])
def test_objective_never_falls_during_em(pseudo_count: float) -> None:
    values, _ = simulated(0, 500)
    model = guess()
    path = [em_step(values, *model, 1e-3, pseudo_count) for _ in range(60)]
    assert (np.diff(path) > -1e-9).all()
    assert path[-1] > path[0] + 1.0


def test_em_finds_what_made_the_sample() -> None:
    values, _ = simulated(1, 20_000)
    start, transition, means, variances = guess()
    em(values, start, transition, means, variances, 1e-3, 0.0, 1e-6, 500)
    np.testing.assert_allclose(np.sqrt(variances), [1.0, 3.0], rtol=0.03)
    np.testing.assert_allclose(np.diag(transition), [0.98, 0.95], atol=0.01)
    np.testing.assert_allclose(means, [0.05, -0.1], atol=0.1)


def test_em_stops_when_a_step_gains_less_than_the_tolerance() -> None:
    values, _ = simulated(2, 500)
    stopped, counted = guess(), guess()
    em(values, *stopped, 1e-3, 1.0, 0.5, 1000)
    path = [em_step(values, *counted, 1e-3, 1.0)]
    while len(path) < 2 or path[-1] - path[-2] >= 0.5:
        path.append(em_step(values, *counted, 1e-3, 1.0))
    assert 2 < len(path) < 100
    for one, other in zip(stopped, counted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_variance_never_falls_below_its_floor() -> None:
    values = np.concatenate([np.zeros(50), np.random.default_rng(3).normal(size=50)])
    model = guess()
    em(values, *model, 0.01, 1.0, 0.0, 100)
    assert model[3].min() == 0.01


def test_a_state_that_is_never_visited_keeps_its_mean_and_variance() -> None:
    values, _ = simulated(4, 100)
    model = guess()
    model[2][1] = 1e6
    em_step(values, *model, 1e-3, 1.0)
    assert (model[2][1], model[3][1]) == (1e6, 6.0)
    np.testing.assert_allclose(model[1].sum(axis=1), 1.0)


@pytest.mark.parametrize("model", [*CHAINS[:2], chain(9, 2, 1), chain(9, 3, 0)])
@pytest.mark.parametrize("kernel", [filter_scan, viterbi])
def test_compiled_scans_equal_interpreted_ones(kernel: Any, model: Chain) -> None:
    compiled, interpreted = kernel(*model), kernel.py_func(*model)
    np.testing.assert_allclose(compiled[0], interpreted[0], rtol=1e-13)
    assert compiled[1] == pytest.approx(interpreted[1], rel=1e-13)


def test_compiled_smoother_and_em_equal_interpreted_ones() -> None:
    start, transition, log_likelihoods = CHAINS[1]
    filtered, _ = filter_scan(start, transition, log_likelihoods)
    for one, other in zip(
        smooth(filtered, transition), smooth.py_func(filtered, transition), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    values, _ = simulated(5, 50)
    twins: list[Callable[..., float]] = [em, em.py_func]
    models = [guess(), guess()]
    for run, model in zip(twins, models, strict=True):
        run(values, *model, 1e-3, 1.0, 1e-9, 7)
    for one, other in zip(*models, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11)
