"""A small market for the tests of the whole signal plane: funding every eight hours, a late listing, some holes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quantcore.data.sources import MarketData
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.timegrid import DAY_US, HOUR_US, interval_us, to_us

FIRST_DAY = "2024-01-01"


@dataclass(frozen=True, kw_only=True)
class SmallMarket:
    """What to draw; `load` makes it a source of data for a command."""

    days: int
    n_symbols: int
    interval: str
    execution_interval: str
    seed: int = 7

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Return the market."""
        bars = small_bars(
            days=self.days,
            n_symbols=self.n_symbols,
            interval=self.execution_interval,
            seed=self.seed,
        )
        return MarketData(bars=bars, interval=self.interval, start_us=None, notes=())


def small_bars(*, days: int, n_symbols: int, interval: str, seed: int, holes: bool = True) -> Bars:
    """Return correlated walks, quiet and wild by turns, from 2024 on."""
    rng = np.random.default_rng(seed)
    length = interval_us(interval)
    n_bars = days * DAY_US // length
    ts_us = to_us(FIRST_DAY) + length * (1 + np.arange(n_bars, dtype=np.int64))
    wild = 1.0 + 2.0 * ((np.arange(n_bars) * length // (20 * DAY_US)) % 2)
    size = 0.03 * np.sqrt(length / DAY_US) * wild[:, None]
    common = rng.normal(0.0, 1.0, (n_bars, 1))
    changes = size * (0.7 * common + rng.normal(0.0, 0.7, (n_bars, n_symbols)))
    close = 100.0 * np.exp(np.cumsum(changes, axis=0))
    open_ = np.vstack([np.full((1, n_symbols), 100.0), close[:-1]])
    volume = rng.lognormal(8.0, 0.5, close.shape) * (1.0 + np.arange(n_symbols))
    fields = {
        "open": open_,
        "high": np.maximum(open_, close) * 1.002,
        "low": np.minimum(open_, close) * 0.998,
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
    }
    if holes:
        missing = rng.random(close.shape) < 0.01
        missing[: n_bars // 4, -1] = True
        fields = {name: np.where(missing, np.nan, values) for name, values in fields.items()}
    symbols = tuple(f"S{i:02}" for i in range(n_symbols))
    times = np.arange(ts_us[0] - length, ts_us[-1], 8 * HOUR_US)
    settlements = Settlements(
        time_us=np.repeat(times, n_symbols),
        symbol=np.tile(np.arange(n_symbols), len(times)),
        rate=rng.normal(1e-4, 2e-4, len(times) * n_symbols),
        mark_price=np.full(len(times) * n_symbols, np.nan),
    )
    bars = Bars(interval=interval, ts_us=ts_us, symbols=symbols, fields=fields)
    rates = funding_rows(bars, settlements)
    return replace(bars, fields={**fields, "funding_rate": rates}, settlements=settlements)
