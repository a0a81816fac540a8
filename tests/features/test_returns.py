"""Returns against pandas, over holes and over several bars."""

from __future__ import annotations

import numpy as np
import pytest

from quantcore.features.returns import log_returns, simple_returns
from tests.features.market import closes_of, random_bars, same


@pytest.mark.parametrize("lookback", [1, 2, 7])
def test_returns_are_those_of_pandas_on_closes_held_through_holes(lookback: int) -> None:
    bars = random_bars(0, 200)
    earlier = bars.close.ffill().shift(lookback)
    same(simple_returns(bars, lookback=lookback)[0], bars.close / earlier - 1.0)
    same(log_returns(bars, lookback=lookback)[0], (bars.close / earlier).apply(np.log))


def test_a_hole_counts_as_one_return() -> None:
    returns, _ = simple_returns(closes_of(100.0, np.nan, np.nan, 110.0, 99.0))
    np.testing.assert_allclose(returns["AAA"], [np.nan, np.nan, np.nan, 0.1, -0.1], rtol=1e-12)


def test_log_returns_add_up_to_the_whole_move() -> None:
    bars = random_bars(1, 300)
    total = log_returns(bars)[0].sum()
    closes = bars.close
    whole = np.log(closes.ffill().iloc[-1] / closes.bfill().iloc[0])
    np.testing.assert_allclose(total, whole, rtol=1e-10)


def test_return_over_bars_compares_with_the_close_known_then() -> None:
    returns, _ = simple_returns(closes_of(100.0, np.nan, 120.0, 150.0), lookback=2)
    np.testing.assert_allclose(returns["AAA"], [np.nan, np.nan, 0.2, 0.5], rtol=1e-12)


def test_a_constant_close_returns_nothing() -> None:
    values = simple_returns(closes_of(*[0.1] * 5))[0]["AAA"].to_numpy()
    np.testing.assert_array_equal(values, [np.nan, 0.0, 0.0, 0.0, 0.0])


def test_a_lookback_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="lookback must be a whole number >= 1, was 0"):
        log_returns(random_bars(0), lookback=0)
