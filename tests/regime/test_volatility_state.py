"""The volatility detector: its formula in plain numpy, thresholds, causality, folds, missing days and refused input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from quantcore.regime.volatility_state import VolatilityStateSettings, fit, scan, step
from quantcore.types import FloatArray, IntArray

HALF_LIFE = 10.0
GIVEN: dict[str, Any] = {
    "states": 2,
    "fit_days": 730,
    "half_life": HALF_LIFE,
    "quantiles": (0.7,),
}
SETTINGS = VolatilityStateSettings(**GIVEN)
THREE = VolatilityStateSettings(**{**GIVEN, "states": 3, "quantiles": (0.5, 0.9)})


def simulated(seed: int, n_days: int) -> tuple[FloatArray, IntArray]:
    """Daily returns of volatility 2 % and 6 % in turns, the calm ones twice as long, and the states."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(50, 100, size=(n_days // 150 + 1, 2)) * np.array([2, 1])
    states = np.repeat(np.arange(lengths.size) % 2, lengths.ravel())[:n_days]
    return rng.normal(0.001, np.array([0.02, 0.06])[states]), states


@pytest.fixture(scope="module")
def returns() -> FloatArray:
    return simulated(0, 1460)[0]


def plain(window: FloatArray, days: FloatArray, settings: VolatilityStateSettings) -> FloatArray:
    """Probabilities of `days` after `window`, from sums over all weights."""
    values = np.concatenate([window, days])
    decay = 0.5 ** (1.0 / settings.half_life)
    volatility, error = np.empty(len(values)), np.empty(len(values))
    for t in range(len(values)):
        weights = decay ** np.arange(t, -1.0, -1.0)
        volatility[t] = math.sqrt(weights @ values[: t + 1] ** 2 / weights.sum())
        error[t] = math.sqrt((weights**2).sum() / weights.sum() ** 2 / 2.0)
    settled = volatility[math.ceil(settings.half_life) : len(window)]
    thresholds = np.quantile(settled, settings.quantiles)
    z = np.log(volatility[:, None] / thresholds) / error[:, None]
    above = np.column_stack([np.ones(len(values)), stats.norm.cdf(z), np.zeros(len(values))])
    return np.asarray(-np.diff(above, axis=1)[len(window) :])


@pytest.mark.parametrize("settings", [SETTINGS, THREE])
def test_probabilities_are_those_of_plain_numpy(
    returns: FloatArray, settings: VolatilityStateSettings
) -> None:
    fitted = fit(returns[:730], settings)
    found = scan(fitted.parameters, fitted.state, returns[730:930])
    expected = plain(returns[:730], returns[730:930], settings)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)


def test_error_counts_few_days_for_less_while_the_weights_grow(returns: FloatArray) -> None:
    parameters = fit(returns[:730], THREE).parameters
    early = scan(parameters, np.zeros(2), returns[:40])
    volatility = pd.Series(returns[:40] ** 2).ewm(halflife=HALF_LIFE).mean().to_numpy() ** 0.5
    weights = 2.0 ** (-np.arange(40) / HALF_LIFE)
    effective = np.cumsum(weights) ** 2 / np.cumsum(weights**2)
    z = (np.log(volatility) - parameters[1]) * np.sqrt(2.0 * effective)
    np.testing.assert_allclose(early[:, 0], stats.norm.cdf(-z), atol=1e-12)


def test_state_is_the_volatility_of_pandas(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    expected = pd.Series(returns[:730] ** 2).ewm(halflife=HALF_LIFE).mean().iloc[-1]
    assert fitted.state[0] == pytest.approx(expected, rel=1e-12)


def test_on_a_threshold_both_sides_are_equally_probable(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    fitted.state[0] = math.exp(2.0 * fitted.parameters[1])
    np.testing.assert_allclose(step(fitted.parameters, fitted.state, np.nan), [0.5, 0.5])


def test_probability_of_turbulence_rises_with_the_size_of_the_return(returns: FloatArray) -> None:
    fitted = fit(returns[:730], SETTINGS)
    turbulent = [step(fitted.parameters, fitted.state.copy(), x)[1] for x in (0.0, 0.05, -0.1, 0.3)]
    assert (np.diff(turbulent) > 0.0).all()


def test_states_are_ordered_by_volatility(returns: FloatArray) -> None:
    fitted = fit(returns[:730], THREE)
    assert (np.diff(fitted.parameters[1:]) > 0.0).all()
    states = scan(fitted.parameters, fitted.state, returns[730:]).argmax(axis=1)
    volatilities = [returns[730:][states == k].std() for k in range(3)]
    assert volatilities == sorted(volatilities)


@pytest.mark.parametrize("seed", range(5))
def test_states_of_later_days_are_recognised(seed: int) -> None:
    returns, states = simulated(seed, 2190)
    fitted = fit(returns[:730], SETTINGS)
    found = scan(fitted.parameters, fitted.state, returns[730:]).argmax(axis=1)
    # Always saying "calm" is right on about two days of three; the volatility lags by some days at each change.
    assert (found == states[730:]).mean() > 0.85


def test_cutting_the_future_changes_no_past_probability(returns: FloatArray) -> None:
    fitted = fit(returns[:730], THREE)
    whole = scan(fitted.parameters, fitted.state.copy(), returns[730:])
    for n in (0, 1, 300):
        cut = scan(fitted.parameters, fitted.state.copy(), returns[730 : 730 + n])
        np.testing.assert_array_equal(cut, whole[:n])


def test_two_scans_are_one_bit_for_bit_also_across_missing_days(returns: FloatArray) -> None:
    days = returns[730:].copy()
    days[[0, 99, 100, 101, 400]] = np.nan
    fitted = fit(returns[:730], THREE)
    once, twice = fitted.state.copy(), fitted.state.copy()
    whole = scan(fitted.parameters, once, days)
    parts = [scan(fitted.parameters, twice, part) for part in np.split(days, [100, 101, 500])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(once, twice)


def test_fit_is_the_same_each_time_and_leaves_its_input_alone(returns: FloatArray) -> None:
    kept = returns.copy()
    one, other = fit(returns[:730], THREE), fit(returns[:730], THREE)
    np.testing.assert_array_equal(one.parameters, other.parameters)
    np.testing.assert_array_equal(one.state, other.state)
    np.testing.assert_array_equal(returns, kept)


def test_a_missing_day_leaves_state_and_probabilities_as_they_are(returns: FloatArray) -> None:
    fitted = fit(returns[:730], THREE)
    last = step(fitted.parameters, fitted.state, 0.05)
    before = fitted.state.copy()
    np.testing.assert_array_equal(step(fitted.parameters, fitted.state, np.nan), last)
    np.testing.assert_array_equal(fitted.state, before)


def test_compiled_step_and_scan_equal_interpreted_ones(returns: FloatArray) -> None:
    fitted = fit(returns[:730], THREE)
    days = np.array([0.0, -0.2, np.nan, 0.01])
    states = [fitted.state.copy() for _ in range(4)]
    expected = scan(fitted.parameters, states[0], days)
    twin = scan.py_func(fitted.parameters, states[1], days)
    single = [step.py_func(fitted.parameters, states[2], x) for x in days]
    np.testing.assert_allclose(twin, expected, rtol=1e-13)
    np.testing.assert_allclose(single, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("factor", [0.01, 1000.0, -1.0])
def test_scaling_the_returns_shifts_the_log_thresholds_and_no_probability(
    returns: FloatArray, factor: float
) -> None:
    one, other = fit(returns[:730], THREE), fit(factor * returns[:730], THREE)
    shift = other.parameters[1:] - one.parameters[1:]
    np.testing.assert_allclose(shift, math.log(abs(factor)), atol=1e-12)
    np.testing.assert_allclose(
        scan(other.parameters, other.state, factor * returns[730:]),
        scan(one.parameters, one.state, returns[730:]),
        atol=1e-11,
    )


def test_a_market_that_stands_still_is_calm() -> None:
    parameters = np.array([0.9, -4.0, -3.0])
    np.testing.assert_array_equal(step(parameters, np.zeros(2), 0.0), [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("states", 1, "states must be 2 to 4, was 1"),
        ("fit_days", 59, "fit_days must be >= 60, was 59"),
        ("half_life", 0.0, "half_life must be > 0 and <= 182.5, was 0.0"),
        ("half_life", 183.0, "half_life must be > 0 and <= 182.5, was 183.0"),
        ("quantiles", (0.2, 0.4), r"quantiles must be 1 numbers, was \(0.2, 0.4\)"),
        ("quantiles", (1.0,), r"quantiles must increase within \(0, 1\), was \(1.0,\)"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        VolatilityStateSettings(**{**GIVEN, name: value})


def test_quantiles_that_do_not_increase_are_refused() -> None:
    with pytest.raises(ValueError, match=r"quantiles must increase within \(0, 1\)"):
        VolatilityStateSettings(**{**GIVEN, "states": 3, "quantiles": (0.5, 0.5)})


def test_a_window_that_cannot_be_fitted_is_refused(returns: FloatArray) -> None:
    holed, still = returns[:730].copy(), np.zeros(730)
    holed[3], still[-1] = np.nan, 0.1
    for bad, rule in (
        (returns[:729], r"returns must have shape \(730,\), had \(729,\)"),
        (holed, "returns must be finite, was nan in row 3"),
        (np.full(730, 0.1), "returns must differ among themselves, were all 0.1"),
        (still, "thresholds of volatility must be > 0, was 0.0"),
    ):
        with pytest.raises(ValueError, match=rule):
            fit(bad, SETTINGS)
