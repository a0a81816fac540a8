"""Bars of a minute from recorded prints, for what works by bars: lock-step, the curve on the page, a backtest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from quantcore.data.sources import MarketData
from quantcore.errors import DataGap
from quantcore.frames import FLOW_FIELDS, MARK_FIELDS, PRICE_FIELDS, Bars, Settlements
from quantcore.timegrid import MINUTE_US
from quantcore.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from live.simulator.recorded_tape import RecordedTape

INTERVAL = "1m"


def minute_bars(tape: RecordedTape) -> Bars:
    """Return bars of all minutes that a recording touches.

    A symbol's bar is NaN where the recording does not hold the whole minute, prints are missing in it by their ids, or
    nothing had traded yet. In a minute without prints the price stands. There are marks where any were recorded.
    """
    opens = np.arange(
        tape.history_us // MINUTE_US * MINUTE_US, tape.last_us + 1, MINUTE_US, dtype=np.int64
    )
    shape = (len(opens), len(tape.symbols))
    marked = any(len(each.marks.time_us) for each in tape.known)
    names = [*PRICE_FIELDS, *FLOW_FIELDS, *(MARK_FIELDS if marked else ())]
    fields: dict[str, FloatArray] = {name: np.full(shape, np.nan) for name in names}
    for s in range(shape[1]):
        whole = _whole(tape, s, opens)
        stop = opens[whole] + MINUTE_US - 1
        table = tape.stretches(s, opens[whole], stop, mark=False).table
        for column, name in enumerate((*PRICE_FIELDS, *FLOW_FIELDS)):
            fields[name][whole, s] = np.where(np.isnan(table[:, 0]), np.nan, table[:, column])
        if marked:
            table = tape.stretches(s, opens[whole], stop, mark=True).table
            for column, name in enumerate(MARK_FIELDS):
                fields[name][whole, s] = table[:, column]
    return Bars(
        interval=INTERVAL,
        ts_us=opens + MINUTE_US,
        symbols=tape.symbols,
        fields=fields,
        settlements=_settlements(tape),
    )


def _whole(tape: RecordedTape, s: int, opens: IntArray) -> BoolArray:
    """Return which minutes hold all of a symbol's prints."""
    whole: BoolArray = (opens >= tape.history_us) & (opens + MINUTE_US - 1 <= tape.last_us)
    prints = tape.known[s].prints
    for row in prints.gaps.tolist():
        first, last = prints.time_us[row - 1] // MINUTE_US, prints.time_us[row] // MINUTE_US
        minute = opens // MINUTE_US
        whole &= (minute < first) | (minute > last)
    return whole


def _settlements(tape: RecordedTape) -> Settlements:
    rows = [
        (time_us, s, rate, mark)
        for s, each in enumerate(tape.known)
        for time_us, rate, mark in each.marks.settled(tape.last_us)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Settlements(
        time_us=np.array([row[0] for row in rows], dtype=np.int64),
        symbol=np.array([row[1] for row in rows], dtype=np.int64),
        rate=table[:, 2],
        mark_price=table[:, 3],
    )


def whole_bars(tape: RecordedTape) -> MarketData:
    """Return the bars of the minutes that a recording holds whole, from the first such minute to the last.

    Raises
    ------
    DataGap
        If there is none.
    """
    bars = tape.bars
    rows = np.flatnonzero(~np.isnan(bars.array("close")).all(axis=1))
    if len(rows) == 0:
        raise DataGap(
            "a recording must hold a whole minute to be replayed by bars, held "
            f"{(tape.last_us - tape.history_us) / 1e6:.3f} s without one"
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
    return MarketData(bars=cut, interval=INTERVAL, start_us=None, notes=tape.notes)
