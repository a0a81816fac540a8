"""A small market of two symbols, one of them listed late, with jumps between its bars."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from live.simulator.bar_tape import BarTape
from quantcore.data.instruments import load_instruments
from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars, Settlements
from quantcore.timegrid import HOUR_US, MINUTE_US, interval_us
from quantcore.types import FloatArray

FIRST_US = 1_704_067_200_000_000
SYMBOLS = ("BTCUSDT", "ETHUSDT")
_TICKS = (10, 100)
_STEPS = (1000, 1000)
_STARTS = (42_000.0, 2_300.0)


def make_bars(*, n_bars: int = 240, interval: str = "1m", seed: int = 1, late: int = 30) -> Bars:
    """Return bars on ticks and steps whose opens jump from the close before, with a hole and a late listing."""
    rng = np.random.default_rng(seed)
    shape = (n_bars, len(SYMBOLS))
    fields: dict[str, FloatArray] = {n: np.empty(shape) for n in (*PRICE_FIELDS, *MARK_FIELDS)}
    volume = np.empty(shape)
    for s, (tick, step, start) in enumerate(zip(_TICKS, _STEPS, _STARTS, strict=True)):
        close = start * np.exp(np.cumsum(rng.normal(0.0, 0.002, n_bars)))
        opens = np.concatenate([[start], close[:-1]]) * np.exp(rng.normal(0.0, 2e-4, n_bars))
        high = np.maximum(opens, close) * (1.0 + np.abs(rng.normal(0.0, 1e-3, n_bars)))
        low = np.minimum(opens, close) * (1.0 - np.abs(rng.normal(0.0, 1e-3, n_bars)))
        for name, values in zip(PRICE_FIELDS, (opens, high, low, close), strict=True):
            fields[name][:, s] = np.rint(values * tick) / tick
        for name, values in zip(MARK_FIELDS, (opens, high, low, close), strict=True):
            fields[name][:, s] = np.round(values * 1.0001, 8)
        volume[:, s] = np.rint(rng.lognormal(3.0, 1.0, n_bars) * step) / step
    fields["volume"] = volume
    for values in fields.values():
        values[:late, 1] = np.nan
        values[n_bars // 2, 1] = np.nan
    length = interval_us(interval)
    ts_us = FIRST_US + length * np.arange(1, n_bars + 1, dtype=np.int64)
    times = np.arange(FIRST_US, int(ts_us[-1]), 4 * HOUR_US, dtype=np.int64)
    settlements = Settlements(
        time_us=np.repeat(times, 2),
        symbol=np.tile([0, 1], len(times)),
        rate=rng.normal(1e-4, 1e-4, 2 * len(times)),
        mark_price=np.full(2 * len(times), np.nan),
    )
    return Bars(
        interval=interval, ts_us=ts_us, symbols=SYMBOLS, fields=fields, settlements=settlements
    )


def make_tape(bars: Bars, **changes: float) -> BarTape:
    """Return the tape of some bars with the committed facts of their symbols."""
    half_spread_bps = changes.pop("half_spread_bps", 1.0)
    first_us = int(changes.pop("first_us", -1))
    return BarTape(
        bars=bars,
        instruments=load_instruments(bars.symbols),
        half_spread_bps=half_spread_bps,
        first_us=first_us,
    )


@pytest.fixture(scope="session")
def bars() -> Bars:
    """Four hours of one-minute bars."""
    return make_bars()


@pytest.fixture(scope="session")
def tape(bars: Bars) -> BarTape:
    """Their tape, replayed from the hour on."""
    return make_tape(bars, first_us=FIRST_US + 60 * MINUTE_US)


@pytest.fixture(scope="session")
def bars_of() -> Callable[..., Bars]:
    """The maker of bars."""
    return make_bars


@pytest.fixture(scope="session")
def tape_of() -> Callable[..., BarTape]:
    """The maker of tapes."""
    return make_tape
