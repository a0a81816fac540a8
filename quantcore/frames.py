"""The frames contract: `Bars`, the aligned fields of one bar grid, and the checks at its boundaries."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from quantcore.bars_text import bars_facts, bars_title
from quantcore.cards import card, facts
from quantcore.errors import DataGap, SchemaMismatch
from quantcore.timegrid import index_us, interval_us, to_index
from quantcore.types import Array, BoolArray, FloatArray, IntArray, Panel

PRICE_FIELDS = ("open", "high", "low", "close")
MARK_FIELDS = ("mark_open", "mark_high", "mark_low", "mark_price")
FLOW_FIELDS = ("volume", "quote_volume", "trades", "taker_buy_volume")
FIELDS = (*PRICE_FIELDS, *FLOW_FIELDS, *MARK_FIELDS, "funding_rate", "open_interest")
"""Every field that `Bars` may hold; `mark_price` is the mark at the bar's close."""


@dataclass(frozen=True, kw_only=True)
class Settlements:
    """Funding settlements that happened, as a long table sorted by time, then symbol.

    Parameters
    ----------
    time_us : int64 array, shape (n_settlements,)
        Settlement time, floored to the second, microseconds since 1970.
    symbol : int64 array, shape (n_settlements,)
        Column of the symbol in `Bars.symbols`.
    rate : float64 array, shape (n_settlements,)
        Fraction of notional; longs pay when it is positive.
    mark_price : float64 array, shape (n_settlements,)
        Mark price at the settlement, USDT per coin; NaN where it is not known.
    """

    time_us: IntArray
    symbol: IntArray
    rate: FloatArray
    mark_price: FloatArray

    def __post_init__(self) -> None:
        order = np.lexsort((self.symbol, self.time_us))
        for name, dtype in (
            ("time_us", np.int64),
            ("symbol", np.int64),
            ("rate", np.float64),
            ("mark_price", np.float64),
        ):
            array = np.ascontiguousarray(np.asarray(getattr(self, name))[order], dtype=dtype)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """Return the number of settlements."""
        return len(self.time_us)

    def where(self, keep: BoolArray) -> Settlements:
        """Return the settlements selected by a mask of shape ``(n_settlements,)``."""
        return Settlements(
            time_us=self.time_us[keep],
            symbol=self.symbol[keep],
            rate=self.rate[keep],
            mark_price=self.mark_price[keep],
        )


def no_settlements() -> Settlements:
    """Return an empty table of settlements."""
    nothing = np.empty(0, dtype=np.int64)
    none = np.empty(0)
    return Settlements(time_us=nothing, symbol=nothing, rate=none, mark_price=none)


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Immutable, aligned fields of all symbols on one complete bar grid.

    The grid has no missing rows: consecutive stamps differ by `interval`. A symbol that is not listed yet,
    has ended or has a hole is NaN in every field there.

    Parameters
    ----------
    interval : str
        Length of a bar, such as ``"1h"``.
    ts_us : int64 array, shape (n_bars,)
        Close times (the instants at which the rows are known), microseconds since 1970.
    symbols : sequence of str
        Sorted, unique.
    fields : mapping of str to float64 array, shape (n_bars, n_symbols)
        Any of `FIELDS`; prices in USDT per coin, `volume` and `open_interest` in coins, `quote_volume` in USDT,
        `funding_rate` the sum of the settlements inside the bar, NaN where there is none. At least `close`.
    settlements : Settlements
        The exact funding settlements; one at T lies in the bar that opens at or before T and closes after it.

    Raises
    ------
    SchemaMismatch
        If stamps are not on the grid, symbols are unsorted or doubled, shapes differ, or a field is unknown.
    """

    interval: str
    ts_us: IntArray
    symbols: tuple[str, ...]
    fields: Mapping[str, FloatArray] = field(repr=False)
    settlements: Settlements = field(default_factory=no_settlements, repr=False)

    def __post_init__(self) -> None:
        symbols = tuple(self.symbols)
        if list(symbols) != sorted(set(symbols)):
            raise SchemaMismatch(f"symbols must be sorted and unique, were {symbols}")
        ts_us = np.ascontiguousarray(self.ts_us, dtype=np.int64)
        _check_grid(ts_us, self.interval)
        shape = (len(ts_us), len(symbols))
        held: dict[str, FloatArray] = {}
        for name in FIELDS:
            if name not in self.fields:
                continue
            array = np.ascontiguousarray(self.fields[name], dtype=np.float64)
            if array.shape != shape:
                raise SchemaMismatch(f"field {name} must have shape {shape}, was {array.shape}")
            held[name] = _read_only(array)
        unknown = sorted(set(self.fields) - set(held))
        if unknown:
            raise SchemaMismatch(f"fields must be among {FIELDS}, were also {unknown}")
        if "close" not in held:
            raise SchemaMismatch("bars must have the field close")
        object.__setattr__(self, "symbols", symbols)
        object.__setattr__(self, "ts_us", _read_only(ts_us))
        object.__setattr__(self, "fields", MappingProxyType(held))

    @property
    def n_bars(self) -> int:
        """Number of rows."""
        return len(self.ts_us)

    @property
    def n_symbols(self) -> int:
        """Number of columns."""
        return len(self.symbols)

    @property
    def index(self) -> pd.DatetimeIndex:
        """The `ts` index: close times in UTC, microseconds."""
        return to_index(self.ts_us)

    def has(self, name: str) -> bool:
        """Return whether a field is held."""
        return name in self.fields

    def array(self, name: str) -> FloatArray:
        """Return a field as a read-only C-contiguous array, shape ``(n_bars, n_symbols)``.

        Raises
        ------
        DataGap
            If the field is not held.
        """
        if name not in self.fields:
            raise DataGap(f"bars have no field {name}; they have {', '.join(self.fields)}")
        return self.fields[name]

    def panel(self, name: str) -> Panel:
        """Return a field as a wide frame over the same memory."""
        return pd.DataFrame(self.array(name), index=self.index, columns=list(self.symbols))

    def __getattr__(self, name: str) -> Panel:
        """Return a field as a panel: ``bars.close`` is ``bars.panel("close")``."""
        if name in FIELDS:
            return self.panel(name)
        raise AttributeError(f"Bars has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The fields are kept behind a view that cannot be pickled.
        parts = (self.interval, self.ts_us, self.symbols, dict(self.fields), self.settlements)
        return _bars, parts

    def __repr__(self) -> str:
        title, aside = bars_title(self.ts_us, self.interval, self.n_symbols)
        return "\n".join([f"{title}, {aside}", *(f"  {n:<13}{text}" for n, text in self._facts())])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return card(*bars_title(self.ts_us, self.interval, self.n_symbols), facts(self._facts()))

    def _facts(self) -> list[tuple[str, str]]:
        settled = self.settlements.symbol
        return bars_facts(self.ts_us, self.interval, self.symbols, dict(self.fields), settled)

    def rows(self, start: int, stop: int) -> Bars:
        """Return rows ``start`` to ``stop`` (exclusive), with the settlements that lie in them."""
        start, stop, _ = slice(start, stop).indices(self.n_bars)
        stop = max(stop, start)
        length = interval_us(self.interval)
        time_us = self.settlements.time_us
        if stop > start:
            inside = (time_us >= self.ts_us[start] - length) & (time_us < self.ts_us[stop - 1])
        else:
            inside = np.zeros(len(time_us), dtype=bool)
        return Bars(
            interval=self.interval,
            ts_us=self.ts_us[start:stop],
            symbols=self.symbols,
            fields={name: array[start:stop] for name, array in self.fields.items()},
            settlements=self.settlements.where(inside),
        )

    def between(self, first_us: int, last_us: int) -> Bars:
        """Return the rows whose stamp lies in ``[first_us, last_us]``."""
        start = int(np.searchsorted(self.ts_us, first_us, side="left"))
        return self.rows(start, int(np.searchsorted(self.ts_us, last_us, side="right")))

    def select(self, symbols: Sequence[str]) -> Bars:
        """Return the bars of some symbols, sorted.

        Raises
        ------
        DataGap
            If a symbol is not held.
        """
        wanted = tuple(sorted(set(symbols)))
        missing = [s for s in wanted if s not in self.symbols]
        if missing:
            raise DataGap(f"no data for {', '.join(missing)}; held are {', '.join(self.symbols)}")
        columns = np.array([self.symbols.index(s) for s in wanted], dtype=np.int64)
        renumbered = np.full(self.n_symbols, -1, dtype=np.int64)
        renumbered[columns] = np.arange(len(columns))
        kept = self.settlements.where(renumbered[self.settlements.symbol] >= 0)
        return Bars(
            interval=self.interval,
            ts_us=self.ts_us,
            symbols=wanted,
            fields={name: array[:, columns] for name, array in self.fields.items()},
            settlements=Settlements(
                time_us=kept.time_us,
                symbol=renumbered[kept.symbol],
                rate=kept.rate,
                mark_price=kept.mark_price,
            ),
        )

    def fingerprint(self) -> str:
        """Return the SHA-256 of interval, stamps, symbols, fields and settlements, as hexadecimal text."""
        digest = hashlib.sha256(f"{self.interval}|{','.join(self.symbols)}".encode())
        digest.update(self.ts_us.tobytes())
        for name, array in self.fields.items():
            digest.update(name.encode())
            digest.update(array.data)
        for part in ("time_us", "symbol", "rate", "mark_price"):
            digest.update(getattr(self.settlements, part).data)
        return digest.hexdigest()


def _bars(
    interval: str,
    ts_us: IntArray,
    symbols: tuple[str, ...],
    fields: dict[str, FloatArray],
    settlements: Settlements,
) -> Bars:
    """Return bars from their parts in order."""
    return Bars(
        interval=interval, ts_us=ts_us, symbols=symbols, fields=fields, settlements=settlements
    )


def _read_only(array: Array) -> Array:
    if array.flags.writeable:
        array = array.view()
        array.flags.writeable = False
    return array


def _check_grid(ts_us: IntArray, interval: str) -> None:
    length = interval_us(interval)
    if len(ts_us) == 0:
        return
    steps = np.diff(ts_us)
    bad = np.flatnonzero(steps != length)
    if len(bad):
        at = to_index(ts_us[bad[0] + 1 : bad[0] + 2])[0]
        rule = "sorted without duplicates" if steps[bad[0]] <= 0 else f"{interval} apart"
        raise SchemaMismatch(f"bar times must be {rule}, were not at {at}")
    if ts_us[0] % length:
        raise SchemaMismatch(
            f"bar times must be whole multiples of {interval}, was {to_index(ts_us[:1])[0]}"
        )


def check_panel(panel: Panel, *, name: str) -> Panel:
    """Return the panel if it keeps the frames contract (STYLE.md 1).

    Raises
    ------
    SchemaMismatch
        If the index is not `ts` in UTC microseconds, unique and increasing; columns are not sorted and unique; a
        value is not float64 or is infinite. The message names the first offending symbol and `ts`.
    """
    index = panel.index
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC" or index.unit != "us":
        raise SchemaMismatch(f"{name} must have a UTC microsecond ts index, was {index.dtype}")
    if not (index.is_unique and index.is_monotonic_increasing):
        raise SchemaMismatch(f"{name} must have a unique, increasing index")
    if list(panel.columns) != sorted(set(panel.columns)):
        raise SchemaMismatch(f"{name} must have sorted, unique columns, were {list(panel.columns)}")
    if any(dtype != np.float64 for dtype in panel.dtypes):
        raise SchemaMismatch(
            f"{name} must be float64, was {sorted({str(d) for d in panel.dtypes})}"
        )
    infinite = np.argwhere(np.isinf(panel.to_numpy()))
    if len(infinite):
        row, column = infinite[0]
        raise SchemaMismatch(
            f"{name} must be finite or NaN, was infinite for {panel.columns[column]} at {index[row]}"
        )
    return panel


def to_kernel(panel: Panel) -> FloatArray:
    """Return a panel's values as C-contiguous float64, shape ``(n_bars, n_symbols)``, copied only where needed.

    The array is read-only whether it was copied or not: numba compiles a kernel once more for one that is not.
    """
    return _read_only(np.ascontiguousarray(panel.to_numpy(dtype=np.float64, copy=False)))


def to_panel(values: FloatArray, bars: Bars) -> Panel:
    """Return an array over the grid and symbols of some bars as a panel."""
    return pd.DataFrame(values, index=bars.index, columns=_columns(bars.symbols))


@lru_cache(maxsize=16)
def _columns(symbols: tuple[str, ...]) -> pd.Index[str]:
    # An index of strings takes longer to make than the rest of a one-row frame, and the symbols never change.
    return pd.Index(list(symbols))


def check_bars(bars: Bars) -> Bars:
    """Return the bars if every price is finite and positive and each bar's range holds its open and close.

    Raises
    ------
    SchemaMismatch
        With field, symbol, first offending `ts` and value.
    """
    for name in (*PRICE_FIELDS, *MARK_FIELDS):
        if bars.has(name):
            values = bars.array(name)
            _refuse(bars, name, values, np.isinf(values) | (values <= 0), "finite and > 0")
    for name in (*FLOW_FIELDS, "open_interest"):
        if bars.has(name):
            values = bars.array(name)
            _refuse(bars, name, values, np.isinf(values) | (values < 0), "finite and >= 0")
    for low, high, inner in (
        ("low", "high", ("open", "close")),
        ("mark_low", "mark_high", ("mark_open", "mark_price")),
    ):
        for name in inner:
            if bars.has(name) and bars.has(low) and bars.has(high):
                values = bars.array(name)
                outside = (values > bars.array(high)) | (values < bars.array(low))
                _refuse(bars, name, values, outside, f"between {low} and {high}")
    rates = bars.settlements.rate
    if not np.isfinite(rates).all():
        at = int(np.flatnonzero(~np.isfinite(rates))[0])
        raise SchemaMismatch(f"funding_rate must be finite, was {rates[at]}")
    return bars


def _refuse(bars: Bars, name: str, values: FloatArray, bad: BoolArray, rule: str) -> None:
    if not bad.any():
        return
    row, column = np.argwhere(bad)[0]
    raise SchemaMismatch(
        f"{name} must be {rule}, was {values[row, column]} for {bars.symbols[column]} at {bars.index[row]}"
    )


def resample_bars(bars: Bars, interval: str) -> Bars:
    """Return the bars on a coarser grid; each row appears only when its bar has closed.

    Groups lie on whole UTC multiples of `interval`; an incomplete group at either end is dropped. Open is the
    first known value of the group, close and `open_interest` the last, high and low the extremes, volumes and
    `funding_rate` the sums; a field of a group is NaN only where all its values are.

    Parameters
    ----------
    bars : Bars
        Finer bars.
    interval : str
        A whole multiple of the bars' own interval.

    Returns
    -------
    Bars
        The coarser bars; the same object if the interval is the bars' own.
    """
    if interval == bars.interval:
        return bars
    fine, coarse = interval_us(bars.interval), interval_us(interval)
    size, remainder = divmod(coarse, fine)
    if remainder or size < 1:
        raise SchemaMismatch(f"cannot resample {bars.interval} bars to {interval}")
    opens = bars.ts_us - fine
    start = int(np.searchsorted(opens, -(-opens[0] // coarse) * coarse)) if bars.n_bars else 0
    groups = max(bars.n_bars - start, 0) // size
    stop = start + groups * size
    shape = (groups, size, bars.n_symbols)
    fields = {
        name: _RESAMPLERS[name](array[start:stop].reshape(shape))
        for name, array in bars.fields.items()
    }
    ts_us = bars.ts_us[start:stop].reshape(groups, size)[:, -1] if groups else bars.ts_us[:0]
    inside = np.zeros(len(bars.settlements), dtype=bool)
    if groups:
        time_us = bars.settlements.time_us
        inside = (time_us >= opens[start]) & (time_us < bars.ts_us[stop - 1])
    return Bars(
        interval=interval,
        ts_us=ts_us,
        symbols=bars.symbols,
        fields=fields,
        settlements=bars.settlements.where(inside),
    )


def _first(group: FloatArray) -> FloatArray:
    result = group[:, 0].copy()
    for k in range(1, group.shape[1]):
        missing = np.isnan(result)
        result[missing] = group[:, k][missing]
    return result


def _last(group: FloatArray) -> FloatArray:
    return _first(group[:, ::-1])


def _highest(group: FloatArray) -> FloatArray:
    return np.asarray(np.fmax.reduce(group, axis=1))


def _lowest(group: FloatArray) -> FloatArray:
    return np.asarray(np.fmin.reduce(group, axis=1))


def _total(group: FloatArray) -> FloatArray:
    known = ~np.isnan(group)
    return np.where(known.any(axis=1), np.where(known, group, 0.0).sum(axis=1), np.nan)


_RESAMPLERS = {
    "open": _first,
    "mark_open": _first,
    "high": _highest,
    "mark_high": _highest,
    "low": _lowest,
    "mark_low": _lowest,
    "close": _last,
    "mark_price": _last,
    "open_interest": _last,
    "volume": _total,
    "quote_volume": _total,
    "trades": _total,
    "taker_buy_volume": _total,
    "funding_rate": _total,
}


def funding_rows(bars: Bars, settlements: Settlements) -> FloatArray:
    """Return the `funding_rate` field: per bar the sum of the settlements inside it, NaN where there is none.

    A settlement at T lies in the row stamped at the close of the bar that holds T (DESIGN.md 1).
    """
    rows = np.searchsorted(bars.ts_us, settlements.time_us, side="right")
    first = bars.ts_us[0] - interval_us(bars.interval) if bars.n_bars else 0
    inside = (settlements.time_us >= first) & (rows < bars.n_bars)
    result = np.zeros((bars.n_bars, bars.n_symbols))
    seen = np.zeros((bars.n_bars, bars.n_symbols), dtype=bool)
    at = (rows[inside], settlements.symbol[inside])
    np.add.at(result, at, settlements.rate[inside])
    seen[at] = True
    return np.where(seen, result, np.nan)


def panel_times(panel: Panel) -> IntArray:
    """Return a panel's stamps in microseconds since 1970, shape ``(n_bars,)``."""
    index = panel.index
    if not isinstance(index, pd.DatetimeIndex):
        raise SchemaMismatch(f"a panel needs a DatetimeIndex, was {type(index).__name__}")
    return index_us(index)
