"""The bootstrap: block length against arch, exact variance against resampling, coverage, tests of the best of many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.finance import bootstrap, performance, sharpe
from quantcore.types import FloatArray


def autoregression(n: int, slope: float, rng: np.random.Generator) -> FloatArray:
    """A stationary series of mean 0 and variance 1."""
    values = rng.standard_normal(n)
    values[1:] *= math.sqrt(1 - slope**2)
    for t in range(1, n):
        values[t] += slope * values[t - 1]
    return values


def interval(returns: FloatArray, seed: int = 0, **changed: Any) -> bootstrap.Interval:
    settings = {"periods_per_year": 1.0, "confidence": 0.9, "n_paths": 1000, "mean_block": None}
    return bootstrap.bootstrap_sharpe(
        returns, **(settings | changed), rng=np.random.default_rng(seed)
    )


def drawdown(returns: FloatArray, seed: int = 0, **changed: Any) -> bootstrap.Interval:
    settings = {"confidence": 0.9, "n_paths": 1000, "mean_block": None}
    return bootstrap.bootstrap_max_drawdown(
        returns, **(settings | changed), rng=np.random.default_rng(seed)
    )


def ability(returns: FloatArray, seed: int = 0, **changed: Any) -> bootstrap.SuperiorAbility:
    settings = {"benchmark": 0.0, "size": 0.05, "n_paths": 300, "mean_block": 2.0}
    return bootstrap.superior_ability(
        returns, **(settings | changed), rng=np.random.default_rng(seed)
    )


# --- block length -------------------------------------------------------------------------------


def test_the_block_length_is_that_of_arch(rng: np.random.Generator) -> None:
    from arch.bootstrap import optimal_block_length

    for n in (11, 12, 30, 100, 365, 1200):
        for slope in (-0.8, -0.3, 0.0, 0.2, 0.6, 0.97):
            series = autoregression(n, slope, rng)
            ours, theirs = bootstrap.politis_white_block(series), optimal_block_length(series)
            assert ours.stationary == pytest.approx(theirs["stationary"].iloc[0], rel=1e-9)
            assert ours.circular == pytest.approx(theirs["circular"].iloc[0], rel=1e-9)


def test_a_sleeping_strategy_has_a_block_length() -> None:
    returns = np.zeros(200)
    returns[90:100] = [0.01, 0.02, 0.01, -0.01, 0.03, 0.02, 0.01, 0.0, -0.02, 0.01]
    assert 1.0 < bootstrap.politis_white_block(returns).stationary <= 43.0


@given(
    seed=st.integers(0, 2**32),
    n=st.integers(11, 300),
    slope=st.floats(-0.95, 0.95),
    scale=st.floats(1e-6, 1e6),
    shift=st.floats(-10.0, 10.0),
)
def test_the_block_length_is_positive_bounded_and_the_same_in_any_unit(
    seed: int, n: int, slope: float, scale: float, shift: float
) -> None:
    series = autoregression(n, slope, np.random.default_rng(seed))
    block = bootstrap.politis_white_block(series)
    assert 0.0 < block.stationary <= block.circular <= math.ceil(min(3 * math.sqrt(n), n / 3))
    moved = bootstrap.politis_white_block(scale * (series + shift))
    assert moved.stationary == pytest.approx(block.stationary, rel=1e-6)


def test_missing_returns_are_dropped(rng: np.random.Generator) -> None:
    returns = rng.normal(0.001, 0.01, 300)
    holed = np.insert(returns, [0, 7, 100, 300], np.nan)
    assert bootstrap.politis_white_block(holed) == bootstrap.politis_white_block(returns)
    assert interval(holed) == interval(returns)
    assert drawdown(holed) == drawdown(returns)
    variance = bootstrap.bootstrap_variance_of_mean(holed, mean_block=4.0)
    assert variance == bootstrap.bootstrap_variance_of_mean(returns, mean_block=4.0)


# --- variance of the mean -----------------------------------------------------------------------


@pytest.mark.parametrize("mean_block", [1.0, 1.5, 8.0, 40.0])
def test_the_exact_variance_of_the_mean_is_that_of_the_resampled_means(
    rng: np.random.Generator, mean_block: float
) -> None:
    series = autoregression(40, 0.5, rng)
    exact = bootstrap.bootstrap_variance_of_mean(series, mean_block=mean_block)
    rows = bootstrap.stationary_indices(40, n_paths=40_000, mean_block=mean_block, rng=rng)
    assert series[rows].mean(axis=1).var() == pytest.approx(exact, rel=0.03)


def test_the_exact_variance_of_the_mean_is_the_double_sum(rng: np.random.Generator) -> None:
    series = rng.normal(2.0, 1.0, 15)
    centred, keep, n = series - series.mean(), 1 - 1 / 4.0, 15
    total = 0.0
    for k in range(n):
        covariance = sum(centred[t] * centred[(t + k) % n] for t in range(n)) / n
        total += covariance if k == 0 else 2 * (1 - k / n) * keep**k * covariance
    exact = bootstrap.bootstrap_variance_of_mean(series, mean_block=4.0)
    assert exact == pytest.approx(total / n, rel=1e-12)


def test_rows_drawn_alone_give_the_variance_of_independent_returns(
    rng: np.random.Generator,
) -> None:
    series = rng.normal(0.0, 1.0, 100)
    exact = bootstrap.bootstrap_variance_of_mean(series, mean_block=1.0)
    assert exact == pytest.approx(series.var() / 100, rel=1e-12)


# --- Sharpe -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slope", "tails"),
    [(0.0, "normal"), (0.2, "normal"), (0.5, "normal"), (0.2, "skew"), (-0.2, "t")],
)
def test_the_interval_of_the_ratio_covers_as_often_as_it_says(slope: float, tails: str) -> None:
    generator, true, n_records = np.random.default_rng(11), 0.1, 1500
    studentised, percentile = 0, 0
    for _ in range(n_records):
        shocks = {
            "normal": lambda: generator.standard_normal(465),
            "t": lambda: generator.standard_t(4, 465) / math.sqrt(2),
            "skew": lambda: (2 - generator.gamma(2.0, 1.0, 465)) / math.sqrt(2),
        }[tails]()
        for t in range(1, 465):
            shocks[t] = slope * shocks[t - 1] + math.sqrt(1 - slope**2) * shocks[t]
        returns = true + shocks[100:]
        found = bootstrap.bootstrap_sharpe(
            returns, periods_per_year=1, confidence=0.9, n_paths=999, mean_block=None, rng=generator
        )
        studentised += found.low <= true <= found.high
        rows = bootstrap.stationary_indices(
            365, n_paths=999, mean_block=found.mean_block, rng=generator
        )
        drawn = returns[rows]
        low, high = np.quantile(drawn.mean(axis=1) / drawn.std(axis=1, ddof=1), [0.05, 0.95])
        percentile += low <= true <= high
    # Three standard errors of a share at 1,500 records are 0.023.
    assert 0.865 < studentised / n_records < 0.925
    assert abs(studentised / n_records - 0.9) < abs(percentile / n_records - 0.9) + 0.01


def test_the_interval_covers_the_true_ratio_of_correlated_returns() -> None:
    generator, inside, formula = np.random.default_rng(3), 0, 0
    for _ in range(150):
        returns = 0.1 + autoregression(365, 0.4, generator)
        found = interval(returns, n_paths=400)
        inside += found.low <= 0.1 <= found.high
        low, high = sharpe.sharpe_interval(returns, periods_per_year=1, confidence=0.9)
        formula += low <= 0.1 <= high
    assert 0.82 < inside / 150 < 0.96
    assert formula / 150 < 0.78


def test_for_independent_normal_returns_the_interval_is_that_of_the_formula(
    rng: np.random.Generator,
) -> None:
    returns = rng.normal(0.001, 0.01, 1500)
    found = interval(returns, n_paths=20_000, mean_block=1.0)
    low, high = sharpe.sharpe_interval(returns, periods_per_year=1, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert found.high - found.low == pytest.approx(high - low, rel=0.08)


def test_the_interval_widens_with_autocorrelation() -> None:
    widths = []
    for slope in (0.0, 0.3, 0.6):
        generator = np.random.default_rng(4)
        found = [interval(0.05 + autoregression(500, slope, generator)) for _ in range(5)]
        widths.append(np.mean([each.high - each.low for each in found]))
    assert widths[0] * 1.15 < widths[1]
    assert widths[1] * 1.15 < widths[2]


@given(
    seed=st.integers(0, 2**32),
    leverage=st.floats(0.01, 100.0),
    periods=st.sampled_from([1.0, 12.0, 365.0]),
)
def test_leverage_leaves_the_interval_and_a_short_position_mirrors_it(
    seed: int, leverage: float, periods: float
) -> None:
    returns = np.random.default_rng(seed).standard_t(5, 60) * 0.01 + 0.001
    found = interval(returns, seed, n_paths=60)
    levered = interval(leverage * returns, seed, n_paths=60, periods_per_year=periods)
    short = interval(-returns, seed, n_paths=60)
    assert found.low <= found.high
    assert found.estimate == performance.sharpe(returns, periods_per_year=1.0)
    scale = math.sqrt(periods)
    for name in ("low", "high", "estimate"):
        assert getattr(levered, name) == pytest.approx(scale * getattr(found, name), rel=1e-6)
    assert (short.low, short.high) == pytest.approx((-found.high, -found.low), rel=1e-6, abs=1e-9)


def test_more_confidence_is_a_wider_interval_and_the_block_is_the_one_asked_for(
    rng: np.random.Generator,
) -> None:
    returns = rng.normal(0.001, 0.01, 300)
    narrow, wide = (interval(returns, confidence=c, mean_block=5.0) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high
    assert narrow.mean_block == 5.0
    chosen = interval(returns).mean_block
    assert chosen == max(1.0, bootstrap.politis_white_block(returns).stationary)


def test_the_same_seed_gives_the_same_interval(rng: np.random.Generator) -> None:
    returns = rng.normal(0.001, 0.01, 100)
    assert interval(returns, 1) == interval(returns, 1) != interval(returns, 2)


# --- drawdown and any statistic -----------------------------------------------------------------


def test_the_range_of_the_drawdown_is_that_of_records_from_the_same_process() -> None:
    generator = np.random.default_rng(5)
    record = generator.standard_normal(3000)
    record = 0.0005 + 0.02 * (record - record.mean()) / record.std()
    found = drawdown(record, n_paths=2000, mean_block=1.0)
    curves = np.cumprod(1 + generator.normal(0.0005, 0.02, (2000, 3000)), axis=1)
    peaks = np.maximum(np.maximum.accumulate(curves, axis=1), 1.0)
    deepest = (curves / peaks - 1).min(axis=1)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(deepest, [0.05, 0.95])), abs=0.02
    )


def test_clusters_of_volatility_lengthen_the_block_and_deepen_the_drawdown() -> None:
    generator = np.random.default_rng(6)
    calm = np.where(np.sin(np.arange(1500) / 40) > 0, 0.03, 0.003)
    returns = calm * generator.standard_normal(1500)
    clustered, alone = drawdown(returns, n_paths=4000), drawdown(returns, mean_block=1.0)
    assert clustered.mean_block > 10.0
    assert clustered.low < alone.low


@given(seed=st.integers(0, 2**32), leverage=st.floats(1.1, 3.0))
def test_drawdowns_lie_between_ruin_and_none_and_deepen_with_leverage(
    seed: int, leverage: float
) -> None:
    returns = np.clip(np.random.default_rng(seed).normal(0.0, 0.02, 80), -0.3, None)
    found = drawdown(returns, seed, n_paths=60, mean_block=3.0)
    assert -1.0 <= found.low <= found.high <= 0.0
    levered = drawdown(leverage * returns, seed, n_paths=60, mean_block=3.0)
    assert levered.low < found.low
    assert levered.high < found.high
    curve = np.asarray(np.cumprod(1 + returns), dtype=np.float64)
    assert found.estimate == performance.max_drawdown(curve, start=1.0)


def test_the_percentile_interval_is_that_of_arch(rng: np.random.Generator) -> None:
    from arch.bootstrap import StationaryBootstrap

    returns = autoregression(300, 0.3, rng)
    found = bootstrap.bootstrap_interval(
        returns,
        lambda r: float(np.median(r)),
        confidence=0.9,
        n_paths=4000,
        mean_block=6.0,
        rng=rng,
    )
    theirs = StationaryBootstrap(6, returns, seed=rng).conf_int(
        lambda r: np.median(r, axis=0), 4000, method="percentile", size=0.9
    )
    width = found.high - found.low
    np.testing.assert_allclose([found.low, found.high], theirs[:, 0], atol=0.06 * width)
    assert found.estimate == np.median(returns)


def test_columns_are_resampled_together(rng: np.random.Generator) -> None:
    first = rng.normal(0.0, 0.01, 200)
    pair = np.column_stack([first, first + 0.002])
    pair[50, 1] = np.nan
    found = bootstrap.bootstrap_interval(
        pair,
        lambda rows: float((rows[:, 1] - rows[:, 0]).mean()),
        confidence=0.9,
        n_paths=100,
        mean_block=None,
        rng=rng,
    )
    assert (found.low, found.high) == pytest.approx((0.002, 0.002), abs=1e-12)


# --- the best of many ---------------------------------------------------------------------------


def test_the_p_value_is_that_of_a_bootstrap_by_hand(rng: np.random.Generator) -> None:
    excess = rng.normal(0.0, 0.01, (250, 6)) * np.arange(1, 7) + 0.0006
    found = ability(excess, n_paths=2000, mean_block=3.0)
    omega = [
        math.sqrt(250 * bootstrap.bootstrap_variance_of_mean(c, mean_block=3.0)) for c in excess.T
    ]
    rows = bootstrap.stationary_indices(250, n_paths=2000, mean_block=3.0, rng=rng)
    mean = excess.mean(axis=0)
    best = ((excess[rows].mean(axis=1) - mean) / omega).max(axis=1)
    assert found.upper == pytest.approx(np.mean(best > (mean / omega).max()), abs=0.04)
    assert 0.05 < found.upper < 0.95


def test_leverage_of_one_strategy_changes_nothing(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0005, 0.01, (200, 5))
    levered = returns * np.array([1.0, 20.0, 1.0, 0.05, 1.0])
    found, other = ability(returns), ability(levered)
    assert (found.lower, found.consistent, found.upper) == (
        other.lower,
        other.consistent,
        other.upper,
    )


def test_noise_is_seldom_superior_however_many_strategies_there_are() -> None:
    generator = np.random.default_rng(8)
    found = [
        ability(generator.normal(0.0, 0.01, (250, 20)), seed, size=0.1, n_paths=100)
        for seed in range(60)
    ]
    assert sum(len(each.superior) > 0 for each in found) <= 12
    assert all(each.lower <= each.consistent <= each.upper for each in found)
    assert 0.3 < np.mean([each.consistent for each in found]) < 0.7


def test_real_skill_is_found_among_noise_and_follows_its_column(rng: np.random.Generator) -> None:
    returns = rng.normal(0.0, 0.01, (600, 12))
    returns[:, [2, 9]] += 0.003
    found = ability(returns)
    assert found.consistent < 0.01
    assert found.superior.tolist() == [2, 9]
    assert ability(returns[:, ::-1]).superior.tolist() == [2, 9]
    assert ability(returns[:, [0, 9, 2]]).superior.tolist() == [1, 2]


def test_all_may_be_superior_and_against_a_better_benchmark_none_is(
    rng: np.random.Generator,
) -> None:
    returns = rng.normal(0.003, 0.01, (400, 3))
    assert ability(returns).superior.tolist() == [0, 1, 2]
    worse = ability(returns, benchmark=returns[:, 0] + rng.normal(0.004, 0.01, 400))
    assert worse.superior.size == 0
    assert worse.upper > 0.9


# --- bad input ----------------------------------------------------------------------------------

GOOD = np.sin(np.arange(40.0)) * 0.01


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (np.full(40, np.nan), "returns must hold >= 11 values other than NaN, held 0"),
        (np.array([0.01]), "returns must hold >= 11 values other than NaN, held 1"),
        (np.full(40, 0.01), "returns must vary, were all 0.01"),
        (np.append(GOOD, np.inf), "returns must be finite, held inf"),
        (np.ones((20, 1, 2)), "dimension"),
    ],
)
@pytest.mark.parametrize(
    "compute",
    [
        bootstrap.politis_white_block,
        interval,
        drawdown,
        lambda r: bootstrap.bootstrap_interval(
            r, np.mean, confidence=0.9, n_paths=50, mean_block=2.0, rng=np.random.default_rng(0)
        ),
    ],
)
def test_returns_that_cannot_be_resampled_are_refused(
    compute: Callable[[FloatArray], object], returns: FloatArray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compute(returns)


@pytest.mark.parametrize("compute", [interval, drawdown])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"confidence": 1.0}, r"confidence must be in \(0, 1\), was 1.0"),
        ({"confidence": 0.0}, r"confidence must be in \(0, 1\), was 0.0"),
        ({"n_paths": 19}, r"n_paths must be >= 2 / \(1 - confidence\), was 19"),
        ({"mean_block": 0.5}, r"mean_block must be in \[1, 40\], was 0.5"),
        ({"mean_block": 41.0}, r"mean_block must be in \[1, 40\], was 41.0"),
        ({"mean_block": math.nan}, r"mean_block must be in \[1, 40\], was nan"),
    ],
)
def test_settings_out_of_range_are_refused(
    compute: Callable[..., object], changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compute(GOOD, **changed)


def test_other_bad_arguments_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="periods_per_year must be > 0, was 0"):
        interval(GOOD, periods_per_year=0.0)
    with pytest.raises(ValueError, match=r"returns must be >= -1, held -1\.5"):
        drawdown(np.append(GOOD, -1.5))
    with pytest.raises(ValueError, match="statistic must be a number on the returns"):
        bootstrap.bootstrap_interval(
            GOOD, lambda _: math.nan, confidence=0.9, n_paths=50, mean_block=1.0, rng=rng
        )
    with pytest.raises(ValueError, match="n_paths must be >= 1, was 0"):
        bootstrap.stationary_indices(10, n_paths=0, mean_block=2.0, rng=rng)
    with pytest.raises(ValueError, match=r"mean_block must be in \[1, 10\], was 11"):
        bootstrap.stationary_indices(10, n_paths=1, mean_block=11.0, rng=rng)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"size": 0.0}, r"size must be in \(0, 1\), was 0.0"),
        ({"n_paths": 0}, "n_paths must be >= 1, was 0"),
        ({"mean_block": 0.2}, r"mean_block must be in \[1, 40\], was 0.2"),
        ({"benchmark": np.zeros(3)}, r"benchmark must have shape \(40,\) or \(\), had \(3,\)"),
        ({"benchmark": np.full(40, np.nan)}, "returns must not be NaN, were in column 0"),
        ({"benchmark": GOOD}, "returns must vary, were all 0.0"),
    ],
)
def test_a_superiority_that_cannot_be_tested_is_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ability(np.column_stack([GOOD, GOOD[::-1]]), **changed)
    with pytest.raises(ValueError, match=r"returns must have shape \(n_rows, n_strategies\)"):
        ability(GOOD)
