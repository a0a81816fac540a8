"""Rows of the loop: bars of a few parts on a grid, as the backtest has them, and what cannot be such a bar."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from quantcore.data.rest_rows import Candle, Settled
from quantcore.errors import ConfigError
from quantcore.frames import (
    FIELDS,
    FLOW_FIELDS,
    MARK_FIELDS,
    PRICE_FIELDS,
    Bars,
    Settlements,
    check_bars,
    funding_rows,
    no_settlements,
)
from quantcore.timegrid import interval_us
from quantcore.types import FloatArray

FUNDING = "funding_rate"
INTEREST = "open_interest"
INTERVALS = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d")
"""Those of the exchange whose bars lie on the grid of `Bars`."""


@dataclass(frozen=True, kw_only=True)
class RowForm:
    """What a row holds.

    Parameters
    ----------
    symbols : tuple of str
        Sorted, unique.
    interval : str
        Of the execution bars, one of `INTERVALS`.
    fields : tuple of str
        Those of the backtest's data: the four prices and any of the others in `quantcore.frames.FIELDS`. Marks are
        held all or none. Without `funding_rate` there are no settlements either.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    """

    symbols: tuple[str, ...]
    interval: str
    fields: tuple[str, ...] = (*PRICE_FIELDS, *FLOW_FIELDS, *MARK_FIELDS, FUNDING)

    def __post_init__(self) -> None:
        if not self.symbols or list(self.symbols) != sorted(set(self.symbols)):
            raise ConfigError(f"symbols must be some, sorted and unique, were {self.symbols}")
        if self.interval not in INTERVALS:
            raise ConfigError(
                f"interval must be one of {', '.join(INTERVALS)}, was {self.interval!r}"
            )
        missing = [name for name in PRICE_FIELDS if name not in self.fields]
        unknown = [name for name in self.fields if name not in FIELDS]
        if missing or unknown:
            raise ConfigError(
                f"fields must be among {', '.join(FIELDS)} and hold {', '.join(PRICE_FIELDS)}, were {self.fields}"
            )
        marks = [name for name in MARK_FIELDS if name in self.fields]
        if marks and len(marks) < len(MARK_FIELDS):
            raise ConfigError(f"fields must hold all of {', '.join(MARK_FIELDS)} or none")

    @property
    def length_us(self) -> int:
        """Length of a bar, microseconds."""
        return interval_us(self.interval)

    @property
    def has_marks(self) -> bool:
        """Whether rows hold mark prices."""
        return MARK_FIELDS[0] in self.fields

    @property
    def has_funding(self) -> bool:
        """Whether rows hold settlements."""
        return FUNDING in self.fields

    @property
    def has_interest(self) -> bool:
        """Whether rows hold open interest."""
        return INTEREST in self.fields


class Parts(NamedTuple):
    """What rows are made of, in any order; what lies outside the rows is passed over.

    Attributes
    ----------
    klines, marks : mapping of symbol to bars
        A symbol without a bar is NaN there.
    settled : sequence of Settled
        Each once.
    interest : mapping of symbol to float
        Open interest at the close of the last row, coins.
    """

    klines: Mapping[str, Sequence[Candle]]
    marks: Mapping[str, Sequence[Candle]]
    settled: Sequence[Settled]
    interest: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One complete row.

    Parameters
    ----------
    close_us : int
        Its stamp.
    bars : Bars
        One row.
    in_time : bool
        Whether a decision may be taken on it; if not, it is for the folds alone, and the decision was skipped.
    notes : tuple of str
        What is worth a record about it, such as a jump that REST confirmed.
    """

    close_us: int
    bars: Bars = field(repr=False)
    in_time: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A decision that cannot be taken, because its row was not complete in time; the row itself follows.

    Parameters
    ----------
    close_us : int
        Stamp of the row.
    reason : str
        What is missing, in one line.
    """

    close_us: int
    reason: str


def fault_of(bar: Candle, length_us: int) -> str | None:
    """Return in one line what makes a bar impossible, None where nothing does.

    Its times must lie on the grid, its prices be finite, positive, and inside low and high, its flows finite and >= 0.
    """
    if bar.open_us % length_us or not 0 <= bar.open_us < 2**53:
        return f"open time must be on the grid, was {bar.open_us}"
    prices = bar[1:5]
    if not all(math.isfinite(price) and price > 0.0 for price in prices):
        return f"prices must be finite and > 0, were {prices}"
    if not (bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high):
        return f"open and close must be between low and high, were {prices}"
    if not all(math.isfinite(flow) and flow >= 0.0 for flow in bar[5:]):
        return f"flows must be finite and >= 0, were {bar[5:]}"
    return None


def bars_of(form: RowForm, first_close_us: int, n_rows: int, parts: Parts) -> Bars:
    """Return the rows of a grid, as `quantcore.data.assemble.assemble_bars` would have them.

    Marks and open interest are NaN where there is no bar. A settlement's mark is the one published with it, else the
    open of the mark bar that opens then, else NaN.

    Raises
    ------
    SchemaMismatch
        If a value is not possible.
    """
    length = form.length_us
    shape = (n_rows, len(form.symbols))
    first_open_us = first_close_us - length
    fields = {name: np.full(shape, np.nan) for name in form.fields}
    flows = [name for name in FLOW_FIELDS if name in form.fields]
    for at, symbol in enumerate(form.symbols):
        for bar in parts.klines.get(symbol, ()):
            row = (bar.open_us - first_open_us) // length
            if 0 <= row < n_rows:
                for name in (*PRICE_FIELDS, *flows):
                    fields[name][row, at] = getattr(bar, name)
        for bar in parts.marks.get(symbol, ()) if form.has_marks else ():
            row = (bar.open_us - first_open_us) // length
            if 0 <= row < n_rows and not math.isnan(fields["close"][row, at]):
                for name, price in zip(MARK_FIELDS, bar[1:5], strict=True):
                    fields[name][row, at] = price
        if form.has_interest and not math.isnan(fields["close"][-1, at]):
            fields[INTEREST][-1, at] = parts.interest.get(symbol, math.nan)
    ts_us = first_close_us + length * np.arange(n_rows, dtype=np.int64)
    settlements = _settlements(form, first_open_us, n_rows, fields, parts.settled)
    bars = Bars(
        interval=form.interval,
        ts_us=ts_us,
        symbols=form.symbols,
        fields=fields,
        settlements=settlements,
    )
    if form.has_funding:
        fields[FUNDING] = funding_rows(bars, settlements)
        bars = Bars(
            interval=form.interval,
            ts_us=ts_us,
            symbols=form.symbols,
            fields=fields,
            settlements=settlements,
        )
    return check_bars(bars)


def _settlements(
    form: RowForm,
    first_open_us: int,
    n_rows: int,
    fields: Mapping[str, FloatArray],
    settled: Sequence[Settled],
) -> Settlements:
    length = form.length_us
    end_us = first_open_us + n_rows * length
    column = {symbol: at for at, symbol in enumerate(form.symbols)}
    inside = [s for s in settled if s.symbol in column and first_open_us <= s.time_us < end_us]
    if not inside or not form.has_funding:
        return no_settlements()
    marks = [s.mark_price for s in inside]
    for k, one in enumerate(inside):
        row, late_us = divmod(one.time_us - first_open_us, length)
        if math.isnan(marks[k]) and late_us == 0 and form.has_marks:
            marks[k] = float(fields["mark_open"][row, column[one.symbol]])
    return Settlements(
        time_us=np.array([s.time_us for s in inside], dtype=np.int64),
        symbol=np.array([column[s.symbol] for s in inside], dtype=np.int64),
        rate=np.array([s.rate for s in inside]),
        mark_price=np.array(marks),
    )
