from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape
from live.simulator.candles import INTERVALS, Candle, candles, opens, rolling
from quantcore.frames import Bars, resample_bars
from quantcore.timegrid import DAY_US, HOUR_US, MINUTE_US, to_us

FIRST_US = 1_704_067_200_000_000
Make = Callable[..., BarTape]
MakeBars = Callable[..., Bars]


def test_closed_candles_of_the_bars_own_interval_are_the_bars(tape: BarTape) -> None:
    now = FIRST_US + 100 * MINUTE_US
    found = candles(tape, 0, opens("1m", FIRST_US, now - 1), now)
    assert len(found) == 100
    for k, candle in enumerate(found):
        bar = [tape.bars.array(n)[k, 0] for n in ("open", "high", "low", "close", "volume")]
        assert list(candle[2:7]) == bar
        assert (candle.open_us, candle.end_us) == (
            FIRST_US + k * MINUTE_US,
            FIRST_US + (k + 1) * MINUTE_US,
        )


def test_known_flows_are_those_of_the_bars(bars: Bars, tape_of: Make) -> None:
    volume = bars.array("volume")
    flows = {
        "quote_volume": volume * 1234.56789,
        "trades": np.rint(volume) + 3.0,
        "taker_buy_volume": np.round(volume / 3.0, 3),
    }
    tape = tape_of(replace(bars, fields={**bars.fields, **flows}))
    candle = candles(tape, 0, opens("1m", FIRST_US, FIRST_US), FIRST_US + MINUTE_US)[0]
    assert candle.quote_volume == flows["quote_volume"][0, 0]
    assert candle.trades == flows["trades"][0, 0]
    assert candle.taker_volume == flows["taker_buy_volume"][0, 0]
    bought = flows["taker_buy_volume"][0, 0] * 1234.56789
    assert candle.taker_quote_volume == round(bought, 8)
    bare = tape_of(bars)
    assumed = candles(bare, 0, opens("1m", FIRST_US, FIRST_US), FIRST_US + MINUTE_US)[0]
    mean = sum(bars.array(n)[0, 0] for n in ("open", "high", "low", "close")) / 4.0
    assert assumed.quote_volume == pytest.approx(assumed.volume * mean, abs=1e-7)
    assert assumed.taker_volume == pytest.approx(assumed.volume / 2.0, abs=5.1e-4)
    assert assumed.trades == 61


@pytest.mark.parametrize("interval", ["5m", "15m", "1h"])
def test_closed_candles_of_coarser_intervals_are_the_resampled_bars(
    tape: BarTape, interval: str
) -> None:
    resampled = resample_bars(tape.bars, interval)
    now = tape.end_us
    for s in range(2):
        found = {c.end_us: c for c in candles(tape, s, opens(interval, FIRST_US, now - 1), now)}
        for k, ts in enumerate(resampled.ts_us.tolist()):
            want = [resampled.array(n)[k, s] for n in ("open", "high", "low", "close", "volume")]
            if np.isnan(want[3]) or ts - FIRST_US <= 30 * MINUTE_US * s:
                continue
            assert list(found[ts][2:6]) == want[:4]
            assert found[ts].volume == pytest.approx(want[4], abs=1e-9)


def test_finer_candles_split_a_bar_along_its_path(bars_of: MakeBars, tape_of: Make) -> None:
    tape = tape_of(bars_of(n_bars=48, interval="1h", late=0))
    now = FIRST_US + 3 * HOUR_US
    fine = candles(tape, 0, opens("5m", FIRST_US, now - 1), now)
    assert len(fine) == 36
    for row in range(3):
        inside = fine[12 * row : 12 * row + 12]
        bar = [tape.bars.array(n)[row, 0] for n in ("open", "high", "low", "close", "volume")]
        joined = [
            inside[0].open,
            max(c.high for c in inside),
            min(c.low for c in inside),
            inside[-1].close,
        ]
        assert joined == bar[:4]
        assert sum(c.volume for c in inside) == pytest.approx(bar[4], abs=1e-9)


@given(st.integers(FIRST_US, FIRST_US + 239 * MINUTE_US), st.sampled_from(["1m", "3m", "1h"]))
def test_the_forming_candle_holds_what_has_happened_so_far(
    tape: BarTape, now_us: int, interval: str
) -> None:
    bounds = opens(interval, now_us, now_us)
    (candle,) = candles(tape, 0, bounds, now_us)
    start = max(int(bounds[0]), tape.history_us)
    swept = tape.swept(start, now_us)
    assert candle[2:6] == (swept.open[0], swept.high[0], swept.low[0], swept.close[0])
    seen = tape.trades(0, start - 1, now_us)
    assert candle.volume == pytest.approx(sum(t.lots for t in seen) / 1000, abs=1e-9)
    assert all(candle.low <= t.price <= candle.high for t in seen)
    assert all(candle.first_id <= t.id <= candle.last_id for t in seen)


@given(st.integers(FIRST_US, FIRST_US + 239 * MINUTE_US), st.sampled_from(INTERVALS))
def test_no_candle_knows_what_comes_after_now(tape: BarTape, now_us: int, interval: str) -> None:
    rng = np.random.default_rng(5)
    row = tape.row(now_us)
    factor = np.ones((tape.bars.n_bars, 2))
    factor[row + 1 :] = rng.uniform(0.5, 2.0, factor[row + 1 :].shape)
    other = replace(
        tape,
        bars=replace(tape.bars, fields={n: v * factor for n, v in tape.bars.fields.items()}),
    )
    bounds = opens(interval, FIRST_US, FIRST_US + 239 * MINUTE_US)
    for mark in (False, True):
        ours = candles(tape, 0, bounds, now_us, mark=mark)
        assert ours == candles(other, 0, bounds, now_us, mark=mark)
        assert ours[-1].open_us <= now_us


def test_candles_without_a_price_are_left_out(tape: BarTape) -> None:
    now = tape.end_us
    found = candles(tape, 1, opens("1m", FIRST_US, now - 1), now)
    rows = [(c.open_us - FIRST_US) // MINUTE_US for c in found]
    assert rows == [k for k in range(240) if k >= 30 and k != 120]
    assert candles(tape, 1, opens("1m", FIRST_US, FIRST_US), FIRST_US + 1) == []
    assert candles(tape, 0, opens("1m", tape.end_us, tape.end_us), tape.end_us + MINUTE_US) == []


def test_intervals_open_where_the_exchange_has_them() -> None:
    time = to_us("2024-02-15 13:37:21")
    expected = {
        "1m": ("2024-02-15 13:37", "2024-02-15 13:38"),
        "4h": ("2024-02-15 12:00", "2024-02-15 16:00"),
        "8h": ("2024-02-15 08:00", "2024-02-15 16:00"),
        "1w": ("2024-02-12 00:00", "2024-02-19 00:00"),
        "1M": ("2024-02-01 00:00", "2024-03-01 00:00"),
    }
    for interval, bounds in expected.items():
        assert opens(interval, time, time).tolist() == [to_us(b) for b in bounds]
    for interval in INTERVALS:
        several = opens(interval, time, time + 90 * DAY_US)
        assert several[0] <= time < several[1]
        assert several[-2] <= time + 90 * DAY_US < several[-1]
    assert opens("3d", 0, 0).tolist() == [0, 3 * DAY_US]


def test_marks_have_candles_without_volume(tape: BarTape) -> None:
    now = FIRST_US + 10 * MINUTE_US + 30_500_000
    found = candles(tape, 0, opens("1m", FIRST_US, now), now, mark=True)
    assert [found[3].open, found[3].close] == [
        tape.bars.array("mark_open")[3, 0],
        tape.bars.array("mark_price")[3, 0],
    ]
    assert {c.volume for c in found} == {0.0}
    assert [found[3].trades, found[-1].trades] == [60, 31]


def test_the_last_day_is_one_candle_up_to_now(tape: BarTape) -> None:
    now = FIRST_US + 200 * MINUTE_US + 5_000_000
    day = rolling(tape, 0, now, 2 * HOUR_US)
    assert isinstance(day, Candle)
    swept = tape.swept(now - 2 * HOUR_US + 1, now)
    assert day[2:6] == (swept.open[0], swept.high[0], swept.low[0], swept.close[0])
    seen = tape.trades(0, now - 2 * HOUR_US, now)
    assert day.volume == pytest.approx(sum(t.lots for t in seen) / 1000, abs=1e-9)
    assert rolling(tape, 1, FIRST_US + MINUTE_US, MINUTE_US) is None
