"""How a feature becomes a fold over frames: an empty state, one scan over the rows, the state to hand on.

A feature is a compiled `..._step` that advances explicit arrays by one value of one symbol, a `..._scan` of it over all
rows, and a public function `feature(bars, *, settings, state=None) -> (panel, state)`, which hands the scan to `fold`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quantcore.fold import FoldState, resume
from quantcore.frames import Bars, to_panel
from quantcore.types import FloatArray, Panel

Scan = Callable[[Mapping[str, FloatArray]], FloatArray]
"""Advances the arrays of a state in place and returns a value per row and symbol."""


@dataclass(frozen=True)
class Empty:
    """A feature that has seen nothing, from `empty_state`."""

    kind: str
    version: int
    settings: tuple[float, ...]
    arrays: Mapping[str, FloatArray] = field(repr=False)


def empty_state(
    kind: str, version: int, settings: tuple[float, ...], **arrays: FloatArray
) -> Empty:
    """Return a feature that has seen nothing.

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
    return Empty(kind, version, settings, arrays)


def fold(bars: Bars, state: FoldState | None, empty: Empty, scan: Scan) -> tuple[Panel, FoldState]:
    """Return a feature over the rows of some bars, and the state after the last of them.

    Parameters
    ----------
    bars : Bars
        The rows that follow those already in `state`.
    state : FoldState, optional
        From an earlier call with the same settings and symbols; None starts from `empty`. It is not changed.
    empty : Empty
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
    held = resume(
        state, empty.kind, empty.version, n_symbols=bars.n_symbols, settings=empty.settings,
        empty=lambda: empty.arrays,
    )  # fmt: skip
    values = scan(held)
    return to_panel(values, bars), held.state()


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
