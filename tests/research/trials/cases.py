"""Markets, records and occasions for the tests of the ledger."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantcore.frames import Bars
from quantcore.research.trials import Market, Occasion
from quantcore.timegrid import DAY_US, HOUR_US, to_index, to_us
from quantcore.types import FloatArray, IntArray

SYMBOLS = ("AAA", "BBB", "CCC")
START = "2023-01-01"


def walk(*, seed: int = 0, days: int = 60, symbols: tuple[str, ...] = SYMBOLS) -> Bars:
    """Return hourly closes of a market whose prices the seed makes."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0.0, 0.01, (24 * days, len(symbols)))
    return Bars(
        interval="1h",
        ts_us=to_us(START) + HOUR_US * np.arange(1, 24 * days + 1),
        symbols=symbols,
        fields={"close": 100.0 * np.exp(np.cumsum(steps, axis=0))},
    )


def days_us(n_days: int, start: str = START) -> IntArray:
    """Return the stamps of consecutive UTC days."""
    return to_us(start) + DAY_US * np.arange(n_days)


def daily(returns: FloatArray, start: str = START) -> pd.Series:
    """Return daily returns with their days."""
    return pd.Series(returns, index=to_index(days_us(len(returns), start)))


def hashes(count: int, *, since: int = 0) -> list[str]:
    """Return as many different hashes."""
    return [f"{number:016x}" for number in range(since, since + count)]


def occasion(market: Market | None = None, *, command: str = "backtest") -> Occasion:
    """Return an occasion on a market of sixty days."""
    market = Market.of(walk()) if market is None else market
    return Occasion(command=command, experiment="trend", market=market, interval="1h")
