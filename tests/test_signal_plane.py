"""The signal plane as one fold: whole equals parts through saved bytes, for compiled and for plain strategies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from quantcore.config import build, conf_folder
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.exits import NO_EXITS
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.signal_plane import SignalSettings, forecast, target_weights, warm_up
from quantcore.signals.generator import PortfolioSettings
from quantcore.signals.plain import plain_forecast
from quantcore.types import FloatArray, Panel
from strategies.plain_momentum import PlainMomentumSettings
from strategies.trend import TrendSettings

HOUR_US = 3_600_000_000
PORTFOLIO = PortfolioSettings(
    volatility_half_life=4.0,
    covariance_half_life=6.0,
    annual_volatility_target=0.2,
    full_conviction=0.5,
    weight_max=0.3,
    gross_max=1.0,
)
TREND = SignalSettings(
    strategy=TrendSettings(
        fast=2, slow=5, speeds=2, volatility_half_life=6.0, cap=2.0, exits=NO_EXITS
    ),
    portfolio=PORTFOLIO,
)
PLAIN = SignalSettings(
    strategy=PlainMomentumSettings(lookback=7, exits=NO_EXITS), portfolio=PORTFOLIO
)
BOTH = [pytest.param(TREND, id="compiled"), pytest.param(PLAIN, id="plain")]


def hourly(closes: FloatArray) -> Bars:
    """Bars with a flow field and a funding settlement every eight hours."""
    n_bars, n_symbols = closes.shape
    symbols = tuple(f"S{i:02}" for i in range(n_symbols))
    ts_us = (np.arange(n_bars, dtype=np.int64) + 1) * HOUR_US
    times = np.repeat(np.arange(0, n_bars, 8, dtype=np.int64) * HOUR_US, n_symbols)
    settlements = Settlements(
        time_us=times,
        symbol=np.tile(np.arange(n_symbols), len(times) // max(n_symbols, 1)),
        rate=np.linspace(-1e-4, 1e-4, len(times)),
        mark_price=np.full(len(times), np.nan),
    )
    bars = Bars(interval="1h", ts_us=ts_us, symbols=symbols, fields={"close": closes})
    fields = {
        "close": closes,
        "volume": np.abs(closes),
        "funding_rate": funding_rows(bars, settlements),
    }
    return replace(bars, fields=fields, settlements=settlements)


def holed(seed: int, n_bars: int, n_symbols: int) -> FloatArray:
    """Random walks with a late symbol and single holes."""
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (n_bars, n_symbols)), axis=0))
    closes[rng.random(closes.shape) < 0.03] = np.nan
    closes[: n_bars // 3, -1] = np.nan
    return closes


def run(closes: FloatArray, chosen: SignalSettings) -> FloatArray:
    return target_weights(hourly(closes), chosen)[0].to_numpy()


def configured(option: str) -> Any:
    """The settings that an option file holds."""
    return build(OmegaConf.load(conf_folder() / f"{option}.yaml"))


def saved(state: FoldState) -> FoldState:
    return FoldState.from_bytes(state.to_bytes())


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=25)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 40), max_size=3).map(sorted))
def test_weights_of_all_parts_equal_weights_of_the_whole(
    chosen: SignalSettings, seed: int, cuts: list[int]
) -> None:
    bars = hourly(holed(seed, 40, 3))
    whole, end = target_weights(bars, chosen)
    state, parts = None, []
    for start, stop in zip([0, *cuts], [*cuts, 40], strict=True):
        panel, state = target_weights(bars.rows(start, stop), chosen, state)
        state = saved(state)
        parts.append(panel)
    pd.testing.assert_frame_equal(pd.concat(parts), whole, check_exact=True)
    assert state is not None
    assert state.digest() == end.digest()


@pytest.mark.parametrize("chosen", BOTH)
def test_one_row_at_a_time_equals_all_rows_at_once(chosen: SignalSettings) -> None:
    bars = hourly(holed(3, 40, 3))
    whole, end = target_weights(bars, chosen)
    state = None
    for t in range(40):
        row, state = target_weights(bars.rows(t, t + 1), chosen, state)
        pd.testing.assert_frame_equal(row, whole.iloc[t : t + 1], check_exact=True)
    assert state is not None
    assert state.digest() == end.digest()
    assert (whole.abs() > 0.0).to_numpy().any()


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=25)
@given(seed=st.integers(0, 999), cut=st.integers(1, 39))
def test_no_past_weight_depends_on_the_future(chosen: SignalSettings, seed: int, cut: int) -> None:
    closes = holed(seed, 40, 3)
    changed = closes.copy()
    changed[cut:] = holed(seed + 1, 40, 3)[cut:] * 3.0
    np.testing.assert_array_equal(run(changed, chosen)[:cut], run(closes, chosen)[:cut])


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=15)
@given(seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_prices_times_a_power_of_two_change_nothing(
    chosen: SignalSettings, seed: int, power: int
) -> None:
    closes = holed(seed, 40, 2)
    np.testing.assert_array_equal(run(closes * 2.0**power, chosen), run(closes, chosen))


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=15)
@given(seed=st.integers(0, 999), order=st.permutations(range(3)))
def test_permuting_symbols_permutes_weights(
    chosen: SignalSettings, seed: int, order: list[int]
) -> None:
    closes = holed(seed, 40, 3)
    permuted, straight = run(closes[:, order], chosen), run(closes, chosen)
    np.testing.assert_allclose(permuted, straight[:, order], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("chosen", BOTH)
def test_nan_means_no_price_and_nothing_else(chosen: SignalSettings) -> None:
    closes = holed(5, 40, 3)
    np.testing.assert_array_equal(np.isnan(run(closes, chosen)), np.isnan(closes))


@pytest.mark.parametrize("chosen", BOTH)
def test_no_rows_give_no_weights_and_keep_the_state(chosen: SignalSettings) -> None:
    bars = hourly(holed(0, 20, 2))
    empty, nothing = target_weights(bars.rows(0, 0), chosen)
    assert empty.shape == (0, 2)
    first, state = target_weights(bars, chosen, saved(nothing))
    pd.testing.assert_frame_equal(first, target_weights(bars, chosen)[0], check_exact=True)
    assert target_weights(bars.rows(20, 20), chosen, state)[1].digest() == state.digest()


@pytest.mark.parametrize("chosen", BOTH)
def test_bars_that_do_not_continue_the_state_are_refused(chosen: SignalSettings) -> None:
    bars = hourly(holed(0, 20, 2))
    _, state = target_weights(bars.rows(0, 10), chosen)
    for start in (9, 11):
        with pytest.raises(
            SchemaMismatch, match="bars must continue the state at 1970-01-01 11:00"
        ):
            target_weights(bars.rows(start, 20), chosen, state)
    with pytest.raises(SchemaMismatch, match="bars must have the symbols of the state"):
        target_weights(bars.rows(10, 20).select(["S00"]), chosen, state)
    slower = Bars(
        interval="2h",
        ts_us=bars.ts_us[11:12],
        symbols=bars.symbols,
        fields={"close": np.ones((1, 2))},
    )
    with pytest.raises(
        SchemaMismatch, match="bars must have the interval of the state, 1h, had 2h"
    ):
        target_weights(slower, chosen, state)


def test_a_state_of_another_strategy_or_fold_is_refused() -> None:
    bars = hourly(holed(0, 20, 2))
    _, state = target_weights(bars.rows(0, 10), TREND)
    with pytest.raises(
        SchemaMismatch, match=r"state must be of the strategies .*plain_.*, was of .*trend"
    ):
        target_weights(bars.rows(10, 20), PLAIN, state)
    with pytest.raises(SchemaMismatch, match="state must be of kind 'signal_plane'"):
        target_weights(bars, TREND, FoldState("account", 1, {}))


def test_settings_without_a_strategy_are_refused() -> None:
    message = "strategy must be settings whose module holds forecast, .* was ExitSettings of quantcore.exits"
    with pytest.raises(ConfigError, match=message):
        SignalSettings(strategy=NO_EXITS, portfolio=PORTFOLIO)


def test_warm_up_is_the_longest_of_the_stages() -> None:
    assert warm_up(PLAIN, "1h") == int(np.ceil(6.0 * np.log2(100.0)))
    longer = replace(PLAIN, strategy=replace(PLAIN.strategy, lookback=500))
    assert warm_up(longer, "1h") == 500
    slower = replace(TREND, strategy=replace(TREND.strategy, slow=500))
    assert warm_up(slower, "1h") > 1000


def test_plain_forecast_is_the_function_on_all_rows_where_the_function_is_exact() -> None:
    bars = hourly(holed(8, 60, 3))
    direct = PLAIN.strategy
    panel, _ = forecast(bars, direct)
    closes = bars.panel("close")
    returns = closes.pct_change(fill_method=None)
    expected = (
        (0.5 * returns.rolling(6).mean() / returns.rolling(6).std() * 6**0.5).clip(-1, 1).to_numpy()
    )
    np.testing.assert_allclose(panel.to_numpy(), expected, rtol=1e-7, atol=1e-12)


def test_plain_strategy_sees_exactly_its_window_with_all_fields_and_settlements() -> None:
    bars = hourly(holed(1, 30, 2))
    seen: list[Bars] = []

    def look(window: Bars) -> Panel:
        seen.append(window)
        return window.panel("close") * 0.0

    _, state = plain_forecast(look, bars.rows(0, 17), None, 9)
    panel, _ = plain_forecast(look, bars.rows(17, 30), None, 9, saved(state))
    assert len(panel) == 13
    assert [w.fingerprint() for w in seen] == [
        bars.rows(t - 8, t + 1).fingerprint() for t in range(8, 30)
    ]
    assert any(len(w.settlements) for w in seen)


def test_windows_keep_what_bars_can_do() -> None:
    bars = hourly(holed(1, 30, 2))
    seen: list[Bars] = []

    def look(window: Bars) -> Panel:
        seen.append(window)
        return window.panel("close") * 0.0

    plain_forecast(look, bars, None, 9)
    window, expected = seen[3], bars.rows(3, 12)
    for name in bars.fields:
        pd.testing.assert_frame_equal(window.panel(name), expected.panel(name), check_exact=True)
    pd.testing.assert_frame_equal(window.close, expected.close, check_exact=True)
    assert window.index.equals(expected.index)
    assert window.rows(2, 5).fingerprint() == expected.rows(2, 5).fingerprint()
    assert window.select(["S01"]).fingerprint() == expected.select(["S01"]).fingerprint()
    shorter = replace(window, fields={"close": window.array("close") * 2.0})
    pd.testing.assert_frame_equal(shorter.close, expected.close * 2.0, check_exact=True)
    with pytest.raises(DataGap, match="bars have no field open_interest"):
        _ = window.open_interest
    closes = window.close
    closes.iloc[:] = 0.0
    pd.testing.assert_frame_equal(window.close, expected.close, check_exact=True)
    np.testing.assert_array_equal(seen[4].array("close"), bars.array("close")[4:13])
    assert not seen[4].array("close").flags.writeable


def test_plain_strategy_may_return_its_last_row_alone() -> None:
    bars = hourly(holed(1, 30, 2))
    row, _ = plain_forecast(lambda w: w.close.iloc[-1] / 1e6, bars, None, 3)
    panel, _ = plain_forecast(lambda w: w.close / 1e6, bars, None, 3)
    pd.testing.assert_frame_equal(row, panel, check_exact=True)


@pytest.mark.parametrize("chosen", BOTH)
@settings(max_examples=25)
@given(seed=st.integers(0, 999), first=st.integers(0, 45))
def test_weights_wanted_from_a_row_on_equal_those_of_the_whole(
    chosen: SignalSettings, seed: int, first: int
) -> None:
    bars = hourly(holed(seed, 40, 3))
    whole, end = target_weights(bars, chosen)
    later, after = target_weights(bars, chosen, first=first)
    pd.testing.assert_frame_equal(later.iloc[first:], whole.iloc[first:], check_exact=True)
    assert after.digest() == end.digest()


def test_plain_strategy_is_asked_for_the_wanted_rows_only_and_shows_them() -> None:
    asked: list[pd.Timestamp] = []
    shown: list[range] = []

    def look(window: Bars) -> Panel:
        asked.append(window.index[-1])
        return window.close * 0.0

    def progress(rows: range) -> range:
        shown.append(rows)
        return rows

    bars = hourly(np.ones((10, 2)))
    plain_forecast(look, bars, None, 4, first=7, progress=progress)
    assert asked == list(bars.index[7:])
    assert shown == [range(7, 10)]


def test_plain_strategy_has_no_view_before_its_lookback_is_full() -> None:
    bars = hourly(np.ones((10, 2)))
    panel, _ = plain_forecast(lambda window: window.panel("close") * 0.5, bars, None, 4)
    np.testing.assert_array_equal(panel["S00"].isna(), [True] * 3 + [False] * 7)


def test_plain_strategy_that_looks_back_one_row_keeps_no_window() -> None:
    bars = hourly(np.ones((3, 2)))
    panel, state = plain_forecast(lambda window: window.panel("close") * 0.5, bars, None, 1)
    assert (panel == 0.5).all(axis=None)
    assert len(state["ts_us"]) == 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda w: w.panel("close") * 3.0, r"a forecast must be in \[-1, 1\], was 3.0 for S00 at"),
        (lambda w: w.panel("close") * np.inf, r"a forecast must be in \[-1, 1\], was inf for S00"),
        (lambda w: w.panel("close").iloc[:-1], "must return a panel over the symbols that ends at"),
        (lambda w: w.panel("close")[["S00"]], "must return a panel over the symbols that ends at"),
        (lambda w: w.panel("close")["S00"], "must return a panel over the symbols that ends at"),
        (lambda w: w.panel("close").iloc[:0], "must return a panel over the symbols that ends at"),
        (lambda w: None, "must return a DataFrame over its .* over the symbols, was NoneType"),
        (lambda w: w.array("close"), "must return a DataFrame over its .*, was ndarray"),
        (lambda w: w.panel("close").astype(str) + "x", "must return numbers, was str at"),
    ],
)
def test_plain_strategy_that_breaks_the_contract_is_refused(function: object, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        plain_forecast(function, hourly(np.ones((5, 2))), None, 3)  # type: ignore[arg-type] # a lambda


def test_plain_state_with_other_fields_or_a_gap_is_refused() -> None:
    bars = hourly(holed(1, 30, 2))
    function = bars.rows(0, 0).panel
    _, state = plain_forecast(lambda w: w.panel("close") * 0.0, bars.rows(0, 10), None, 4)
    bare = replace(bars, fields={"close": bars.array("close")})
    with pytest.raises(SchemaMismatch, match="bars must have the fields of the state"):
        plain_forecast(function, bare.rows(10, 20), None, 4, state)
    with pytest.raises(SchemaMismatch, match="bar times must be 1h apart"):
        plain_forecast(function, bars.rows(11, 20), None, 4, state)
    with pytest.raises(SchemaMismatch, match="plain state must have 1 symbols, had 2"):
        plain_forecast(function, bars.rows(10, 20).select(["S00"]), None, 4, state)
    with pytest.raises(ValueError, match="lookback must be >= 1, was 0"):
        plain_forecast(function, bars, None, 0)


def test_configured_strategy_is_smooth_and_within_its_caps_on_real_bars(shared: Path) -> None:
    folder = shared / "data" / "klines_1h"
    closes = {
        path.stem: pd.read_parquet(path).set_index("open_time")["close"]
        for path in sorted(folder.glob("*.parquet"))
    }
    table = pd.DataFrame(closes)
    ts_us = pd.DatetimeIndex(table.index).as_unit("us").asi8 + HOUR_US
    bars = Bars(
        interval="1h",
        ts_us=ts_us,
        symbols=tuple(table.columns),
        fields={"close": table.to_numpy(dtype=np.float64)},
    )
    portfolio = configured("portfolio/inverse_volatility")
    chosen = SignalSettings(strategy=configured("strategy/trend"), portfolio=portfolio)
    whole, end = target_weights(bars, chosen)
    weights = np.nan_to_num(whole.to_numpy())
    assert np.abs(weights).max() <= portfolio.weight_max
    assert np.abs(weights).sum(axis=1).max() <= portfolio.gross_max * (1 + 1e-12)
    turnover = np.abs(np.diff(weights, axis=0)).sum() / (bars.n_bars / 8760)
    assert 10.0 < turnover < 100.0
    middle = 10_001
    _, state = target_weights(bars.rows(0, middle), chosen)
    rest, after = target_weights(bars.rows(middle, bars.n_bars), chosen, saved(state))
    pd.testing.assert_frame_equal(rest, whole.iloc[middle:], check_exact=True)
    assert after.digest() == end.digest()
