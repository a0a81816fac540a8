"""Checks of a long table's rows: corrupt data stops the run with one line that names it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from quantcore.data.schema import (
    BAR_KINDS,
    FLOW_COLUMNS,
    PRICE_COLUMNS,
    check_table,
    column,
    times,
)
from quantcore.errors import SchemaMismatch
from quantcore.timegrid import interval_us
from quantcore.types import BoolArray, FloatArray, IntArray


def check_rows(table: pa.Table, *, kind: str, interval: str, name: str) -> pa.Table:
    """Return the table if its times are in order and on the grid and its values are possible.

    A bar all of whose four prices are NaN stands for a missing bar and is allowed; null or NaN volumes mean
    "not known".

    Parameters
    ----------
    table : pyarrow.Table
        Long table of one symbol.
    kind, interval : str
        What it holds; the interval of kinds without a grid is not looked at.
    name : str
        What messages call the table, such as ``"klines_1h/BTCUSDT.parquet"``.

    Raises
    ------
    SchemaMismatch
        Naming the table, the rule, and the first offending time and value.
    """
    check_table(table, kind)
    ts_us = times(table)
    length = interval_us(interval) if kind in BAR_KINDS else 0
    _check_times(ts_us, length, name)
    if kind in BAR_KINDS:
        _check_prices(table, ts_us - length, name)
    if kind == "klines":
        for flow in FLOW_COLUMNS:
            values = column(table, flow)
            bad = np.isinf(values) | (values < 0)
            _refuse(bad, ts_us - length, values, f"{name}: {flow} must be finite and >= 0")
    if kind == "funding":
        rate = column(table, "funding_rate")
        _refuse(~np.isfinite(rate), ts_us, rate, f"{name}: funding_rate must be finite")
    if kind == "open_interest":
        coins = column(table, "open_interest")
        bad = np.isinf(coins) | (coins < 0)
        _refuse(bad, ts_us, coins, f"{name}: open_interest must be finite and >= 0")
    return table


def bad_prices(prices: dict[str, FloatArray]) -> BoolArray:
    """Return where a bar has a price that is not finite and positive, other than four NaN, shape ``(n_rows,)``."""
    stacked = np.stack([prices[name] for name in PRICE_COLUMNS])
    impossible = ~np.isfinite(stacked) | (stacked <= 0)
    return np.asarray(impossible.any(axis=0) & ~np.isnan(stacked).all(axis=0))


def _check_times(ts_us: IntArray, length: int, name: str) -> None:
    steps = np.diff(ts_us)
    late = np.flatnonzero(steps <= 0)
    if len(late):
        at = int(late[0])
        before, after = ts_us[at] - length, ts_us[at + 1] - length
        if before == after:
            raise SchemaMismatch(f"{name}: times must be unique, was twice {at_text(after)}")
        raise SchemaMismatch(
            f"{name}: times must be sorted, was {at_text(after)} after {at_text(before)}"
        )
    if length:
        off = np.flatnonzero(ts_us % length)
        if len(off):
            first = at_text(ts_us[off[0]] - length)
            raise SchemaMismatch(f"{name}: bars must open on the interval's grid, was {first}")


def _check_prices(table: pa.Table, opens_us: IntArray, name: str) -> None:
    prices = {price: column(table, price) for price in PRICE_COLUMNS}
    bad = bad_prices(prices)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        for price, values in prices.items():
            if not (np.isfinite(values[at]) and values[at] > 0):
                _refuse(bad, opens_us, values, f"{name}: {price} must be finite and > 0")
    for limit, sign in (("high", 1.0), ("low", -1.0)):
        for inner in ("open", "close"):
            outside = sign * prices[inner] > sign * prices[limit]
            rule = f"{name}: {inner} must be between low and high"
            _refuse(outside, opens_us, prices[inner], rule)


def _refuse(bad: BoolArray, at_us: IntArray, values: FloatArray, rule: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise SchemaMismatch(f"{rule}, was {values[first]} at {at_text(at_us[first])}")


def at_text(instant_us: int) -> str:
    """Return microseconds since 1970 as ISO text to the second, such as ``2024-01-01T08:00:00Z``."""
    return f"{np.datetime64(int(instant_us), 'us').astype('datetime64[s]')}Z"
