"""When two sets of bars are of the same market: they share symbols whose closes agree."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from quantcore.errors import SchemaMismatch
from quantcore.frames import Bars
from quantcore.timegrid import DAY_US

Marks = npt.NDArray[np.uint8]
_WEEK_US = 7 * DAY_US
_MONDAY_US = 4 * DAY_US
"""The first Monday after 1970-01-01, a Thursday."""
_AGREE = 0.5
"""Share of the common marks that must be equal: a few closes may have been corrected, and of two markets that have
nothing in common but names one mark in 255 is equal."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """What tells one set of bars from another, and which ones overlap.

    Another span, another bar interval or fewer symbols give other bars of the same market; an invented market has
    the same symbols and times, but other prices. Therefore one byte of each symbol's close at every Monday's midnight
    UTC is kept: where two sets of bars have such closes in common, these say whether the markets are the same.

    Parameters
    ----------
    fingerprint : str
        `Bars.fingerprint`, hexadecimal.
    symbols : tuple of str
        Sorted.
    first_week : int
        Weeks from the Monday after 1970-01-01 to the first one of the marks.
    marks : uint8 array, shape (n_weeks, n_symbols)
        0 where there is no close.
    """

    fingerprint: str
    symbols: tuple[str, ...]
    first_week: int
    marks: Marks = field(repr=False)

    @classmethod
    def of(cls, bars: Bars, fingerprint: str | None = None) -> Market:
        """Return the market of some bars; `fingerprint` spares computing it where it is known."""
        since, beside = np.divmod(bars.ts_us - _MONDAY_US, _WEEK_US)
        rows = np.flatnonzero(beside == 0)
        weeks = since[rows]
        n_weeks = int(weeks[-1] - weeks[0]) + 1 if len(rows) else 0
        marks = np.zeros((n_weeks, bars.n_symbols), dtype=np.uint8)
        for row, week in zip(bars.array("close")[rows], weeks, strict=True):
            marks[week - weeks[0]] = [_mark(close) for close in row.tolist()]
        return cls(
            fingerprint=bars.fingerprint() if fingerprint is None else fingerprint,
            symbols=bars.symbols,
            first_week=int(weeks[0]) if len(rows) else 0,
            marks=marks,
        )

    def overlaps(self, other: Market) -> bool:
        """Return whether two sets of bars are the same, or of the same market with symbols and weeks in common."""
        if self.fingerprint == other.fingerprint:
            return True
        first = max(self.first_week, other.first_week)
        last = min(self.first_week + len(self.marks), other.first_week + len(other.marks))
        shared = sorted(set(self.symbols) & set(other.symbols))
        if first >= last or not shared:
            return False
        mine, others = self._part(first, last, shared), other._part(first, last, shared)
        common = (mine > 0) & (others > 0)
        return bool(common.any() and np.mean(mine[common] == others[common]) >= _AGREE)

    def to_json(self) -> dict[str, Any]:
        """Return the market as its line of a ledger holds it."""
        return {
            "data": self.fingerprint,
            "symbols": list(self.symbols),
            "first_week": self.first_week,
            "marks": base64.b64encode(self.marks.tobytes()).decode(),
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Market:
        """Return the market that a line holds.

        Raises
        ------
        SchemaMismatch
            If there are not as many marks as whole weeks of the symbols take.
        KeyError, TypeError, ValueError
            If a field is missing or of another type.
        """
        symbols = tuple(str(symbol) for symbol in line["symbols"])
        marks = np.frombuffer(base64.b64decode(line["marks"], validate=True), dtype=np.uint8)
        if not symbols or len(marks) % len(symbols):
            raise SchemaMismatch(
                f"marks must be whole weeks of {len(symbols)} symbols, were {len(marks)}"
            )
        return cls(
            fingerprint=str(line["data"]),
            symbols=symbols,
            first_week=int(line["first_week"]),
            marks=marks.reshape(-1, len(symbols)),
        )

    def _part(self, first: int, last: int, symbols: list[str]) -> Marks:
        columns = [self.symbols.index(symbol) for symbol in symbols]
        return self.marks[first - self.first_week : last - self.first_week][:, columns]


def _mark(close: float) -> int:
    return 1 + zlib.crc32(f"{close:.9g}".encode()) % 255 if close == close else 0
