"""Ruin and drawdown: closed forms against other ways to them, the bootstrap against arch and the truth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import invgauss

from quantcore.finance import ruin
from quantcore.finance.ruin import RuinEstimate, bootstrap_ruin
from quantcore.types import FloatArray

SHARES = st.floats(0.01, 0.99)
KELLY = st.floats(0.05, 5.0)


def record(seed: int, n_days: int = 400, *, mean: float = 0.001, sigma: float = 0.02) -> FloatArray:
    """Fat-tailed daily returns with exactly this mean and standard deviation."""
    shocks = np.random.default_rng(seed).standard_t(5.0, n_days)
    return np.asarray(mean + sigma * (shocks - shocks.mean()) / shocks.std(), dtype=np.float64)


def estimate(returns: FloatArray, *, seed: int = 1, **settings: Any) -> RuinEstimate:
    usual: dict[str, Any] = {
        "threshold": 0.7,
        "horizon_days": 250,
        "n_paths": 2_000,
        "mean_block": 5.0,
    }
    return bootstrap_ruin(returns, rng=np.random.default_rng(seed), **(usual | settings))


def long_run(seed: int, n_days: int, *, rho: float) -> FloatArray:
    """An autocorrelated record."""
    shocks = np.random.default_rng(seed).normal(0.0005, 0.02, n_days)
    for t in range(1, n_days):
        shocks[t] += rho * shocks[t - 1]
    return shocks


# Closed forms


@given(
    distance=st.floats(0.01, 2.0),
    drift=st.floats(-1.0, -0.01),
    sigma=st.floats(0.1, 1.0),
    horizon=st.floats(0.01, 10.0),
)
def test_first_passage_down_the_drift_is_inverse_gaussian(
    distance: float, drift: float, sigma: float, horizon: float
) -> None:
    mean, shape = -distance / drift, (distance / sigma) ** 2
    expected = invgauss.cdf(horizon, mean / shape, scale=shape)
    passed = ruin.first_passage(distance, log_drift=drift, sigma=sigma, horizon=horizon)
    assert passed == pytest.approx(float(expected), abs=1e-8)


@given(
    distance=st.floats(0.0, 3.0),
    drift=st.floats(-2.0, 2.0),
    sigma=st.floats(0.01, 2.0),
    horizon=st.floats(1e-3, 100.0),
    more=st.floats(1.0, 10.0),
)
def test_first_passage_is_a_probability_that_rises_with_horizon_nearness_and_volatility(
    distance: float, drift: float, sigma: float, horizon: float, more: float
) -> None:
    def passed(distance: float, drift: float, sigma: float, horizon: float) -> float:
        return ruin.first_passage(distance, log_drift=drift, sigma=sigma, horizon=horizon)

    base = passed(distance, drift, sigma, horizon)
    assert 0.0 <= base <= 1.0
    assert passed(distance, drift, sigma, horizon * more) >= base - 1e-12
    assert passed(distance / more, drift, sigma, horizon) >= base - 1e-12
    assert passed(distance, drift - 0.1 * more, sigma, horizon) >= base - 1e-12
    assert passed(distance, drift, sigma, math.inf) >= base - 1e-12
    if drift >= 0.0:
        assert passed(distance, drift, sigma * more, horizon) >= base - 1e-12


@given(share=SHARES, fraction=KELLY)
def test_a_fractional_bettor_falls_below_a_level_as_a_brownian_motion_ever_does(
    share: float, fraction: float
) -> None:
    # At a fraction c of Kelly and a Sharpe ratio of 1, log wealth drifts by c - c^2/2 with volatility c.
    expected = ruin.first_passage(
        -math.log(share), log_drift=fraction - fraction**2 / 2, sigma=fraction
    )
    assert ruin.ever_below(share, kelly_fraction=fraction) == pytest.approx(expected, rel=1e-9)


@given(share=SHARES, fraction=KELLY, more=st.floats(1.0, 3.0))
def test_more_leverage_falls_below_a_level_more_often(
    share: float, fraction: float, more: float
) -> None:
    less = ruin.ever_below(share, kelly_fraction=fraction)
    assert 0.0 <= less <= ruin.ever_below(share, kelly_fraction=fraction * more) <= 1.0


@given(lower=SHARES, upper=st.floats(1.01, 1e6), fraction=st.floats(1e-3, 100.0))
def test_odds_of_reaching_a_level_first_are_a_fair_game_in_the_scale_of_wealth(
    lower: float, upper: float, fraction: float
) -> None:
    odds = ruin.reach_before(upper, lower, kelly_fraction=fraction)
    assert 0.0 <= odds <= 1.0
    assert odds >= 1.0 - ruin.ever_below(lower, kelly_fraction=fraction) - 1e-12
    power = 1.0 - 2.0 / fraction
    if abs(power * math.log(upper / lower)) < 10.0 and power != 0.0:
        # The wealth's power 1 - 2/c is a martingale: its mean at the exit is its start, 1.
        mean = odds * upper**power + (1.0 - odds) * lower**power
        assert mean == pytest.approx(1.0, rel=1e-9)


def test_odds_pass_smoothly_through_double_kelly() -> None:
    at, beside = (ruin.reach_before(2.0, 0.25, kelly_fraction=c) for c in (2.0, 2.0 + 1e-9))
    assert at == pytest.approx(2.0 / 3.0)
    assert beside == pytest.approx(at, abs=1e-8)


def test_ever_below_is_reaching_it_before_an_upper_level_without_end() -> None:
    far = 1.0 - ruin.reach_before(1e12, 0.5, kelly_fraction=0.8)
    assert far == pytest.approx(ruin.ever_below(0.5, kelly_fraction=0.8), rel=1e-9)


@settings(max_examples=60)
@given(p=st.floats(0.05, 0.95), units=st.integers(1, 12), more=st.integers(1, 12))
def test_the_gamblers_ruin_solves_its_difference_equation(p: float, units: int, more: int) -> None:
    target = units + more
    system = np.eye(target + 1)
    for k in range(1, target):
        system[k, k + 1], system[k, k - 1] = -p, p - 1.0
    ruined = np.linalg.solve(system, np.eye(target + 1)[0])
    value = ruin.gamblers_ruin(p, units=units, target=target)
    assert value == pytest.approx(float(ruined[units]), rel=1e-6, abs=1e-13)
    assert ruin.gamblers_ruin(p, units=units) >= value - 1e-12


def test_the_gamblers_ruin_at_its_edges() -> None:
    assert ruin.gamblers_ruin(0.5, units=3, target=12) == 0.75
    assert ruin.gamblers_ruin(0.5, units=3) == 1.0
    assert ruin.gamblers_ruin(0.0, units=3, target=4) == 1.0
    assert ruin.gamblers_ruin(1.0, units=3) == 0.0
    assert ruin.gamblers_ruin(0.4, units=5_000, target=10_000) == 1.0
    rare = ruin.gamblers_ruin(0.6, units=100, target=10_000)
    assert rare == pytest.approx((0.4 / 0.6) ** 100, rel=1e-9)


@pytest.mark.parametrize(("sigma", "horizon"), [(0.2, 1.0), (1.0, 100.0), (0.03, 365.0)])
def test_the_mean_drawdown_is_the_area_under_its_distribution(sigma: float, horizon: float) -> None:
    scale = sigma * math.sqrt(horizon)
    area, _ = quad(
        lambda x: ruin.max_drawdown_probability(x * scale, sigma=sigma, horizon=horizon), 0.0, 12.0
    )
    mean = ruin.expected_max_drawdown(sigma=sigma, horizon=horizon)
    assert area * scale == pytest.approx(mean, rel=1e-8)


def test_both_series_of_the_drawdown_agree_where_they_meet() -> None:
    below, above = (
        ruin.max_drawdown_probability(depth, sigma=1.0, horizon=1.0)
        for depth in (1.0, math.nextafter(1.0, 2.0))
    )
    assert above == pytest.approx(below, abs=1e-14)


@given(
    depth=st.floats(0.0, 1e3),
    sigma=st.floats(1e-3, 10.0),
    horizon=st.floats(1e-3, 1e4),
    more=st.floats(1.0, 10.0),
)
def test_drawdown_probability_rises_with_volatility_horizon_and_nearness(
    depth: float, sigma: float, horizon: float, more: float
) -> None:
    def reached(depth: float, sigma: float, horizon: float) -> float:
        return ruin.max_drawdown_probability(depth, sigma=sigma, horizon=horizon)

    base = reached(depth, sigma, horizon)
    assert 0.0 <= base <= 1.0
    assert reached(depth, sigma * more, horizon) >= base - 1e-12
    assert reached(depth, sigma, horizon * more) >= base - 1e-12
    assert reached(depth / more, sigma, horizon) >= base - 1e-12


# Bootstrap


def test_the_bootstrap_finds_the_closed_form_of_a_long_normal_record() -> None:
    log_drift, sigma, horizon = 0.0002, 0.02, 250
    shocks = np.random.default_rng(2).normal(size=20_000)
    shocks = (shocks - shocks.mean()) / shocks.std()
    returns = np.expm1(log_drift + sigma * shocks)
    found = estimate(returns, threshold=0.75, horizon_days=horizon, n_paths=20_000, mean_block=1.0)
    # Looked at once a day, a level is as good as 0.5826 daily deviations farther away (Broadie, Glasserman, Kou 1997).
    distance = -math.log(0.75) + 0.5826 * sigma
    expected = ruin.first_passage(distance, log_drift=log_drift, sigma=sigma, horizon=horizon)
    assert found.probability == pytest.approx(expected, abs=0.01)
    assert found.low < expected < found.high


def test_the_bootstrap_agrees_with_arch() -> None:
    bootstrap = pytest.importorskip("arch.bootstrap")
    returns = long_run(3, 300, rho=0.4)
    lowest, deepest = [], []
    for (path,), _ in bootstrap.StationaryBootstrap(8, returns, seed=4).bootstrap(4_000):
        wealth = np.concatenate([[1.0], np.cumprod(1.0 + path)])
        lowest.append(wealth.min())
        deepest.append((wealth / np.maximum.accumulate(wealth) - 1.0).min())
    found = estimate(returns, threshold=0.75, horizon_days=300, n_paths=20_000, mean_block=8.0)
    assert 0.1 < found.probability < 0.9
    assert found.probability == pytest.approx(float(np.mean(np.array(lowest) < 0.75)), abs=0.03)
    for share in (0.05, 0.5, 0.95):
        quantile = float(np.quantile(deepest, share))
        assert found.drawdown_quantile(share).value == pytest.approx(quantile, abs=0.02)


def test_the_band_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    settings: dict[str, Any] = {"threshold": 0.8, "horizon_days": 120, "mean_block": 1.0}

    def strategy(*shape: int) -> FloatArray:
        return rng.normal(0.001, 0.02, shape)

    true = ruin.share_below(strategy(20_000, 120), threshold=0.8)
    drawdowns = np.cumprod(1.0 + strategy(20_000, 120), axis=1)
    peaks = np.maximum.accumulate(np.maximum(drawdowns, 1.0), axis=1)
    true_deeper = float(((drawdowns / peaks).min(axis=1) < 0.8).mean())
    covered = deeper_covered = 0
    for seed in range(60):
        found = estimate(strategy(250), seed=seed, n_paths=1_000, **settings)
        covered += found.low <= true <= found.high
        _, low, high = found.drawdown_probability(-0.2)
        deeper_covered += low <= true_deeper <= high
    assert 50 <= covered <= 59
    assert 50 <= deeper_covered <= 59


def test_the_point_estimate_takes_the_mean_for_known_and_the_band_does_not() -> None:
    lucky, unlucky = record(7, mean=0.002), record(7, mean=0.0)
    best, worst = estimate(lucky), estimate(unlucky)
    assert best.probability < 0.5 * worst.probability
    # 400 days at 2 % cannot tell 0.1 % a day from nothing: the bands overlap.
    assert best.high > worst.low
    assert estimate(record(7, 4_000, mean=0.002)).high < best.high


def test_bands_of_an_autocorrelated_record_stay_centred_on_the_estimate() -> None:
    returns = long_run(9, 2_000, rho=0.6)
    found = estimate(returns, n_paths=20_000, mean_block=20.0, threshold=0.6)
    broken = estimate(returns, n_paths=20_000, mean_block=10.0, threshold=0.6)
    level = float(np.median((found.record_max_drawdowns < -0.3).mean(axis=1)))
    point = found.drawdown_probability(-0.3).value
    # Runs cut twice as often, which plain resampling of a resampling does, would move the centre this far:
    shift = point - broken.drawdown_probability(-0.3).value
    assert shift > 0.02
    assert abs(level - point) < 0.5 * shift


def test_the_estimate_carries_what_a_report_needs() -> None:
    found = estimate(record(8), threshold=0.65, horizon_days=100, n_paths=3_000, mean_block=2.5)
    assert (found.threshold, found.horizon_days, found.n_paths) == (0.65, 100, 3_000)
    assert (found.mean_block, found.n_days, found.confidence) == (2.5, 400, ruin.CONFIDENCE)
    assert found.max_drawdowns.shape == found.terminal_wealth.shape == (3_000,)
    assert found.record_max_drawdowns.shape == (ruin.N_RECORDS, 120)
    assert ((found.max_drawdowns <= 0.0) & (found.max_drawdowns > -1.0)).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.probability = 0.0  # type: ignore[misc] # that is the point


def test_every_estimate_lies_in_its_band() -> None:
    for seed in range(5):
        found = estimate(record(seed, 60), seed=seed, n_paths=200)
        bands = [
            (found.probability, found.low, found.high),
            *(found.drawdown_quantile(share) for share in (0.01, 0.5, 0.99)),
            *(found.terminal_quantile(share) for share in (0.01, 0.5, 0.99)),
            *(found.drawdown_probability(level) for level in (-0.05, -0.2, -0.9)),
        ]
        assert all(low <= value <= high for value, low, high in bands)
        assert 0.0 <= found.low <= found.high <= 1.0


def test_quantiles_and_probabilities_of_the_drawdown_are_inverse() -> None:
    found = estimate(record(10))
    for share in (0.05, 0.5, 0.9):
        level = found.drawdown_quantile(share).value
        assert found.drawdown_probability(level).value == pytest.approx(share, abs=1e-3)
    assert found.drawdown_quantile(0.05).value < found.drawdown_quantile(0.95).value
    assert found.terminal_quantile(0.05).value < found.terminal_quantile(0.95).value


def test_no_ruin_in_any_path_is_not_called_impossible() -> None:
    found = estimate(record(11, mean=0.01, sigma=0.001), threshold=0.1, n_paths=1_000)
    assert (found.probability, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1.0 - 0.05 ** (1.0 / 1_000))
    sure = estimate(record(11, mean=-0.05, sigma=0.001), n_paths=1_000)
    assert (sure.probability, sure.high) == (1.0, 1.0)
    assert 0.99 < sure.low < 1.0


def test_the_loss_of_everything_is_ruin_for_good() -> None:
    found = estimate(np.array([0.05, 0.05, -1.0]), mean_block=1.0, horizon_days=200)
    assert found.probability == 1.0
    assert found.terminal_quantile(1.0).value == 0.0
    assert found.drawdown_quantile(0.5).value == -1.0


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    mean=st.floats(-0.004, 0.004),
    block=st.floats(1.0, 40.0),
    more=st.floats(1.0, 3.0),
)
def test_ruin_rises_with_leverage_horizon_and_threshold_path_by_path(
    seed: int, mean: float, block: float, more: float
) -> None:
    returns = record(seed, 90, mean=mean)
    settings: dict[str, Any] = {"n_paths": 200, "mean_block": block, "horizon_days": 60}
    base = estimate(returns, **settings)
    assert 0.0 <= base.low <= base.probability <= base.high <= 1.0
    levered = estimate(returns * more, **settings)
    longer = estimate(returns, **(settings | {"horizon_days": int(60 * more)}))
    assert levered.probability >= base.probability
    assert (levered.max_drawdowns <= base.max_drawdowns + 1e-12).all()
    assert longer.probability >= base.probability
    assert (longer.max_drawdowns <= base.max_drawdowns).all()
    assert estimate(returns, **settings, threshold=0.75).probability >= base.probability
    if mean >= 0.0:
        wilder = mean + (returns - mean) * more
        assert estimate(wilder, **settings).probability >= base.probability


def test_the_same_generator_gives_the_same_estimate() -> None:
    one, same, other = (estimate(record(12), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.max_drawdowns, same.max_drawdowns)
    assert (one.low, one.high) == (same.low, same.high)
    assert not np.array_equal(one.max_drawdowns, other.max_drawdowns)


def test_days_without_a_return_do_not_count() -> None:
    returns = record(13)
    holed = np.insert(returns, [0, 100, 100, 400], math.nan)
    holed.flags.writeable = False
    full, dropped = estimate(returns), estimate(holed)
    np.testing.assert_array_equal(full.terminal_wealth, dropped.terminal_wealth)
    assert dropped.n_days == 400


def test_the_share_below_counts_paths_and_not_days() -> None:
    paths = [[-0.5, 1.5], [0.5, -0.5], [-0.1, -0.1], [-1.0, 0.0]]
    assert ruin.share_below(paths, threshold=0.6) == 0.5
    assert ruin.share_below(paths, threshold=0.9) == 1.0


# Bad input

RETURNS = record(0, 20)
NAN = math.nan
BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: ruin.first_passage(-0.1, log_drift=0, sigma=1), "distance must be >= 0 .* was -0.1"),
    (lambda: ruin.first_passage(0.1, log_drift=NAN, sigma=1), "log_drift must be finite, was nan"),
    (lambda: ruin.first_passage(0.1, log_drift=0, sigma=-1.0), "sigma must be > 0 .* was -1.0"),
    (lambda: ruin.first_passage(0.1, log_drift=0, sigma=1, horizon=0), "horizon must be > 0, was 0"),
    (lambda: ruin.ever_below(1.5, kelly_fraction=1), r"wealth_fraction must be in \(0, 1\], was 1.5"),
    (lambda: ruin.ever_below(0.5, kelly_fraction=0), "kelly_fraction must be > 0, was 0"),
    (lambda: ruin.reach_before(0.9, 0.5, kelly_fraction=1), "upper must be > 1 .* was 0.9"),
    (lambda: ruin.reach_before(2, 0.0, kelly_fraction=1), r"lower must be in \(0, 1\), was 0.0"),
    (lambda: ruin.reach_before(2, 0.5, kelly_fraction=NAN), "kelly_fraction must be > 0, was nan"),
    (lambda: ruin.gamblers_ruin(1.1, units=3), r"p_win must be in \[0, 1\], was 1.1"),
    (lambda: ruin.gamblers_ruin(0.5, units=0), "units must be >= 1, was 0"),
    (lambda: ruin.gamblers_ruin(0.5, units=3, target=3), "target must be > units = 3, was 3"),
    (lambda: ruin.expected_max_drawdown(sigma=0.0, horizon=1), "sigma must be > 0"),
    (lambda: ruin.expected_max_drawdown(sigma=1.0, horizon=math.inf), "horizon must be .* was inf"),
    (lambda: ruin.max_drawdown_probability(-1.0, sigma=1, horizon=1), "depth must be >= 0, was -1.0"),
    (lambda: ruin.share_below([0.1], threshold=0.5), r"returns must be a matrix, was \(1,\)"),
    (lambda: ruin.share_below([[NAN]], threshold=0.5), "returns must be >= -1, was nan"),
    (lambda: ruin.share_below([[0.1]], threshold=1.0), r"threshold must be in \(0, 1\), was 1.0"),
    (lambda: estimate(np.full(9, NAN)), "daily_returns must hold at least 2 known returns, was 0"),
    (lambda: estimate(np.array([0.1])), "at least 2 known returns, was 1"),
    (lambda: estimate(np.full(9, 0.01)), "daily_returns must not all be equal, was 0.01"),
    (lambda: estimate(np.array([0.1, -1.5])), r"daily_returns must be >= -1 and finite, was \[-1.5\]"),
    (lambda: estimate(np.array([0.1, math.inf])), r"must be >= -1 and finite, was \[inf\]"),
    (lambda: estimate(np.ones((3, 3))), r"daily_returns must be a vector, was \(3, 3\)"),
    (lambda: estimate(RETURNS, threshold=0.0), r"threshold must be in \(0, 1\), was 0.0"),
    (lambda: estimate(RETURNS, horizon_days=0), "horizon_days must be >= 1, was 0"),
    (lambda: estimate(RETURNS, n_paths=0), "n_paths must be >= 1, was 0"),
    (lambda: estimate(RETURNS, mean_block=0.5), "mean_block must be >= 1 and finite, was 0.5"),
    (lambda: estimate(RETURNS, mean_block=NAN), "mean_block must be >= 1 and finite, was nan"),
    (lambda: estimate(RETURNS).drawdown_probability(0.1), r"level must be in \(-1, 0\), was 0.1"),
    (lambda: estimate(RETURNS).drawdown_quantile(1.5), r"share must be in \[0, 1\], was 1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
