"""Arrow schemas of the long tables on disk: one kind of series each, `ts` the instant a row becomes known."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from quantcore.errors import SchemaMismatch
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray, IntArray

TS = pa.timestamp("us", tz="UTC")
PRICE_COLUMNS = ("open", "high", "low", "close")
FLOW_COLUMNS = ("volume", "quote_volume", "trades", "taker_buy_volume")
EVENT = "event"
"""The interval of a kind that happens at instants instead of on a grid; it names a store's folder."""


def _schema(values: tuple[str, ...], required: tuple[str, ...]) -> pa.Schema:
    fields = [pa.field("ts", TS, nullable=False), pa.field("symbol", pa.string(), nullable=False)]
    fields += [pa.field(name, pa.float64(), nullable=name not in required) for name in values]
    return pa.schema(fields)


SCHEMAS: dict[str, pa.Schema] = {
    # ts is the bar's close: its open time plus one interval. USDT per coin, coins, USDT, counts, coins.
    "klines": _schema((*PRICE_COLUMNS, *FLOW_COLUMNS), ()),
    # Mark price bars, stamped like klines.
    "mark": _schema(PRICE_COLUMNS, ()),
    # ts is the settlement, floored to the second; the rate is a fraction of notional; the mark USDT per coin.
    "funding": _schema(("funding_rate", "mark_price"), ("funding_rate",)),
    # Coins, as known at ts.
    "open_interest": _schema(("open_interest",), ("open_interest",)),
}
"""The long table of each kind; a null means that the source did not say."""

KINDS = tuple(SCHEMAS)
BAR_KINDS = ("klines", "mark")


def check_table(table: pa.Table, kind: str) -> pa.Table:
    """Return the table if it has the schema of its kind.

    Raises
    ------
    SchemaMismatch
        If the kind is unknown, or a column is missing, too many or of another type, or a `ts` is null.
    """
    if kind not in SCHEMAS:
        raise SchemaMismatch(f"kind must be among {', '.join(KINDS)}, was {kind!r}")
    schema = SCHEMAS[kind]
    if table.schema.names != schema.names:
        raise SchemaMismatch(
            f"{kind} table must have columns {', '.join(schema.names)}, "
            f"had {', '.join(table.schema.names)}"
        )
    for field, found in zip(schema, table.schema, strict=True):
        if field.type != found.type:
            raise SchemaMismatch(
                f"{kind} column {field.name} must be {field.type}, was {found.type}"
            )
        if not field.nullable and table.column(field.name).null_count:
            raise SchemaMismatch(f"{kind} column {field.name} must not be null")
    return table


def long_table(kind: str, symbol: str, ts_us: IntArray, values: dict[str, FloatArray]) -> pa.Table:
    """Return arrays of one symbol as the long table of their kind.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    symbol : str
        Written to every row.
    ts_us : int64 array, shape (n_rows,)
        Microseconds since 1970.
    values : mapping of column to float64 array, shape (n_rows,)
        Columns left out are null.

    Returns
    -------
    pyarrow.Table
        NaN stays NaN, except that a column of nothing but NaN becomes null.
    """
    schema = SCHEMAS[kind]
    stamps = pa.array(np.ascontiguousarray(ts_us, dtype=np.int64).view("datetime64[us]")).cast(TS)
    columns: list[pa.Array] = [stamps, pa.repeat(pa.scalar(symbol), len(ts_us))]
    for name in schema.names[2:]:
        array = values.get(name)
        if array is None:
            columns.append(pa.nulls(len(ts_us), pa.float64()))
        else:
            columns.append(pa.array(np.asarray(array, dtype=np.float64)))
    return pa.Table.from_arrays(columns, schema=schema)


def empty_table(kind: str) -> pa.Table:
    """Return a table of a kind without rows."""
    return SCHEMAS[kind].empty_table()


def times(table: pa.Table) -> IntArray:
    """Return the `ts` column in microseconds since 1970, shape ``(n_rows,)``."""
    return np.asarray(table.column("ts").cast(pa.int64()).to_numpy(), dtype=np.int64)


def column(table: pa.Table, name: str) -> FloatArray:
    """Return a value column as float64, shape ``(n_rows,)``, null as NaN."""
    return np.asarray(table.column(name).to_numpy(), dtype=np.float64)


def is_known(table: pa.Table, name: str) -> bool:
    """Return whether a column says anything, that is holds a value that is neither null nor NaN."""
    chunks = table.column(name)
    if chunks.null_count == len(chunks):
        return False
    return not bool(np.isnan(column(table, name)).all())


def interval_order(intervals: set[str]) -> list[str]:
    """Return interval names from the finest to the coarsest; texts that are none are left out."""
    known = [name for name in intervals if re.fullmatch(r"[1-9]\d*[smhdw]", name)]
    return sorted(known, key=lambda name: (interval_us(name), name))
