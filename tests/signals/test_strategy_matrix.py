"""Strategies into one forecast: the formulas in numpy, blending by probability, the estimate, the fold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.fold import FoldState
from quantcore.signals import strategy_matrix
from quantcore.signals.strategy_matrix import (
    MatrixSettings,
    combine,
    estimate_matrix,
    given_matrix,
    refit,
    warm_up,
)
from quantcore.timegrid import DAY_US, HOUR_US, calendar_rows, to_us
from quantcore.types import FloatArray, IntArray

NAMES = ("trend", "carry", "pairs")
ROWS = {
    "calm": {"pairs": 0.5, "trend": 0.2, "carry": 0.3},
    "wild": {"trend": 0.9, "carry": 0.1, "pairs": 0.0},
}
GIVEN = MatrixSettings(
    method="given",
    rows=ROWS,
    size_half_life_days=5.0,
    size=0.5,
    scale_max=1.8,
    diversification=1.3,
    review="week",
    window_days=30,
    prior_days=20.0,
)
EQUAL = replace(GIVEN, method="equal", rows=None)
ESTIMATED = replace(GIVEN, method="estimated", rows=None)
MATRIX = np.array([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]])
BARS_PER_DAY = 4


class Rows(NamedTuple):
    """What `combine` is given."""

    forecasts: FloatArray
    probabilities: FloatArray
    closes: FloatArray
    ts_us: IntArray

    def part(self, start: int, stop: int) -> Rows:
        rows = slice(start, stop)
        return Rows(
            self.forecasts[rows], self.probabilities[rows], self.closes[rows], self.ts_us[rows]
        )


def rows_of(seed: int, days: int, n_symbols: int = 3) -> Rows:
    """Six-hourly rows from 2024 on: strategies of unequal size, holes everywhere, no regime in the first ten days."""
    rng = np.random.default_rng(seed)
    n_bars = days * BARS_PER_DAY
    ts_us = to_us("2024-01-01") + 6 * HOUR_US * (1 + np.arange(n_bars, dtype=np.int64))
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (n_bars, n_symbols)), axis=0))
    closes[rng.random(closes.shape) < 0.05] = np.nan
    closes[: n_bars // 4, -1] = np.nan
    forecasts = rng.uniform(-1.0, 1.0, (n_bars, len(NAMES), n_symbols))
    forecasts *= np.array([1.0, 0.3, 0.05])[:, None]
    forecasts[rng.random(forecasts.shape) < 0.2] = np.nan
    forecasts[rng.random(forecasts.shape) < 0.1] = 0.0
    forecasts[rng.random(n_bars) < 0.05] = np.nan
    wild = 1.0 / (1.0 + np.exp(-np.cumsum(rng.normal(0.0, 0.5, n_bars))))
    probabilities = np.stack([1.0 - wild, wild], axis=1)
    probabilities[: 10 * BARS_PER_DAY] = np.nan
    return Rows(forecasts, probabilities, closes, ts_us)


def run(
    rows: Rows, chosen: MatrixSettings, state: FoldState | None = None
) -> tuple[FloatArray, FloatArray, FoldState]:
    return combine(*rows, chosen, interval="6h", strategies=NAMES, state=state)


def scales(rows: Rows, chosen: MatrixSettings) -> FloatArray:
    """The factor a of each strategy in each row, by pandas."""
    size = np.abs(rows.forecasts)
    views = size > 0.0
    total = np.where(views, size, 0.0).sum(axis=2)
    loud = pd.DataFrame(total / np.where(views.any(axis=2), views.sum(axis=2), np.nan))
    half_life = chosen.size_half_life_days * BARS_PER_DAY
    mean = loud.ewm(halflife=half_life, ignore_na=True).mean().to_numpy()
    return np.where(np.isnan(mean), 1.0, np.minimum(chosen.scale_max, chosen.size / mean))


def in_numpy(
    rows: Rows, chosen: MatrixSettings, matrices: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The documented formulas, row by row, with the matrix of each row."""
    a = scales(rows, chosen)
    combined, counted = np.full(rows.closes.shape, np.nan), np.empty(a.shape)
    for t in range(len(a)):
        p = rows.probabilities[t]
        p = np.full(len(p), 1.0 / len(p)) if np.isnan(p).any() else p
        counted[t] = chosen.diversification * a[t] * (p @ matrices[t])
        for i in range(rows.closes.shape[1]):
            views = rows.forecasts[t, :, i]
            if not (np.isnan(views).all() or np.isnan(rows.closes[t, i])):
                combined[t, i] = np.clip(np.nansum(counted[t] * views), -1.0, 1.0)
    return combined, counted


def daily_papers(rows: Rows, chosen: MatrixSettings) -> tuple[FloatArray, FloatArray]:
    """Each strategy's paper return of every day and the regime at its close, by pandas."""
    spoken = rows.forecasts * scales(rows, chosen)[:, :, None]
    closes = pd.DataFrame(rows.closes)
    held = np.empty_like(spoken)
    for s in range(spoken.shape[1]):
        # What was said at the last known close: no view there is no position.
        said = pd.DataFrame(np.where(np.isnan(spoken[:, s]), 0.0, spoken[:, s]))
        held[:, s] = said.where(closes.notna()).ffill().shift().fillna(0.0)
    returns = (closes / closes.ffill().shift() - 1.0).fillna(0.0).to_numpy()
    papers = (held * returns[:, None, :]).mean(axis=2)
    last = slice(BARS_PER_DAY - 1, None, BARS_PER_DAY)
    return papers.reshape(-1, BARS_PER_DAY, papers.shape[1]).sum(axis=1), rows.probabilities[last]


def slow_estimate(papers: FloatArray, regimes: FloatArray, prior_days: float) -> FloatArray:
    """The documented estimate, number by number."""
    n_strategies = papers.shape[1]
    days = [
        d
        for d in range(len(papers))
        if not np.isnan(papers[d]).any() and not np.isnan(regimes[d]).any()
    ]
    result = np.full((regimes.shape[1], n_strategies), 1.0 / n_strategies)
    for k in range(regimes.shape[1]):
        p = [regimes[d, k] for d in days]
        if sum(p) <= 0.0:
            continue
        n_k = sum(p) ** 2 / sum(x * x for x in p)
        theta = []
        for s in range(n_strategies):
            mean = sum(x * papers[d, s] for x, d in zip(p, days, strict=True)) / sum(p)
            square = sum(x * (papers[d, s] - mean) ** 2 for x, d in zip(p, days, strict=True))
            theta.append(max(0.0, mean / np.sqrt(square / sum(p))))
        if sum(theta) > 0.0:
            delta = n_k / (n_k + prior_days)
            for s in range(n_strategies):
                result[k, s] = (1 - delta) / n_strategies + delta * theta[s] / sum(theta)
    return result


def estimated_matrices(rows: Rows, chosen: MatrixSettings) -> FloatArray:
    """The matrix in force in each row: equal, then each Monday's estimate from the row after it."""
    papers, regimes = daily_papers(rows, chosen)
    due = calendar_rows(rows.ts_us, chosen.review)
    matrices = np.empty((len(due), 2, 3))
    matrix = np.full((2, 3), 1.0 / 3.0)
    for t in range(len(due)):
        matrices[t] = matrix
        if due[t]:
            days = (t + 1) // BARS_PER_DAY
            window = slice(max(days - chosen.window_days, 0), days)
            matrix = slow_estimate(papers[window], regimes[window], chosen.prior_days)
    return matrices


def in_force(chosen: MatrixSettings, rows: Rows) -> FloatArray:
    if chosen.method == "estimated":
        return estimated_matrices(rows, chosen)
    matrix = MATRIX if chosen.method == "given" else np.full((2, 3), 1.0 / 3.0)
    return np.broadcast_to(matrix, (len(rows.closes), 2, 3))


@pytest.mark.parametrize("chosen", [GIVEN, EQUAL, ESTIMATED], ids=lambda s: s.method)
@pytest.mark.parametrize("seed", range(3))
def test_forecast_and_counts_are_the_formulas(chosen: MatrixSettings, seed: int) -> None:
    rows = rows_of(seed, 70)
    combined, counted, _ = run(rows, chosen)
    wanted = in_numpy(rows, chosen, in_force(chosen, rows))
    np.testing.assert_allclose(counted, wanted[1], rtol=1e-9)
    np.testing.assert_allclose(combined, wanted[0], rtol=1e-9, atol=1e-13)


def test_the_estimate_moves_the_counts_and_takes_effect_one_row_after_its_instant() -> None:
    rows = rows_of(1, 70)
    _, counted, _ = run(rows, ESTIMATED)
    mixed = counted / scales(rows, ESTIMATED) / ESTIMATED.diversification
    mondays = np.flatnonzero(calendar_rows(rows.ts_us, "week"))
    np.testing.assert_allclose(mixed[: mondays[1] + 1], 1.0 / 3.0)
    moved = 0
    for monday in mondays[2:-1]:
        # What the estimate knows of the instant shows in the next row and not in its own.
        spoilt = rows._replace(closes=rows.closes.copy())
        spoilt.closes[monday] = np.where(np.isnan(rows.closes[monday]), np.nan, 150.0)
        again = run(spoilt.part(0, monday + 2), ESTIMATED)[1]
        np.testing.assert_array_equal(again[: monday + 1], counted[: monday + 1])
        moved += int((np.abs(again[monday + 1] / counted[monday + 1] - 1.0) > 1e-3).any())
    # Not every week: where nothing gained either way, all count alike.
    assert moved >= 5


def test_forecasts_are_in_bounds_and_missing_exactly_without_price_or_view() -> None:
    rows = rows_of(4, 40)
    combined, _, _ = run(rows, replace(GIVEN, diversification=3.0))
    missing = np.isnan(rows.closes) | np.isnan(rows.forecasts).all(axis=1)
    np.testing.assert_array_equal(np.isnan(combined), missing)
    assert np.nanmax(np.abs(combined)) <= 1.0
    assert (np.abs(combined) == 1.0).any()


def test_weights_move_continuously_with_the_probabilities() -> None:
    rows = rows_of(2, 30)
    wild = np.linspace(0.0, 1.0, len(rows.closes))
    smooth = rows._replace(probabilities=np.stack([1.0 - wild, wild], axis=1))
    _, counted, _ = run(smooth, GIVEN)
    weights = counted / scales(rows, GIVEN) / GIVEN.diversification
    np.testing.assert_allclose(weights[0], MATRIX[0], atol=1e-12)
    np.testing.assert_allclose(weights[-1], MATRIX[1], atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    steps = np.abs(np.diff(weights, axis=0)).max(axis=0)
    np.testing.assert_allclose(steps, np.abs(MATRIX[1] - MATRIX[0]) / (len(wild) - 1), rtol=1e-6)


def test_unknown_probabilities_count_every_row_of_the_matrix_alike() -> None:
    rows = rows_of(2, 20)
    unknown = rows._replace(probabilities=np.full_like(rows.probabilities, np.nan))
    alike = rows._replace(probabilities=np.full_like(rows.probabilities, 0.5))
    np.testing.assert_array_equal(run(unknown, GIVEN)[1], run(alike, GIVEN)[1])
    weights = run(unknown, GIVEN)[1] / scales(rows, GIVEN) / GIVEN.diversification
    np.testing.assert_allclose(weights, np.tile(MATRIX.mean(axis=0), (len(weights), 1)))


def test_a_strategy_is_enlarged_no_more_than_it_may_and_a_loud_one_is_turned_down() -> None:
    rows = rows_of(0, 60)
    _, counted, _ = run(rows, EQUAL)
    a = counted[-1] * 3.0 / EQUAL.diversification
    assert a[0] == pytest.approx(1.0, abs=0.2)
    assert a[1:] == pytest.approx([1.8, 1.8])


def test_a_single_strategy_of_the_wanted_size_is_left_as_it_is() -> None:
    rows = rows_of(0, 20, n_symbols=1)
    alone = rows._replace(
        forecasts=np.tile([[[0.5]], [[-0.5]]], (len(rows.closes) // 2, 1, 1)),
        probabilities=np.ones((len(rows.closes), 1)),
    )
    chosen = replace(EQUAL, diversification=1.0)
    combined, counted, _ = combine(*alone, chosen, interval="6h", strategies=("trend",))
    known = ~np.isnan(rows.closes)
    np.testing.assert_allclose(combined[known], alone.forecasts[:, 0][known], rtol=1e-12)
    np.testing.assert_allclose(counted, 1.0, rtol=1e-12)


@pytest.mark.parametrize("prior_days", [5.0, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_is_the_formula(seed: int, prior_days: float) -> None:
    rng = np.random.default_rng(seed)
    papers = rng.normal(1e-3, 1e-2, (80, 4))
    regimes = rng.dirichlet([1.0, 1.0, 1.0], 80)
    papers[:5, 1] = np.nan
    regimes[5:12] = np.nan
    np.testing.assert_allclose(
        estimate_matrix(papers, regimes, prior_days=prior_days),
        slow_estimate(papers, regimes, prior_days),
        rtol=1e-10,
    )


def test_few_days_are_hardly_believed_and_many_are() -> None:
    gains = np.tile([[0.02, 0.01, -0.02], [0.0, 0.0, 0.0]], (400, 1))
    for days in (2, 20, 800):
        matrix = estimate_matrix(gains[:days], np.ones((days, 1)), prior_days=20.0)
        # The two that gained have the same Sharpe ratio; the third's is negative and counts as none.
        delta = days / (days + 20.0)
        third = (1.0 - delta) / 3.0
        assert matrix[0] == pytest.approx([third + delta / 2.0] * 2 + [third])


def test_regimes_learn_from_their_own_days() -> None:
    papers = np.tile([[0.01, -0.01], [0.03, -0.02], [-0.02, 0.01], [-0.01, 0.02]], (50, 1))
    calm = np.tile([1.0, 1.0, 0.0, 0.0], 50)
    matrix = estimate_matrix(papers, np.stack([calm, 1.0 - calm], axis=1), prior_days=50.0)
    delta = 100.0 / 150.0
    assert matrix[0] == pytest.approx([(1.0 + delta) / 2.0, (1.0 - delta) / 2.0])
    assert matrix[1] == pytest.approx([(1.0 - delta) / 2.0, (1.0 + delta) / 2.0])


@pytest.mark.parametrize(
    "papers",
    [
        pytest.param(np.full((40, 3), -0.01), id="losses without variation"),
        pytest.param(np.full((40, 3), 0.0), id="nothing"),
        pytest.param(np.full((40, 3), np.nan), id="no days"),
        pytest.param(np.tile([[-0.02], [0.01]], (20, 3)), id="losses"),
    ],
)
def test_without_a_gain_all_strategies_count_alike(papers: FloatArray) -> None:
    matrix = estimate_matrix(papers, np.full((40, 2), 0.5), prior_days=10.0)
    np.testing.assert_allclose(matrix, 1.0 / 3.0)


def test_a_regime_that_never_was_counts_all_strategies_alike() -> None:
    papers = np.random.default_rng(0).normal(0.01, 0.01, (40, 2))
    regimes = np.tile([1.0, 0.0], (40, 1))
    matrix = estimate_matrix(papers, regimes, prior_days=1.0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    np.testing.assert_allclose(matrix[1], 0.5)
    assert matrix[0, 0] != pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("chosen", [GIVEN, ESTIMATED], ids=lambda s: s.method)
@settings(max_examples=15)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(0, 200), max_size=4).map(sorted))
def test_parts_equal_the_whole_through_saved_states(
    chosen: MatrixSettings, seed: int, cuts: list[int]
) -> None:
    rows = rows_of(seed, 50)
    whole = run(rows, chosen)
    state, parts = None, []
    for start, stop in zip([0, *cuts], [*cuts, 200], strict=True):
        combined, counted, after = run(rows.part(start, stop), chosen, state)
        state = FoldState.from_bytes(after.to_bytes())
        parts.append((combined, counted))
    for k in range(2):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])
    assert state is not None
    assert state.digest() == whole[2].digest()


@settings(max_examples=10)
@given(week=st.integers(1, 6), after=st.integers(0, 3))
def test_refitting_before_the_next_call_changes_nothing(week: int, after: int) -> None:
    rows = rows_of(5, 50)
    whole = run(rows, ESTIMATED)
    cut = week * 7 * BARS_PER_DAY + after
    state = run(rows.part(0, cut), ESTIMATED)[2]
    early = refit(state, ESTIMATED)
    assert (early.digest() != state.digest()) == (after == 0)
    assert refit(early, ESTIMATED).digest() == early.digest()
    combined, counted, end = run(rows.part(cut, 200), ESTIMATED, early)
    np.testing.assert_array_equal(combined, whole[0][cut:])
    np.testing.assert_array_equal(counted, whole[1][cut:])
    assert end.digest() == whole[2].digest()


def test_a_given_matrix_is_not_refitted() -> None:
    state = run(rows_of(5, 21), GIVEN)[2]
    assert refit(state, GIVEN).digest() == state.digest()


@given(seed=st.integers(0, 99), cut=st.integers(1, 159))
@settings(max_examples=10)
def test_no_past_forecast_depends_on_the_future(seed: int, cut: int) -> None:
    rows, other = rows_of(seed, 40), rows_of(seed + 1, 40)
    mixed = Rows(
        np.concatenate([rows.forecasts[:cut], other.forecasts[cut:]]),
        np.concatenate([rows.probabilities[:cut], other.probabilities[cut:]]),
        np.concatenate([rows.closes[:cut], other.closes[cut:]]),
        rows.ts_us,
    )
    for chosen in (GIVEN, ESTIMATED):
        for now, then in zip(run(rows, chosen)[:2], run(mixed, chosen)[:2], strict=True):
            np.testing.assert_array_equal(now[:cut], then[:cut])


def test_compiled_scan_equals_its_interpreted_twin() -> None:
    rows = rows_of(6, 12)
    vector = np.array([0.9, 0.5, 1.8, 1.3])
    runs = []
    for kernel in (strategy_matrix.scan, strategy_matrix.scan.py_func):
        held = {
            "strategies": np.zeros((3, 3)),
            "last": np.full(3, np.nan),
            "spoken": np.full((3, 3), np.nan),
            "papers": np.full((5, 3), np.nan),
            "regimes": np.full((5, 2), np.nan),
            "count": np.zeros(1, dtype=np.int64),
            "combined": np.empty(rows.closes.shape),
            "counted": np.empty((len(rows.closes), 3)),
        }
        kernel(*rows, vector, MATRIX, *held.values())
        runs.append(held)
    assert runs[0]["count"][0] == 12
    for name, values in runs[0].items():
        np.testing.assert_allclose(runs[1][name], values, rtol=1e-14, atol=0.0, err_msg=name)


def test_no_rows_give_nothing_and_keep_the_state() -> None:
    rows = rows_of(0, 20)
    state = run(rows, ESTIMATED)[2]
    combined, counted, after = run(rows.part(0, 0), ESTIMATED, state)
    assert combined.shape == (0, 3)
    assert counted.shape == (0, 3)
    assert after.digest() == state.digest()


@pytest.mark.parametrize(
    "row",
    [
        {"trend": 0.5, "carry": 0.4, "pairs": 0.0},
        {"trend": 1.5, "carry": -0.5, "pairs": 0.0},
        {"trend": 0.5, "carry": np.nan, "pairs": 0.5},
        {"trend": np.nan, "carry": 0.5, "pairs": 0.5},
        {},
    ],
)
def test_rows_that_are_no_shares_are_refused_by_name(row: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="matrix row wild must have weights >= 0 that sum to 1"):
        replace(GIVEN, rows={"calm": ROWS["calm"], "wild": row})


@pytest.mark.parametrize(
    "row", [{"trend": 1.0, "carry": 0.0}, {"trend": 0.4, "carry": 0.4, "pairs": 0.1, "x": 0.1}]
)
def test_a_missing_or_unknown_strategy_is_refused_in_one_line(row: dict[str, float]) -> None:
    chosen = replace(GIVEN, rows={"calm": ROWS["calm"], "wild": row})
    with pytest.raises(ConfigError) as caught:
        given_matrix(chosen, NAMES, 2)
    assert str(caught.value) == (
        f"matrix row wild must name the strategies ['carry', 'pairs', 'trend'], named {sorted(row)}"
    )


@pytest.mark.parametrize("n_regimes", [1, 3])
def test_another_number_of_regimes_is_refused_in_one_line(n_regimes: int) -> None:
    with pytest.raises(ConfigError) as caught:
        given_matrix(GIVEN, NAMES, n_regimes)
    assert str(caught.value) == (
        f"matrix.rows must have one row for each of {n_regimes} regimes, had ['calm', 'wild']"
    )


def test_the_given_matrix_has_the_order_of_the_strategies_not_of_the_rows() -> None:
    matrix = given_matrix(GIVEN, NAMES, 2)
    np.testing.assert_array_equal(matrix, MATRIX)
    assert given_matrix(ESTIMATED, NAMES, 2) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "guessed"}, "method must be one of equal, given, estimated, was 'guessed'"),
        ({"method": "equal"}, "rows must be given with method given and null else"),
        ({"rows": None}, "rows must be given with method given and null else"),
        ({"size": 0.0}, r"size must be in \(0, 1\], was 0"),
        ({"size": 1.1}, r"size must be in \(0, 1\], was 1.1"),
        ({"scale_max": 0.9}, "scale_max must be >= 1, was 0.9"),
        ({"diversification": 0.9}, "diversification must be >= 1, was 0.9"),
        ({"window_days": 29}, "window_days must be >= 30, was 29"),
        ({"prior_days": 0.0}, "prior_days must be > 0, was 0"),
        ({"size_half_life_days": np.nan}, "size_half_life_days must be > 0, was nan"),
        ({"review": "day"}, "review must be week or month, was 'day'"),
    ],
)
def test_settings_name_what_they_refuse(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(GIVEN, **change)


def test_a_state_of_another_window_or_number_of_strategies_is_refused() -> None:
    rows = rows_of(0, 20)
    state = run(rows, ESTIMATED)[2]
    with pytest.raises(SchemaMismatch, match="settings window_days=31, was of window_days=30"):
        run(rows, replace(ESTIMATED, window_days=31), state)
    fewer = rows._replace(forecasts=rows.forecasts[:, :2])
    with pytest.raises(SchemaMismatch, match="strategy_matrix state must be of the settings"):
        combine(*fewer, ESTIMATED, interval="6h", strategies=NAMES[:2], state=state)


def test_warm_up_is_what_sizes_remember_and_a_whole_window_where_it_is_estimated() -> None:
    assert warm_up(GIVEN, "6h") == 35 * BARS_PER_DAY
    assert warm_up(ESTIMATED, "6h") == 62 * BARS_PER_DAY
    assert warm_up(GIVEN, "1d") == 35 * DAY_US // DAY_US
