"""A backtest-first research framework for Binance USDT-M perpetual futures.

In a notebook: ``import quantcore as qc``, then ``qc.load``, ``qc.backtest``, ``qc.sweep``, ``qc.walk_forward``,
``qc.compare`` and ``qc.open_run`` (`quantcore.face`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quantcore.face import Bars, backtest, compare, load, open_run, sweep, walk_forward

__all__ = ["Bars", "backtest", "compare", "load", "open_run", "sweep", "walk_forward"]


def __getattr__(name: str) -> object:
    """Return a name of the face, which is imported when the first is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    face = importlib.import_module("quantcore.face")
    # The package `backtest`, now imported, stands here under its name and is the function as well.
    return globals().get(name, getattr(face, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
