"""The hidden Markov detector: recovery, order of states, causality, folds, missing days and refused input."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from quantcore.kernels.hmm import (
    filter_scan,
    normal_log_likelihoods,
    smooth,
    stationary_distribution,
)
from quantcore.regime import hmm
from quantcore.regime.hmm import HmmSettings, fit, named, scan, step
from quantcore.types import FloatArray, IntArray

GIVEN: dict[str, Any] = {
    "states": 2,
    "fit_days": 730,
    "variance_floor": 0.01,
    "pseudo_count": 1.0,
    "tolerance": 1e-3,
    "max_iterations": 200,
}
SETTINGS = HmmSettings(**GIVEN)
MEANS, SDS = np.array([0.002, -0.003]), np.array([0.02, 0.06])
STAYS = np.array([0.98, 0.95])


def simulated(seed: int, n_days: int) -> tuple[FloatArray, IntArray]:
    """Daily returns of a calm and a turbulent state, and the states."""
    rng = np.random.default_rng(seed)
    states = np.zeros(n_days, dtype=np.int64)
    for t in range(1, n_days):
        before = states[t - 1]
        states[t] = before if rng.random() < STAYS[before] else 1 - before
    return rng.normal(MEANS[states], SDS[states]), states


@pytest.fixture(scope="module")
def returns() -> FloatArray:
    return simulated(0, 1460)[0]


@pytest.fixture(scope="module")
def window(returns: FloatArray) -> FloatArray:
    return returns[:730]


def probabilities_after(window: FloatArray, days: FloatArray) -> FloatArray:
    fitted = fit(window, SETTINGS)
    return scan(fitted.parameters, fitted.state, days)


@pytest.mark.parametrize("seed", range(5))
def test_states_of_later_days_are_recognised_when_they_are_those_of_the_model(seed: int) -> None:
    returns, states = simulated(seed, 2190)
    probabilities = probabilities_after(returns[:730], returns[730:])
    # Filtering at the true parameters is right on 91 to 94 of 100 days; always saying "calm" on about 71.
    assert (probabilities.argmax(axis=1) == states[730:]).mean() > 0.86


def test_parameters_of_the_simulation_are_found_in_a_long_window() -> None:
    returns, _ = simulated(1, 8000)
    fitted = fit(returns, HmmSettings(**{**GIVEN, "fit_days": 8000}))
    found = named(fitted.parameters, 2)
    np.testing.assert_allclose(np.sqrt(found.variances), SDS, rtol=0.05)
    np.testing.assert_allclose(np.diag(found.transition), STAYS, atol=0.015)
    np.testing.assert_allclose(found.means, MEANS, atol=0.004)


@pytest.mark.parametrize("states", [2, 3, 4])
def test_states_are_ordered_by_variance(window: FloatArray, states: int) -> None:
    fitted = fit(window, HmmSettings(**{**GIVEN, "states": states}))
    found = named(fitted.parameters, states)
    assert (np.diff(found.variances) > 0.0).all()
    assert fitted.parameters.shape == (2 * states + states**2,)
    np.testing.assert_allclose(found.transition.sum(axis=1), 1.0)
    assert found.transition.min() > 0.0


def test_fit_does_not_depend_on_how_a_start_numbers_the_states(
    window: FloatArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fit(window, SETTINGS)
    starts = hmm._starts

    def turned(values: FloatArray, states: int) -> Iterator[IntArray]:
        for labels in starts(values, states):
            yield states - 1 - labels

    monkeypatch.setattr(hmm, "_starts", turned)
    after = fit(window, SETTINGS)
    np.testing.assert_allclose(after.parameters, before.parameters, rtol=1e-9)
    np.testing.assert_allclose(after.state, before.state, rtol=1e-9)


def test_fit_is_the_same_each_time_and_leaves_its_input_alone(window: FloatArray) -> None:
    kept = window.copy()
    one, other = fit(window, SETTINGS), fit(window, SETTINGS)
    np.testing.assert_array_equal(one.parameters, other.parameters)
    np.testing.assert_array_equal(one.state, other.state)
    np.testing.assert_array_equal(window, kept)


def test_best_start_wins_in_whatever_order_they_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = HmmSettings(**{**GIVEN, "states": 3, "tolerance": 1e-6, "max_iterations": 2000})
    window, _ = simulated(6, 730)
    before = fit(window, settings)
    starts = hmm._starts
    monkeypatch.setattr(hmm, "_starts", lambda values, k: reversed(list(starts(values, k))))
    np.testing.assert_array_equal(fit(window, settings).parameters, before.parameters)
    monkeypatch.setattr(hmm, "_starts", lambda values, k: list(starts(values, k))[-1:])
    worse = fit(window, settings)
    assert np.abs(worse.parameters - before.parameters).max() > 1e-3


def test_state_after_the_fit_is_the_filter_run_over_the_window(window: FloatArray) -> None:
    fitted = fit(window, SETTINGS)
    means, variances, transition = named(fitted.parameters, 2)
    log_likelihoods = normal_log_likelihoods(window, means, variances)
    filtered, _ = filter_scan(stationary_distribution(transition), transition, log_likelihoods)
    np.testing.assert_allclose(fitted.state, filtered[-1], rtol=1e-10)


def test_detector_gives_filtered_and_not_smoothed_probabilities(window: FloatArray) -> None:
    parameters = fit(window, SETTINGS).parameters
    means, variances, transition = named(parameters, 2)
    start = stationary_distribution(transition)
    probabilities = scan(parameters, start.copy(), window)
    log_likelihoods = normal_log_likelihoods(window, means, variances)
    filtered, _ = filter_scan(start, transition, log_likelihoods)
    smoothed, _ = smooth(filtered, transition)
    np.testing.assert_allclose(probabilities, filtered, atol=1e-12)
    assert np.abs(probabilities - smoothed).max() > 0.3


def test_filter_is_bayes_rule_in_plain_numpy(window: FloatArray) -> None:
    fitted = fit(window, SETTINGS)
    means, variances, transition = named(fitted.parameters, 2)
    value, before = 0.031, fitted.state.copy()
    density = np.exp(-((value - means) ** 2) / (2.0 * variances)) / np.sqrt(variances)
    expected = before @ transition * density
    found = step(fitted.parameters, fitted.state, value)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)
    np.testing.assert_array_equal(found, fitted.state)
    assert not np.shares_memory(found, fitted.state)


def test_cutting_the_future_changes_no_past_probability(returns: FloatArray) -> None:
    whole = probabilities_after(returns[:730], returns[730:])
    for n in (0, 1, 300):
        cut = probabilities_after(returns[:730], returns[730 : 730 + n])
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


def test_a_missing_day_is_a_prediction_without_an_update(window: FloatArray) -> None:
    fitted = fit(window, SETTINGS)
    transition = named(fitted.parameters, 2).transition
    expected = fitted.state @ transition
    np.testing.assert_allclose(step(fitted.parameters, fitted.state, np.nan), expected, rtol=1e-14)
    missing = scan(fitted.parameters, fitted.state, np.full(2000, np.nan))
    np.testing.assert_allclose(missing[-1], stationary_distribution(transition), rtol=1e-9)


def test_compiled_step_equals_the_interpreted_one(window: FloatArray) -> None:
    fitted = fit(window, SETTINGS)
    for value in (0.0, -0.2, np.nan):
        states = [fitted.state.copy(), fitted.state.copy()]
        found = step(fitted.parameters, states[0], value)
        twin = step.py_func(fitted.parameters, states[1], value)
        np.testing.assert_allclose(found, twin, rtol=1e-13)
        np.testing.assert_allclose(states[0], states[1], rtol=1e-13)
    days = window[:20]
    states = [fitted.state.copy(), fitted.state.copy()]
    np.testing.assert_allclose(
        scan(fitted.parameters, states[0], days),
        scan.py_func(fitted.parameters, states[1], days),
        rtol=1e-12,
    )


def test_probabilities_sum_to_one_whatever_the_return(window: FloatArray) -> None:
    fitted = fit(window, SETTINGS)
    extreme = np.array([0.0, -1.0, 10.0, np.nan, 1e-300, 1e6])
    probabilities = scan(fitted.parameters, fitted.state, extreme)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert probabilities.min() >= 0.0
    assert probabilities[1, 1] > 0.99


@pytest.mark.parametrize("factor", [0.01, 1000.0, -1.0])
def test_scaling_the_returns_scales_the_parameters_and_no_probability(
    returns: FloatArray, factor: float
) -> None:
    one, other = fit(returns[:730], SETTINGS), fit(factor * returns[:730], SETTINGS)
    for k, power in ((0, factor), (1, factor**2), (2, 1.0)):
        np.testing.assert_allclose(
            named(other.parameters, 2)[k], power * named(one.parameters, 2)[k], rtol=1e-6
        )
    np.testing.assert_allclose(
        scan(other.parameters, other.state, factor * returns[730:]),
        scan(one.parameters, one.state, returns[730:]),
        atol=1e-8,
    )


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("states", 1, "states must be 2 to 4, was 1"),
        ("states", 5, "states must be 2 to 4, was 5"),
        ("fit_days", 59, "fit_days must be >= 60, was 59"),
        ("variance_floor", 0.0, r"variance_floor must be in \(0, 1\), was 0.0"),
        ("pseudo_count", 0.0, "pseudo_count must be > 0 and finite, was 0.0"),
        ("tolerance", np.nan, "tolerance must be > 0 and finite, was nan"),
        ("max_iterations", 0, "max_iterations must be >= 1, was 0"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        HmmSettings(**{**GIVEN, name: value})


def test_a_window_that_cannot_be_fitted_is_refused(window: FloatArray) -> None:
    holed = window.copy()
    holed[3] = np.nan
    for bad, rule in (
        (window[1:], r"returns must have shape \(730,\), had \(729,\)"),
        (window[:, None], r"returns must have shape \(730,\), had \(730, 1\)"),
        (holed, "returns must be finite, was nan in row 3"),
        (np.full(730, 0.1), "returns must differ among themselves, were all 0.1"),
    ):
        with pytest.raises(ValueError, match=rule):
            fit(bad, SETTINGS)


def test_a_window_that_moves_on_one_day_only_is_fitted_without_nan() -> None:
    window = np.zeros(730)
    window[700] = 0.1
    for states in (2, 3, 4):
        fitted = fit(window, HmmSettings(**{**GIVEN, "states": states}))
        assert np.isfinite(fitted.parameters).all()
        assert fitted.state.sum() == pytest.approx(1.0)
