"""Bars of a minute from recorded prints, for what works by bars: lock-step, the curve on the page, a backtest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from live.simulator.recorded_symbol import RecordedSymbol
from quantcore.data.sources import MarketData
from quantcore.errors import DataGap
from quantcore.frames import FLOW_FIELDS, MARK_FIELDS, PRICE_FIELDS, Bars, Settlements
from quantcore.timegrid import MINUTE_US
from quantcore.types import BoolArray, FloatArray, IntArray

INTERVAL = "1m"


def minute_bars(known: Sequence[RecordedSymbol], history_us: int, last_us: int) -> Bars:
    """Return bars of all minutes that a recording touches.

    A symbol's bar is NaN where the recording does not hold the whole minute, prints are missing in it by their ids, or
    nothing had traded yet. In a minute without prints the price stands. There are marks where any were recorded.
    """
    opens = np.arange(history_us // MINUTE_US * MINUTE_US, last_us + 1, MINUTE_US, dtype=np.int64)
    shape = (len(opens), len(known))
    marked = any(len(each.marks.time_us) for each in known)
    names = [*PRICE_FIELDS, *FLOW_FIELDS, *(MARK_FIELDS if marked else ())]
    fields: dict[str, FloatArray] = {name: np.full(shape, np.nan) for name in names}
    held = (opens >= history_us) & (opens + MINUTE_US - 1 <= last_us)
    for s, each in enumerate(known):
        whole = held & ~_torn(each, opens)
        stop = opens[whole] + MINUTE_US - 1
        table = each.stretches(opens[whole], stop, mark=False).table
        for column, name in enumerate((*PRICE_FIELDS, *FLOW_FIELDS)):
            fields[name][whole, s] = np.where(np.isnan(table[:, 0]), np.nan, table[:, column])
        if marked:
            table = each.stretches(opens[whole], stop, mark=True).table
            for column, name in enumerate(MARK_FIELDS):
                fields[name][whole, s] = table[:, column]
    return Bars(
        interval=INTERVAL,
        ts_us=opens + MINUTE_US,
        symbols=tuple(each.instrument.symbol for each in known),
        fields=fields,
        settlements=_settlements(known, last_us),
    )


def _torn(each: RecordedSymbol, opens: IntArray) -> BoolArray:
    """Return in which minutes prints of a symbol are missing."""
    torn: BoolArray = np.zeros(len(opens), dtype=np.bool_)
    for row in each.prints.gaps.tolist():
        first, last = each.prints.time_us[[row - 1, row]]
        torn |= (opens + MINUTE_US > first) & (opens <= last)
    return torn


def _settlements(known: Sequence[RecordedSymbol], last_us: int) -> Settlements:
    rows = [
        (time_us, s, rate, mark)
        for s, each in enumerate(known)
        for time_us, rate, mark in each.marks.settled(last_us)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Settlements(
        time_us=np.array([row[0] for row in rows], dtype=np.int64),
        symbol=np.array([row[1] for row in rows], dtype=np.int64),
        rate=table[:, 2],
        mark_price=table[:, 3],
    )


def whole_bars(bars: Bars, notes: tuple[str, ...]) -> MarketData:
    """Return `minute_bars` from the first minute that a recording holds whole to the last.

    Raises
    ------
    DataGap
        If there is none.
    """
    rows = np.flatnonzero(~np.isnan(bars.array("close")).all(axis=1))
    if len(rows) == 0:
        raise DataGap(
            "a recording must hold a whole minute to be replayed by bars, held only parts of "
            f"{bars.n_bars}"
        )
    kept = slice(int(rows[0]), int(rows[-1]) + 1)
    ts_us = bars.ts_us[kept]
    known = bars.settlements
    inside = (known.time_us >= ts_us[0] - MINUTE_US) & (known.time_us < ts_us[-1])
    cut = replace(
        bars,
        ts_us=ts_us,
        fields={name: values[kept] for name, values in bars.fields.items()},
        settlements=known.where(inside),
    )
    return MarketData(bars=cut, interval=INTERVAL, start_us=None, notes=notes)
