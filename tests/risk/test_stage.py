"""A share of the normal size, spread over the symbols that fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.risk.stage import spread_over_fitting
from quantcore.types import FloatArray

NOTHING = np.inf


def spread(
    weights: list[float], smallest: list[float], limit: float, held: list[bool] | None = None
) -> tuple[FloatArray, list[bool]]:
    n = len(weights)
    fits, scaled = np.ones(n, dtype=np.bool_), np.full(n, np.nan)
    preferred = np.array(held or [False] * n)
    spread_over_fitting(np.array(weights), np.array(smallest), preferred, limit, fits, scaled)
    return scaled, fits.tolist()


def test_where_everything_fits_each_target_is_scaled_alike() -> None:
    scaled, fits = spread([0.4, -0.3, 0.0, 0.3], [0.001] * 4, 0.1)
    np.testing.assert_allclose(scaled, [0.04, -0.03, 0.0, 0.03])
    assert fits == [True, True, False, True]


def test_what_is_too_small_is_left_out_one_after_another_and_the_others_take_its_part() -> None:
    # 0.1 of 1.0 is 0.05, 0.03, 0.02. The last is below 0.03 and goes: 0.1 / 0.8 = 0.125 of 0.5 and 0.3.
    scaled, fits = spread([0.5, 0.3, -0.2], [0.03, 0.03, 0.03], 0.1)
    np.testing.assert_allclose(scaled, [0.0625, 0.0375, 0.0])
    assert fits == [True, True, False]


def test_no_symbol_gets_more_than_its_own_target() -> None:
    # Only the smallest fits: its part of the tenth would be 0.1, twice what is wanted of it.
    scaled, _ = spread([0.5, 0.45, 0.05], [NOTHING, 0.46, 0.01], 0.1)
    np.testing.assert_allclose(scaled, [0.0, 0.0, 0.05])


def test_what_is_held_is_left_out_later_and_gets_its_smallest_order() -> None:
    # Two of 0.5: a tenth of each is 0.05, the smallest order of the second 0.055.
    scaled, _ = spread([0.5, 0.5], [0.01, 0.055], 0.1)
    np.testing.assert_allclose(scaled, [0.1, 0.0])
    scaled, _ = spread([0.5, 0.5], [0.01, 0.055], 0.1, held=[False, True])
    np.testing.assert_allclose(scaled, [0.05, 0.055])
    scaled, _ = spread([0.5, 0.5], [0.01, 0.07], 0.1, held=[False, True])
    np.testing.assert_allclose(scaled, [0.1, 0.0])


@pytest.mark.parametrize("smallest", [[NOTHING, NOTHING], [np.nan, np.nan], [0.6, 0.5]])
def test_where_nothing_fits_nothing_is_held(smallest: list[float]) -> None:
    scaled, fits = spread([0.5, -0.4], smallest, 0.1)
    assert scaled.tolist() == [0.0, 0.0]
    assert fits == [False, False]


@given(
    weights=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=8),
    seed=st.integers(0, 2**32 - 1),
    limit=st.floats(0.01, 1.0),
)
def test_it_keeps_the_limit_the_targets_and_the_smallest_orders_whatever_the_order_of_symbols(
    weights: list[float], seed: int, limit: float
) -> None:
    rng = np.random.default_rng(seed)
    smallest = rng.lognormal(-3.0, 1.5, len(weights))
    scaled, fits = spread(weights, smallest.tolist(), limit)
    sizes = np.abs(np.array(weights))
    assert (np.abs(scaled) <= sizes * (1.0 + 1e-12)).all()
    assert np.abs(scaled).sum() <= limit * sizes.sum() * (1.0 + 1e-9) or not any(fits)
    assert (scaled * weights >= 0.0).all()
    assert ((scaled == 0.0) | (np.abs(scaled) >= smallest * (1.0 - 1e-12))).all()
    kept = np.array(fits)
    if kept.any():  # in proportion among those that are held
        ratios = np.abs(scaled[kept]) / sizes[kept]
        np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
    order = rng.permutation(len(weights))
    again, _ = spread([weights[k] for k in order], smallest[order].tolist(), limit)
    np.testing.assert_allclose(again, scaled[order], rtol=1e-9, atol=1e-15)
