"""Tests of the tests: against contingency tables, binomial likelihoods, published tables and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from quantcore.finance import var_backtests
from quantcore.finance.extremes import peaks_over_threshold_tail_loss
from quantcore.finance.risk_metrics import (
    filtered_historical_tail_loss,
    fit_student_t,
    historical_tail_loss,
    normal_tail_loss,
    student_t_tail_loss,
)
from quantcore.finance.tail_forecasts import METHODS, rolling_tail_loss
from quantcore.finance.var_backtests import (
    Transitions,
    christoffersen_conditional_coverage,
    christoffersen_independence,
    expected_shortfall_test,
    judge_forecasts,
    kupiec_pof,
    non_rejection_region,
    tail_backtest,
    time_until_first_failure,
    traffic_light,
    transitions,
)
from quantcore.finance.volatility_models import GarchParameters
from quantcore.types import FloatArray

SEEDS = st.integers(0, 2**32 - 1)
QUICK = [name for name in METHODS if name != "filtered_historical"]


def gentle(seed: int, n: int) -> FloatArray:
    """Returns that every method accepts, Cornish-Fisher too."""
    shuffled = np.random.default_rng(seed).permutation(n)
    return np.asarray(0.001 + 0.01 * stats.t.ppf((shuffled + 0.5) / n, 8))


# --- single tests


@given(st.integers(1, 2000), st.floats(0.0, 1.0), st.floats(0.001, 0.5))
def test_the_proportion_test_is_a_ratio_of_binomial_likelihoods(
    n: int, share: float, p: float
) -> None:
    x = round(n * share)
    found = kupiec_pof(n, x, tail_probability=p)
    ratio = 2.0 * float(stats.binom.logpmf(x, n, x / n) - stats.binom.logpmf(x, n, p))
    assert found.statistic == pytest.approx(ratio, rel=1e-6, abs=1e-6)
    assert found.p_value == pytest.approx(float(stats.chi2.sf(found.statistic, 1)), rel=1e-9)


def test_the_expected_number_of_failures_passes_exactly() -> None:
    assert kupiec_pof(1000, 50, tail_probability=0.05) == pytest.approx((0.0, 1.0), abs=1e-6)


@given(st.tuples(*[st.integers(1, 400)] * 4))
def test_the_independence_test_is_the_likelihood_ratio_of_a_contingency_table(
    counts: tuple[int, int, int, int],
) -> None:
    found = christoffersen_independence(Transitions(*counts))
    table = stats.chi2_contingency(
        np.reshape(counts, (2, 2)), correction=False, lambda_="log-likelihood"
    )
    assert found.statistic == pytest.approx(table.statistic, rel=1e-7, abs=1e-8)
    assert found.p_value == pytest.approx(table.pvalue, rel=1e-6)


@pytest.mark.parametrize("pairs", [(9, 0, 0, 0), (8, 1, 0, 0), (0, 0, 0, 9), (0, 0, 1, 8)])
def test_without_a_day_to_compare_independence_is_not_rejected(
    pairs: tuple[int, int, int, int],
) -> None:
    assert christoffersen_independence(Transitions(*pairs)) == pytest.approx((0.0, 1.0), abs=1e-9)


def test_conditional_coverage_has_two_degrees_of_freedom() -> None:
    pairs = Transitions(932, 53, 53, 4)
    both = christoffersen_conditional_coverage(1043, 57, pairs, tail_probability=0.05)
    parts = kupiec_pof(1043, 57, tail_probability=0.05), christoffersen_independence(pairs)
    assert both.statistic == pytest.approx(sum(part.statistic for part in parts))
    assert both.p_value == pytest.approx(float(stats.chi2.sf(both.statistic, 2)))


@given(st.lists(st.booleans(), max_size=50))
def test_transitions_are_counted_pair_by_pair(hits: list[bool]) -> None:
    pairs = list(pairwise(hits))
    counted = [pairs.count((a, b)) for a in (False, True) for b in (False, True)]
    assert list(transitions(hits)) == counted


def test_the_first_failure_agrees_with_a_vendors_worked_example() -> None:
    """Vendor documentation of a VaR-backtest toolbox: first failure on day 58 at 5 %, 1.7354 and 0.18773."""
    found = time_until_first_failure(58, tail_probability=0.05)
    assert found == pytest.approx((1.7354, 0.18773), abs=5e-5)


@given(st.integers(1, 3000), st.floats(0.001, 0.5))
def test_the_first_failure_is_a_ratio_of_geometric_likelihoods(day: int, p: float) -> None:
    ratio = 2.0 * float(stats.geom.logpmf(day, 1.0 / day) - stats.geom.logpmf(day, p))
    found = time_until_first_failure(day, tail_probability=p).statistic
    assert found == pytest.approx(ratio, rel=1e-6, abs=1e-6)


@given(st.integers(5, 2000), st.sampled_from([0.01, 0.025, 0.05, 0.2]), st.floats(0.8, 0.999))
def test_just_outside_the_region_kupiec_rejects(n: int, p: float, level: float) -> None:
    fewest, most = non_rejection_region(n, tail_probability=p, test_level=level)
    for failures in range(max(fewest - 2, 0), min(most + 2, n) + 1):
        passes = kupiec_pof(n, failures, tail_probability=p).p_value >= 1.0 - level
        assert passes == (fewest <= failures <= most)


def test_the_region_of_a_small_level_may_be_empty() -> None:
    with pytest.raises(
        ValueError, match=r"test_level must let a number of failures pass, was 0\.1"
    ):
        non_rejection_region(10, tail_probability=0.25, test_level=0.1)


@given(st.integers(1, 3000), st.floats(0.0, 1.0), st.floats(0.001, 0.5))
def test_the_light_turns_with_the_number_of_failures(n: int, share: float, p: float) -> None:
    x = round(n * share)
    light = traffic_light(n, x, tail_probability=p)
    at_most = float(stats.binom.cdf(x, n, p))
    assert light.cumulative_probability == pytest.approx(at_most, rel=1e-9, abs=1e-12)
    assert light.type_1_error == pytest.approx(float(stats.binom.sf(x - 1, n, p)), abs=1e-9)
    assert light.zone == ("green" if at_most < 0.95 else "yellow" if at_most < 0.9999 else "red")
    assert light.multiplier == 3.0 + light.increase
    assert 0.0 <= light.increase <= 1.0
    if x < n:
        assert light.increase <= traffic_light(n, x + 1, tail_probability=p).increase


def test_the_general_increase_rounds_to_the_table_of_the_supervisors() -> None:
    """A tail probability of 1 % but for rounding is outside the table, and the formula gives it within 0.03."""
    for failures, plus in zip(range(5, 10), var_backtests.PLUS_FACTORS, strict=True):
        general = traffic_light(250, failures, tail_probability=0.01 + 1e-15)
        assert traffic_light(250, failures, tail_probability=0.01).increase == plus
        assert general.increase == pytest.approx(plus, abs=0.03)
        assert general.increase != plus


# --- the shortfall


@pytest.mark.parametrize(
    ("dof", "critical"), [(3.0, -0.82), (5.0, -0.74), (10.0, -0.71), (100.0, -0.70)]
)
def test_the_p_value_is_near_five_percent_at_the_published_critical_value(
    dof: float, critical: float
) -> None:
    """Acerbi and Szekely (2014): critical values of Z2 at 5 % for 250 days at 2.5 %; samples of about that Z2."""
    at_risk, shortfall = student_t_tail_loss(0.0, 1.0, dof=dof, tail_probability=0.025)
    generator = np.random.default_rng(int(dof))
    drawn = -generator.standard_t(dof, (3000, 250))
    z2 = 1.0 - np.where(drawn > at_risk, drawn, 0.0).sum(axis=1) / (250 * 0.025 * shortfall)
    near = drawn[np.abs(z2 - critical) < 0.02]
    assert len(near) > 15
    found = [
        expected_shortfall_test(
            -losses, np.full(250, at_risk), np.full(250, shortfall), tail_probability=0.025
        )
        for losses in near
    ]
    assert np.mean([each.z2 for each in found]) == pytest.approx(critical, abs=0.02)
    assert np.median([each.p_value for each in found]) == pytest.approx(0.06, abs=0.015)


@pytest.mark.parametrize(
    ("dof", "n", "p"), [(4.0, 500, 0.05), (4.0, 250, 0.01), (50.0, 1000, 0.025)]
)
def test_right_forecasts_of_the_shortfall_are_seldom_rejected_and_low_ones_often(
    dof: float, n: int, p: float
) -> None:
    generator = np.random.default_rng(11)
    at_risk, shortfall = student_t_tail_loss(0.0, 1.0, dof=dof, tail_probability=p)

    def rejected(volatility: float) -> float:
        drawn = volatility * generator.standard_t(dof, (1500, n))
        tests = [
            expected_shortfall_test(
                r, np.full(n, at_risk), np.full(n, shortfall), tail_probability=p
            )
            for r in drawn
        ]
        return float(np.mean([test.p_value < 0.05 for test in tests]))

    assert 0.015 < rejected(1.0) < 0.06
    assert rejected(1.5) > 0.6


def test_the_statistic_is_zero_when_the_tail_is_as_forecast() -> None:
    # One failure in twenty days at 5 %, as large as forecast.
    returns = np.append(np.zeros(19), -0.03)
    found = expected_shortfall_test(
        returns, np.full(20, 0.02), np.full(20, 0.03), tail_probability=0.05
    )
    assert found.z2 == pytest.approx(0.0, abs=1e-12)
    assert 0.2 < found.p_value < 0.6


def test_no_failure_at_all_speaks_for_the_forecast() -> None:
    found = expected_shortfall_test(
        np.zeros(500), np.full(500, 0.02), np.full(500, 0.03), tail_probability=0.05
    )
    assert found == (1.0, 1.0)


def test_a_loss_against_a_forecast_of_none_is_rejected_outright() -> None:
    found = expected_shortfall_test([0.0, -0.01], [0.0, 0.0], [0.0, 0.0], tail_probability=0.05)
    assert found == (-math.inf, 0.0)


def test_days_without_a_forecast_are_not_tested() -> None:
    holed = expected_shortfall_test(
        [-0.03, 0.01, np.nan, 0.0],
        [np.nan, 0.02, 0.02, -0.001],
        [np.nan, 0.03, 0.03, 0.01],
        tail_probability=0.05,
    )
    plain = expected_shortfall_test(
        [0.01, 0.0], [0.02, -0.001], [0.03, 0.01], tail_probability=0.05
    )
    assert holed == plain


# --- rolling forecasts


@pytest.mark.parametrize("method", QUICK)
@given(seed=SEEDS)
def test_every_method_obeys_the_axioms(method: str, seed: int) -> None:
    returns = gentle(seed % 1000, 250)
    forecast = METHODS[method]
    at_risk, shortfall = forecast(returns, tail_probability=0.05)
    assert shortfall >= at_risk
    scaled = forecast(3.0 * returns, tail_probability=0.05)
    np.testing.assert_allclose(scaled, [3.0 * at_risk, 3.0 * shortfall], rtol=1e-3)
    shifted = forecast(returns + 0.01, tail_probability=0.05)
    np.testing.assert_allclose(shifted, [at_risk - 0.01, shortfall - 0.01], rtol=1e-3, atol=1e-5)


def test_the_methods_are_the_functions_they_are_named_after() -> None:
    returns = gentle(1, 300)
    p = 0.05
    assert METHODS["historical"](returns, tail_probability=p) == historical_tail_loss(
        returns, tail_probability=p
    )
    assert METHODS["normal"](returns, tail_probability=p) == normal_tail_loss(
        float(returns.mean()), float(returns.std(ddof=1)), tail_probability=p
    )
    t = fit_student_t(returns)
    assert METHODS["student_t"](returns, tail_probability=p) == student_t_tail_loss(
        t.location, t.scale, dof=t.dof, tail_probability=p
    )
    assert METHODS["peaks_over_threshold"](returns, tail_probability=p) == (
        peaks_over_threshold_tail_loss(returns, tail_probability=p)
    )
    assert METHODS["filtered_historical"](returns, tail_probability=p) == (
        filtered_historical_tail_loss(returns, tail_probability=p)
    )


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_agree_on_returns_that_are_almost_normal(method: str) -> None:
    returns = 0.01 * np.random.default_rng(3).standard_t(40, 4000)
    found = METHODS[method](returns, tail_probability=0.05)
    assert found == pytest.approx(normal_tail_loss(0.0, 0.01, tail_probability=0.05), rel=0.06)


@pytest.mark.parametrize("method", QUICK)
def test_a_forecast_uses_the_window_before_its_day(method: str) -> None:
    returns = gentle(2, 140)
    at_risk, shortfall = rolling_tail_loss(
        returns, window=100, tail_probability=0.05, method=method
    )
    assert np.isnan(at_risk[:100]).all()
    assert not np.isnan(at_risk[100:]).any()
    for t in (100, 117, 139):
        expected = METHODS[method](returns[t - 100 : t], tail_probability=0.05)
        assert (at_risk[t], shortfall[t]) == expected


@pytest.mark.parametrize("method", [*QUICK, "filtered_historical"])
def test_the_future_changes_no_forecast(method: str) -> None:
    returns = gentle(3, 135)
    whole = rolling_tail_loss(returns, window=120, tail_probability=0.05, method=method)
    for cut in (121, 128, 134):
        changed = np.where(np.arange(135) >= cut, 9.0, returns)
        short = rolling_tail_loss(returns[:cut], window=120, tail_probability=0.05, method=method)
        for before, after in zip(whole, short, strict=True):
            np.testing.assert_array_equal(before[:cut], after)
        if method == "historical":
            other = rolling_tail_loss(changed, window=120, tail_probability=0.05)
            np.testing.assert_array_equal(other[0][: cut + 1], whole[0][: cut + 1])


@given(
    st.lists(st.floats(-0.1, 0.1) | st.just(math.nan), min_size=1, max_size=60), st.integers(1, 9)
)
def test_windows_reach_over_missing_days(values: list[float], window: int) -> None:
    returns = np.array(values)
    at_risk, shortfall = rolling_tail_loss(returns, window=window, tail_probability=0.2)
    for t in range(len(returns)):
        known = returns[:t][~np.isnan(returns[:t])][-window:]
        if len(known) < window:
            assert math.isnan(at_risk[t])
            assert math.isnan(shortfall[t])
        else:
            expected = historical_tail_loss(known, tail_probability=0.2)
            assert (at_risk[t], shortfall[t]) == expected


def test_a_method_may_be_any_function_of_the_window() -> None:
    parameters = GarchParameters(mu=0.0, omega=4e-6, alpha=0.1, beta=0.88)
    method = partial(filtered_historical_tail_loss, parameters=parameters)
    returns = gentle(4, 160)
    at_risk, _ = rolling_tail_loss(returns, window=150, tail_probability=0.05, method=method)
    assert at_risk[159] == method(returns[9:159], tail_probability=0.05)[0]


def test_the_row_before_which_a_method_fails_is_named() -> None:
    returns = gentle(5, 60)
    returns[30:] = 0.01
    with pytest.raises(
        ValueError, match="method 'normal' refuses the window before row 50: returns must vary"
    ):
        rolling_tail_loss(returns, window=20, tail_probability=0.05, method="normal")


def test_returns_outside_the_expansions_domain_are_refused() -> None:
    returns = np.append(np.zeros(99), -1.0)
    with pytest.raises(
        ValueError, match="skew and excess kurtosis in the expansion's domain, had -9"
    ):
        METHODS["cornish_fisher"](returns, tail_probability=0.05)


# --- all of it


def test_the_backtest_of_right_forecasts_is_green() -> None:
    found = tail_backtest(gentle(6, 1500), window=250, tail_probability=0.05)
    assert found.days == 1250
    assert found.expected_failures == 62.5
    assert found.zone == "green"
    assert min(found.kupiec_p, found.conditional_coverage_p, found.shortfall_p) > 0.05
    assert found.mean_expected_shortfall > found.mean_value_at_risk > 0.0


def test_the_backtest_sees_a_forecast_that_is_too_low() -> None:
    returns = gentle(7, 900)

    def half(sample: FloatArray, *, tail_probability: float) -> tuple[float, float]:
        at_risk, shortfall = historical_tail_loss(sample, tail_probability=tail_probability)
        return 0.5 * at_risk, 0.5 * shortfall

    found = tail_backtest(returns, window=250, tail_probability=0.05, method=half)
    assert found.zone == "red"
    assert max(found.kupiec_p, found.conditional_coverage_p, found.shortfall_p) < 1e-4
    assert found.shortfall_z2 < -1.0


def test_the_backtest_sees_failures_that_cluster() -> None:
    calm, wild = 0.005 * gentle(8, 3000) / 0.01, 0.03 * gentle(9, 3000) / 0.01
    returns = np.where(np.arange(3000) // 40 % 6 == 0, wild, calm)
    found = tail_backtest(returns, window=500, tail_probability=0.05)
    assert found.independence_p < 1e-4
    assert found.conditional_coverage_p < 1e-3


def test_the_backtest_counts_days_and_failures() -> None:
    returns = np.array([-0.01, -0.02, np.nan, 0.01, -0.03, np.nan, 0.0, -0.02, -0.04])
    found = tail_backtest(returns, window=2, tail_probability=0.5)
    # Forecasts are the worse of the last two known returns at k = 1: 0.02, 0.02, 0.03, 0.03, 0.02.
    at_risk, _ = rolling_tail_loss(returns, window=2, tail_probability=0.5)
    tested = ~np.isnan(returns) & ~np.isnan(at_risk)
    np.testing.assert_allclose(at_risk[tested], [0.02, 0.02, 0.03, 0.03, 0.02])
    assert (found.days, found.failures, found.first_failure) == (5, 2, 2)
    hits = [False, True, False, False, True]
    assert found.independence_p == christoffersen_independence(transitions(hits)).p_value
    assert found.first_failure_p == time_until_first_failure(2, tail_probability=0.5).p_value
    assert found.mean_value_at_risk == pytest.approx(0.024)


def test_a_backtest_without_failures_has_no_first_one() -> None:
    found = judge_forecasts(
        np.zeros(100), np.full(100, 0.01), np.full(100, 0.02), tail_probability=0.05
    )
    assert found.failures == 0
    assert found.first_failure is None
    assert math.isnan(found.first_failure_p)
    assert found.kupiec_p == kupiec_pof(100, 0, tail_probability=0.05).p_value


def test_a_loss_equal_to_the_forecast_is_no_failure() -> None:
    found = judge_forecasts(
        np.full(9, -0.01), np.full(9, 0.01), np.full(9, 0.02), tail_probability=0.05
    )
    assert found.failures == 0
    assert found.shortfall_z2 == 1.0


def test_a_backtest_is_a_value_that_does_not_change() -> None:
    found = tail_backtest(gentle(6, 60), window=20, tail_probability=0.1)
    assert replace(found) == found
    with pytest.raises(AttributeError):
        found.days = 3  # type: ignore[misc] # frozen is what is tested


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kupiec_pof(0, 0, tail_probability=0.05), "n must be >= 1, was 0"),
        (lambda: kupiec_pof(10, 11, tail_probability=0.05), r"failures must be in \[0, n = 10\], was 11"),
        (lambda: kupiec_pof(10, 1, tail_probability=1.0), r"tail_probability must be in \(0, 1\), was 1\.0"),
        (lambda: christoffersen_independence(Transitions(1, 2, -1, 0)), "pairs must be >= 0, were"),
        (lambda: time_until_first_failure(0, tail_probability=0.05), "day must be >= 1, was 0"),
        (lambda: non_rejection_region(0, tail_probability=0.05), "n must be >= 1, was 0"),
        (lambda: non_rejection_region(9, tail_probability=0.05, test_level=1.0), r"test_level must be .* was 1\.0"),
        (lambda: traffic_light(250, -1, tail_probability=0.01), r"failures must be in \[0, n = 250\], was -1"),
        (lambda: traffic_light(250, 1, tail_probability=0.0), r"tail_probability must be in \(0, 1\), was 0\.0"),
        (lambda: expected_shortfall_test([0.1], [0.1, 0.2], [0.1], tail_probability=0.05),
         r"value_at_risk must have the shape of returns \(1,\), was \(2,\)"),
        (lambda: expected_shortfall_test([math.nan], [0.1], [0.1], tail_probability=0.05), "returns must have a day"),
        (lambda: rolling_tail_loss([0.1], window=0, tail_probability=0.05), "window must be >= 1, was 0"),
        (lambda: rolling_tail_loss([0.1], window=1, tail_probability=2.0), r"tail_probability must be in \(0, 1\)"),
        (lambda: rolling_tail_loss([math.inf], window=1, tail_probability=0.1), "returns must be finite or NaN"),
        (lambda: rolling_tail_loss([0.1], window=1, tail_probability=0.1, method="gaussian"),
         "method must be one of historical, normal, .* was 'gaussian'"),
        (lambda: tail_backtest([0.1, math.nan], window=1, tail_probability=0.1),
         "returns must hold at least 2 known values, held 1"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
