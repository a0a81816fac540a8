"""Trends planted in a market: what is gained lately is gained on, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from quantcore.data.planted import plant_trends
from quantcore.data.synthetic import DEFAULT_SYMBOLS, SyntheticMarket, generate
from quantcore.frames import Bars


@pytest.fixture(scope="module")
def market() -> Bars:
    return generate(
        SyntheticMarket(
            interval="4h", symbols=DEFAULT_SYMBOLS[:3], first_day="2024-01-01", days=400, seed=3, late_listings=1
        )
    )  # fmt: skip


def planted(market: Bars, **changes: float) -> Bars:
    strength = {"annual_drift": 2.0, "half_life_days": 20.0, **changes}
    return plant_trends(market, **strength, rng=np.random.default_rng(1))


def added(market: Bars, field: str = "close") -> np.ndarray:
    """What planting gained in each bar, in logarithms; a listed symbol only."""
    gained = np.log(planted(market).array(field) / market.array(field))
    return np.asarray(np.diff(gained[:, 0]))


def test_the_drift_has_the_size_and_the_memory_asked_for() -> None:
    bars = Bars(
        interval="1d",
        ts_us=86_400_000_000 * (1 + np.arange(60_000, dtype=np.int64)),
        symbols=("AUSDT",),
        fields={"close": np.ones((60_000, 1))},
    )
    drift = np.diff(
        np.log(planted(bars, annual_drift=1.0, half_life_days=5.0).array("close")[:, 0])
    )
    assert 365.0 * drift.std() == pytest.approx(1.0, rel=0.05)
    assert np.corrcoef(drift[5:], drift[:-5])[0, 1] == pytest.approx(0.5, abs=0.05)


def test_a_bar_opens_where_the_one_before_it_closed_and_its_range_holds_both(market: Bars) -> None:
    bars = planted(market)
    after, before = (b.array("open")[1:] / b.array("close")[:-1] for b in (bars, market))
    np.testing.assert_allclose(after, before, rtol=1e-12)
    listed = ~np.isnan(bars.array("close"))
    for name in ("open", "close"):
        price = bars.array(name)[listed]
        assert (price <= bars.array("high")[listed] * (1.0 + 1e-12)).all()
        assert (price >= bars.array("low")[listed] * (1.0 - 1e-12)).all()


def test_mark_prices_move_with_prices_and_rates_stay(market: Bars) -> None:
    np.testing.assert_allclose(added(market, "mark_price"), added(market), rtol=1e-9, atol=1e-12)
    bars = planted(market)
    np.testing.assert_array_equal(bars.settlements.rate, market.settlements.rate)
    np.testing.assert_array_equal(bars.array("volume"), market.array("volume"))
    one = int(np.flatnonzero(market.settlements.symbol == 0)[50])
    at = int(np.searchsorted(market.ts_us, market.settlements.time_us[one], side="right"))
    factor = bars.array("open")[at, 0] / market.array("open")[at, 0]
    assert factor != 1.0
    assert bars.settlements.mark_price[one] == market.settlements.mark_price[one] * factor


def test_what_is_not_listed_stays_unknown(market: Bars) -> None:
    missing = np.isnan(market.array("close"))
    assert missing.any()
    np.testing.assert_array_equal(np.isnan(planted(market).array("close")), missing)


@pytest.mark.parametrize("name", ["annual_drift", "half_life_days"])
def test_a_size_that_is_not_positive_is_refused(market: Bars, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be > 0, was 0.0"):
        planted(market, **{name: 0.0})
