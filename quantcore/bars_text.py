"""What bars hold, in words: symbols, span, fields, settlements, late listings, early ends and holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from quantcore.timegrid import interval_us, to_index
from quantcore.types import FloatArray, IntArray

_LISTED_MAX = 8


def bars_title(ts_us: IntArray, interval: str, n_symbols: int) -> tuple[str, str]:
    """Return how many bars of how many symbols there are, and over which span."""
    counted = f"{n_symbols} symbol{'' if n_symbols == 1 else 's'}"
    if not len(ts_us):
        return f"No bars of {interval}", counted
    first, last = to_index(np.array([ts_us[0] - interval_us(interval), ts_us[-1]]))
    bars = f"{len(ts_us):,} bar{'' if len(ts_us) == 1 else 's'} of {interval}"
    return bars, f"{counted}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def bars_facts(
    ts_us: IntArray,
    interval: str,
    symbols: Sequence[str],
    fields: dict[str, FloatArray],
    settled: IntArray,
) -> list[tuple[str, str]]:
    """Return what some bars hold as names and texts.

    Parameters
    ----------
    ts_us : int64 array, shape (n_bars,)
        Close times, microseconds since 1970.
    interval : str
        Length of a bar.
    symbols : sequence of str
        Columns.
    fields : dict of str to float64 array, shape (n_bars, n_symbols)
        By name; a hole is a NaN of `close` between a symbol's first and last.
    settled : int64 array, shape (n_settlements,)
        Column of each funding settlement.
    """
    rows = [("symbols", ", ".join(symbols) or "none"), ("fields", ", ".join(fields))]
    with_funding = len(np.unique(settled))
    some = f"{len(settled):,} settlements of {with_funding} of {len(symbols)} symbols"
    rows.append(("funding", some if len(settled) else "no settlements"))
    known = ~np.isnan(fields["close"])
    if not len(ts_us):
        return rows
    counts = known.sum(axis=0)
    first, last = known.argmax(axis=0), len(ts_us) - 1 - known[::-1].argmax(axis=0)
    held = [s for s in range(len(symbols)) if counts[s]]
    opens = to_index(ts_us - interval_us(interval))
    late = [f"{symbols[s]} from {opens[first[s]]:%Y-%m-%d}" for s in held if first[s] > 0]
    ends = to_index(ts_us)
    early = [
        f"{symbols[s]} until {ends[last[s]]:%Y-%m-%d}" for s in held if last[s] < len(ts_us) - 1
    ]
    missing = {s: int(last[s] - first[s] + 1 - counts[s]) for s in held}
    holes = [f"{symbols[s]} {n:,} bar{'' if n == 1 else 's'}" for s, n in missing.items() if n]
    empty = [symbols[s] for s in range(len(symbols)) if not counts[s]]
    for name, texts in (("listed late", late), ("ending early", early), ("without bars", empty)):
        if texts:
            rows.append((name, _listed(texts)))
    return [*rows, ("holes", _listed(holes) or "none")]


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _LISTED_MAX} more" if len(texts) > _LISTED_MAX else ""
    return ", ".join(texts[:_LISTED_MAX]) + more
