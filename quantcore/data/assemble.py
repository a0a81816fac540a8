"""Long tables into `Bars` on one complete grid, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from quantcore.data.schema import (
    FLOW_COLUMNS,
    PRICE_COLUMNS,
    column,
    interval_order,
    is_known,
    long_table,
    times,
)
from quantcore.data.tables import MarketTables
from quantcore.errors import DataGap
from quantcore.frames import (
    FIELDS,
    MARK_FIELDS,
    Bars,
    Settlements,
    funding_rows,
    no_settlements,
)
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The complete grid of close stamps that all tables are laid on."""

    ts_us: IntArray
    length_us: int
    symbols: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.ts_us), len(self.symbols)

    @property
    def opens_us(self) -> int:
        """The instant at which the first bar opens."""
        return int(self.ts_us[0]) - self.length_us


def assemble_bars(tables: MarketTables, interval: str) -> Bars:
    """Return checked long tables as bars on the grid from the earliest to the latest bar of any symbol.

    Parameters
    ----------
    tables : MarketTables
        Klines of `interval`; marks and open interest of any interval. Rows sorted by time.
    interval : str
        Bar interval.

    Returns
    -------
    Bars
        A symbol without a bar is NaN there in every field but `funding_rate`, marks and open interest included.
        `quote_volume`, `trades`, `taker_buy_volume`, the four mark fields, `funding_rate` and `open_interest` are
        held only where at least one symbol knows them. Mark bars come from a series of exactly the interval, else
        of the coarsest finer one that divides it; a coarser series gives only the marks of settlements. Open
        interest is the last known value, for at most one interval of its own series. Settlements
        outside a symbol's first and last bar are dropped. A settlement's mark is the one published with it, else
        the open of the mark bar that opens then, else the close of the one that closes then (in any interval,
        finest first), else NaN.

    Raises
    ------
    DataGap
        If there is no bar at all.
    """
    grid = _lay_grid(tables.klines, interval)
    fields = _kline_fields(tables.klines, grid)
    listed = ~np.isnan(fields["close"])
    for name, values in {
        **_mark_fields(tables.marks, grid),
        **_open_interest(tables.open_interest, grid),
    }.items():
        values[~listed] = np.nan
        if not np.isnan(values).all():
            fields[name] = values
    if "mark_price" in fields:
        missing = np.full(grid.shape, np.nan)
        fields.update({name: fields.get(name, missing) for name in MARK_FIELDS})
    settlements = _settlements(tables, grid)
    bars = Bars(
        interval=interval,
        ts_us=grid.ts_us,
        symbols=grid.symbols,
        fields=fields,
        settlements=settlements,
    )
    if len(settlements) == 0:
        return bars
    return _with_fields(bars, {**bars.fields, "funding_rate": funding_rows(bars, settlements)})


def without_ended(bars: Bars, ends_us: Mapping[str, int]) -> Bars:
    """Return the bars without what lies after each symbol's declared end.

    A bar that opens at or after the end is NaN in every field, a settlement at or after it is dropped; a bar
    that is running at the end stays.
    """
    if not ends_us:
        return bars
    never = np.iinfo(np.int64).max
    ends = np.array([ends_us.get(symbol, never) for symbol in bars.symbols], dtype=np.int64)
    after = (bars.ts_us - interval_us(bars.interval))[:, None] >= ends[None, :]
    fields = {name: np.where(after, np.nan, values) for name, values in bars.fields.items()}
    kept = bars.settlements.where(bars.settlements.time_us < ends[bars.settlements.symbol])
    if "funding_rate" in fields:
        fields["funding_rate"] = funding_rows(bars, kept)
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols,
        fields=fields,
        settlements=kept,
    )


def disassemble_bars(bars: Bars) -> MarketTables:
    """Return bars as long tables, the inverse of `assemble_bars`; rows without a close are left out."""
    klines, marks, funding, interest = {}, {}, {}, {}
    for at, symbol in enumerate(bars.symbols):
        rows = np.flatnonzero(~np.isnan(bars.array("close")[:, at]))
        ts_us = bars.ts_us[rows]
        held = {name: bars.array(name)[rows, at] for name in FIELDS if bars.has(name)}
        klines[symbol] = long_table(
            "klines", symbol, ts_us, {n: held[n] for n in PRICE_COLUMNS + FLOW_COLUMNS if n in held}
        )
        if all(name in held for name in MARK_FIELDS):
            known = ~np.isnan(held["mark_price"])
            values = {
                price: held[name][known]
                for price, name in zip(PRICE_COLUMNS, MARK_FIELDS, strict=True)
            }
            marks[symbol] = long_table("mark", symbol, ts_us[known], values)
        if "open_interest" in held:
            known = ~np.isnan(held["open_interest"])
            values = {"open_interest": held["open_interest"][known]}
            interest[symbol] = long_table("open_interest", symbol, ts_us[known], values)
        own = bars.settlements.where(bars.settlements.symbol == at)
        if len(own):
            values = {"funding_rate": own.rate, "mark_price": own.mark_price}
            funding[symbol] = long_table("funding", symbol, own.time_us, values)
    marks = {symbol: table for symbol, table in marks.items() if len(table)}
    interest = {symbol: table for symbol, table in interest.items() if len(table)}
    return MarketTables(
        klines=klines,
        marks={bars.interval: marks} if marks else {},
        funding=funding,
        open_interest={bars.interval: interest} if interest else {},
    )


def _with_fields(bars: Bars, fields: Mapping[str, FloatArray]) -> Bars:
    return Bars(
        interval=bars.interval,
        ts_us=bars.ts_us,
        symbols=bars.symbols,
        fields=fields,
        settlements=bars.settlements,
    )


def _lay_grid(klines: Mapping[str, pa.Table], interval: str) -> _Grid:
    stamps = [times(table) for table in klines.values() if len(table)]
    if not stamps:
        raise DataGap(f"there are no {interval} bars")
    length = interval_us(interval)
    first = min(int(ts_us[0]) for ts_us in stamps)
    last = max(int(ts_us[-1]) for ts_us in stamps)
    ts_us = np.arange(first, last + length, length, dtype=np.int64)
    return _Grid(ts_us=ts_us, length_us=length, symbols=tuple(sorted(klines)))


def _kline_fields(klines: Mapping[str, pa.Table], grid: _Grid) -> dict[str, FloatArray]:
    optional = [n for n in FLOW_COLUMNS[1:] if any(is_known(t, n) for t in klines.values())]
    names = [*PRICE_COLUMNS, "volume", *optional]
    # Columns are filled as rows of contiguous memory and turned once: several times faster than strided writes.
    fields = {name: np.full(grid.shape[::-1], np.nan) for name in names}
    for at, symbol in enumerate(grid.symbols):
        table = klines[symbol]
        rows = (times(table) - grid.ts_us[0]) // grid.length_us
        for name in names:
            fields[name][at, rows] = column(table, name)
    return {name: np.ascontiguousarray(values.T) for name, values in fields.items()}


def _mark_fields(marks: Mapping[str, Mapping[str, pa.Table]], grid: _Grid) -> dict[str, FloatArray]:
    usable = [n for n in interval_order(set(marks)) if grid.length_us % interval_us(n) == 0]
    if not any(marks[name] for name in usable):
        return {}
    fields = {name: np.full(grid.shape, np.nan) for name in MARK_FIELDS}
    for at, symbol in enumerate(grid.symbols):
        source = next((n for n in reversed(usable) if symbol in marks[n]), None)
        if source is not None:
            columns = _aggregate(marks[source][symbol], interval_us(source), grid)
            for name, values in zip(MARK_FIELDS, columns, strict=True):
                fields[name][:, at] = values
    return fields


def _aggregate(table: pa.Table, fine_us: int, grid: _Grid) -> list[FloatArray]:
    """Return open, high, low and close of the grid's bars from a series that divides them."""
    size = grid.length_us // fine_us
    rows = (times(table) - fine_us - grid.opens_us) // fine_us
    inside = (rows >= 0) & (rows < len(grid.ts_us) * size)
    groups = {}
    for price in PRICE_COLUMNS:
        values = np.full(len(grid.ts_us) * size, np.nan)
        values[rows[inside]] = column(table, price)[inside]
        groups[price] = values.reshape(-1, size)
    if size == 1:
        return [groups[price][:, 0] for price in PRICE_COLUMNS]
    return [
        _first_known(groups["open"]),
        np.asarray(np.fmax.reduce(groups["high"], axis=1)),
        np.asarray(np.fmin.reduce(groups["low"], axis=1)),
        _first_known(groups["close"][:, ::-1]),
    ]


def _first_known(groups: FloatArray) -> FloatArray:
    at = np.argmax(~np.isnan(groups), axis=1)
    return np.asarray(groups[np.arange(len(groups)), at])


def _open_interest(
    series: Mapping[str, Mapping[str, pa.Table]], grid: _Grid
) -> dict[str, FloatArray]:
    if not any(series.values()):
        return {}
    values = np.full(grid.shape, np.nan)
    for at, symbol in enumerate(grid.symbols):
        for name in interval_order(set(series)):
            table = series[name].get(symbol)
            if table is None or len(table) == 0:
                continue
            ts_us = times(table)
            last = np.searchsorted(ts_us, grid.ts_us, side="right") - 1
            age = grid.ts_us - ts_us[np.maximum(last, 0)]
            fresh = (last >= 0) & (age < interval_us(name))
            values[fresh, at] = column(table, "open_interest")[last[fresh]]
            break
    return {"open_interest": values}


def _settlements(tables: MarketTables, grid: _Grid) -> Settlements:
    parts = []
    for at, symbol in enumerate(grid.symbols):
        table = tables.funding.get(symbol)
        bars_us = times(tables.klines[symbol])
        if table is None or len(table) == 0 or len(bars_us) == 0:
            continue
        time_us = times(table)
        inside = (time_us >= bars_us[0] - grid.length_us) & (time_us < bars_us[-1])
        time_us = time_us[inside]
        mark = column(table, "mark_price")[inside].copy()
        mark[~(mark > 0)] = np.nan
        _fill_marks(mark, time_us, symbol, tables.marks)
        rate = column(table, "funding_rate")[inside]
        parts.append((time_us, np.full(len(time_us), at), rate, mark))
    if not any(len(part[0]) for part in parts):
        return no_settlements()
    time_us, symbol_at, rate, mark = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Settlements(time_us=time_us, symbol=symbol_at, rate=rate, mark_price=mark)


def _fill_marks(
    mark: FloatArray,
    time_us: IntArray,
    symbol: str,
    marks: Mapping[str, Mapping[str, pa.Table]],
) -> None:
    """Fill unknown marks of settlements in place: opens of all intervals first, then closes."""
    order = [name for name in interval_order(set(marks)) if symbol in marks[name]]
    for price in ("open", "close"):
        for name in order:
            table = marks[name][symbol]
            unknown = np.flatnonzero(np.isnan(mark))
            if len(unknown) == 0 or len(table) == 0:
                continue
            at_us = times(table) - (interval_us(name) if price == "open" else 0)
            rows = np.minimum(np.searchsorted(at_us, time_us[unknown]), len(at_us) - 1)
            found = at_us[rows] == time_us[unknown]
            mark[unknown[found]] = column(table, price)[rows[found]]
