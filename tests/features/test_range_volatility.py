"""Range volatilities against the plain estimators of `finance.range_volatility`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from quantcore.errors import DataGap
from quantcore.features import range_volatility as features
from quantcore.finance import range_volatility as plain
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from tests.features.market import bars_of, closes_of, random_bars, random_fields, same

Volatility = Callable[..., tuple[Panel, FoldState]]
Bar = tuple[FloatArray, FloatArray, FloatArray, FloatArray]

ESTIMATORS: dict[str, tuple[Volatility, Callable[..., float | FloatArray]]] = {
    "parkinson": (
        features.parkinson_volatility,
        lambda _open, high, low, _close, **more: plain.parkinson(high, low, **more),
    ),
    "garman_klass": (features.garman_klass_volatility, plain.garman_klass),
    "rogers_satchell": (features.rogers_satchell_volatility, plain.rogers_satchell),
}
ALWAYS = 1e12
"""A half-life so long that all weights are the same."""


def prices(bars: Bars) -> Bar:
    return bars.array("open"), bars.array("high"), bars.array("low"), bars.array("close")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_volatility_is_the_weighted_mean_of_what_the_plain_estimator_measures_of_each_bar(
    name: str,
) -> None:
    volatility, estimator = ESTIMATORS[name]
    bars = random_bars(0, 200)
    terms = pd.DataFrame(estimator(*prices(bars), window=1), bars.index, list(bars.symbols))
    expected = terms.ewm(halflife=9.0, adjust=True, ignore_na=True).mean() ** 0.5
    same(volatility(bars, half_life=9.0)[0], expected.where(terms.notna()))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_equal_weights_give_the_plain_estimator(name: str) -> None:
    volatility, estimator = ESTIMATORS[name]
    bars = random_bars(1, 150)
    values, _ = volatility(bars, half_life=ALWAYS)
    expected = np.sqrt(np.asarray(estimator(*prices(bars))))
    np.testing.assert_allclose(values.ffill().iloc[-1], expected, rtol=1e-9)


def test_yang_zhang_with_equal_weights_is_the_plain_estimator_over_all_bars_so_far() -> None:
    bars = bars_of(random_fields(2, 40, 2))
    values, _ = features.yang_zhang_volatility(bars, half_life=ALWAYS)
    assert values.iloc[:2].isna().all(axis=None)
    for n in (3, 4, 17, 40):
        expected = np.sqrt(np.asarray(plain.yang_zhang(*prices(bars.rows(0, n)))))
        np.testing.assert_allclose(values.iloc[n - 1], expected, rtol=1e-9)


def test_yang_zhang_is_the_weighted_form_of_its_formula() -> None:
    fields = random_fields(3, 50, 1)
    o, h, low, c = (np.log(fields[name][:, 0]) for name in ("open", "high", "low", "close"))
    weights = 0.5 ** (np.arange(49)[::-1] / 6.0)
    weights /= weights.sum()
    n = 1.0 / (weights**2).sum()
    overnight, within = (o[1:] - c[:-1]), (c - o)[1:]
    satchell = ((h - o) * (h - c) + (low - o) * (low - c))[1:]
    spread = [weights @ (x - weights @ x) ** 2 * n / (n - 1.0) for x in (overnight, within)]
    k = 0.34 / (1.34 + (n + 1.0) / (n - 1.0))
    expected = np.sqrt(spread[0] + k * spread[1] + (1.0 - k) * (weights @ satchell))
    values, _ = features.yang_zhang_volatility(bars_of(fields), half_life=6.0)
    assert values.iloc[-1, 0] == pytest.approx(expected, rel=1e-12)


def test_yang_zhang_counts_the_move_over_a_hole_as_one_between_bars() -> None:
    fields = random_fields(4, 30, 1)
    without = {name: np.delete(values, [10, 11], axis=0) for name, values in fields.items()}
    for values in fields.values():
        values[[10, 11]] = np.nan
    holed, _ = features.yang_zhang_volatility(bars_of(fields), half_life=5.0)
    dense, _ = features.yang_zhang_volatility(bars_of(without), half_life=5.0)
    assert holed.iloc[10:12].isna().all(axis=None)
    np.testing.assert_array_equal(holed["AAA"].dropna(), dense["AAA"].dropna())


@pytest.mark.parametrize("name", [*ESTIMATORS, "yang_zhang"])
def test_bars_without_a_range_have_no_volatility(name: str) -> None:
    volatility = getattr(features, f"{name}_volatility")
    values = volatility(closes_of(*[0.1] * 5), half_life=3.0)[0]["AAA"].dropna()
    assert len(values) >= 3
    assert (values == 0.0).all()


@pytest.mark.parametrize("name", [*ESTIMATORS, "yang_zhang"])
def test_bars_without_highs_are_refused(name: str) -> None:
    volatility = getattr(features, f"{name}_volatility")
    with pytest.raises(DataGap, match="bars have no field"):
        volatility(bars_of({"close": np.ones((3, 1))}), half_life=3.0)


def test_drift_moves_parkinson_but_not_rogers_satchell() -> None:
    drift = np.exp(0.1 * np.arange(1.0, 6.0))[:, None]
    fields = {"open": drift, "low": drift, "high": drift * 1.1, "close": drift * 1.1}
    bars = bars_of(fields)
    assert (features.rogers_satchell_volatility(bars, half_life=3.0)[0] < 1e-9).all(axis=None)
    assert (features.parkinson_volatility(bars, half_life=3.0)[0] > 0.05).all(axis=None)
