"""What is missing from loaded bars, as sentences for the report."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from quantcore.data.checks import at_text
from quantcore.data.schema import interval_order
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, MINUTE_US, interval_us
from quantcore.types import IntArray

FUNDING_GAP_US = 8 * HOUR_US + 10 * MINUTE_US
"""A longer distance between settlements is a hole; the longest regular interval is 8 h (BINANCE.md)."""
_REGULAR_US = 8 * HOUR_US


def coverage_notes(
    bars: Bars,
    *,
    start_us: int | None,
    ends_us: Mapping[str, int],
    coarse_marks: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Return sentences on late listings, early ends, holes, and missing funding and mark series.

    Shares refer to each symbol's own bars in the traded span, from `start_us` (None: the first row) on.

    Parameters
    ----------
    bars : Bars
        As loaded.
    start_us : int or None
        Start of the traded span, microseconds since 1970.
    ends_us : mapping of str to int
        Declared ends, which are no early ends.
    coarse_marks : mapping of str to str
        Symbols whose mark bars are held only in an interval that the bars' own cannot use, and that interval.
    """
    first_us = int(bars.ts_us[0]) - interval_us(bars.interval) if start_us is None else start_us
    spans = _spans(bars, first_us)
    marks = _mark_missing(bars, spans)
    coarse = {s: coarse_marks[s] for s, share in marks.items() if share >= 1 and s in coarse_marks}
    unknown = {s: share for s, share in marks.items() if s not in coarse}
    notes = [
        _listing_note(bars, spans, first_us),
        _end_note(bars, spans, ends_us),
        _hole_note(bars, spans),
        _share_note("funding history", _funding_missing(bars, spans), len(spans)),
        *_coarse_notes(bars, coarse, len(spans)),
        _share_note("mark price series", unknown, len(spans)),
    ]
    return tuple(note for note in notes if note)


def _spans(bars: Bars, first_us: int) -> dict[str, tuple[int, int]]:
    """Return the first and last row with a bar in the traded span of each symbol that has one."""
    begin = int(np.searchsorted(bars.ts_us, first_us, side="right"))
    close = bars.array("close")
    spans = {}
    for at, symbol in enumerate(bars.symbols):
        rows = np.flatnonzero(~np.isnan(close[begin:, at]))
        if len(rows):
            spans[symbol] = (begin + int(rows[0]), begin + int(rows[-1]))
    return spans


def _listing_note(bars: Bars, spans: Mapping[str, tuple[int, int]], first_us: int) -> str:
    begin = int(np.searchsorted(bars.ts_us, first_us, side="right"))
    length = interval_us(bars.interval)
    late = [
        f"{s} {at_text(int(bars.ts_us[first]) - length)[:10]}"
        for s, (first, _) in spans.items()
        if first > begin
    ]
    return f"First bar after the start of the span: {', '.join(late)}." if late else ""


def _end_note(bars: Bars, spans: Mapping[str, tuple[int, int]], ends_us: Mapping[str, int]) -> str:
    early = [
        f"{s} {at_text(int(bars.ts_us[last]))[:16]}"
        for s, (_, last) in spans.items()
        if last < bars.n_bars - 1 and s not in ends_us
    ]
    if not early:
        return ""
    return f"Last bar before the end of the span, without a declared end: {', '.join(early)}."


def _hole_note(bars: Bars, spans: Mapping[str, tuple[int, int]]) -> str:
    close = bars.array("close")
    holes = []
    for symbol, (first, last) in spans.items():
        missing = int(np.isnan(close[first : last + 1, bars.symbols.index(symbol)]).sum())
        if missing:
            holes.append(f"{symbol} {missing}")
    if not holes:
        return ""
    return f"Missing {bars.interval} bars between first and last: {', '.join(holes)}."


def _coarse_notes(bars: Bars, coarse: Mapping[str, str], n_symbols: int) -> list[str]:
    notes = []
    for interval in interval_order(set(coarse.values())):
        symbols = [s for s, held in coarse.items() if held == interval]
        names = "all symbols" if len(symbols) == n_symbols else ", ".join(symbols)
        notes.append(
            f"Mark prices only as {interval} bars for {names}: used for funding, "
            f"not inside {bars.interval} bars."
        )
    return notes


def _share_note(what: str, missing: Mapping[str, float], n_symbols: int) -> str:
    whole = [s for s, share in missing.items() if share >= 1.0]
    part = [f"{s} {share:.1%}" for s, share in missing.items() if 0.0 < share < 1.0]
    said = []
    if whole:
        names = "all symbols" if len(whole) == n_symbols else ", ".join(whole)
        said.append(f"none for {names}")
    if part:
        said.append(f"missing for a share of the span: {', '.join(part)}")
    capital = what[0].upper() + what[1:]
    return f"{capital}: {'; '.join(said)}." if said else ""


def _funding_missing(bars: Bars, spans: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    length = interval_us(bars.interval)
    missing = {}
    for symbol, (first, last) in spans.items():
        own = bars.settlements.symbol == bars.symbols.index(symbol)
        time_us = bars.settlements.time_us[own]
        begin, end = int(bars.ts_us[first]) - length, int(bars.ts_us[last])
        missing[symbol] = _uncovered(time_us, begin, end)
    return missing


def _uncovered(time_us: IntArray, begin: int, end: int) -> float:
    """Return the share of ``[begin, end)`` that no settlement accounts for; each covers the 8 h before it.

    A span without a regular settlement time (00:00, 08:00, 16:00 UTC) lacks nothing.
    """
    time_us = time_us[(time_us >= begin) & (time_us < end)]
    if len(time_us) == 0:
        return 1.0 if -(-begin // _REGULAR_US) * _REGULAR_US < end else 0.0
    gaps = np.diff(time_us)
    lost = int((gaps[gaps > FUNDING_GAP_US] - _REGULAR_US).sum())
    lost += max(int(time_us[0]) - begin - FUNDING_GAP_US, 0)
    lost += max(end - int(time_us[-1]) - FUNDING_GAP_US, 0)
    return lost / (end - begin)


def _mark_missing(bars: Bars, spans: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    if not bars.has("mark_price"):
        return dict.fromkeys(spans, 1.0)
    missing = {}
    for symbol, (first, last) in spans.items():
        at = bars.symbols.index(symbol)
        listed = ~np.isnan(bars.array("close")[first : last + 1, at])
        unknown = np.isnan(bars.array("mark_price")[first : last + 1, at])
        missing[symbol] = float((listed & unknown).sum() / listed.sum())
    return missing
