"""What luck alone would have found: order statistics, deflation, and the cross-validation against a slow version."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance import overfitting
from quantcore.finance.sharpe import probabilistic_sharpe
from quantcore.types import FloatArray


def sharpes(rows: FloatArray) -> FloatArray:
    return np.asarray(rows.mean(axis=0) / rows.std(axis=0, ddof=1))


# --- the best of N by luck ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, 0.0),
        (2, 1 / math.sqrt(math.pi)),
        (3, 1.5 / math.sqrt(math.pi)),
        (4, 1.0293753730),  # Teichroew, Annals of Mathematical Statistics 27 (1956), table I
        (5, 1.1629644736),
        (10, 1.5387527308),
        (20, 1.8674750598),
    ],
)
def test_the_expected_maximum_is_that_of_the_tables(n: int, expected: float) -> None:
    assert overfitting.expected_max_normal(n) == pytest.approx(expected, abs=1e-9)


def test_the_expected_maximum_is_that_of_many_draws(rng: np.random.Generator) -> None:
    drawn = rng.standard_normal((20_000, 100)).max(axis=1).mean()
    assert overfitting.expected_max_normal(100) == pytest.approx(drawn, abs=0.01)


@given(n=st.floats(1.0, 1e12), more=st.floats(1.001, 10.0))
def test_more_trials_raise_the_expected_maximum(n: float, more: float) -> None:
    exact, of_more = overfitting.expected_max_normal(n), overfitting.expected_max_normal(n * more)
    assert 0.0 <= exact < of_more <= math.sqrt(2 * math.log(n * more))
    near = overfitting.expected_max_sharpe(n, variance=1.0)
    assert 0.0 <= near <= overfitting.expected_max_sharpe(n * more, variance=1.0)


def test_the_approximation_is_as_near_as_its_docstring_says() -> None:
    def error(n: float) -> float:
        near = overfitting.expected_max_sharpe(n, variance=1.0)
        return near / overfitting.expected_max_normal(n) - 1

    assert error(2) == pytest.approx(-0.08, abs=0.005)
    assert [error(n) for n in (3, 100)] == pytest.approx([0.01, 0.01], abs=0.003)
    assert max(error(n) for n in range(3, 1000)) == pytest.approx(0.025, abs=0.002)
    assert overfitting.expected_max_sharpe(1.2, variance=1.0) == 0.0


def test_the_expected_maximum_scales_with_the_spread_of_the_trials() -> None:
    unit = overfitting.expected_max_sharpe(50, variance=1.0)
    assert overfitting.expected_max_sharpe(50, variance=0.04) == pytest.approx(0.2 * unit)
    assert overfitting.expected_max_sharpe(50, variance=0.0) == 0.0
    assert math.isnan(overfitting.expected_max_sharpe(50, variance=math.nan))


# --- deflation ----------------------------------------------------------------------------------


@given(
    ratio=st.floats(-0.5, 0.5),
    n=st.integers(2, 3000),
    skew=st.floats(-2.0, 2.0),
    excess=st.floats(0.0, 10.0),
    n_trials=st.floats(1.0, 1e6),
    variance=st.floats(0.0, 0.1),
)
def test_deflation_never_raises_the_probability_and_falls_with_the_trials(
    ratio: float, n: int, skew: float, excess: float, n_trials: float, variance: float
) -> None:
    # A kurtosis of at least 1 + skew^2, as for every distribution.
    moments = {"skew": skew, "kurtosis": 1 + skew**2 + excess}

    def deflated(trials: float, spread: float) -> float:
        return overfitting.deflated_sharpe(ratio, n, **moments, n_trials=trials, variance=spread)

    plain = probabilistic_sharpe(ratio, n, **moments, benchmark=0.0)
    if math.isnan(plain):  # the moments leave no variance
        return
    assert 0.0 <= deflated(n_trials, variance) <= plain
    assert deflated(1, variance) == deflated(n_trials, 0.0) == plain
    assert deflated(2 * n_trials, variance) <= deflated(n_trials, variance)
    assert deflated(n_trials, 2 * variance) <= deflated(n_trials, variance)


def test_deflation_of_worthless_trials_is_as_likely_high_as_it_says() -> None:
    generator = np.random.default_rng(1)
    found = []
    for _ in range(300):
        ratios = sharpes(generator.normal(0.0, 0.01, (250, 50)))
        found.append(
            overfitting.deflated_sharpe(
                ratios.max(), 250, skew=0.0, kurtosis=3.0, n_trials=50, variance=ratios.var(ddof=1)
            )
        )
    # The best of fifty worthless trials lies about where luck says, and clears 95 % seldom.
    assert 0.35 < np.mean(found) < 0.6
    assert np.mean(np.array(found) > 0.95) < 0.05


def test_five_years_bear_forty_five_trials() -> None:
    assert overfitting.min_backtest_length(45, annual_sharpe=1.0) == pytest.approx(5.0, abs=0.05)


@given(n_trials=st.floats(2.0, 1e6), ratio=st.floats(0.1, 5.0))
def test_the_shortest_backtest_is_below_its_bound_and_falls_with_the_ratio(
    n_trials: float, ratio: float
) -> None:
    years = overfitting.min_backtest_length(n_trials, annual_sharpe=ratio)
    assert 0.0 < years < 2 * math.log(n_trials) / ratio**2
    assert overfitting.min_backtest_length(n_trials, annual_sharpe=2 * ratio) == pytest.approx(
        years / 4
    )


# --- effective trials ---------------------------------------------------------------------------


def test_copies_count_once_groups_of_copies_as_groups_and_strangers_each(
    rng: np.random.Generator,
) -> None:
    alone = rng.normal(0.0, 0.01, (800, 10))
    copies = np.repeat(alone, 10, axis=1) * np.tile([1.0, 3.0], 50)
    for returns, expected, tolerance in (
        (alone[:, [0, 0, 0]], 1.0, 1e-6),
        (alone, 10.0, 0.6),
        (copies, 10.0, 0.6),
        (rng.normal(0.0, 0.01, (800, 100)), 100.0, 6.0),
    ):
        found = overfitting.effective_trials(returns, n_draws=4000, rng=np.random.default_rng(2))
        assert found == pytest.approx(expected, abs=tolerance)
    assert overfitting.effective_trials(alone[:, :1], n_draws=1, rng=rng) == 1.0


def test_a_common_factor_leaves_the_trials_that_its_correlation_says() -> None:
    generator = np.random.default_rng(3)
    returns = generator.standard_normal((20_000, 1)) + generator.standard_normal((20_000, 30))
    found = overfitting.effective_trials(returns, n_draws=4000, rng=generator)
    # Equal correlations of 1/2: the maximum is that of independent trials, shrunk by the root of 1 - 1/2.
    shrunk = overfitting.expected_max_normal(30) * math.sqrt(0.5)
    assert overfitting.expected_max_normal(found) == pytest.approx(shrunk, rel=0.03)


@given(seed=st.integers(0, 2**32), n_trials=st.integers(2, 12), common=st.floats(0.0, 5.0))
def test_effective_trials_lie_between_one_and_all(seed: int, n_trials: int, common: float) -> None:
    generator = np.random.default_rng(seed)
    returns = common * generator.standard_normal((40, 1)) + generator.standard_normal(
        (40, n_trials)
    )
    found = overfitting.effective_trials(returns, n_draws=50, rng=np.random.default_rng(seed))
    assert 1.0 <= found <= n_trials
    mixed = overfitting.effective_trials(
        returns[:, ::-1], n_draws=50, rng=np.random.default_rng(seed)
    )
    assert mixed == pytest.approx(found, rel=1e-9)


# --- combinatorially symmetric cross-validation -------------------------------------------------


def slow_cscv(
    returns: FloatArray, n_blocks: int, metric: Callable[[FloatArray], FloatArray]
) -> tuple[list[float], list[float], list[float]]:
    """Every combination from its rows: logits and the chosen strategy's performance in and out of sample."""
    blocks = np.array_split(np.arange(len(returns)), n_blocks)
    logits, inside, outside = [], [], []
    for chosen in itertools.combinations(range(n_blocks), n_blocks // 2):
        one = np.concatenate([blocks[k] for k in chosen])
        rest = np.concatenate([blocks[k] for k in range(n_blocks) if k not in chosen])
        there, here = metric(returns[rest]), metric(returns[one])
        best = max(range(len(here)), key=lambda k: here[k])
        rank = 1 + sum(there < there[best]) + (sum(there == there[best]) - 1) / 2
        relative = rank / (returns.shape[1] + 1)
        logits.append(math.log(relative / (1 - relative)))
        inside.append(float(here[best]))
        outside.append(float(there[best]))
    return logits, inside, outside


@pytest.mark.parametrize(
    ("n_rows", "n_strategies", "n_blocks"), [(24, 4, 4), (100, 7, 8), (103, 5, 6), (60, 2, 2)]
)
@pytest.mark.parametrize("name", ["sharpe", "mean"])
def test_the_blocks_sums_give_what_the_rows_give(
    rng: np.random.Generator, n_rows: int, n_strategies: int, n_blocks: int, name: str
) -> None:
    returns = rng.normal(0.01, 0.02, (n_rows, n_strategies))
    slow: Any = {"sharpe": sharpes, "mean": lambda rows: rows.mean(axis=0)}[name]
    found = overfitting.backtest_overfitting(
        returns, n_blocks=n_blocks, metric=None if name == "sharpe" else slow
    )
    logits, inside, outside = slow_cscv(returns, n_blocks, slow)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found.in_sample, inside, rtol=1e-9)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-8, atol=1e-12)
    assert found.pbo == np.mean(np.array(logits) <= 0)
    assert found.probability_of_loss == np.mean(np.array(outside) < 0)
    if n_blocks > 2:
        slope, intercept = np.polyfit(inside, outside, 1)
        correlation = np.corrcoef(inside, outside)[0, 1]
        assert (found.slope, found.intercept) == pytest.approx((slope, intercept), rel=1e-6)
        assert found.r_squared == pytest.approx(correlation**2, rel=1e-6)


def test_a_large_mean_takes_no_digits_from_the_ratio(rng: np.random.Generator) -> None:
    returns = 1000.0 + rng.normal(0.0, 0.01, (80, 4))
    found = overfitting.backtest_overfitting(returns, n_blocks=4)
    _, inside, outside = slow_cscv(returns, 4, sharpes)
    np.testing.assert_allclose(found.in_sample, inside, rtol=1e-6)
    np.testing.assert_allclose(found.out_of_sample, outside, rtol=1e-6)


def test_noise_is_overfitted_about_half_of_the_time() -> None:
    generator = np.random.default_rng(4)
    found = [
        overfitting.backtest_overfitting(generator.normal(0.0, 0.01, (160, 20)), n_blocks=8)
        for _ in range(200)
    ]
    assert np.mean([each.pbo for each in found]) == pytest.approx(0.5, abs=0.06)
    assert np.mean([each.probability_of_loss for each in found]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([each.slope for each in found]) < 0.0


def test_one_strategy_that_dominates_is_not_overfitted(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.01, (500, 30))
    returns[:, 7] += 0.004
    found = overfitting.backtest_overfitting(returns, n_blocks=10)
    assert found.pbo < 0.01
    assert found.probability_of_loss == 0.0
    assert found.logits.max() == pytest.approx(math.log(30))


@given(seed=st.integers(0, 2**32), leverage=st.floats(0.01, 100.0))
def test_order_and_leverage_of_the_strategies_change_nothing(seed: int, leverage: float) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.0, 0.01, (40, 5))
    found = overfitting.backtest_overfitting(returns, n_blocks=4)
    order = generator.permutation(5)
    other = overfitting.backtest_overfitting(
        returns[:, order] * np.array([1.0, leverage, 1.0, 1.0, 2.0]), n_blocks=4
    )
    np.testing.assert_allclose(other.logits, found.logits, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.in_sample, found.in_sample, rtol=1e-6)
    assert other.pbo == found.pbo


def test_a_strategy_at_rest_over_a_half_counts_as_cash() -> None:
    returns = np.array([[0.01, -0.01], [0.03, -0.03], [0.01, 0.0], [0.02, 0.0]])
    found = overfitting.backtest_overfitting(returns, n_blocks=2)
    np.testing.assert_allclose(found.out_of_sample, sharpes(returns[:, :1].reshape(2, 2).T)[::-1])
    losing = overfitting.backtest_overfitting(-returns, n_blocks=2)
    # In the second half cash is the best; in the first it trades and wins.
    assert losing.in_sample.tolist() == [pytest.approx(math.sqrt(2)), 0.0]
    assert losing.out_of_sample.tolist() == [0.0, pytest.approx(math.sqrt(2))]


def test_ties_share_the_mean_rank() -> None:
    base = np.array([0.02, -0.01, 0.01, 0.03])
    found = overfitting.backtest_overfitting(
        np.column_stack([base, base, base - 0.05]),
        n_blocks=2,
        metric=lambda rows: rows.mean(axis=0),
    )
    np.testing.assert_allclose(found.logits, math.log(2.5 / 1.5))


# --- bad input ----------------------------------------------------------------------------------

GOOD = np.random.default_rng(0).normal(0.0, 0.01, (20, 3))


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (GOOD[:, 0], r"returns must have shape \(n_rows, n_strategies\), had \(20,\)"),
        (GOOD[:, :0], r"returns must have shape \(n_rows, n_strategies\), had \(20, 0\)"),
        (GOOD[:1], "returns must hold >= 2 values other than NaN, held 1"),
        (np.where(GOOD[3, 1] == GOOD, np.nan, GOOD), "returns must not be NaN, were in column 1"),
        (np.where(GOOD[3, 1] == GOOD, np.inf, GOOD), "returns must be finite, held inf"),
        (GOOD * np.array([1.0, 1.0, 0.0]), "returns must vary, were all 0.0"),
    ],
)
def test_returns_that_cannot_be_judged_are_refused(returns: FloatArray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        overfitting.backtest_overfitting(returns, n_blocks=2)
    with pytest.raises(ValueError, match=message):
        overfitting.effective_trials(returns, n_draws=10, rng=np.random.default_rng(0))


@pytest.mark.parametrize("n_blocks", [0, 3, 12, -2])
def test_blocks_that_cannot_be_halved_are_refused(n_blocks: int) -> None:
    message = rf"n_blocks must be even and in \[2, 10\], was {n_blocks}"
    with pytest.raises(ValueError, match=message):
        overfitting.backtest_overfitting(GOOD, n_blocks=n_blocks)


def test_one_strategy_has_nothing_to_be_chosen_from() -> None:
    with pytest.raises(ValueError, match="returns must have >= 2 strategies, had 1"):
        overfitting.backtest_overfitting(GOOD[:, :1], n_blocks=2)


@pytest.mark.parametrize("gives", [np.array([1.0, np.nan, 0.0]), np.zeros(2), 1.0])
def test_a_metric_that_gives_no_number_per_strategy_is_refused(gives: Any) -> None:
    with pytest.raises(ValueError, match="metric must give 3 finite numbers, gave"):
        overfitting.backtest_overfitting(GOOD, n_blocks=2, metric=lambda _: gives)


@pytest.mark.parametrize("n_trials", [0.5, -1.0, math.nan, math.inf])
def test_fewer_trials_than_one_are_refused(n_trials: float) -> None:
    message = "n_trials must be >= 1 and finite, was"
    with pytest.raises(ValueError, match=message):
        overfitting.expected_max_sharpe(n_trials, variance=1.0)
    with pytest.raises(ValueError, match=message):
        overfitting.expected_max_normal(n_trials)
    with pytest.raises(ValueError, match=message):
        overfitting.min_backtest_length(n_trials, annual_sharpe=1.0)
    with pytest.raises(ValueError, match=message):
        overfitting.deflated_sharpe(
            0.1, 100, skew=0.0, kurtosis=3.0, n_trials=n_trials, variance=0.01
        )


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"variance must be >= 0, was -0\.1"):
        overfitting.expected_max_sharpe(10, variance=-0.1)
    with pytest.raises(ValueError, match="annual_sharpe must be > 0, was 0"):
        overfitting.min_backtest_length(10, annual_sharpe=0.0)
    with pytest.raises(ValueError, match="n_draws must be >= 1, was 0"):
        overfitting.effective_trials(GOOD, n_draws=0, rng=np.random.default_rng(0))
