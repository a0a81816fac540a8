"""What is estimated at fixed dates: shares by risk, Kelly's scale, and how the Signal Generator takes them up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from quantcore.finance.covariance import ledoit_wolf
from quantcore.finance.portfolio import hierarchical_risk_parity, risk_budgeting
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.signals import estimates
from quantcore.signals.estimates import KellySettings, SharesSettings, kelly_scale
from quantcore.signals.generator import PortfolioSettings, portfolio_weights, refit, warm_up
from quantcore.timegrid import HOUR_US, calendar_rows, to_us
from quantcore.types import FloatArray

PARITY = SharesSettings(method="risk_parity", review="week", window_days=30, days_min=15)
HIERARCHICAL = replace(PARITY, method="hierarchical")
KELLY = KellySettings(fraction=0.5, review="week", window_days=60)
PLAIN = PortfolioSettings(
    volatility_half_life=10.0,
    covariance_half_life=20.0,
    annual_volatility_target=0.3,
    full_conviction=0.3,
    weight_max=0.5,
    gross_max=2.0,
)
ALL = replace(PLAIN, smoothing_half_life=3.0, shares=PARITY, kelly=KELLY)
VARIANTS = [
    pytest.param(replace(PLAIN, smoothing_half_life=3.0), id="smoothing"),
    pytest.param(replace(PLAIN, shares=PARITY), id="risk_parity"),
    pytest.param(replace(PLAIN, shares=HIERARCHICAL), id="hierarchical"),
    pytest.param(replace(PLAIN, kelly=KELLY), id="kelly"),
    pytest.param(ALL, id="all"),
]
BARS_PER_DAY = 3


def daily_closes(seed: int, n_days: int, n_symbols: int) -> FloatArray:
    """Correlated walks of unequal volatility."""
    rng = np.random.default_rng(seed)
    changes = rng.normal(0.0, 0.01, (n_days, n_symbols)) * (1.0 + np.arange(n_symbols))
    changes += rng.normal(0.0, 0.01, (n_days, 1))
    return np.asarray(50.0 * np.exp(np.cumsum(changes, axis=0)))


def market(seed: int, days: int, n_symbols: int = 4) -> tuple[Bars, FloatArray]:
    """Bars of eight hours with holes and a late symbol, and forecasts that know a little of the next bar."""
    rng = np.random.default_rng(seed)
    n_bars = days * BARS_PER_DAY
    changes = rng.normal(0.0, 0.01, (n_bars, n_symbols)) * (1.0 + np.arange(n_symbols))
    closes = 50.0 * np.exp(np.cumsum(changes, axis=0))
    ahead = np.vstack([changes[1:], np.zeros((1, n_symbols))]) / changes.std(axis=0)
    forecasts = np.clip(0.2 * ahead + rng.normal(0.0, 0.5, closes.shape), -1.0, 1.0)
    closes[rng.random(closes.shape) < 0.03] = np.nan
    closes[: n_bars // 5, -1] = np.nan
    forecasts[rng.random(closes.shape) < 0.05] = np.nan
    bars = Bars(
        interval="8h",
        ts_us=to_us("2024-01-01") + 8 * HOUR_US * (1 + np.arange(n_bars, dtype=np.int64)),
        symbols=tuple(f"S{i:02}" for i in range(n_symbols)),
        fields={"close": closes},
    )
    return bars, forecasts


def run(
    bars: Bars, forecasts: FloatArray, chosen: PortfolioSettings, state: FoldState | None = None
) -> tuple[FloatArray, FoldState]:
    panel, after = portfolio_weights(bars, to_panel(forecasts, bars), chosen, state)
    return panel.to_numpy(), after


def closes_of_days(bars: Bars, days: int) -> FloatArray:
    """The last close of each of the first days, by pandas."""
    rows = pd.DataFrame(bars.array("close")[: days * BARS_PER_DAY])
    return rows.groupby(np.arange(len(rows)) // BARS_PER_DAY).last().to_numpy()


@pytest.mark.parametrize("chosen", [PARITY, HIERARCHICAL], ids=lambda s: s.method)
@pytest.mark.parametrize("seed", range(3))
def test_shares_are_those_of_the_method_on_the_shrunk_covariance_of_the_window(
    chosen: SharesSettings, seed: int
) -> None:
    closes = daily_closes(seed, 50, 5)
    shares = estimates.shares(closes, chosen)
    returns = pd.DataFrame(closes[-30:]).pct_change().to_numpy()[1:]
    covariance = ledoit_wolf(returns, target="constant_correlation").covariance
    method = risk_budgeting if chosen.method == "risk_parity" else hierarchical_risk_parity
    np.testing.assert_allclose(shares, method(covariance).weights, rtol=1e-6)
    assert shares.sum() == pytest.approx(1.0)
    assert (shares > 0.0).all()
    assert shares[0] > shares[-1]


@pytest.mark.parametrize("chosen", [PARITY, HIERARCHICAL], ids=lambda s: s.method)
def test_symbols_with_too_few_days_or_no_movement_have_no_share(chosen: SharesSettings) -> None:
    closes = daily_closes(3, 30, 6)
    closes[:15, 1] = np.nan  # 14 returns
    closes[:14, 2] = np.nan  # 15 returns, enough
    closes[:, 4] = 7.0
    closes[:, 5] = np.nan
    shares = estimates.shares(closes, chosen)
    np.testing.assert_array_equal(shares > 0.0, [True, False, True, True, False, False])
    assert (shares[[1, 4, 5]] == 0.0).all()
    assert shares.sum() == pytest.approx(1.0)
    few = estimates.shares(closes[:, [0, 2, 3]], chosen)
    np.testing.assert_allclose(shares[[0, 2, 3]], few, rtol=1e-9)


def test_only_the_window_counts() -> None:
    closes = daily_closes(4, 60, 3)
    other = closes.copy()
    other[:30] = daily_closes(5, 30, 3)
    np.testing.assert_array_equal(
        estimates.shares(other, PARITY), estimates.shares(closes[-30:], PARITY)
    )


@pytest.mark.parametrize("known", [[], [1]])
def test_too_few_symbols_give_no_shares_at_all(known: list[int]) -> None:
    closes = daily_closes(0, 30, 3)
    closes[:, [i for i in range(3) if i not in known]] = np.nan
    assert np.isnan(estimates.shares(closes, PARITY)).all()
    assert estimates.shares(closes, PARITY).shape == (3,)


def papers_of(mean: float, sd: float, n_days: int = 60) -> FloatArray:
    """Returns of exactly this mean and deviation, with the divisor n."""
    noise = np.random.default_rng(1).normal(0.0, 1.0, n_days)
    noise -= noise.mean()
    return np.asarray(mean + sd * noise / noise.std())


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
@pytest.mark.parametrize(("mean", "sd"), [(0.001, 0.05), (0.01, 0.2), (0.05, 0.3), (1e-5, 0.01)])
def test_kelly_is_its_formula(fraction: float, mean: float, sd: float) -> None:
    n = 60
    theta = (mean / sd) ** 2
    # Kan and Zhou (2007), with the incomplete beta function from its integral.
    z = theta / (1.0 + theta)
    incomplete = integrate.quad(lambda x: x**-0.5 * (1.0 - x) ** ((n - 3) / 2.0), 0.0, z)[0]
    numerator = 2.0 * theta**0.5 * (1.0 + theta) ** (-(n - 2) / 2.0)
    adjusted = ((n - 3) * theta - 1.0) / n + numerator / (n * incomplete)
    shrunk = (n - 2) * (n - 5) / (n * (n - 2)) * adjusted / (adjusted + 1.0 / n)
    wanted = min(1.0, fraction * shrunk * mean / sd**2)
    scale = kelly_scale(papers_of(mean, sd), replace(KELLY, fraction=fraction))
    assert scale == pytest.approx(wanted, rel=1e-6)
    assert 0.0 < scale <= 1.0


def test_kelly_holds_nothing_of_a_losing_record_and_all_before_the_window_is_whole() -> None:
    assert kelly_scale(papers_of(-1e-4, 0.01), KELLY) == 0.0
    losing = papers_of(-0.01, 0.01)
    started = np.append(np.nan, losing[1:])
    assert kelly_scale(started, KELLY) == 1.0
    assert kelly_scale(losing[1:], KELLY) == 1.0
    assert kelly_scale(np.full(60, np.nan), KELLY) == 1.0
    assert kelly_scale(np.zeros(60), KELLY) == 1.0
    assert kelly_scale(np.append(papers_of(0.01, 0.01), losing), KELLY) == 0.0


@settings(max_examples=50)
@given(mean=st.floats(-0.1, 0.1), sd=st.floats(1e-4, 0.2), fraction=st.floats(0.01, 1.0))
def test_kelly_is_between_nothing_and_the_whole(mean: float, sd: float, fraction: float) -> None:
    scale = kelly_scale(papers_of(mean, sd), replace(KELLY, fraction=fraction))
    assert 0.0 <= scale <= 1.0


@pytest.mark.parametrize(
    ("chosen", "change", "said"),
    [
        (PARITY, {"method": "equal"}, "method must be one of risk_parity, hierarchical, was 'equal'"),
        (PARITY, {"review": "day"}, "review must be week or month, was 'day'"),
        (PARITY, {"window_days": 19}, "window_days must be >= 20, was 19"),
        (PARITY, {"days_min": 9}, r"days_min must be in \[10, window_days - 1\], was 9"),
        (PARITY, {"days_min": 30}, r"days_min must be in \[10, window_days - 1\], was 30"),
        (KELLY, {"fraction": 0.0}, r"fraction must be in \(0, 1\], was 0"),
        (KELLY, {"fraction": 1.01}, r"fraction must be in \(0, 1\], was 1.01"),
        (KELLY, {"fraction": np.nan}, r"fraction must be in \(0, 1\], was nan"),
        (KELLY, {"review": "year"}, "review must be week or month, was 'year'"),
        (KELLY, {"window_days": 59}, "window_days must be >= 60, was 59"),
    ],
)  # fmt: skip
def test_settings_name_what_they_refuse(chosen: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(chosen, **change)


def test_smoothing_is_an_exponential_mean_of_the_forecasts_there_are() -> None:
    bars, forecasts = market(1, 30)
    smoothed = pd.DataFrame(forecasts).ewm(halflife=3.0, ignore_na=True).mean().to_numpy()
    smoothed = np.where(np.isnan(forecasts), np.nan, smoothed)
    weights, _ = run(bars, forecasts, replace(PLAIN, smoothing_half_life=3.0))
    np.testing.assert_allclose(weights, run(bars, smoothed, PLAIN)[0], rtol=1e-9, atol=1e-13)


def test_kelly_scales_the_unscaled_portfolio_by_its_own_paper_returns() -> None:
    bars, forecasts = market(2, 150)
    forecasts[200:330] *= -1.0
    chosen = replace(KELLY, fraction=0.05)
    unscaled, _ = run(bars, forecasts, PLAIN)
    closes = pd.DataFrame(bars.array("close"))
    returns = (closes / closes.ffill().shift() - 1.0).fillna(0.0).to_numpy()
    held = pd.DataFrame(unscaled).ffill().shift().fillna(0.0).to_numpy()
    papers = (held * returns).sum(axis=1).reshape(-1, BARS_PER_DAY).sum(axis=1)
    scales = np.ones(len(unscaled))
    for row in np.flatnonzero(calendar_rows(bars.ts_us, "week")):
        days = (row + 1) // BARS_PER_DAY
        if days >= KELLY.window_days:
            scales[row + 1 :] = kelly_scale(papers[days - KELLY.window_days : days], chosen)
    weights, _ = run(bars, forecasts, replace(PLAIN, kelly=chosen))
    np.testing.assert_allclose(weights, unscaled * scales[:, None], rtol=1e-6, atol=1e-12)
    assert len(np.unique(scales)) > 5
    assert scales.min() == 0.0


def test_kelly_trades_again_when_the_paper_portfolio_gains_again() -> None:
    bars, forecasts = market(3, 240)
    third = len(forecasts) // 3
    forecasts[:third] *= -1.0
    _, state = run(bars, forecasts, replace(PLAIN, kelly=replace(KELLY, fraction=1.0)))
    weights, _ = run(bars, forecasts, replace(PLAIN, kelly=replace(KELLY, fraction=1.0)))
    gross = np.nan_to_num(np.abs(weights)).sum(axis=1)
    assert (gross[third - 30 : third] == 0.0).all()
    assert (gross[-60:] > 0.0).any()
    assert state["scale"][0] > 0.0


def test_shares_are_estimated_from_the_closes_of_days_up_to_the_instant() -> None:
    bars, forecasts = market(4, 70)
    chosen = replace(PLAIN, shares=PARITY)
    for weeks in (3, 6, 9):
        days = 7 * weeks
        _, state = run(bars.rows(0, days * BARS_PER_DAY), forecasts[: days * BARS_PER_DAY], chosen)
        shares = refit(state, chosen)["shares"]
        np.testing.assert_array_equal(shares, estimates.shares(closes_of_days(bars, days), PARITY))
        assert shares.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("shares", [PARITY, HIERARCHICAL], ids=lambda s: s.method)
def test_the_first_estimate_takes_effect_one_row_after_its_instant(shares: SharesSettings) -> None:
    bars, forecasts = market(5, 30)
    first = 21 * BARS_PER_DAY - 1
    assert str(bars.index[first]) == "2024-01-22 00:00:00+00:00"
    with_shares, _ = run(bars, forecasts, replace(PLAIN, shares=shares))
    without, _ = run(bars, forecasts, PLAIN)
    np.testing.assert_array_equal(with_shares[: first + 1], without[: first + 1])
    assert (np.abs(with_shares[first + 1] - without[first + 1]) > 1e-6).any()


@pytest.mark.parametrize("row", [0, 1])
def test_what_an_estimate_knows_of_its_instant_shows_no_earlier_than_the_next_row(row: int) -> None:
    bars, forecasts = market(6, 80)
    instant = 77 * BARS_PER_DAY - 1
    _, before = run(bars.rows(0, instant + row), forecasts[: instant + row], ALL)
    assert before["due"].tolist() == [row, row]
    early = refit(before, ALL)
    assert (early.digest() != before.digest()) == bool(row)


@pytest.mark.parametrize("chosen", VARIANTS)
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 240), min_size=1, max_size=4).map(sorted))
def test_parts_equal_the_whole_through_saved_states(
    chosen: PortfolioSettings, cuts: list[int]
) -> None:
    bars, forecasts = market(7, 80)
    whole, end = run(bars, forecasts, chosen)
    state, parts = None, []
    for start, stop in zip([0, *cuts], [*cuts, 240], strict=True):
        weights, after = run(bars.rows(start, stop), forecasts[start:stop], chosen, state)
        state = FoldState.from_bytes(after.to_bytes())
        parts.append(weights)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert state is not None
    assert state.digest() == end.digest()


@pytest.mark.parametrize("chosen", VARIANTS)
@settings(max_examples=6)
@given(week=st.integers(1, 11), after=st.integers(-1, 1))
def test_refitting_before_the_next_call_changes_nothing(
    chosen: PortfolioSettings, week: int, after: int
) -> None:
    bars, forecasts = market(8, 80)
    whole, end = run(bars, forecasts, chosen)
    cut = 7 * week * BARS_PER_DAY + after
    state = run(bars.rows(0, cut), forecasts[:cut], chosen)[1]
    weights, last = run(bars.rows(cut, 240), forecasts[cut:], chosen, refit(state, chosen))
    np.testing.assert_array_equal(weights, whole[cut:])
    assert last.digest() == end.digest()


@pytest.mark.parametrize("chosen", VARIANTS)
def test_no_past_weight_depends_on_the_future(chosen: PortfolioSettings) -> None:
    bars, forecasts = market(9, 80)
    other, views = market(10, 80)
    cut = 70 * BARS_PER_DAY
    closes = np.concatenate([bars.array("close")[:cut], other.array("close")[cut:]])
    mixed = replace(bars, fields={"close": closes})
    weights, _ = run(mixed, np.concatenate([forecasts[:cut], views[cut:]]), chosen)
    np.testing.assert_array_equal(weights[:cut], run(bars, forecasts, chosen)[0][:cut])


def test_warm_up_replays_the_longest_window() -> None:
    assert warm_up(replace(PLAIN, shares=PARITY), "8h") == 62 * BARS_PER_DAY
    assert warm_up(ALL, "8h") == 92 * BARS_PER_DAY
