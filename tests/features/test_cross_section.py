"""Cross-sectional features against pandas and numpy, on known values only."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quantcore.errors import SchemaMismatch
from quantcore.features import cross_section
from quantcore.features.cross_section import (
    MAD_TO_SD,
    demean,
    demean_row,
    neutralise,
    neutralise_row,
    rank,
    rank_row,
    winsorise,
    winsorise_row,
    zscore,
    zscore_row,
)
from quantcore.types import FloatArray, Panel
from tests.features.market import random_bars, same

LIMIT = 1.5
EXPOSURES = np.random.default_rng(11).normal(size=(2, 8))
ROWS: dict[str, Callable[..., FloatArray]] = {
    "rank": rank_row,
    "zscore": zscore_row,
    "winsorise": lambda values: winsorise_row(values, LIMIT),
    "demean": demean_row,
    "neutralise": lambda values: neutralise_row(
        values, np.ascontiguousarray(EXPOSURES[:, : len(values)])
    ),
}
PANELS: dict[str, Callable[[Panel], Panel]] = {
    "rank": rank,
    "zscore": zscore,
    "winsorise": lambda values: winsorise(values, limit=LIMIT),
    "demean": demean,
    "neutralise": lambda values: neutralise(values, exposures=exposures_like(values)),
}
NAN = np.nan
ROW = np.array([3.0, NAN, 1.0, 3.0, -2.0, 8.0, NAN, 0.5])
INPUTS = {
    "holes": ROW,
    "nothing but NaN": np.full(4, NAN),
    "one known": np.array([NAN, 0.1, NAN]),
    "two known": np.array([0.4, NAN, 0.1]),
    "constant": np.full(7, 0.1),
    "one symbol": np.array([0.1]),
    "empty": np.empty(0),
}
of_rows = pytest.mark.parametrize("name", ROWS)

VALUES = st.one_of(st.just(NAN), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float))
SOME_ROWS = arrays(np.float64, st.integers(0, 8), elements=VALUES)


def exposures_like(values: Panel) -> list[Panel]:
    draws = np.random.default_rng(12).normal(size=(2, *values.shape))
    return [pd.DataFrame(draw, values.index, values.columns) for draw in draws]


def returns(seed: int) -> Panel:
    """Returns of eight symbols with holes, and a row without any."""
    values = random_bars(seed, 40, 8).close.pct_change(fill_method=None)
    values.iloc[7] = NAN
    return values


def test_rank_is_that_of_pandas_mapped_to_minus_one_and_one() -> None:
    values = returns(0).round(2)
    counts = values.count(axis=1)
    expected = (values.rank(axis=1).sub(1.0).mul(2.0).div(counts - 1.0, axis=0)).sub(1.0)
    same(rank(values), expected.where(counts > 1, values * 0.0), atol=1e-12)


def test_ranks_of_a_row_are_worked_out_by_hand() -> None:
    expected = [0.6, NAN, -0.2, 0.6, -1.0, 1.0, NAN, -0.6]
    expected[0] = expected[3] = 0.4
    np.testing.assert_allclose(rank_row(ROW), expected, rtol=1e-15)


def test_zscore_is_that_of_pandas_with_the_population_deviation() -> None:
    values = returns(1)
    expected = values.sub(values.mean(axis=1), axis=0).div(values.std(axis=1, ddof=0), axis=0)
    one = values.count(axis=1) == 1
    same(zscore(values), expected.mask(one, values * 0.0), rtol=1e-9)


def test_demean_is_that_of_pandas() -> None:
    values = returns(2)
    same(demean(values), values.sub(values.mean(axis=1), axis=0))


def test_winsorise_clips_at_the_median_and_its_deviation() -> None:
    values = returns(3)
    median = values.median(axis=1)
    band = LIMIT * MAD_TO_SD * values.sub(median, axis=0).abs().median(axis=1)
    some = band > 0.0
    expected = values.clip(median - band, median + band, axis=0).where(some, values)
    same(winsorise(values, limit=LIMIT), expected)
    assert (expected != values).where(values.notna(), other=False).any(axis=None)


def test_winsorise_leaves_a_row_alone_in_which_most_values_are_equal() -> None:
    funding = np.array([1e-4, 1e-4, 1e-4, 1e-4, 9e-4, -3e-4])
    np.testing.assert_array_equal(winsorise_row(funding, 3.0), funding)


def test_neutralise_is_the_residual_of_least_squares_on_the_known_symbols() -> None:
    values, exposures = returns(4), exposures_like(returns(4))
    exposures[0].iloc[5, 2] = NAN
    residuals = neutralise(values, exposures=exposures)
    regressed = 0
    for t in range(len(values)):
        z = np.array([exposure.iloc[t] for exposure in exposures])
        x = values.iloc[t].to_numpy()
        known = ~np.isnan(x) & ~np.isnan(z).any(axis=0)
        assert (residuals.iloc[t].notna() == known).all()
        if known.sum() > 3:
            design = np.column_stack([np.ones(known.sum()), z[:, known].T])
            fitted = design @ np.linalg.lstsq(design, x[known])[0]
            np.testing.assert_allclose(
                residuals.iloc[t][known], x[known] - fitted, rtol=1e-9, atol=1e-14
            )
            regressed += 1
    assert regressed > 10


def test_neutralised_values_have_no_exposure_left_even_to_nearly_equal_exposures() -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(size=20)
    exposures = np.array([base, base + 1e-6 * rng.normal(size=20), 1e3 * rng.normal(size=20)])
    values = rng.normal(size=20)
    residuals = neutralise_row(values, exposures)
    assert abs(residuals.sum()) < 1e-12
    for exposure in exposures:
        assert abs(residuals @ exposure) < 1e-12 * np.linalg.norm(exposure)
    spread = (exposures[1] - exposures[0]) / 1e-6
    assert abs(residuals @ spread) < 1e-8


@pytest.mark.parametrize(
    "exposures",
    [
        np.full((1, 8), 0.3),
        np.zeros((1, 8)),
        np.array([np.arange(8.0), 3.0 - 0.1 * np.arange(8.0)]),
        np.random.default_rng(6).normal(size=(7, 8)),
        np.empty((0, 8)),
    ],
    ids=["constant", "zero", "combination", "more than symbols", "none"],
)
def test_neutralise_falls_back_to_the_mean_where_exposures_are_singular(
    exposures: FloatArray,
) -> None:
    np.testing.assert_allclose(neutralise_row(ROW, exposures), demean_row(ROW), rtol=1e-14)


def test_neutralise_leaves_out_a_symbol_without_an_exposure() -> None:
    exposures = np.arange(8.0)[None, :].copy()
    exposures[0, 5] = NAN
    without = ROW.copy()
    without[5] = NAN
    np.testing.assert_array_equal(
        neutralise_row(ROW, exposures), neutralise_row(without, np.arange(8.0)[None, :])
    )


def test_neutralise_refuses_an_exposure_of_other_rows_or_symbols() -> None:
    values = returns(5)
    for other in (values.iloc[1:], values[values.columns[::-1]]):
        with pytest.raises(SchemaMismatch, match="exposure 1 must have the rows and symbols"):
            neutralise(values, exposures=[values, other])


@pytest.mark.parametrize("limit", [0.0, -1.0, NAN])
def test_winsorise_refuses_a_band_without_width(limit: float) -> None:
    with pytest.raises(ValueError, match="limit must be finite and > 0"):
        winsorise(returns(0), limit=limit)


@of_rows
@pytest.mark.parametrize("inputs", INPUTS)
def test_compiled_row_equals_its_interpreted_twin(
    name: str, inputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = INPUTS[inputs]
    compiled = ROWS[name](values)
    twins: dict[str, Any] = {
        key: value.py_func
        for key, value in vars(cross_section).items()
        if hasattr(value, "py_func")
    }
    for key, twin in twins.items():
        monkeypatch.setattr(cross_section, key, twin)
    arguments = {"winsorise": (LIMIT,), "neutralise": (EXPOSURES[:, : len(values)],)}
    interpreted = twins[f"{name}_row"](values, *arguments.get(name, ()))
    np.testing.assert_allclose(compiled, interpreted, rtol=1e-14, atol=1e-15)


@of_rows
@pytest.mark.parametrize("inputs", INPUTS)
def test_a_value_is_missing_where_it_was_and_nowhere_else(name: str, inputs: str) -> None:
    values = INPUTS[inputs]
    before = values.copy()
    result = ROWS[name](values)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(values))
    np.testing.assert_array_equal(values, before)
    assert not np.shares_memory(result, values)


@of_rows
def test_equal_values_say_nothing_about_each_other(name: str) -> None:
    expected = 0.1 if name == "winsorise" else 0.0
    np.testing.assert_allclose(ROWS[name](np.full(7, 0.1)), expected, atol=1e-16)


@of_rows
@given(values=SOME_ROWS, seed=st.integers(0, 99))
def test_permuting_symbols_permutes_results(name: str, values: FloatArray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    if name == "neutralise":
        exposures = np.ascontiguousarray(EXPOSURES[:, : len(values)])
        result = neutralise_row(values, exposures)[order]
        permuted = neutralise_row(values[order], np.ascontiguousarray(exposures[:, order]))
    else:
        result, permuted = ROWS[name](values)[order], ROWS[name](values[order])
    if name in ("rank", "winsorise"):
        np.testing.assert_array_equal(permuted, result)
    else:
        size = max(1.0, float(np.nanmax(np.abs(values), initial=0.0)))
        tolerance = 1e-12 * (size if name != "zscore" else _condition(values))
        np.testing.assert_allclose(permuted, result, atol=tolerance, rtol=1e-9)


def _condition(values: FloatArray) -> float:
    """How much rounding of the values grows in their scores."""
    known = values[~np.isnan(values)]
    spread = float(known.std()) if len(known) else 0.0
    return max(1.0, float(np.abs(known).max()) / spread) if spread > 0.0 else 1.0


@given(values=SOME_ROWS)
def test_ranks_are_within_their_bounds_in_the_order_of_the_values_and_sum_to_zero(
    values: FloatArray,
) -> None:
    known = ~np.isnan(values)
    ranks = rank_row(values)[known]
    assert (np.abs(ranks) <= 1.0).all()
    assert abs(ranks.sum()) < 1e-12
    order = np.argsort(values[known])
    assert (np.diff(ranks[order]) >= 0.0).all()


@given(values=SOME_ROWS, scale=st.sampled_from([0.125, 1.0, 1024.0]))
def test_ranks_and_scores_do_not_depend_on_the_unit(values: FloatArray, scale: float) -> None:
    for row in (rank_row, zscore_row):
        np.testing.assert_allclose(row(values * scale), row(values), rtol=1e-9, atol=1e-12)


@of_rows
def test_panel_function_is_the_row_function_of_every_row(name: str) -> None:
    values = returns(6)
    exposures = exposures_like(values)
    result = PANELS[name](values)
    assert result.index.equals(values.index)
    assert result.columns.equals(values.columns)
    for t in range(len(values)):
        row = values.iloc[t].to_numpy(dtype=np.float64).copy()
        if name == "neutralise":
            expected = neutralise_row(row, np.array([e.iloc[t] for e in exposures]))
        else:
            expected = ROWS[name](row)
        np.testing.assert_array_equal(result.iloc[t], expected)


@of_rows
def test_panels_without_rows_or_symbols_stay_empty(name: str) -> None:
    values = returns(7)
    assert PANELS[name](values.iloc[:0]).shape == (0, 8)
    assert PANELS[name](values[[]]).shape == (40, 0)


def test_every_row_function_has_a_panel_function() -> None:
    public = [key for key in vars(cross_section) if key.endswith("_row")]
    assert {key.removesuffix("_row") for key in public} == set(PANELS)
    assert all(inspect.getdoc(getattr(cross_section, key)) for key in public)
