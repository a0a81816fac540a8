"""Bars, days and daily residual returns for the tests of strategies: the slow, plain way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quantcore.exits import ExitSettings
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US, interval_us, to_us
from quantcore.types import FloatArray, IntArray

NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)
START_US = to_us("2021-03-02")
"""A Tuesday; the first bar opens with it."""
LATE_DAYS = 30
"""Days after which the last symbol of `random_bars` is listed."""


def bars_of(
    closes: FloatArray, *, interval: str = "4h", funding_rate: FloatArray | None = None
) -> Bars:
    """Return bars from `START_US` on, symbols named S00, S01 and so on."""
    fields = {"close": closes}
    if funding_rate is not None:
        fields["funding_rate"] = funding_rate
    return Bars(
        interval=interval,
        ts_us=START_US + interval_us(interval) * (1 + np.arange(len(closes), dtype=np.int64)),
        symbols=tuple(f"S{i:02}" for i in range(closes.shape[1])),
        fields=fields,
    )


def random_bars(seed: int, *, n_days: int = 130, n_symbols: int = 5, interval: str = "4h") -> Bars:
    """Return random bars with holes, a day without a bar, a symbol listed late, and spreads that revert.

    Funding is settled every 8 hours, of every fourth symbol every 4, and is silent for three days once.
    """
    rng = np.random.default_rng(seed)
    per_day = DAY_US // interval_us(interval)
    shape = (n_days * per_day, n_symbols)
    scale = 0.05 / np.sqrt(per_day)
    common = np.cumsum(rng.standard_t(4, (shape[0], 1)) * scale, axis=0)
    noise = rng.normal(0.0, scale, shape)
    own = np.empty(shape)
    held = np.zeros(n_symbols)
    for t in range(shape[0]):
        held = (1.0 - 0.15 / per_day) * held + noise[t]
        own[t] = held
    closes = np.exp(3.0 + common * np.linspace(0.8, 1.4, n_symbols) + own)
    holes = rng.random(shape) < 0.04
    holes[10 * per_day : 12 * per_day, 1] = True
    holes[: LATE_DAYS * per_day, -1] = True
    closes[holes] = np.nan
    settles = np.arange(shape[0])[:, None] % (2 - (np.arange(n_symbols) % 4 == 0)) == 0
    rates = np.where(settles, rng.normal(1e-4, 2e-4, shape), np.nan)
    rates[60 * per_day : 63 * per_day, 0] = np.nan
    rates[holes] = np.nan
    return bars_of(closes, interval=interval, funding_rate=rates)


def with_fields(bars: Bars, fields: dict[str, FloatArray]) -> Bars:
    """Return the bars with other values of some fields."""
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols,
        fields={**bars.fields, **fields},
    )


def with_columns(bars: Bars, order: Sequence[int]) -> Bars:
    """Return the bars with their symbols' values exchanged, or some symbols only."""
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols[: len(order)],
        fields={name: values[:, list(order)] for name, values in bars.fields.items()},
    )


def daily_closes(bars: Bars) -> pd.DataFrame:
    """Return the last close of each UTC day, one row per day from the first on, an unfinished day left out."""
    day = (bars.ts_us - 1) // DAY_US
    closes = pd.DataFrame(bars.array("close")).groupby(day).last()
    finished = int(bars.ts_us[-1]) // DAY_US
    return closes.loc[closes.index < finished]


def last_finished_day(bars: Bars) -> IntArray:
    """Return for each row which day was the last to have finished, as `daily_closes` counts them."""
    return np.asarray(bars.ts_us // DAY_US - 1)


def residual_returns(daily: pd.DataFrame, half_life: float) -> pd.DataFrame:
    """Return the residual returns of the module `quantcore.kernels.residual`, as sums over all earlier days."""
    returns = daily / daily.shift(1) - 1.0
    market = returns.mean(axis=1)
    result = pd.DataFrame(np.nan, index=returns.index, columns=returns.columns)
    for name in returns:
        known = returns[name].dropna()
        for n, day in enumerate(known.index):
            beta = 1.0
            if n >= 20:
                weights = 0.5 ** (np.arange(n)[::-1] / half_life)
                before, beside = known.iloc[:n].to_numpy(), market[known.index[:n]].to_numpy()
                beta = (weights * before * beside).sum() / (weights * beside**2).sum()
            result.loc[day, name] = known[day] - beta * market[day]
    return result


def spread_over_rows(by_day: pd.DataFrame, bars: Bars) -> FloatArray:
    """Return what holds in each row: the values of the last finished day, NaN where the close is."""
    values = by_day.reindex(last_finished_day(bars)).to_numpy()
    return np.where(np.isnan(bars.array("close")), np.nan, values)
