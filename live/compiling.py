"""The kernels of both folds, compiled before anything waits for them: an exchange does not stand still meanwhile."""

from __future__ import annotations

import sys

import numpy as np

from live.feed.rows import RowForm
from live.folds import MOMENT
from live.ledger import Ledger
from live.parts import Parts
from live.wanted import ClientIds
from quantcore.account_follow import follow
from quantcore.data.instruments import load_instruments
from quantcore.frames import Bars, no_settlements
from quantcore.kernels.cache import is_compiled
from quantcore.signal_plane import signals
from quantcore.timegrid import interval_us

_SYMBOLS = ("BTCUSDT", "ETHUSDT")
_PRICE = 100.0


def compile_folds(parts: Parts) -> None:
    """Take a few made-up bars through both folds; what was compiled before is read from the disk."""
    if not is_compiled(follow):
        sys.stderr.write("compiling the kernels, once: about a minute\n")
    bars = _bars(parts.interval, 3)
    state = signals(bars.rows(0, 2), parts.signal).state
    signals(bars.rows(2, 3), parts.signal, state)
    instruments = load_instruments(_SYMBOLS)
    ledger = Ledger(parts.plane(instruments), instruments, ClientIds("warm"))
    row = _bars(parts.execution_interval, 1)
    none = np.full(len(_SYMBOLS), np.nan)
    ledger.take(ledger.step(row, [], targets=none, recorded=True, half_spread=none))
    ledger.step(_bars(MOMENT, 1), [], closes=False, half_spread=none)


def _bars(interval: str, n_bars: int) -> Bars:
    """Return bars in which nothing happens, with the fields of a live row."""
    fields = RowForm(symbols=_SYMBOLS, interval="1m").fields
    return Bars(
        interval=interval,
        ts_us=interval_us(interval) * np.arange(1, n_bars + 1, dtype=np.int64),
        symbols=_SYMBOLS,
        fields=dict.fromkeys(fields, np.full((n_bars, len(_SYMBOLS)), _PRICE)),
        settlements=no_settlements(),
    )
