"""The config group `data`: settings that load a folder or a store as bars on the execution grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol

from quantcore.data.assemble import assemble_bars, without_ended
from quantcore.data.coverage import coverage_notes
from quantcore.data.folder import Folder
from quantcore.data.schema import interval_order, times
from quantcore.data.store import Store
from quantcore.data.tables import (
    SYMBOLS_MAX,
    MarketTables,
    TableReader,
    nearest_text,
    read_tables,
)
from quantcore.errors import ConfigError, DataGap
from quantcore.frames import Bars, resample_bars
from quantcore.timegrid import check_grids, interval_us, to_timestamp, to_us

INVENTED = "prices are synthetic: a seeded random market without predictability, not a record of any exchange"
"""The first note of data that was generated."""


@dataclass(frozen=True, kw_only=True)
class MarketData:
    """What a source of data hands to every command.

    Parameters
    ----------
    bars : Bars
        On the execution grid, with all rows up to the end of the traded span and those that warm signals up.
    interval : str
        The decision interval, a whole multiple of the bars' own.
    start_us : int or None
        Start of the traded span, microseconds since 1970; None: from the first row on.
    notes : tuple of str
        Sentences for the report: what is missing, and for which share of the span.
    ends_us : mapping of str to int
        Declared instants at which symbols stop trading, microseconds since 1970.
    """

    bars: Bars
    interval: str
    start_us: int | None
    notes: tuple[str, ...]
    ends_us: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_grids(self.interval, self.bars.interval)
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "ends_us", MappingProxyType(dict(self.ends_us)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the data be pickled, which a read-only mapping alone cannot be."""
        rest = (self.bars, self.interval, self.start_us, self.notes, dict(self.ends_us))
        return _market_data, rest

    def decision_bars(self) -> Bars:
        """Return the bars resampled to the decision interval."""
        return resample_bars(self.bars, self.interval)


def _market_data(
    bars: Bars, interval: str, start_us: int | None, notes: tuple[str, ...], ends_us: dict[str, int]
) -> MarketData:
    return MarketData(bars=bars, interval=interval, start_us=start_us, notes=notes, ends_us=ends_us)


class DataSource(Protocol):
    """Settings of the config group `data`: whatever can load market data."""

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Return the data; parameters and errors as `FolderData.load`."""
        ...


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """What every source of real data can be told.

    Parameters
    ----------
    root : str
        A folder, for a store also a URL.
    interval : str
        Decision bars, such as ``"1h"``.
    execution_interval : str
        Execution bars; they are loaded and must divide the decision bars, which are resampled from them.
    symbols : list of str or None
        None: all that are held, at most the 25 with the most turnover.
    start : str or None
        UTC time from which on is traded; earlier rows are loaded and warm signals up.
    end : str or None
        UTC time; bars that close after it are not loaded.
    ends : mapping of str to str, or None
        Symbol to the UTC time at which it stops trading; what lies after it is not loaded.

    Raises
    ------
    ConfigError
        If an option is out of its range.
    """

    root: str
    interval: str
    execution_interval: str
    symbols: list[str] | None
    start: str | None
    end: str | None
    ends: dict[str, str] | None

    def __post_init__(self) -> None:
        if not self.root:
            raise ConfigError("data.root must name a folder, was empty")
        check_grids(self.interval, self.execution_interval)
        if self.symbols is not None:
            _check_symbols(list(self.symbols))
        if self.start is not None:
            to_timestamp(self.start)
        if self.end is not None:
            to_timestamp(self.end)
        if self.start is not None and self.end is not None and to_us(self.start) >= to_us(self.end):
            raise ConfigError(
                f"data.start must be before data.end, was {self.start} with end {self.end}"
            )
        for time in (self.ends or {}).values():
            to_timestamp(time)


@dataclass(frozen=True, kw_only=True)
class FolderData(SourceSettings):
    """``data=folder``: a folder of ``klines_<interval>/SYM.parquet``, ``funding/``, ``mark_<interval>/``."""

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Read the folder.

        Parameters
        ----------
        reviewed : bool
            Whether a universe reviews the symbols: then all that are held are loaded, else at most 25.

        Raises
        ------
        ConfigError
            If the folder does not exist or an option names what is not there.
        DataGap
            If it has no bars of the interval, of a symbol, or in the span.
        SchemaMismatch
            If a file is not what it should be.
        """
        return load_market(Folder(self.root), self, reviewed=reviewed)


@dataclass(frozen=True, kw_only=True)
class StoreData(SourceSettings):
    """``data=store``: the Parquet store that ``python -m quantcore.data`` writes, by path or URL."""

    def load(self, *, reviewed: bool = False) -> MarketData:
        """Read the store; parameters and errors as `FolderData.load`."""
        store = Store.open(self.root)
        market = load_market(store, self, reviewed=reviewed)
        return replace(market, notes=(INVENTED, *market.notes)) if store.is_synthetic() else market


def load_market(
    reader: TableReader, settings: SourceSettings, *, reviewed: bool = False
) -> MarketData:
    """Return what a reader holds for some settings; parameters and errors as `FolderData.load`."""
    interval = settings.execution_interval
    end_us = None if settings.end is None else to_us(settings.end)
    start_us = None if settings.start is None else to_us(settings.start)
    symbols = None if settings.symbols is None else list(settings.symbols)
    most = None if reviewed else SYMBOLS_MAX
    tables, notes = read_tables(reader, interval, symbols=symbols, end_us=end_us, symbols_max=most)
    ends_us = _ends(settings, sorted(tables.klines), reader.symbols("klines", interval))
    bars = without_ended(assemble_bars(tables, interval), ends_us)
    if start_us is not None and bars.ts_us[-1] <= start_us:
        raise DataGap(
            f"data.start must lie before the last bar, was {settings.start} with the last bar "
            f"closing {bars.index[-1]}"
        )
    return MarketData(
        bars=bars,
        interval=settings.interval,
        start_us=start_us,
        notes=(
            *notes,
            *coverage_notes(
                bars,
                start_us=start_us,
                ends_us=ends_us,
                coarse_marks=_coarse_marks(tables, interval, start_us),
            ),
        ),
        ends_us=ends_us,
    )


def _coarse_marks(tables: MarketTables, interval: str, start_us: int | None) -> dict[str, str]:
    """Return the finest mark interval that the bars' own cannot use, of symbols whose rows of it reach the span."""
    coarse: dict[str, str] = {}
    for name in reversed(interval_order(set(tables.marks))):
        for symbol, table in tables.marks[name].items():
            reaches = len(table) > 0 and (start_us is None or times(table)[-1] > start_us)
            if reaches and interval_us(interval) % interval_us(name):
                coarse[symbol] = name
    return coarse


def _ends(settings: SourceSettings, chosen: list[str], held: list[str]) -> dict[str, int]:
    declared = dict(settings.ends or {})
    for symbol in declared:
        if symbol not in held:
            raise ConfigError(f"data.ends must name held symbols, {nearest_text(symbol, held)}")
    return {s: to_us(declared[s]) for s in chosen if s in declared}


def _check_symbols(symbols: list[str]) -> None:
    if not symbols:
        raise ConfigError("data.symbols must name at least one symbol or be null, was []")
    if len(set(symbols)) < len(symbols):
        doubled = next(s for s in symbols if symbols.count(s) > 1)
        raise ConfigError(f"data.symbols must be unique, was twice {doubled}")
    if len(symbols) > SYMBOLS_MAX:
        raise ConfigError(f"data.symbols must be at most {SYMBOLS_MAX}, were {len(symbols)}")
