"""The jump model: every path enumerated, features by pandas, recovery, causality, folds and refused input."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.regime import jump_model
from quantcore.regime.jump_model import (
    JumpModelSettings,
    best_path,
    descend,
    features_scan,
    fit,
    half_squared_distances,
    move_centroids,
    online_path,
    scan,
    step,
)
from quantcore.types import FloatArray, IntArray

GIVEN: dict[str, Any] = {
    "states": 2,
    "fit_days": 730,
    "downside_half_life": 10.0,
    "sortino_half_lives": (20.0, 60.0),
    "jump_penalty": 10.0,
    "temperature": 5.0,
}
SETTINGS = JumpModelSettings(**GIVEN)
CENTROIDS = slice(11, None)
VALUES = slice(5, None)


def simulated(seed: int, n_days: int) -> tuple[FloatArray, IntArray]:
    """Returns of calm rises and turbulent falls in turns of 150 to 300 days, and the states."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(150, 300, size=n_days // 150 + 1)
    states = np.repeat(np.arange(len(lengths)) % 2, lengths)[:n_days]
    means, sds = np.array([0.003, -0.004])[states], np.array([0.012, 0.04])[states]
    return rng.normal(means, sds), states


@pytest.fixture(scope="module")
def returns() -> FloatArray:
    return simulated(0, 1460)[0]


def enumerated(losses: FloatArray, penalty: float) -> tuple[IntArray, float]:
    n, states = losses.shape
    paths = np.array(list(itertools.product(range(states), repeat=n)))
    costs = losses[np.arange(n), paths].sum(axis=1)
    costs += penalty * (np.diff(paths, axis=1) != 0).sum(axis=1)
    return paths[costs.argmin()], float(costs.min())


LOSSES = [np.random.default_rng(seed).exponential(1.0, (7, 2 + seed % 3)) for seed in range(6)]


@pytest.mark.parametrize("penalty", [0.0, 0.3, 1.0, 50.0])
@pytest.mark.parametrize("losses", LOSSES)
def test_best_path_is_the_best_of_every_path(losses: FloatArray, penalty: float) -> None:
    path, objective = best_path(losses, penalty)
    expected, least = enumerated(losses, penalty)
    np.testing.assert_array_equal(path, expected)
    assert objective == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("losses", LOSSES)
def test_online_state_is_the_last_of_the_best_path_up_to_its_day(losses: FloatArray) -> None:
    online = online_path(losses, 0.6)
    for t in range(len(losses)):
        assert online[t] == enumerated(losses[: t + 1], 0.6)[0][-1]


def test_online_path_differs_from_the_best_path_of_the_whole_sample(
    rng: np.random.Generator,
) -> None:
    losses = rng.exponential(1.0, (300, 2))
    whole, _ = best_path(losses, 1.0)
    assert (online_path(losses, 1.0) != whole).mean() > 0.05


def test_an_empty_sample_has_an_empty_path() -> None:
    path, objective = best_path(np.empty((0, 2)), 1.0)
    assert (len(path), objective) == (0, 0.0)


def test_centroids_are_means_and_those_without_points_stay() -> None:
    centroids = np.array([[9.0], [9.0], [9.0]])
    move_centroids(centroids, np.array([[1.0], [2.0], [6.0]]), np.array([0, 0, 2]))
    np.testing.assert_array_equal(centroids, [[1.5], [9.0], [6.0]])


def test_descent_ends_where_neither_path_nor_centroids_can_improve(
    rng: np.random.Generator,
) -> None:
    points = np.concatenate([rng.normal(0.0, 1.0, (50, 2)), rng.normal(2.0, 1.0, (50, 2))])
    centroids = np.array([[-1.0, 0.0], [1.0, 0.0]])
    start = best_path(half_squared_distances(points, centroids), 3.0)[1]
    objective = descend(centroids, points, 3.0)
    assert objective < start
    path, least = best_path(half_squared_distances(points, centroids), 3.0)
    assert least == objective
    for k in range(2):
        np.testing.assert_allclose(centroids[k], points[path == k].mean(axis=0), rtol=1e-12)


def test_features_are_those_of_pandas_after_a_long_start(returns: FloatArray) -> None:
    gains = 1.0 - 2.0 ** (-1.0 / np.array([10.0, 20.0, 60.0]))
    features = features_scan(gains, np.array([1e-4, 1e-4, 1e-4, 0.0, 0.0]), returns)
    series = pd.Series(returns)
    below = series.clip(upper=0.0) ** 2
    downside = {h: below.ewm(halflife=h).mean().iloc[-1] ** 0.5 for h in (10, 20, 60)}
    mean = {h: series.ewm(halflife=h).mean().iloc[-1] for h in (20, 60)}
    expected = [math.log(downside[10]), mean[20] / downside[20], mean[60] / downside[60]]
    # The start weighs 2 ** (-1459 / 60), less than 1e-7, at the end.
    np.testing.assert_allclose(features[-1], expected, rtol=1e-4)
    np.testing.assert_allclose(features[-1, :2], expected[:2], rtol=1e-9)


def plain(window: FloatArray, days: FloatArray, parameters: FloatArray) -> FloatArray:
    """Confidences of `days` after `window`, by numpy, V without normalising, from the start of the window."""
    penalty, temperature = parameters[:2]
    gains, means, sds = parameters[2:5], parameters[5:8], parameters[8:11]
    centroids = parameters[11:].reshape(-1, 3)
    square = np.minimum(window, 0.0) ** 2
    downside, mean = np.full(3, square.mean()), np.full(3, window.mean())
    values = np.zeros(len(centroids))
    found = []
    for value in np.concatenate([window, days]):
        downside = (1.0 - gains) * downside + gains * min(value, 0.0) ** 2
        mean = (1.0 - gains) * mean + gains * value
        ratios = mean / np.sqrt(downside)
        x = (np.array([math.log(math.sqrt(downside[0])), ratios[1], ratios[2]]) - means) / sds
        jumps = penalty * (1.0 - np.eye(len(values)))
        values = (values[:, None] + jumps).min(axis=0)
        values = values + 0.5 * ((x - centroids) ** 2).sum(axis=1)
        weights = np.exp(-(values - values.min()) / temperature)
        found.append(weights / weights.sum())
    return np.array(found[len(window) :])


@pytest.mark.parametrize("states", [2, 3, 4])
def test_confidences_are_those_of_plain_numpy(returns: FloatArray, states: int) -> None:
    fitted = fit(returns[:730], JumpModelSettings(**{**GIVEN, "states": states}))
    found = scan(fitted.parameters, fitted.state, returns[730:])
    expected = plain(returns[:730], returns[730:], fitted.parameters)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)


def test_states_of_later_days_are_recognised() -> None:
    shares = []
    for seed in range(5):
        returns, states = simulated(seed, 2190)
        fitted = fit(returns[:730], SETTINGS)
        found = scan(fitted.parameters, fitted.state, returns[730:]).argmax(axis=1)
        shares.append((found == states[730:]).mean())
    # Chance is one half. Features and penalty together lag by two to four weeks at each change.
    assert min(shares) > 0.65
    assert np.mean(shares) > 0.75


def test_a_larger_penalty_gives_fewer_changes(returns: FloatArray) -> None:
    changes = []
    for penalty in (0.0, 5.0, 50.0):
        fitted = fit(returns[:730], JumpModelSettings(**{**GIVEN, "jump_penalty": penalty}))
        found = scan(fitted.parameters, fitted.state, returns[730:]).argmax(axis=1)
        changes.append(int((np.diff(found) != 0).sum()))
    assert changes[0] > 2 * changes[1] > 2 * changes[2]


@pytest.mark.parametrize("states", [2, 3, 4])
def test_states_are_ordered_by_downside_deviation(returns: FloatArray, states: int) -> None:
    fitted = fit(returns[:730], JumpModelSettings(**{**GIVEN, "states": states}))
    assert (np.diff(fitted.parameters[CENTROIDS].reshape(states, 3)[:, 0]) > 0.0).all()


def test_returns_of_the_calm_state_vary_less(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    found = scan(fitted.parameters, fitted.state, returns[730:]).argmax(axis=1)
    assert returns[730:][found == 0].std() < 0.8 * returns[730:][found == 1].std()


def test_fit_does_not_depend_on_how_a_start_numbers_the_states(
    returns: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fit(returns[:730], SETTINGS)
    starts = jump_model._starts

    def turned(features: FloatArray, states: int) -> Iterator[IntArray]:
        for labels in starts(features, states):
            yield states - 1 - labels

    monkeypatch.setattr(jump_model, "_starts", turned)
    after = fit(returns[:730], SETTINGS)
    np.testing.assert_allclose(after.parameters, before.parameters, rtol=1e-12)
    np.testing.assert_allclose(after.state, before.state, rtol=1e-12)


def test_no_other_start_reaches_a_lower_objective(rng: np.random.Generator) -> None:
    returns, _ = simulated(3, 730)
    parameters = fit(returns, SETTINGS).parameters
    moments = np.concatenate(
        [np.full(3, np.mean(np.minimum(returns, 0.0) ** 2)), np.full(2, returns.mean())]
    )
    points = (features_scan(parameters[2:5], moments, returns) - parameters[5:8]) / parameters[8:11]
    centroids = parameters[CENTROIDS].reshape(2, 3)
    found = best_path(half_squared_distances(points, centroids), 10.0)[1]
    others = [descend(points[rng.integers(0, 730, 2)], points, 10.0) for _ in range(100)]
    assert found <= min(others) + 1e-9


def test_fit_is_the_same_each_time_and_leaves_its_input_alone(returns: FloatArray) -> None:
    kept = returns.copy()
    one, other = fit(returns[:730], SETTINGS), fit(returns[:730], SETTINGS)
    np.testing.assert_array_equal(one.parameters, other.parameters)
    np.testing.assert_array_equal(one.state, other.state)
    np.testing.assert_array_equal(returns, kept)


def test_cutting_the_future_changes_no_past_confidence(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    whole = scan(fitted.parameters, fitted.state.copy(), returns[730:])
    for n in (0, 1, 300):
        cut = scan(fitted.parameters, fitted.state.copy(), returns[730 : 730 + n])
        np.testing.assert_array_equal(cut, whole[:n])


def test_two_scans_are_one_bit_for_bit_also_across_missing_days(returns: FloatArray) -> None:
    days = returns[730:].copy()
    days[[0, 99, 100, 101, 400]] = np.nan
    fitted = fit(returns[:730], SETTINGS)
    once, twice = fitted.state.copy(), fitted.state.copy()
    whole = scan(fitted.parameters, once, days)
    parts = [scan(fitted.parameters, twice, part) for part in np.split(days, [100, 101, 500])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(once, twice)


def test_a_missing_day_leaves_state_and_confidences_as_they_are(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    last = step(fitted.parameters, fitted.state, -0.05)
    before = fitted.state.copy()
    np.testing.assert_array_equal(step(fitted.parameters, fitted.state, np.nan), last)
    np.testing.assert_array_equal(fitted.state, before)


def test_values_of_the_programme_do_not_grow(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    for value in np.tile(returns, 5):
        step(fitted.parameters, fitted.state, value)
        assert fitted.state[VALUES].min() == 0.0
    assert fitted.state[VALUES].max() < 1000.0


def test_the_most_confident_state_is_the_online_state_at_every_temperature(
    returns: FloatArray,
) -> None:
    labels, clarity = [], []
    for temperature in (0.5, 5.0, 50.0):
        fitted = fit(returns[:730], JumpModelSettings(**{**GIVEN, "temperature": temperature}))
        confidences = scan(fitted.parameters, fitted.state, returns[730:])
        labels.append(confidences.argmax(axis=1))
        clarity.append(confidences.max(axis=1).mean())
    np.testing.assert_array_equal(labels[0], labels[1])
    np.testing.assert_array_equal(labels[0], labels[2])
    assert clarity[0] > clarity[1] > clarity[2] > 0.5


@pytest.mark.parametrize("factor", [0.01, 1000.0])
def test_scaling_the_returns_shifts_one_mean_and_no_confidence(
    returns: FloatArray, factor: float
) -> None:
    one, other = fit(returns[:730], SETTINGS), fit(factor * returns[:730], SETTINGS)
    shift = np.zeros_like(one.parameters)
    shift[5] = math.log(factor)
    np.testing.assert_allclose(other.parameters, one.parameters + shift, atol=1e-9)
    np.testing.assert_allclose(
        scan(other.parameters, other.state, factor * returns[730:]),
        scan(one.parameters, one.state, returns[730:]),
        atol=1e-8,
    )


def test_compiled_functions_equal_interpreted_ones(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    days = np.array([0.0, -0.2, np.nan, 0.01])
    states = [fitted.state.copy() for _ in range(3)]
    expected = scan(fitted.parameters, states[0], days)
    twin = scan.py_func(fitted.parameters, states[1], days)
    single = [step.py_func(fitted.parameters, states[2], x) for x in days]
    np.testing.assert_allclose(twin, expected, rtol=1e-12)
    np.testing.assert_allclose(single, expected, rtol=1e-12)
    losses = LOSSES[1]
    np.testing.assert_array_equal(online_path(losses, 0.5), online_path.py_func(losses, 0.5))
    np.testing.assert_array_equal(best_path(losses, 0.5)[0], best_path.py_func(losses, 0.5)[0])
    centroids = [losses[:2].copy(), losses[:2].copy()]
    assert descend(centroids[0], losses, 0.5) == descend.py_func(centroids[1], losses, 0.5)
    np.testing.assert_array_equal(centroids[0], centroids[1])


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("states", 5, "states must be 2 to 4, was 5"),
        ("fit_days", 59, "fit_days must be >= 60, was 59"),
        ("downside_half_life", 0.0, "downside_half_life must be > 0 and <= fit_days = 730, was 0"),
        ("sortino_half_lives", (20.0, 731.0), "sortino_half_lives must be two numbers > 0 and <="),
        ("sortino_half_lives", (20.0,), "sortino_half_lives must be two numbers > 0 and <="),
        ("jump_penalty", -1.0, "jump_penalty must be >= 0 and finite, was -1.0"),
        ("temperature", 0.0, "temperature must be > 0 and finite, was 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        JumpModelSettings(**{**GIVEN, name: value})


def test_a_window_that_cannot_be_fitted_is_refused(returns: FloatArray) -> None:
    holed = returns[:730].copy()
    holed[3] = np.nan
    for bad, rule in (
        (returns[:729], r"returns must have shape \(730,\), had \(729,\)"),
        (holed, "returns must be finite, was nan in row 3"),
        (np.full(730, 0.1), "returns must differ among themselves, were all 0.1"),
        (np.abs(returns[:730]) + 0.5, "returns must contain a loss, the least was 0.5"),
    ):
        with pytest.raises(ValueError, match=rule):
            fit(bad, SETTINGS)
