"""Readers of long tables, and the tables of one market: what a folder and a store have in common."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from quantcore.data.checks import at_text, check_rows
from quantcore.data.schema import EVENT, column, times
from quantcore.errors import DataGap
from quantcore.timegrid import DAY_US, interval_us

SYMBOLS_MAX = 25
"""The most symbols that one run holds (DESIGN.md 7)."""
FIRST_UNIVERSE_DAYS = 30


class TableReader(Protocol):
    """Anything that holds long tables by kind, interval and symbol."""

    @property
    def place(self) -> str:
        """What messages call the whole, such as its path."""
        ...

    def intervals(self, kind: str) -> list[str]:
        """Return the intervals held of a kind, finest first; of kinds without a grid `EVENT`."""
        ...

    def symbols(self, kind: str, interval: str) -> list[str]:
        """Return the symbols held, sorted."""
        ...

    def name(self, kind: str, interval: str, symbol: str) -> str:
        """Return what messages call one table."""
        ...

    def read(self, kind: str, interval: str, symbol: str) -> pa.Table:
        """Return one table in the schema of its kind; its rows are not checked."""
        ...

    def salvage(self, kind: str, interval: str, symbol: str) -> tuple[pa.Table, dict[str, str]]:
        """Return what can be read of one table, and for each file that cannot its name and why."""
        ...


@dataclass(frozen=True, kw_only=True)
class MarketTables:
    """The checked long tables of one market.

    Parameters
    ----------
    klines : mapping of symbol to table
        Of the execution interval.
    marks, open_interest : mapping of interval to mapping of symbol to table
        Of every interval held.
    funding : mapping of symbol to table
        Of the symbols that have settlements.
    """

    klines: Mapping[str, pa.Table]
    marks: Mapping[str, Mapping[str, pa.Table]] = field(default_factory=dict)
    funding: Mapping[str, pa.Table] = field(default_factory=dict)
    open_interest: Mapping[str, Mapping[str, pa.Table]] = field(default_factory=dict)


def read_checked(reader: TableReader, kind: str, interval: str, symbol: str) -> pa.Table:
    """Return one table with its rows checked; raises `SchemaMismatch` as `check_rows`."""
    table = reader.read(kind, interval, symbol)
    name = full_name(reader, kind, interval, symbol)
    return check_rows(table, kind=kind, interval=interval, name=name)


def full_name(reader: TableReader, kind: str, interval: str, symbol: str) -> str:
    """Return a table's name together with the place that holds it."""
    return f"{reader.place.rstrip('/')}/{reader.name(kind, interval, symbol)}"


def read_tables(
    reader: TableReader,
    interval: str,
    *,
    symbols: list[str] | None,
    end_us: int | None,
    symbols_max: int | None = SYMBOLS_MAX,
) -> tuple[MarketTables, tuple[str, ...]]:
    """Return the tables of some symbols up to an end, and what there is to say about the choice.

    Parameters
    ----------
    reader : TableReader
        A folder or a store.
    interval : str
        Bar interval.
    symbols : list of str or None
        None takes all, at most `symbols_max` by `first_universe`.
    end_us : int or None
        Bars that close after it, and what happens at or after it, are left out.
    symbols_max : int or None
        None: as many as there are.

    Raises
    ------
    DataGap
        If there are no bars of the interval, of a named symbol, or before the end.
    SchemaMismatch
        If a table breaks a rule.
    """
    wanted = _wanted(reader, interval, symbols)
    klines = {s: _until(read_checked(reader, "klines", interval, s), end_us, 0) for s in wanted}
    empty = [s for s in wanted if len(klines[s]) == 0]
    if empty and (symbols is not None or len(empty) == len(wanted)):
        before = "" if end_us is None else f" up to {at_text(end_us)}"
        name = reader.name("klines", interval, empty[0])
        raise DataGap(f"{name} in {reader.place} has no bars{before}")
    notes = [] if symbols is not None else _left_out(reader, interval)
    if empty:
        notes.append(f"No bars in the span, left out: {', '.join(empty)}.")
    kept = [s for s in wanted if s not in empty]
    if symbols is None and symbols_max is not None and len(kept) > symbols_max:
        chosen = first_universe({s: klines[s] for s in kept}, interval)
        notes.append(
            f"Of {len(kept)} symbols the {SYMBOLS_MAX} with the largest quote volume over the first "
            f"{FIRST_UNIVERSE_DAYS} days of the data were kept."
        )
        kept = chosen
    tables = MarketTables(
        klines={s: klines[s] for s in kept},
        marks=_by_interval(reader, "mark", kept, end_us),
        funding=_read_kind(reader, "funding", EVENT, kept, end_us),
        open_interest=_by_interval(reader, "open_interest", kept, end_us),
    )
    return tables, tuple(notes)


def first_universe(klines: Mapping[str, pa.Table], interval: str) -> list[str]:
    """Return the `SYMBOLS_MAX` symbols with the largest quote volume over the first 30 days of the data, sorted.

    Quote volume is the sum of volume times close, so that it is known for every source; a symbol that is listed
    later counts as zero, and equals go by name.
    """
    stop = min(int(times(table)[0]) for table in klines.values())
    stop += FIRST_UNIVERSE_DAYS * DAY_US - interval_us(interval)
    turnover = {}
    for symbol, table in klines.items():
        early = table.slice(0, int(np.searchsorted(times(table), stop, side="right")))
        turnover[symbol] = float(np.nansum(column(early, "volume") * column(early, "close")))
    ranked = sorted(turnover, key=lambda symbol: (-turnover[symbol], symbol))
    return sorted(ranked[:SYMBOLS_MAX])


def nearest_text(name: str, held: list[str]) -> str:
    """Return "NAME is not held, nearest is X; held are …", with at most 25 names."""
    close = difflib.get_close_matches(name.upper(), held, n=1, cutoff=0.5)
    nearest = f", nearest is {close[0]}" if close else ""
    return f"{name} is not held{nearest}; held are {_listed(held)}"


def _listed(symbols: list[str]) -> str:
    more = f" and {len(symbols) - SYMBOLS_MAX} more" if len(symbols) > SYMBOLS_MAX else ""
    return ", ".join(symbols[:SYMBOLS_MAX]) + more


def _left_out(reader: TableReader, interval: str) -> list[str]:
    """Return a note on the symbols whose klines are held in other intervals only."""
    elsewhere = {s for name in reader.intervals("klines") for s in reader.symbols("klines", name)}
    absent = sorted(elsewhere - set(reader.symbols("klines", interval)))
    return [f"No klines of {interval}: {_listed(absent)}; left out."] if absent else []


def _wanted(reader: TableReader, interval: str, symbols: list[str] | None) -> list[str]:
    held = reader.symbols("klines", interval)
    if not held:
        intervals = reader.intervals("klines")
        there = f"it has klines of {', '.join(intervals)}" if intervals else "it has no klines"
        raise DataGap(f"{reader.place} has no klines of {interval}; {there}")
    if symbols is None:
        return held
    for symbol in symbols:
        if symbol not in held:
            raise DataGap(f"{reader.place}: klines of {interval}: {nearest_text(symbol, held)}")
    return sorted(symbols)


def _until(table: pa.Table, end_us: int | None, before_us: int) -> pa.Table:
    """Return the rows with ``ts - before <= end`` (bars: ``before`` 0) of a sorted table."""
    if end_us is None:
        return table
    stop = int(np.searchsorted(times(table) - before_us, end_us, side="right"))
    return table.slice(0, stop)


def _read_kind(
    reader: TableReader, kind: str, interval: str, symbols: list[str], end_us: int | None
) -> dict[str, pa.Table]:
    # A mark bar's open is known when it opens and is the mark of a settlement then, so that a bar still
    # running at the end stays; its other prices are used only on rows that are loaded.
    before_us = interval_us(interval) - 1 if kind == "mark" else 0
    held = set(reader.symbols(kind, interval))
    return {
        s: _until(read_checked(reader, kind, interval, s), end_us, before_us)
        for s in symbols
        if s in held
    }


def _by_interval(
    reader: TableReader, kind: str, symbols: list[str], end_us: int | None
) -> dict[str, dict[str, pa.Table]]:
    return {
        interval: _read_kind(reader, kind, interval, symbols, end_us)
        for interval in reader.intervals(kind)
    }
