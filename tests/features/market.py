"""Bars for the tests of features: random, with holes, a symbol listed late, and changing settlement intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from quantcore.frames import MARK_FIELDS, PRICE_FIELDS, Bars
from quantcore.timegrid import HOUR_US, interval_us
from quantcore.types import FloatArray, Panel

START_US = 450_001 * HOUR_US
"""Close of the first hourly bar; it opens at a multiple of 8 hours."""


def bars_of(fields: Mapping[str, FloatArray], *, interval: str = "1h") -> Bars:
    """Return bars of some fields, symbols named AAA, BBB and so on."""
    n_bars, n_symbols = fields["close"].shape
    length = interval_us(interval)
    return Bars(
        interval=interval,
        ts_us=START_US + length * np.arange(n_bars),
        symbols=tuple(3 * chr(ord("A") + i) for i in range(n_symbols)),
        fields=fields,
    )


def closes_of(*closes: float) -> Bars:
    """Return hourly bars of one symbol that never trades off its close."""
    column = np.array(closes, dtype=np.float64).reshape(-1, 1)
    return bars_of(dict.fromkeys(PRICE_FIELDS, column))


def random_fields(seed: int, n_bars: int, n_symbols: int) -> dict[str, FloatArray]:
    """Return every field a feature reads, without a hole."""
    rng = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, shape), axis=0))
    open_ = close * np.exp(rng.normal(0.0, 0.01, shape))
    high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0.0, 0.01, shape)))
    low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0.0, 0.01, shape)))
    volume = rng.lognormal(3.0, 1.0, shape)
    settles = np.arange(n_bars)[:, None] % (8 // (1 + np.arange(n_symbols) % 2 * 7)) == 0
    return {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "quote_volume": volume * 0.5 * (open_ + close),
        "taker_buy_volume": volume * rng.random(shape),
        "mark_price": close * np.exp(rng.normal(0.0, 0.001, shape)),
        "funding_rate": np.where(settles, rng.normal(1e-4, 1e-4, shape), np.nan),
        "open_interest": rng.lognormal(8.0, 0.3, shape),
    }


def random_bars(seed: int, n_bars: int = 60, n_symbols: int = 4) -> Bars:
    """Return bars with a tenth of the rows missing, single fields missing too, and the last symbol listed late."""
    rng = np.random.default_rng(seed + 1)
    fields = random_fields(seed, n_bars, n_symbols)
    holes = rng.random((n_bars, n_symbols)) < 0.1
    holes[: n_bars // 3, -1:] = True
    for name, values in fields.items():
        values[holes] = np.nan
        if name not in PRICE_FIELDS:
            values[rng.random(values.shape) < 0.05] = np.nan
    fields["volume"][rng.random(holes.shape) < 0.05] *= 0.0
    fields["taker_buy_volume"] = np.minimum(fields["taker_buy_volume"], fields["volume"])
    return bars_of(fields)


def with_columns(bars: Bars, order: list[int]) -> Bars:
    """Return the bars with their symbols' values exchanged."""
    return bars_of({name: values[:, order] for name, values in bars.fields.items()})


def with_prices_scaled(bars: Bars, factor: float) -> Bars:
    """Return the bars with every amount of USDT multiplied."""
    prices = (*PRICE_FIELDS, *MARK_FIELDS, "quote_volume")
    return bars_of({n: v * factor if n in prices else v for n, v in bars.fields.items()})


def over_known(panel: Panel, function: Callable[[pd.Series[float]], pd.Series[float]]) -> Panel:
    """Return a pandas computation over each symbol's known values alone, on the panel's own rows."""
    columns = {name: function(panel[name].dropna()) for name in panel.columns}
    return pd.DataFrame(columns, index=panel.index, columns=panel.columns, dtype=np.float64)


def same(actual: Panel, expected: Panel, *, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    """Assert that two panels agree, NaN included."""
    pd.testing.assert_frame_equal(
        actual, expected, check_names=False, check_freq=False, rtol=rtol, atol=atol
    )
