"""The kernels of sweeps: whatever a set shares with others, its forecasts are those of the backtest to the last bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from quantcore.features.folding import known
from quantcore.frames import Bars
from quantcore.kernels.fields import Fields, stacked
from quantcore.research.set_group import SHARED_MAX, module_of
from quantcore.types import FloatArray
from tests.strategies.market import random_bars
from tests.strategies.swept import SWEPT

CUTS = (0, 1, 7, 200, 201, 780)


def fields_of(bars: Bars) -> Fields:
    return Fields(bars.ts_us, *(known(bars, name) for name in Fields._fields[1:]))


def alone(bars: Bars, sets: list[Any]) -> list[FloatArray]:
    """Forecasts of each set by its `fill_rows`, from vectors as long as the longest of all."""
    module, fields = module_of(sets[0]), fields_of(bars)
    parts = [module.sweep_parts(each, bars.interval, bars.n_symbols) for each in sets]
    settings, states = stacked([p[0] for p in parts]), stacked([p[1] for p in parts])
    found = []
    for vector, state, part in zip(settings, states, parts, strict=True):
        forecasts, nothing = np.empty((bars.n_bars, bars.n_symbols)), np.empty((0, 0, 0))
        for start, stop in pairwise(CUTS):
            module.fill_rows(
                fields, nothing, vector, state, part[2], start, stop, forecasts[start:stop]
            )
        found.append(forecasts)
    return found


def together(bars: Bars, sets: list[Any]) -> list[FloatArray]:
    """Forecasts of each set by `fill_from_features`, from features of all, which are forgotten after each block."""
    module, fields = module_of(sets[0]), fields_of(bars)
    parts = [module.sweep_parts(each, bars.interval, bars.n_symbols) for each in sets]
    states = stacked([p[1] for p in parts])
    shared = module.shared_features(sets, bars.interval, bars.n_symbols)
    found = [np.empty((bars.n_bars, bars.n_symbols)) for _ in sets]
    for start, stop in pairwise(CUTS):
        features = np.full((shared.n_features, stop - start, bars.n_symbols), 9.0)
        module.fill_features(fields, shared.vector, shared.state, start, stop, features)
        for forecasts, vector, state, part in zip(
            found, shared.vectors, states, parts, strict=True
        ):
            module.fill_from_features(
                fields, features, vector, state, part[2], start, stop, forecasts[start:stop]
            )
    return found


@pytest.mark.parametrize("kind", SWEPT)
@pytest.mark.parametrize("seed", range(2))
def test_a_set_has_the_forecasts_of_the_backtest_alone_and_among_others(
    kind: str, seed: int
) -> None:
    bars, sets = random_bars(seed), SWEPT[kind]
    for each, own, shared in zip(sets, alone(bars, sets), together(bars, sets), strict=True):
        expected = module_of(each).forecast_array(bars, each, None)[0]
        assert (np.abs(expected) > 0.1).any()
        np.testing.assert_array_equal(own, expected, err_msg=f"alone: {each}")
        np.testing.assert_array_equal(shared, expected, err_msg=f"among others: {each}")


@pytest.mark.parametrize("kind", SWEPT)
def test_every_setting_of_the_sets_changes_the_forecasts(kind: str) -> None:
    bars, (first, *others) = random_bars(0), SWEPT[kind]
    base = module_of(first).forecast_array(bars, first, None)[0]
    for each in others:
        found = module_of(each).forecast_array(bars, each, None)[0]
        assert not np.array_equal(found, base, equal_nan=True), each


@pytest.mark.parametrize("kind", SWEPT)
def test_sharing_measures_less_than_each_set_alone(kind: str) -> None:
    sets = SWEPT[kind]
    shared = module_of(sets[0]).shared_features(sets, "4h", 3)
    twice = module_of(sets[0]).shared_features([*sets, *sets], "4h", 3)
    assert 0 < shared.n_features < shared.n_alone
    assert twice.n_features < SHARED_MAX * twice.n_alone  # so a group of them does share
    assert (twice.n_features, twice.n_alone) == (shared.n_features, 2 * shared.n_alone)
