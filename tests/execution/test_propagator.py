"""Transient impact: sums over all trades before, and the optimum against a quadratic programme."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.execution import propagator
from quantcore.execution.impact import MEAN_OF_PEAK


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@pytest.mark.parametrize(
    "decay",
    [
        propagator.PowerLawDecay(initial=0.01, scale=20.0, exponent=0.25),
        propagator.ExponentialDecay(initial=0.02, rate=0.1),
    ],
)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_the_price_is_the_sum_over_all_trades_before(
    decay: propagator.Decay, exponent: float
) -> None:
    volumes = np.random.default_rng(13).normal(0.0, 100.0, 60)
    volumes[10:20] = 0.0
    found = propagator.propagate(volumes, decay, volume_exponent=exponent)
    cost = 0.0
    for t, volume in enumerate(volumes):
        before = sum(
            float(decay.at(np.array(float(t - s))))
            * math.copysign(abs(volumes[s]) ** exponent, volumes[s])
            for s in range(t)
        )
        own = decay.initial * math.copysign(abs(volume) ** exponent, volume)
        assert found.price_shifts[t] == pytest.approx(before + own, abs=1e-11)
        cost += volume * (before + own / (1.0 + exponent))
    assert found.cost == pytest.approx(cost, rel=1e-12)


def test_a_trade_pays_the_mean_of_its_own_path() -> None:
    decay = propagator.PowerLawDecay(initial=0.01, scale=1.0, exponent=0.5)
    found = propagator.propagate([400.0], decay, volume_exponent=0.5)
    path = 0.01 * np.sqrt(400.0 * (np.arange(100_000) + 0.5) / 100_000)
    assert found.cost == pytest.approx(400.0 * path.mean(), rel=1e-7)
    assert found.cost == pytest.approx(MEAN_OF_PEAK * 400.0 * found.price_shifts[0])


@given(st.lists(positive(-1e3, 1e3), min_size=1, max_size=30), positive(0.0, 3.0))
def test_linear_impact_that_decays_never_earns_money(volumes: list[float], rate: float) -> None:
    decay = propagator.ExponentialDecay(initial=0.01, rate=rate)
    found = propagator.propagate(volumes, decay, volume_exponent=1.0)
    assert found.cost >= -1e-9 * sum(v * v for v in volumes)
    mirrored = propagator.propagate(np.negative(volumes), decay, volume_exponent=1.0)
    assert mirrored.price_shifts.tolist() == (-found.price_shifts).tolist()


def test_blocks_and_rate_solve_the_quadratic_programme_on_a_fine_grid() -> None:
    n, horizon, resilience = 1000, 1.5, 2.23
    times = np.linspace(0.0, horizon, n + 1)
    kernel = np.exp(-resilience * np.abs(times[:, None] - times))
    solved = np.linalg.solve(kernel, np.ones(n + 1))
    best = 1e5 * solved / solved.sum()
    plan = propagator.obizhaeva_wang(1e5, resilience=resilience, horizon=horizon)
    assert plan.first_block == pytest.approx(best[0], rel=2e-3)
    assert plan.last_block == pytest.approx(best[-1], rel=2e-3)
    assert plan.rate * horizon / n == pytest.approx(best[n // 2], rel=2e-3)
    assert plan.cost(0.01) == pytest.approx(0.01 * 0.5 * best @ kernel @ best, rel=1e-3)
    # The same trades through the propagator, whose lags are the grid's steps.
    decay = propagator.ExponentialDecay(initial=0.01, rate=resilience * horizon / n)
    assert propagator.propagate(best, decay, volume_exponent=1.0).cost == pytest.approx(
        plan.cost(0.01), rel=1e-3
    )


@given(positive(-1e6, 1e6), positive(0.0, 50.0), positive(0.01, 50.0))
def test_blocks_and_rate_add_up_to_the_order(qty: float, resilience: float, horizon: float) -> None:
    plan = propagator.obizhaeva_wang(qty, resilience=resilience, horizon=horizon)
    total = plan.first_block + plan.rate * horizon + plan.last_block
    assert total == pytest.approx(qty, rel=1e-12)
    assert 0.0 <= plan.cost(1.0) <= qty**2 / 2.0 * (1.0 + 1e-12)  # never dearer than one block


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: propagator.propagate(
                [1.0, math.nan],
                propagator.ExponentialDecay(initial=1.0, rate=0.0),
                volume_exponent=1.0,
            ),
            "signed_volumes must be finite, was nan",
        ),
        (
            lambda: propagator.PowerLawDecay(initial=1.0, scale=0.0, exponent=0.5),
            r"scale must be > 0 and finite, was 0\.0",
        ),
        (
            lambda: propagator.obizhaeva_wang(1.0, resilience=-1.0, horizon=1.0),
            r"resilience must be >= 0 and finite, was -1\.0",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
