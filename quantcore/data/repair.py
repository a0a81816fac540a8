"""Conservative repairs of a long table, each recorded; nothing is ever filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from quantcore.data.checks import bad_prices
from quantcore.data.schema import (
    BAR_KINDS,
    EVENT,
    FLOW_COLUMNS,
    PRICE_COLUMNS,
    SCHEMAS,
    TS,
    check_table,
    column,
    long_table,
    times,
)
from quantcore.timegrid import interval_us
from quantcore.types import BoolArray, FloatArray, IntArray

REPAIRS_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("ts", TS),
        pa.field("field", pa.string(), nullable=False),
        pa.field("before", pa.float64()),
        pa.field("after", pa.float64()),
        pa.field("rule", pa.string(), nullable=False),
    ]
)
"""One row per value changed, or per row, file or whole series dropped.

`after` is null where something was dropped, `ts` where that is a file or a series; `field` is then the file's name
or ``series``.
"""

DROP_FILE = "drop_file"
DROP_SERIES = "drop_series"


@dataclass
class _Log:
    """The repairs of one table while it is worked on."""

    symbol: str
    kind: str
    columns: dict[str, list[object]] = field(
        default_factory=lambda: {name: [] for name in REPAIRS_SCHEMA.names}
    )

    def add(
        self,
        rule: str,
        name: str,
        ts_us: IntArray,
        before: FloatArray | None = None,
        after: FloatArray | None = None,
    ) -> None:
        """Record one repair for each stamp."""
        n = len(ts_us)
        unknown = np.full(n, np.nan)
        rows: dict[str, list[object]] = {
            "symbol": [self.symbol] * n,
            "kind": [self.kind] * n,
            "ts": list(np.asarray(ts_us, dtype=np.int64).view("datetime64[us]").astype(object)),
            "field": [name] * n,
            "before": list((unknown if before is None else before).tolist()),
            "after": list((unknown if after is None else after).tolist()),
            "rule": [rule] * n,
        }
        for key, values in rows.items():
            self.columns[key] += values

    def table(self) -> pa.Table:
        """Return the record as a table, NaN as null."""
        arrays = [
            pa.array(self.columns[f.name], type=f.type, from_pandas=True) for f in REPAIRS_SCHEMA
        ]
        return pa.Table.from_arrays(arrays, schema=REPAIRS_SCHEMA)


@dataclass(frozen=True)
class TimeFaults:
    """What is wrong with the order of a table's times.

    Parameters
    ----------
    order : int64 array, shape (n_rows,)
        Sorts the rows by time, equal times in their order.
    repeated, conflicting : bool array, shape (n_rows,)
        In sorted order: a row whose time an earlier row has; and among these, those with other values than it.
    """

    order: IntArray
    repeated: BoolArray
    conflicting: BoolArray


def time_faults(table: pa.Table, names: list[str]) -> TimeFaults:
    """Return the order of a table's rows and which of them repeat an earlier time."""
    ts_us = times(table)
    order = np.argsort(ts_us, kind="stable")
    ordered = ts_us[order]
    repeated = np.zeros(len(ordered), dtype=bool)
    repeated[1:] = ordered[1:] == ordered[:-1]
    conflicting = np.zeros(len(ordered), dtype=bool)
    if repeated.any():
        first = _first_of_run(repeated)
        for name in names:
            values = column(table, name)[order]
            conflicting |= repeated & ~_same(values, values[first])
    return TimeFaults(order=order, repeated=repeated, conflicting=conflicting)


def clean_table(
    table: pa.Table, kind: str, interval: str, symbol: str
) -> tuple[pa.Table, pa.Table]:
    """Return a table whose rows pass `check_rows`, and the record of what was done.

    Rows are sorted; of rows with one time the first stays; bars off the grid, with an impossible price or without
    any, settlements without a rate and impossible open interest are dropped; high and low are widened to hold open
    and close; impossible volumes become unknown. Nothing is filled: what is dropped is a gap from then on.

    Parameters
    ----------
    table : pyarrow.Table
        In the schema of `kind`; rows in any state.
    kind, interval, symbol : str
        What it holds.

    Returns
    -------
    cleaned : pyarrow.Table
        The same object if there was nothing to repair.
    repairs : pyarrow.Table
        In `REPAIRS_SCHEMA`, with the table's `kind` written like ``klines_1h``.

    Raises
    ------
    SchemaMismatch
        If the table has another schema.
    """
    check_table(table, kind)
    names = SCHEMAS[kind].names[2:]
    log = _Log(symbol, series_label(kind, interval))
    ts_us, values = _in_order(table, names, log)
    length = interval_us(interval) if kind in BAR_KINDS else 1
    keep = ts_us % length == 0
    log.add("drop_off_grid", "ts", ts_us[~keep])
    if kind in BAR_KINDS:
        keep &= _usable_prices(ts_us, values, log)
        _widen(ts_us, values, keep, log)
    if kind == "klines":
        _forget_flows(ts_us, values, log)
    if kind in ("funding", "open_interest"):
        name = names[0]
        bad = ~np.isfinite(values[name]) | ((kind == "open_interest") & (values[name] < 0))
        log.add("drop_bad_value", name, ts_us[bad], values[name][bad])
        keep &= ~bad
    repairs = log.table()
    if len(repairs) == 0:
        return table, repairs
    kept = {name: array[keep] for name, array in values.items() if not np.isnan(array).all()}
    return long_table(kind, symbol, ts_us[keep], kept), repairs


def drop_record(
    kind: str, interval: str, symbol: str, *, files: Sequence[str], whole: bool
) -> pa.Table:
    """Return the record of files that cannot be read, and of their series if nothing of it is left."""
    names = [*files, *(["series"] if whole else [])]
    n = len(names)
    columns: dict[str, list[object]] = {
        "symbol": [symbol] * n,
        "kind": [series_label(kind, interval)] * n,
        "ts": [None] * n,
        "field": list(names),
        "before": [None] * n,
        "after": [None] * n,
        "rule": [*[DROP_FILE] * len(files), *([DROP_SERIES] if whole else [])],
    }
    return pa.Table.from_pydict(columns, schema=REPAIRS_SCHEMA)


def series_label(kind: str, interval: str) -> str:
    """Return what reports call a kind and its interval, such as ``klines_1h`` or ``funding``."""
    return kind if interval == EVENT else f"{kind}_{interval}"


def _in_order(
    table: pa.Table, names: list[str], log: _Log
) -> tuple[IntArray, dict[str, FloatArray]]:
    ts_us = times(table)
    late = np.flatnonzero(np.diff(ts_us) < 0) + 1
    log.add("sort", "ts", ts_us[late])
    faults = time_faults(table, names)
    ordered = ts_us[faults.order]
    first = _first_of_run(faults.repeated)
    log.add("drop_duplicate", "ts", ordered[faults.repeated & ~faults.conflicting])
    values = {name: column(table, name)[faults.order] for name in names}
    for name, array in values.items():
        differs = faults.repeated & ~_same(array, array[first])
        log.add("keep_first", name, ordered[differs], array[differs], array[first][differs])
    kept = ~faults.repeated
    return ordered[kept], {name: array[kept].copy() for name, array in values.items()}


def _usable_prices(ts_us: IntArray, values: dict[str, FloatArray], log: _Log) -> BoolArray:
    prices = {name: values[name] for name in PRICE_COLUMNS}
    impossible = bad_prices(prices)
    for name, array in prices.items():
        bad = impossible & ~(np.isfinite(array) & (array > 0))
        log.add("drop_bad_price", name, ts_us[bad], array[bad])
    missing = np.isnan(np.stack(list(prices.values()))).all(axis=0)
    log.add("drop_empty", "close", ts_us[missing])
    return np.asarray(~impossible & ~missing)


def _widen(ts_us: IntArray, values: dict[str, FloatArray], keep: BoolArray, log: _Log) -> None:
    body_high = np.maximum(values["open"], values["close"])
    body_low = np.minimum(values["open"], values["close"])
    for name, body, outside in (
        ("high", body_high, body_high > values["high"]),
        ("low", body_low, body_low < values["low"]),
    ):
        bad = outside & keep
        log.add("widen_range", name, ts_us[bad], values[name][bad], body[bad])
        values[name] = np.where(bad, body, values[name])


def _forget_flows(ts_us: IntArray, values: dict[str, FloatArray], log: _Log) -> None:
    for name in FLOW_COLUMNS:
        bad = np.isinf(values[name]) | (values[name] < 0)
        log.add("forget_bad_flow", name, ts_us[bad], values[name][bad])
        values[name] = np.where(bad, np.nan, values[name])


def _first_of_run(repeated: BoolArray) -> IntArray:
    """Return for each row of a sorted table the position of the first row with its time."""
    positions = np.where(repeated, 0, np.arange(len(repeated)))
    return np.maximum.accumulate(positions) if len(positions) else positions


def _same(left: FloatArray, right: FloatArray) -> BoolArray:
    return np.asarray((left == right) | (np.isnan(left) & np.isnan(right)))
