"""How a feature becomes a fold over frames: an empty state, one scan over the rows, the state to hand on.

A feature is a compiled `..._step` that advances explicit arrays by one value of one symbol, a `..._scan` of it over all
rows, and a public function `feature(bars, *, settings, state=None) -> (panel, state)`, which hands the scan to `fold`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from quantcore.errors import SchemaMismatch
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.types import FloatArray, Panel

SETTINGS = "settings"
"""Name of the array in which a state keeps the settings that it was made with."""

Scan = Callable[[Mapping[str, FloatArray]], FloatArray]
"""Advances the arrays of a state in place and returns a value per row and symbol."""


def empty_state(
    kind: str, version: int, settings: tuple[float, ...], **arrays: FloatArray
) -> FoldState:
    """Return the state of a feature that has seen nothing.

    Parameters
    ----------
    kind : str
        The feature's name.
    version : int
        Raised whenever the meaning of an array changes.
    settings : tuple of float
        Every number that has to be the same in all calls that share a state.
    **arrays : float64 array
        What the feature's scan advances, as its `..._init` gives it.
    """
    return FoldState(kind, version, {SETTINGS: np.array(settings, dtype=np.float64), **arrays})


def fold(
    bars: Bars, state: FoldState | None, empty: FoldState, scan: Scan
) -> tuple[Panel, FoldState]:
    """Return a feature over the rows of some bars, and the state after the last of them.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`.
    state : FoldState, optional
        From an earlier call with the same settings and symbols; None starts from `empty`. It is not changed.
    empty : FoldState
        From `empty_state`.
    scan : callable
        Given writable arrays by name, advances them over all rows and returns the values.

    Returns
    -------
    Panel, shape (n_bars, n_symbols)
        What `scan` returned.
    FoldState
        To hand to the next call.

    Raises
    ------
    SchemaMismatch
        If `state` is of another feature or version, of other settings, or of another number of symbols.
    """
    held = (empty if state is None else _checked(state, empty)).copies()
    values = scan(held)
    return to_panel(values, bars), FoldState(empty.kind, empty.version, held)


def _checked(state: FoldState, empty: FoldState) -> FoldState:
    state.expect(empty.kind, empty.version)
    if tuple(state) != tuple(empty):
        raise SchemaMismatch(
            f"{empty.kind} state must hold {', '.join(empty)}, held {', '.join(state)}"
        )
    given, made = state[SETTINGS], empty[SETTINGS]
    if not np.array_equal(given, made):
        raise SchemaMismatch(
            f"{empty.kind} state must be of settings {made.tolist()}, was of {given.tolist()}"
        )
    for name, array in empty.items():
        if state[name].shape != array.shape:
            raise SchemaMismatch(
                f"{empty.kind} state must have {name} of shape {array.shape}, was {state[name].shape}"
            )
    return state


def known(bars: Bars, name: str) -> FloatArray:
    """Return a field that bars need not have, shape ``(n_bars, n_symbols)``: all NaN where they do not."""
    if bars.has(name):
        return bars.array(name)
    missing = np.full((bars.n_bars, bars.n_symbols), np.nan)
    missing.flags.writeable = False
    return missing


def positive(name: str, value: float) -> float:
    """Return a setting as a float if it is finite and > 0, else raise `ValueError`."""
    if not (value > 0.0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and > 0, was {value}")
    return float(value)


def whole(name: str, value: int, *, least: int) -> int:
    """Return a setting if it is a whole number >= `least`, else raise `ValueError`."""
    if value != int(value) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, was {value}")
    return int(value)
