"""The adapter for strategies written in plain pandas: a window of exact length as the state of a fold.

A plain strategy is a function of a window of bars, ``forecast(bars)`` or ``forecast(bars, settings)``, and a settings
class with the window's exact length, `lookback`. Every row is evaluated on its own last `lookback` rows and on nothing
else, so the result cannot depend on where the history was cut or on what came later, whatever the function does. That
costs one call of the function per row: a thousand times slower than a compiled step, and enough for a first idea.
Because nothing else counts, rows that nobody trades on need no call at all (`first`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements, to_panel
from quantcore.timegrid import interval_us
from quantcore.types import Array, FloatArray, Panel

Progress = Callable[[range], Iterable[int]]
"""What shows how far a loop over rows is: hands on each row in order."""

KIND = "plain"
VERSION = 1

_STAMPS = "ts_us"
_FIELD = "field/"
_SETTLEMENT = "settlement/"
_SETTLEMENT_PARTS = ("time_us", "symbol", "rate", "mark_price")


def plain_forecast(
    function: Callable[..., Panel | pd.Series[float]],
    bars: Bars,
    settings: object,
    lookback: int,
    state: FoldState | None = None,
    *,
    first: int = 0,
    progress: Progress = iter,
) -> tuple[Panel, FoldState]:
    """Return the forecasts of a plain strategy in each row, and the window that the next call needs.

    Parameters
    ----------
    function : callable
        ``forecast(bars)`` or ``forecast(bars, settings)``, returning a panel over the rows and symbols it was given,
        of which the last row is used, or that row alone as a series over the symbols. It must not depend on anything
        else.
    bars : Bars
        The rows that follow those already in `state`; all fields and settlements are kept in the window.
    settings : object
        Handed to `function` if it takes two arguments.
    lookback : int
        Rows of the window, >= 1.
    state : FoldState, optional
        From an earlier call; None starts empty.
    first : int
        Row of `bars` from which on forecasts are wanted.
    progress : callable
        Shows how far the rows are.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1]; NaN in the first ``lookback - 1`` rows of all, before `first`, and where the function gives NaN.
    FoldState
        The last ``lookback - 1`` rows.

    Raises
    ------
    ValueError
        If `lookback` is below 1.
    SchemaMismatch
        If `state` is of another fold, its window does not end one bar before the rows or has other fields, or the
        function returns something other than a panel in [-1, 1] that ends in its window's last row, or that row.
    """
    if lookback < 1:
        raise ValueError(f"lookback must be >= 1, was {lookback}")
    # Settlements outside the rows could come twice: with the rows and with the window.
    history = bars.rows(0, bars.n_bars)
    if state is not None:
        history = _join(state.expect(KIND, VERSION), history)
    with_settings = len(inspect.signature(function).parameters) > 1
    held = history.n_bars - bars.n_bars
    forecasts = np.full((bars.n_bars, bars.n_symbols), np.nan)
    windows = _Windows.over(history)
    for t in progress(range(max(lookback - 1 - held, first, 0), bars.n_bars)):
        end = held + t + 1
        window = windows.rows(end - lookback, end)
        result = function(window, settings) if with_settings else function(window)
        forecasts[t] = _last_row(result, window, function)
    return to_panel(forecasts, bars), _keep(history, lookback - 1)


@dataclass(frozen=True)
class _Windows:
    """Checked bars with their panels, to be cut into windows without checking and building everything anew."""

    bars: Bars
    panels: dict[str, Panel]
    index: pd.DatetimeIndex
    length_us: int

    @classmethod
    def over(cls, bars: Bars) -> _Windows:
        return cls(bars, {}, bars.index, interval_us(bars.interval))

    def rows(self, start: int, stop: int) -> Bars:
        """Return what ``bars.rows(start, stop)`` returns, for ``0 <= start < stop <= n_bars``."""
        bars, window = self.bars, _Window.__new__(_Window)
        ts_us = bars.ts_us[start:stop]
        times = bars.settlements.time_us
        held = slice(*np.searchsorted(times, (ts_us[0] - self.length_us, ts_us[-1])).tolist())
        settlements = Settlements.__new__(Settlements)
        for part in _SETTLEMENT_PARTS:
            object.__setattr__(settlements, part, getattr(bars.settlements, part)[held])
        for name, value in (
            ("interval", bars.interval),
            ("ts_us", ts_us),
            ("symbols", bars.symbols),
            ("fields", MappingProxyType({n: a[start:stop] for n, a in bars.fields.items()})),
            ("settlements", settlements),
            ("_source", (self, start, stop)),
        ):
            object.__setattr__(window, name, value)
        return window

    def panel(self, name: str) -> Panel:
        if name not in self.panels:
            self.panels[name] = self.bars.panel(name)
        return self.panels[name]


class _Window(Bars):
    """Some rows of `_Windows`, whose panels are slices of the whole ones."""

    @property
    def index(self) -> pd.DatetimeIndex:
        source = self.__dict__.get("_source")
        if source is None:  # made by dataclasses.replace
            return super().index
        windows, start, stop = source
        index: pd.DatetimeIndex = windows.index[start:stop]
        return index

    def panel(self, name: str) -> Panel:
        source = self.__dict__.get("_source")
        if source is None or not self.has(name):
            return super().panel(name)
        windows, start, stop = source
        rows: Panel = windows.panel(name).iloc[start:stop]
        return rows


def _last_row(result: object, window: Bars, function: Callable[..., object]) -> FloatArray:
    ts = window.index[-1]
    name = f"{function.__name__} of {function.__module__}"
    if isinstance(result, pd.DataFrame):
        ended = len(result) > 0 and result.index[-1] == ts
        symbols, last = result.columns, result.iloc[-1] if ended else None
    elif isinstance(result, pd.Series):
        symbols, last = result.index, result
    else:
        raise SchemaMismatch(
            f"{name} must return a DataFrame over its rows and symbols, or a Series over the symbols, "
            f"was {type(result).__name__}"
        )
    if last is None or tuple(symbols) != window.symbols:
        raise SchemaMismatch(
            f"{name} must return a panel over the symbols that ends at {ts}, or its last row"
        )
    try:
        row = last.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise SchemaMismatch(f"{name} must return numbers, was {last.dtype} at {ts}") from error
    bad = np.flatnonzero(np.abs(row) > 1.0)
    if len(bad):
        raise SchemaMismatch(
            f"a forecast must be in [-1, 1], was {row[bad[0]]} for {window.symbols[bad[0]]} at {ts}"
        )
    return np.asarray(row)


def _keep(history: Bars, rows: int) -> FoldState:
    window = history.rows(max(history.n_bars - rows, 0), history.n_bars)
    arrays: dict[str, Array] = {_STAMPS: window.ts_us}
    arrays |= {_FIELD + name: array for name, array in window.fields.items()}
    arrays |= {_SETTLEMENT + p: getattr(window.settlements, p) for p in _SETTLEMENT_PARTS}
    return FoldState(KIND, VERSION, arrays)


def _join(state: FoldState, bars: Bars) -> Bars:
    names = {name.removeprefix(_FIELD) for name in state if name.startswith(_FIELD)}
    if names != set(bars.fields):
        raise SchemaMismatch(
            f"bars must have the fields of the state, {sorted(names)}, had {sorted(bars.fields)}"
        )
    width = state[_FIELD + "close"].shape[1]
    if width != bars.n_symbols:
        raise SchemaMismatch(f"plain state must have {bars.n_symbols} symbols, had {width}")
    return Bars(
        interval=bars.interval,
        ts_us=np.concatenate([state[_STAMPS], bars.ts_us]),
        symbols=bars.symbols,
        fields={n: np.concatenate([state[_FIELD + n], a]) for n, a in bars.fields.items()},
        settlements=Settlements(
            **{
                p: np.concatenate([state[_SETTLEMENT + p], getattr(bars.settlements, p)])
                for p in _SETTLEMENT_PARTS
            }
        ),
    )
