"""The synthetic market: determinism, the frames contract, ticks, funding rules, no edge, the cache."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantcore.data import synthetic
from quantcore.data.instruments import decimal_fraction, load_instruments
from quantcore.data.sources import INVENTED
from quantcore.data.synthetic import (
    DEFAULT_SYMBOLS,
    SyntheticData,
    SyntheticMarket,
    generate,
    load_or_generate,
    settings_hash,
)
from quantcore.data.synthetic_model import MarketModel
from quantcore.errors import ConfigError, DataGap, SchemaMismatch
from quantcore.frames import Bars, check_bars, funding_rows, resample_bars
from quantcore.kernels.market import autoregression, settle_funding
from quantcore.timegrid import DAY_US, HOUR_US, to_us
from quantcore.types import FloatArray, IntArray


def _market(**changes: Any) -> SyntheticMarket:
    base = SyntheticMarket(
        interval="1h", symbols=DEFAULT_SYMBOLS[:4], first_day="2024-01-01", days=40, seed=3
    )
    return replace(base, late_listings=changes.pop("late_listings", 0), **changes)


def _source(root: Path, **changes: Any) -> SyntheticData:
    options: dict[str, Any] = {
        "root": str(root),
        "interval": "4h",
        "execution_interval": "1h",
        "symbols": None,
        "start": None,
        "end": None,
        "ends": None,
        "seed": 3,
        "n_symbols": 4,
        "first_day": "2024-01-01",
        "days": 40,
        "late_listings": 1,
    }
    return SyntheticData(**(options | changes))


@pytest.fixture(scope="module")
def hourly() -> Bars:
    return generate(_market(symbols=DEFAULT_SYMBOLS, days=365, late_listings=2, seed=7))


def test_bars_keep_the_frames_contract(hourly: Bars) -> None:
    check_bars(hourly)
    assert hourly.n_bars == 8_760
    assert hourly.ts_us[0] == to_us("2024-01-01") + HOUR_US
    assert hourly.symbols == tuple(sorted(DEFAULT_SYMBOLS))
    assert "open_interest" not in hourly.fields
    assert len(hourly.fields) == 13


def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones() -> None:
    first = generate(_market())
    assert generate(_market()).fingerprint() == first.fingerprint()
    assert generate(_market(seed=4)).fingerprint() != first.fingerprint()


def test_threads_and_global_random_state_do_not_change_the_numbers() -> None:
    expected = generate(_market()).fingerprint()
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(generate(_market()).fingerprint()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_a_symbols_path_does_not_depend_on_the_others() -> None:
    many = generate(_market()).select(["ETHUSDT"])
    alone = generate(_market(symbols=("ETHUSDT",)))
    assert many.fingerprint() == alone.fingerprint()


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "30m", "1h", "4h", "1d"])
def test_every_interval_generates_consistent_bars(interval: str) -> None:
    bars = check_bars(generate(_market(interval=interval, days=3)))
    assert bars.n_bars == 3 * DAY_US // (bars.ts_us[1] - bars.ts_us[0])
    np.testing.assert_array_equal(bars.array("funding_rate"), funding_rows(bars, bars.settlements))


def test_prices_are_whole_ticks_and_volumes_whole_steps_to_the_last_bit(hourly: Bars) -> None:
    for rules in load_instruments(["BTCUSDT", "DOGEUSDT", "SOLUSDT"]):
        column = hourly.symbols.index(rules.symbol)
        for name, text in (
            ("open", rules.tick_size),
            ("high", rules.tick_size),
            ("low", rules.tick_size),
            ("close", rules.tick_size),
        ):
            numerator, denominator = decimal_fraction(text)
            values = hourly.array(name)[:, column]
            ticks = np.rint(values * denominator / numerator)
            np.testing.assert_array_equal(ticks * numerator / denominator, values)
        numerator, denominator = decimal_fraction(rules.step_size)
        lots = hourly.array("volume")[:, column] * denominator / numerator
        np.testing.assert_allclose(lots, np.rint(lots), atol=1e-4)


def test_flows_are_consistent(hourly: Bars) -> None:
    volume, quote = hourly.array("volume"), hourly.array("quote_volume")
    known = ~np.isnan(volume)
    average = quote[known] / volume[known]
    assert (average <= hourly.array("high")[known] * (1 + 1e-12)).all()
    assert (average >= hourly.array("low")[known] * (1 - 1e-12)).all()
    assert (hourly.array("taker_buy_volume")[known] <= volume[known]).all()
    assert (hourly.array("trades")[known] >= 1.0).all()


def test_mark_bars_join_and_are_narrower_than_last_bars(hourly: Bars) -> None:
    opens, closes = hourly.array("mark_open"), hourly.array("mark_price")
    column = hourly.symbols.index("BTCUSDT")
    np.testing.assert_array_equal(opens[1:, column], closes[:-1, column])
    swing = {
        kind: np.nanmean(np.log(hourly.array(high) / hourly.array(low)))
        for kind, high, low in (("mark", "mark_high", "mark_low"), ("last", "high", "low"))
    }
    assert 0.93 < swing["mark"] / swing["last"] < 0.98
    basis = np.log(hourly.array("close") / closes)
    assert 0.5e-4 < np.nanstd(basis) < 3e-4


def test_late_listings_are_missing_before_and_ends_after(hourly: Bars) -> None:
    late = DEFAULT_SYMBOLS[-2:]
    for symbol in hourly.symbols:
        known = ~np.isnan(hourly.close[symbol].to_numpy())
        first = int(np.argmax(known))
        assert known[first:].all()
        assert (first > 0) == (symbol in late)
        settled = hourly.settlements.time_us[
            hourly.settlements.symbol == hourly.symbols.index(symbol)
        ]
        assert settled.min() >= hourly.ts_us[first]
    ended = generate(_market(ends={"ETHUSDT": "2024-01-20"}))
    eth = ended.close["ETHUSDT"]
    assert eth.index[eth.notna()][-1] == ended.index[19 * 24 - 1]
    column = ended.symbols.index("ETHUSDT")
    mine = ended.settlements.time_us[ended.settlements.symbol == column]
    assert mine.max() < to_us("2024-01-20")


def test_settlements_carry_the_mark_at_which_their_bar_opens(hourly: Bars) -> None:
    settled = hourly.settlements
    rows = np.searchsorted(hourly.ts_us, settled.time_us, side="right")
    marks = hourly.array("mark_open")[rows, settled.symbol]
    np.testing.assert_array_equal(settled.mark_price, marks)
    assert (settled.time_us % HOUR_US == 0).all()


def test_some_symbol_reaches_the_cap_and_settles_faster_for_a_while(hourly: Bars) -> None:
    cap = MarketModel().funding_cap
    settled = hourly.settlements
    capped = 0
    for column in range(hourly.n_symbols):
        mine = settled.symbol == column
        times, rates = settled.time_us[mine], settled.rate[mine]
        hit = np.flatnonzero(np.abs(rates) >= cap)
        gaps = np.diff(times) // HOUR_US
        assert set(gaps) <= {1, 2, 3, 4, 8}
        assert (gaps == 8).all() == (len(hit) == 0)
        for at in hit[hit < len(gaps)]:
            capped += 1
            assert gaps[at] == 1
        if len(hit):
            assert gaps[-1] == 4
    assert capped >= 1
    assert np.abs(settled.rate).max() <= cap


def test_seconds_and_odd_intervals_are_refused() -> None:
    for interval in ("7m", "10h", "1w"):
        with pytest.raises(ConfigError, match="interval must divide 15m"):
            _market(interval=interval)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ()}, "symbols must be unique and at least one"),
        ({"symbols": ("A", "A")}, "symbols must be unique"),
        ({"days": 0}, "days must be >= 1, was 0"),
        ({"seed": -1}, "seed must be >= 0, was -1"),
        ({"first_day": "2024-01-01 05:00"}, "first_day must be a UTC date"),
        ({"late_listings": 4}, r"late_listings must be in \[0, 4\), was 4"),
        ({"ends": {"XUSDT": "2024-01-02"}}, "ends must name symbols of the market, was XUSDT"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _market(**changes)


def test_model_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="volatility_variances must be as many"):
        MarketModel(volatility_variances=(0.1,))
    with pytest.raises(ConfigError, match=r"volatility_common must be in \[0, 1\], was 2.0"):
        MarketModel(volatility_common=2.0)
    with pytest.raises(ConfigError, match=r"premium_follows must be in \[-1, 1\]"):
        MarketModel(premium_follows=-1.5)
    with pytest.raises(ConfigError, match="funding_cap must be > 0"):
        MarketModel(funding_cap=0.0)


def test_mark_prices_are_a_martingale_over_ninety_years() -> None:
    gains = []
    for seed in range(90):
        settings = _market(symbols=("SUIUSDT",), interval="1d", days=365, seed=seed)
        bars = generate(settings)
        gains.append(bars.array("mark_price")[:, 0] / bars.array("mark_open")[:, 0] - 1.0)
    returns = np.concatenate(gains)
    # Without the drift of minus half the variance this would be about 5.
    assert abs(returns.mean() / returns.std() * np.sqrt(len(returns))) < 3.0


@pytest.mark.parametrize("lookback", [1, 4, 24, 168])
def test_past_returns_do_not_predict_the_next_one(lookback: int) -> None:
    scores = []
    for seed in range(3):
        closes = generate(_market(symbols=DEFAULT_SYMBOLS[:10], days=365, seed=seed)).array("close")
        returns = np.diff(np.log(closes), axis=0)
        totals = np.cumsum(np.vstack([np.zeros(closes.shape[1]), returns]), axis=0)
        past = np.sign(totals[lookback:-1] - totals[: -lookback - 1])
        gains = (past * returns[lookback:]).mean(axis=1)
        scores.append(gains.mean() / gains.std() * np.sqrt(len(gains)))
    assert abs(np.sum(scores) / np.sqrt(len(scores))) < 3.0


def test_autoregression_compiled_equals_interpreted_and_its_formula() -> None:
    shocks = np.random.default_rng(0).standard_normal(50)
    compiled = autoregression(shocks, 0.9, 2.0)
    np.testing.assert_array_equal(compiled, autoregression.py_func(shocks, 0.9, 2.0))
    expected = [2.0]
    for shock in shocks[1:]:
        expected.append(0.9 * expected[-1] + shock)
    np.testing.assert_allclose(compiled, expected, rtol=1e-15)
    assert len(autoregression(np.empty(0), 0.9, 0.0)) == 0


def _settle(premium: FloatArray) -> tuple[IntArray, FloatArray]:
    options = (0, 0, 8, 0.0001, 0.0005, 0.003, 0.0005, 16, 4)
    times, rates = settle_funding(premium, *options)
    interpreted = settle_funding.py_func(premium, *options)
    np.testing.assert_array_equal(times, interpreted[0])
    np.testing.assert_array_equal(rates, interpreted[1])
    return times, rates


@pytest.mark.parametrize(
    ("premium", "rate"),
    [
        (0.0, 0.0001),
        (0.0006, 0.0001),
        (-0.0004, 0.0001),
        (0.0010, 0.0005),
        (-0.0010, -0.0005),
    ],
)
def test_funding_follows_the_published_formula(premium: float, rate: float) -> None:
    times, rates = _settle(np.full(30, premium))
    np.testing.assert_array_equal(times, [8, 16, 24])
    np.testing.assert_allclose(rates, rate, atol=1e-12)


def test_later_hours_weigh_more_in_the_premium() -> None:
    premium = np.zeros(10)
    premium[7] = 0.0045
    _, rates = _settle(premium)
    assert rates[0] == pytest.approx(0.0045 * 8 / 36 - 0.0005)


def test_the_cap_moves_a_symbol_to_hourly_settlements_and_quiet_ones_to_four_hours() -> None:
    premium = np.zeros(100)
    premium[8:16] = 0.02
    times, rates = _settle(premium)
    hit = int(np.argmax(rates >= 0.003))
    assert times[hit] == 16
    np.testing.assert_array_equal(times[hit : hit + 17], np.arange(16, 33))
    np.testing.assert_array_equal(np.diff(times[hit + 16 :]), 4)
    np.testing.assert_allclose(rates[hit + 1 : hit + 17], 0.0001 / 8)
    np.testing.assert_allclose(rates[hit + 17 :], 0.0001 / 2)
    assert all(later > earlier for earlier, later in pairwise(times))


def test_second_use_reads_the_cache_and_gives_the_same_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_or_generate(_market(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [settings_hash(_market())]

    def refuse(settings: SyntheticMarket) -> Bars:
        raise AssertionError(settings)

    monkeypatch.setattr(synthetic, "generate", refuse)
    assert load_or_generate(_market(), tmp_path).fingerprint() == first.fingerprint()


def test_cache_name_depends_on_every_setting() -> None:
    changed = [
        _market(),
        _market(seed=4),
        _market(days=41),
        _market(interval="4h"),
        _market(first_day="2024-01-02"),
        _market(late_listings=1),
        _market(symbols=DEFAULT_SYMBOLS[:3]),
        _market(ends={"ETHUSDT": "2024-01-20"}),
        _market(model=MarketModel(funding_cap=0.02)),
    ]
    assert len({settings_hash(settings) for settings in changed}) == len(changed)


def test_damaged_cache_is_refused_by_name(tmp_path: Path) -> None:
    load_or_generate(_market(), tmp_path)
    folder = tmp_path / settings_hash(_market())
    (folder / "field_close.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(SchemaMismatch, match=f"delete {folder.name}"):
        load_or_generate(_market(), tmp_path)


def test_failed_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(bars: Bars, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("disk full")

    monkeypatch.setattr(synthetic, "_write_bars", fail)
    with pytest.raises(OSError, match="disk full"):
        load_or_generate(_market(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_source_loads_market_data_that_says_it_is_synthetic(tmp_path: Path) -> None:
    market = _source(tmp_path).load()
    assert market.notes[0] == INVENTED
    assert market.interval == "4h"
    assert market.bars.interval == "1h"
    assert market.bars.symbols == tuple(sorted(DEFAULT_SYMBOLS[:4]))
    assert market.start_us is None
    assert resample_bars(market.bars, "4h").n_bars == 40 * 6


def test_source_narrows_symbols_span_and_ends(tmp_path: Path) -> None:
    market = _source(
        tmp_path,
        symbols=["ETHUSDT", "BTCUSDT"],
        start="2024-01-05",
        end="2024-01-31",
        ends={"BTCUSDT": "2024-01-20"},
    ).load()
    assert market.bars.symbols == ("BTCUSDT", "ETHUSDT")
    assert market.start_us == to_us("2024-01-05")
    assert market.bars.ts_us[0] == to_us("2024-01-01") + HOUR_US
    assert market.bars.ts_us[-1] == to_us("2024-01-31")
    assert market.ends_us == {"BTCUSDT": to_us("2024-01-20")}


def test_source_refuses_an_empty_span_and_wrong_counts(tmp_path: Path) -> None:
    with pytest.raises(DataGap, match=r"data.start and data.end must leave bars"):
        _source(tmp_path, start="2025-01-01").load()
    with pytest.raises(ConfigError, match=r"data.n_symbols must be in \[1, 20\], was 99"):
        _source(tmp_path, n_symbols=99)
