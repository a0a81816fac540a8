"""Reader of a folder of one Parquet file per series and symbol, such as ``klines_1h/BTCUSDT.parquet``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quantcore.data.schema import (
    BAR_KINDS,
    EVENT,
    FLOW_COLUMNS,
    PRICE_COLUMNS,
    TS,
    empty_table,
    interval_order,
    long_table,
)
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray, IntArray

_SECOND_US = 1_000_000
_TIME_COLUMNS = {
    "klines": "open_time",
    "mark": "open_time",
    "funding": "funding_time",
    "open_interest": "time",
}
_REQUIRED = {
    "klines": (*PRICE_COLUMNS, "volume"),
    "mark": PRICE_COLUMNS,
    "funding": ("funding_rate",),
    "open_interest": ("sum_open_interest",),
}
_OPTIONAL = {"klines": FLOW_COLUMNS[1:], "funding": ("mark_price",)}


class Folder:
    """A folder of market data; a `quantcore.data.tables.TableReader`.

    Parameters
    ----------
    root : str
        The folder. Its ``klines_<interval>`` and ``mark_<interval>`` files have `open_time` and prices, its
        ``funding`` files `funding_time` (up to 30 ms late) and `funding_rate`, its
        ``open_interest_<interval>`` files `time` and `sum_open_interest`. All times UTC.

    Raises
    ------
    ConfigError
        If there is no such folder.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        if not self._root.is_dir():
            raise ConfigError(f"data.root must be an existing folder, was {root}")

    @property
    def place(self) -> str:
        """The folder's path as given."""
        return str(self._root)

    def intervals(self, kind: str) -> list[str]:
        """Return the intervals held of a kind, finest first; of funding `EVENT`."""
        if kind == "funding":
            return [EVENT] if self.symbols(kind, EVENT) else []
        found = {path.name.removeprefix(f"{kind}_") for path in self._root.glob(f"{kind}_*")}
        return [name for name in interval_order(found) if self.symbols(kind, name)]

    def symbols(self, kind: str, interval: str) -> list[str]:
        """Return the symbols held, sorted."""
        return sorted(path.stem for path in self._folder(kind, interval).glob("*.parquet"))

    def name(self, kind: str, interval: str, symbol: str) -> str:
        """Return a file's path inside the folder."""
        return f"{self._folder(kind, interval).name}/{symbol}.parquet"

    def read(self, kind: str, interval: str, symbol: str) -> pa.Table:
        """Return one file as a long table; its rows are not checked.

        Raises
        ------
        SchemaMismatch
            If the file is no Parquet, lacks a column, or a column has the wrong type.
        """
        path = self._folder(kind, interval) / f"{symbol}.parquet"
        name = str(path)
        raw = _read_parquet(path)
        ts_us = _times(raw, _TIME_COLUMNS[kind], name)
        if kind in BAR_KINDS:
            ts_us = ts_us + interval_us(interval)
        elif kind == "funding":
            ts_us = ts_us - ts_us % _SECOND_US
        missing = [n for n in _REQUIRED[kind] if n not in raw.column_names]
        if missing:
            raise SchemaMismatch(
                f"{name} must have the column {missing[0]}, had {', '.join(raw.column_names)}"
            )
        optional = [n for n in _OPTIONAL.get(kind, ()) if n in raw.column_names]
        values = {n: _numbers(raw, n, name) for n in (*_REQUIRED[kind], *optional)}
        if kind == "open_interest":
            values = {"open_interest": values["sum_open_interest"]}
        return long_table(kind, symbol, ts_us, values)

    def salvage(self, kind: str, interval: str, symbol: str) -> tuple[pa.Table, dict[str, str]]:
        """Return a file's table, or none of its rows with its name and why it cannot be read."""
        try:
            return self.read(kind, interval, symbol), {}
        except SchemaMismatch as error:
            return empty_table(kind), {self.name(kind, interval, symbol): str(error)}

    def _folder(self, kind: str, interval: str) -> Path:
        return self._root / (kind if kind == "funding" else f"{kind}_{interval}")


def _read_parquet(path: Path) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError as error:
        raise SchemaMismatch(f"{path} must exist, was not there") from error
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SchemaMismatch(
            f"{path} must be a readable Parquet file, was not: {reason}"
        ) from error


def _times(raw: pa.Table, wanted: str, name: str) -> IntArray:
    if wanted not in raw.column_names:
        raise SchemaMismatch(
            f"{name} must have the column {wanted}, had {', '.join(raw.column_names)}"
        )
    values = raw.column(wanted)
    if not pa.types.is_timestamp(values.type):
        raise SchemaMismatch(f"{name}: {wanted} must be a UTC timestamp, was {values.type}")
    if values.null_count:
        raise SchemaMismatch(f"{name}: {wanted} must not be null, was in {values.null_count} rows")
    stamps = values.cast(TS, safe=False).cast(pa.int64())
    return np.asarray(stamps.to_numpy(), dtype=np.int64)


def _numbers(raw: pa.Table, wanted: str, name: str) -> FloatArray:
    values = raw.column(wanted)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
        raise SchemaMismatch(f"{name}: {wanted} must be a number, was {values.type}")
    return np.asarray(values.to_numpy(), dtype=np.float64)
