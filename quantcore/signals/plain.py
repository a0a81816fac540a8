"""The adapter for strategies written in plain pandas: a window of exact length as the state of a fold.

A plain strategy is a function of a window of bars, ``forecast(bars)`` or ``forecast(bars, settings)``, and a settings
class with the window's exact length, `lookback`. Every row is evaluated on its own last `lookback` rows and on nothing
else, so the result cannot depend on where the history was cut or on what came later, whatever the function does. That
costs one call of the function per row: a thousand times slower than a compiled step, and enough for a first idea.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements, to_panel
from quantcore.types import Array, FloatArray, Panel

KIND = "plain"
VERSION = 1

_STAMPS = "ts_us"
_FIELD = "field/"
_SETTLEMENT = "settlement/"
_SETTLEMENT_PARTS = ("time_us", "symbol", "rate", "mark_price")


def plain_forecast(
    function: Callable[..., Panel],
    bars: Bars,
    settings: object,
    lookback: int,
    state: FoldState | None = None,
) -> tuple[Panel, FoldState]:
    """Return the forecasts of a plain strategy in each row, and the window that the next call needs.

    Parameters
    ----------
    function : callable
        ``forecast(bars)`` or ``forecast(bars, settings)``, returning a panel over the rows and symbols it was given,
        of which the last row is used. It must not depend on anything else.
    bars : Bars
        The rows that follow those already in `state`; all fields and settlements are kept in the window.
    settings : object
        Handed to `function` if it takes two arguments.
    lookback : int
        Rows of the window, >= 1.
    state : FoldState, optional
        From an earlier call; None starts empty.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        In [-1, 1]; NaN in the first ``lookback - 1`` rows of all, and where the function gives NaN.
    FoldState
        The last ``lookback - 1`` rows.

    Raises
    ------
    ValueError
        If `lookback` is below 1.
    SchemaMismatch
        If `state` is of another fold, its window does not end one bar before the rows or has other fields, or the
        function returns something other than a panel in [-1, 1] that ends in its window's last row.
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
    for t in range(max(lookback - 1 - held, 0), bars.n_bars):
        end = held + t + 1
        window = history.rows(end - lookback, end)
        panel = function(window, settings) if with_settings else function(window)
        forecasts[t] = _last_row(panel, window)
    return to_panel(forecasts, bars), _keep(history, lookback - 1)


def _last_row(panel: Panel, window: Bars) -> FloatArray:
    ts = window.index[-1]
    if not len(panel) or panel.index[-1] != ts or tuple(panel.columns) != window.symbols:
        raise SchemaMismatch(f"a plain forecast must be a panel over the symbols that ends at {ts}")
    row = np.asarray(panel.iloc[-1].to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(np.abs(row) > 1.0)
    if len(bad):
        raise SchemaMismatch(
            f"a forecast must be in [-1, 1], was {row[bad[0]]} for {window.symbols[bad[0]]} at {ts}"
        )
    return row


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
