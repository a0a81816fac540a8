"""Market impact: the laws against brute force, the estimate against simulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from quantcore.execution import impact
from quantcore.types import FloatArray

FIT = {"prior": 1.0, "prior_error": 0.5}


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


# The square-root law


def law(notionals: Any, volumes: Any = 1e8, vols: Any = 0.03, y: float = 0.9) -> FloatArray:
    return impact.square_root_law(
        notionals, daily_notionals=volumes, daily_vols=vols, coefficient=y
    ).peak


def test_a_hundredth_of_the_days_volume_moves_the_price_by_a_tenth_of_its_volatility() -> None:
    assert law(1e6, 1e8, 0.04, 1.0) == pytest.approx(0.004, rel=1e-15)
    assert law([1e6, -4e6], [1e8, 1e8]).tolist() == pytest.approx([0.0027, 0.0054], rel=1e-14)


def test_the_mean_cost_is_the_mean_of_the_impact_on_the_way() -> None:
    way = (np.arange(200_000) + 0.5) / 200_000
    found = impact.square_root_law(5e5, daily_notionals=1e8, daily_vols=0.03, coefficient=0.9)
    assert float(found.mean_cost) == pytest.approx(law(5e5 * way).mean(), rel=1e-8)


def test_no_order_has_no_impact_and_no_volume_an_infinite_one() -> None:
    assert law([0.0, 0.0, 1.0], [np.nan, 0.0, 0.0]).tolist() == [0.0, 0.0, math.inf]
    assert np.isnan(law([np.nan, 1.0, 1.0], [1.0, np.nan, 1.0], [0.1, 0.1, np.nan])).all()


@given(positive(1.0, 1e8), positive(1.0, 1e8), positive(1e3, 1e10), positive(1e-4, 0.2))
def test_impact_rises_with_size_and_falls_with_volume(
    size: float, more: float, volume: float, vol: float
) -> None:
    assert law(size + more, volume, vol) > law(size, volume, vol)
    assert law(size, volume + more, vol) <= law(size, volume, vol)
    assert law(4.0 * size, volume, vol) == pytest.approx(2.0 * law(size, volume, vol), rel=1e-12)


@pytest.mark.parametrize("size", [0.0, 5e4, -5e4, math.nan])
@pytest.mark.parametrize("volume", [2e7, 0.0, math.nan])
def test_the_scalar_is_the_law(size: float, volume: float) -> None:
    found = impact.square_root_impact(0.9, 0.03, size, volume)
    assert found == pytest.approx(float(law(size, volume)), rel=1e-15, nan_ok=True)


# Its coefficient


def realised(
    seed: int, n: int, *, coefficient: float, noise: float, share: float = 0.02
) -> list[FloatArray]:
    """Slippage, sizes, volumes and volatilities of fat-tailed orders, some hundredths of the day's volume."""
    rng = np.random.default_rng(seed)
    volumes = 10.0 ** rng.uniform(7.0, 9.0, n)
    vols = rng.uniform(0.02, 0.08, n)
    sizes = volumes * share * rng.uniform(0.05, 1.0, n)
    shocks = rng.standard_t(4.0, n) / math.sqrt(2.0)
    paid = vols * (coefficient * impact.MEAN_OF_PEAK * np.sqrt(sizes / volumes) + noise * shocks)
    return [paid, sizes, volumes, vols]


def test_a_coefficient_is_found_where_there_is_no_noise() -> None:
    found = impact.fit_coefficient(*realised(1, 30, coefficient=0.7, noise=0.0), **FIT)
    assert found.coefficient == pytest.approx(0.7, rel=1e-9)
    assert found.sample_weight == pytest.approx(1.0, abs=1e-9)


def test_the_estimate_minimises_hubers_loss() -> None:
    paid, sizes, volumes, vols = realised(2, 200, coefficient=0.7, noise=0.1)
    found = impact.fit_coefficient(paid, sizes, volumes, vols, **FIT)
    x, y = 2.0 / 3.0 * np.sqrt(sizes / volumes), paid / vols
    bound = 1.345 * found.noise

    def loss(slope: float) -> float:
        error = np.abs(y - slope * x)
        return float(np.where(error < bound, error**2 / 2, bound * error - bound**2 / 2).sum())

    best = minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded", options={"xatol": 1e-10})
    assert found.sample_coefficient == pytest.approx(best.x, abs=1e-6)


def test_outliers_do_not_move_the_estimate() -> None:
    orders = realised(3, 300, coefficient=0.8, noise=0.05)
    clean = impact.fit_coefficient(*orders, **FIT)
    orders[0][:15] += 50.0 * orders[3][:15]
    dirty = impact.fit_coefficient(*orders, **FIT)
    assert dirty.sample_coefficient == pytest.approx(
        clean.sample_coefficient, abs=3.0 * clean.sample_error
    )
    assert dirty.noise < 1.5 * clean.noise


def test_nine_of_ten_intervals_of_the_estimate_hold_the_truth() -> None:
    held = 0
    for seed in range(400):
        orders = realised(seed, 60, coefficient=0.8, noise=0.1)
        more = 5.0 * orders[1] / orders[2]  # large orders are noisier
        orders[0] += more * orders[3] * np.random.default_rng(seed + 1000).standard_normal(60)
        found = impact.fit_coefficient(*orders, **FIT)
        held += abs(found.sample_coefficient - 0.8) < 1.645 * found.sample_error
    assert 0.85 < held / 400 < 0.95


def test_the_shrunk_coefficient_is_nearer_to_the_truth_than_the_fills_alone() -> None:
    rng = np.random.default_rng(5)
    shrunk, alone = [], []
    for seed in range(300):
        truth = 1.0 + 0.3 * rng.standard_normal()
        orders = realised(seed, 40, coefficient=truth, noise=0.2)
        found = impact.fit_coefficient(*orders, prior=1.0, prior_error=0.3)
        shrunk.append((found.coefficient - truth) ** 2)
        alone.append((found.sample_coefficient - truth) ** 2)
    assert np.mean(shrunk) < 0.7 * np.mean(alone)


def test_the_weight_of_the_fills_rises_with_their_number_and_their_size() -> None:
    def weight(n: int, share: float) -> float:
        orders = realised(6, n, coefficient=0.8, noise=0.2, share=share)
        return impact.fit_coefficient(*orders, **FIT).sample_weight

    assert weight(20, 1e-5) < 0.05 < weight(20, 0.02) < weight(500, 0.02) < 1.0


def test_the_prior_holds_where_fills_say_nothing_and_not_where_it_is_infinitely_wide() -> None:
    orders = realised(7, 25, coefficient=0.8, noise=0.3, share=1e-7)
    held = impact.fit_coefficient(*orders, prior=1.1, prior_error=0.2)
    assert held.coefficient == pytest.approx(1.1, abs=0.02)
    assert held.standard_error == pytest.approx(0.2, rel=0.01)
    alone = impact.fit_coefficient(*orders, prior=1.1, prior_error=math.inf)
    assert alone.coefficient == max(alone.sample_coefficient, 0.0)


@given(st.integers(0, 50), positive(0.1, 10.0), positive(1e-3, 1e3))
def test_the_estimate_scales_with_slippage_and_not_with_the_unit_of_money(
    seed: int, factor: float, unit: float
) -> None:
    paid, sizes, volumes, vols = realised(seed, 40, coefficient=0.8, noise=0.1)
    one = impact.fit_coefficient(paid, sizes, volumes, vols, **FIT)
    other = impact.fit_coefficient(factor * paid, unit * sizes, unit * volumes, vols, **FIT)
    assert other.sample_coefficient == pytest.approx(factor * one.sample_coefficient, rel=1e-6)
    assert other.sample_error == pytest.approx(factor * one.sample_error, rel=1e-6)


def test_orders_with_a_nan_do_not_count() -> None:
    orders = realised(8, 45, coefficient=0.8, noise=0.1)
    whole = impact.fit_coefficient(*(column[5:] for column in orders), **FIT)
    for k, column in enumerate(orders):
        column[k] = np.nan
    orders[0][4] = np.nan
    assert impact.fit_coefficient(*orders, **FIT) == whole
    assert whole.n_observations == 40


def test_a_negative_estimate_is_cut_to_zero() -> None:
    orders = realised(9, 200, coefficient=-2.0, noise=0.01)
    found = impact.fit_coefficient(*orders, **FIT)
    assert (found.coefficient, found.sample_coefficient < -1.5) == (0.0, True)


def test_too_few_fills_are_refused() -> None:
    orders = realised(10, 25, coefficient=0.8, noise=0.1)
    orders[0][:6] = np.nan
    with pytest.raises(ValueError, match="at least 20 orders without NaN, of 25, was 19"):
        impact.fit_coefficient(*orders, **FIT)


def _broken(column: int, value: float) -> Callable[[], object]:
    orders = realised(11, 25, coefficient=0.8, noise=0.1)
    orders[column][3] = value
    return lambda: impact.fit_coefficient(*orders, **FIT)


# Almgren and others (2005)


def power_laws(qty: float = 656100.0, **other: Any) -> impact.PowerLawImpact:
    known = {"daily_volume": 6.561e6, "daily_vol": 0.0157, "outstanding": 1.728e9}
    return impact.power_law_impact(qty, **{"horizon_days": [0.1, 0.2, 0.5], **known, **other})


def test_ibm_costs_what_table_3_of_the_paper_says() -> None:
    found = power_laws()
    assert round(found.permanent_bps) == 20
    assert found.temporary_bps.round().tolist() == [22.0, 15.0, 8.0]
    assert found.realised_bps.round().tolist() == [32.0, 25.0, 18.0]


def test_a_sale_costs_what_a_purchase_does_and_a_square_root_is_one_of_the_power_laws() -> None:
    assert power_laws(-656100.0).realised_bps.tolist() == power_laws().realised_bps.tolist()
    laws = replace(impact.EQUITIES_2005, permanent=0.0, temporary=1.0, rate_exponent=0.5)
    found = power_laws(laws=laws, horizon_days=1.0)
    expected = law(656100.0, 6.561e6, 0.0157, 1.0)
    assert float(found.realised_bps) == pytest.approx(1e4 * float(expected))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: law(1.0, -1.0), r"daily_notionals must be >= 0, was -1\.0"),
        (lambda: law(1.0, 1.0, -0.1), r"daily_vols must be >= 0, was -0\.1"),
        (lambda: law(1.0, y=math.nan), "coefficient must be >= 0 and finite, was nan"),
        (_broken(0, math.inf), "slippages must be finite or NaN, was inf"),
        (_broken(1, -3.0), r"notionals must be > 0 and finite, or NaN, was -3\.0"),
        (_broken(2, math.inf), "daily_notionals must be > 0 and finite, or NaN, was inf"),
        (_broken(3, 0.0), r"daily_vols must be > 0 and finite, or NaN, was 0\.0"),
        (
            lambda: impact.fit_coefficient([0.1], [1.0, 2.0], [1.0], [1.0], **FIT),
            r"notionals must be of shape \(1,\), was \(2,\)",
        ),
        (
            lambda: impact.fit_coefficient([], [], [], [], prior=1.0, prior_error=0.0),
            r"prior_error must be > 0, was 0\.0",
        ),
        (lambda: power_laws(math.inf), "qty must be finite, was inf"),
        (
            lambda: power_laws(horizon_days=[1.0, 0.0]),
            r"horizon_days must be > 0 and finite, was 0\.0",
        ),
        (
            lambda: impact.PowerLaws(rate_exponent=-0.1),
            r"rate_exponent must be >= 0 and finite, was -0\.1",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
