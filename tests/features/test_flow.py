"""Flow features against pandas."""

from __future__ import annotations

import numpy as np
import pytest

from quantcore.features.flow import (
    open_interest_change,
    quote_volume_mean,
    quote_volumes,
    taker_imbalance,
    volume_surprise,
)
from quantcore.types import Panel
from tests.features.market import bars_of, random_bars, same


def ewm_mean(panel: Panel) -> Panel:
    return panel.ewm(halflife=7.0, adjust=True, ignore_na=True).mean()


def test_quote_volume_is_volume_times_close_where_it_is_not_known() -> None:
    bars = random_bars(0, 100)
    expected = bars.quote_volume.fillna(bars.volume * bars.close)
    np.testing.assert_array_equal(quote_volumes(bars), expected)
    assert bars.quote_volume.isna().sum().sum() > expected.isna().sum().sum()


def test_mean_of_quote_volume_is_that_of_pandas_and_missing_where_the_volume_is() -> None:
    bars = random_bars(1, 200)
    volumes = bars.quote_volume.fillna(bars.volume * bars.close)
    same(quote_volume_mean(bars, half_life=7.0)[0], ewm_mean(volumes).where(volumes.notna()))


def test_volume_surprise_is_the_log_of_the_volume_over_its_mean() -> None:
    bars = random_bars(2, 200)
    volumes = bars.quote_volume.fillna(bars.volume * bars.close)
    expected = (volumes / ewm_mean(volumes)).where(volumes > 0.0).apply(np.log)
    same(volume_surprise(bars, half_life=7.0)[0], expected)


def test_a_bar_without_trades_has_no_surprise_but_counts_in_the_mean() -> None:
    bars = bars_of({"close": np.ones((3, 1)), "volume": np.array([[4.0], [0.0], [4.0]])})
    means = quote_volume_mean(bars, half_life=1.0)[0]["AAA"].to_numpy()
    np.testing.assert_allclose(means, [4.0, 4.0 / 3.0, 20.0 / 7.0], rtol=1e-12)
    surprises = volume_surprise(bars, half_life=1.0)[0]["AAA"].to_numpy()
    np.testing.assert_allclose(surprises, [0.0, np.nan, np.log(7.0 / 5.0)], rtol=1e-12)


def test_taker_imbalance_is_the_mean_over_bars_with_trades() -> None:
    bars = random_bars(3, 200)
    volume, bought = bars.volume, bars.taker_buy_volume
    imbalance = 2.0 * bought / volume.where(volume > 0.0) - 1.0
    expected = ewm_mean(imbalance).where(volume.notna() & bought.notna())
    same(taker_imbalance(bars, half_life=7.0)[0], expected)


@pytest.mark.parametrize(("share", "expected"), [(0.0, -1.0), (0.5, 0.0), (1.0, 1.0)])
def test_taker_imbalance_is_one_where_takers_only_bought(share: float, expected: float) -> None:
    volume = np.full((4, 1), 8.0)
    fields = {"close": np.ones((4, 1)), "volume": volume, "taker_buy_volume": share * volume}
    values, _ = taker_imbalance(bars_of(fields), half_life=3.0)
    assert (values == expected).all(axis=None)


def test_open_interest_change_is_relative_to_what_was_known_then() -> None:
    bars = random_bars(4, 200)
    interest = bars.open_interest
    expected = interest / interest.ffill().shift(4) - 1.0
    same(open_interest_change(bars, lookback=4)[0], expected)


def test_change_from_no_open_interest_is_missing() -> None:
    interest = np.array([[0.0], [5.0], [6.0], [0.0]])
    bars = bars_of({"close": np.ones((4, 1)), "open_interest": interest})
    values = open_interest_change(bars, lookback=1)[0]["AAA"].to_numpy()
    np.testing.assert_allclose(values, [np.nan, np.nan, 0.2, -1.0], rtol=1e-12)
