"""One symbol's book as it was recorded: snapshots with the differences that follow them, and touches.

The exchange's rules: of the differences those that end before a snapshot are dropped, the first that is kept spans the
snapshot's last change, and each names the one before it (``pu``). A book that begins without a snapshot holds what the
differences have named so far, and the touch of the last bookTicker. Levels off the tick, of a time before it was
changed, are left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import njit

from live.simulator.book import ASK, BID, no_levels
from live.simulator.recorded_rules import are_whole, steps_in
from live.simulator.recordings import Levels, Snapshot, SymbolRecording
from quantcore.errors import DataGap
from quantcore.types import FloatArray, IntArray

CHECKPOINT = 1024
"""Differences after which a book is kept for good, so that going back is never far."""
_RECENT = 16
"""Books that are kept beside: requests go to and fro within some steps."""

Sides = tuple[IntArray, IntArray]
"""Bids and asks, each of shape (n, 2): price in ticks and size in lots, best first."""
_NO_SIDES: Sides = (no_levels(), no_levels())


class Changes(NamedTuple):
    """One side of all differences: those of difference k are ``offset[k]`` up to ``offset[k + 1]``."""

    offset: IntArray
    ticks: IntArray
    lots: IntArray


class Differences(NamedTuple):
    """All differences, arrays of shape ``(n,)``: times in microseconds, the exchange's ids, and what changed."""

    time_us: IntArray
    previous_id: IntArray
    last_id: IntArray
    bids: Changes
    asks: Changes


class Touches(NamedTuple):
    """All touches, arrays of shape ``(n,)``: times in microseconds, ids, and prices in ticks with sizes in lots."""

    time_us: IntArray
    update_id: IntArray
    bid: IntArray
    bid_lots: IntArray
    ask: IntArray
    ask_lots: IntArray


class Begin(NamedTuple):
    """Where a book begins anew.

    Attributes
    ----------
    time_us : int
        From when on it holds.
    first : int
        The first difference that changes it.
    update_id : int
        The last change that it holds; -1 without a snapshot.
    sides : tuple of int64 array
        What it begins with.
    """

    time_us: int
    first: int
    update_id: int
    sides: Sides

    @property
    def whole(self) -> bool:
        """Whether it begins with a snapshot."""
        return self.update_id >= 0


class Grid(NamedTuple):
    """Numerators and denominators of a symbol's tick and step (`decimal_fraction`)."""

    tick: tuple[int, int]
    step: tuple[int, int]

    def ticks(self, prices: FloatArray) -> IntArray:
        """Return prices in whole ticks."""
        return np.rint(steps_in(prices, self.tick)).astype(np.int64)

    def lots(self, qty: FloatArray) -> IntArray:
        """Return quantities in whole steps."""
        return np.rint(steps_in(qty, self.step)).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class RecordedBook:
    """The book of one symbol, as a function of the time.

    What has been asked for is kept in memory: books of whole `CHECKPOINT` s, and the last few.

    Parameters
    ----------
    differences : Differences
        In order.
    touches : Touches
        In order.
    begins : tuple of Begin
        In order; empty where nothing of the book was recorded but touches.
    """

    differences: Differences = field(repr=False)
    touches: Touches = field(repr=False)
    begins: tuple[Begin, ...] = field(repr=False)

    @cached_property
    def _begin_us(self) -> list[int]:
        return [begin.time_us for begin in self.begins]

    @cached_property
    def _kept(self) -> dict[tuple[int, int], Sides]:
        return {}

    @cached_property
    def _recent(self) -> OrderedDict[tuple[int, int], Sides]:
        return OrderedDict()

    def touch_row(self, time_us: int) -> int:
        """Return the row of the last touch at a time, -1 before the first."""
        return int(self.touches.time_us.searchsorted(time_us, side="right")) - 1

    def sides(self, time_us: int) -> Sides:
        """Return bids and asks at a time; a side of which nothing is known is empty.

        A touch that is newer than the last difference stands over it: what is better is gone. Without a snapshot
        every touch does, for the differences may not have named it.
        """
        b = bisect_right(self._begin_us, time_us) - 1
        sides, whole, last_id = _NO_SIDES, False, -1
        if b >= 0:
            begin = self.begins[b]
            until = int(self.differences.time_us.searchsorted(time_us, side="right"))
            sides = self.after(b, max(until, begin.first))
            whole, last_id = begin.whole, begin.update_id
            if until > begin.first:
                last_id = int(self.differences.last_id[until - 1])
        row = self.touch_row(time_us)
        if row < 0 or (whole and self.touches.update_id[row] <= last_id):
            return sides
        touch = self.touches
        return (
            _topped(sides[0], int(touch.bid[row]), int(touch.bid_lots[row]), BID),
            _topped(sides[1], int(touch.ask[row]), int(touch.ask_lots[row]), ASK),
        )

    def after(self, b: int, until: int) -> Sides:
        """Return the book that began with `begins[b]` after the differences before number `until`."""
        wanted = (b, until)
        if wanted in self._recent:
            self._recent.move_to_end(wanted)
            return self._recent[wanted]
        at, sides = self._nearest(b, until)
        while at < until:
            stop = min((at // CHECKPOINT + 1) * CHECKPOINT, until)
            sides = self._changed(sides, at, stop)
            at = stop
            if at % CHECKPOINT == 0:
                self._kept[b, at] = sides
        self._recent[wanted] = sides
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return sides

    def _nearest(self, b: int, until: int) -> tuple[int, Sides]:
        """Return the latest book that is kept and not beyond, and the number of its next difference."""
        begin = self.begins[b]
        best, sides = begin.first, begin.sides
        for (of, at), kept in self._recent.items():
            if of == b and best < at <= until:
                best, sides = at, kept
        for at in range(until // CHECKPOINT * CHECKPOINT, best, -CHECKPOINT):
            if (b, at) in self._kept:
                return at, self._kept[b, at]
        return best, sides

    def _changed(self, sides: Sides, start: int, stop: int) -> Sides:
        bids, asks = self.differences.bids, self.differences.asks
        return (
            changed(sides[0], *_slice(bids, start, stop), BID),
            changed(sides[1], *_slice(asks, start, stop), ASK),
        )


def _slice(changes: Changes, start: int, stop: int) -> tuple[IntArray, IntArray]:
    first, last = int(changes.offset[start]), int(changes.offset[stop])
    return changes.ticks[first:last], changes.lots[first:last]


@njit(cache=True)
def changed(levels: IntArray, ticks: IntArray, lots: IntArray, side: int) -> IntArray:
    """Return a side of a book after some changes, one after the other.

    Parameters
    ----------
    levels : int64 array, shape (n, 2)
        Price in ticks and size in lots, best first.
    ticks, lots : int64 array, shape (n_changes,)
        The sizes that levels have from now on; 0 takes a level away.
    side : int
        `BID` or `ASK`.
    """
    result = np.empty((len(levels) + len(ticks), 2), dtype=np.int64)
    result[: len(levels)] = levels
    count = len(levels)
    for k in range(len(ticks)):
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if result[middle, 0] * side < ticks[k] * side:
                low = middle + 1
            else:
                high = middle
        there = low < count and result[low, 0] == ticks[k]
        if lots[k] > 0:
            if not there:
                for j in range(count, low, -1):
                    result[j, 0], result[j, 1] = result[j - 1, 0], result[j - 1, 1]
                count += 1
                result[low, 0] = ticks[k]
            result[low, 1] = lots[k]
        elif there:
            count -= 1
            for j in range(low, count):
                result[j, 0], result[j, 1] = result[j + 1, 0], result[j + 1, 1]
    return result[:count].copy()


def _topped(levels: IntArray, best: int, lots: int, side: int) -> IntArray:
    """Return a side whose best level is known to be another."""
    behind = levels[levels[:, 0] * side > best * side]
    return np.concatenate([np.array([[best, lots]], dtype=np.int64), behind])


def recorded_book(symbol: str, recording: SymbolRecording, grid: Grid) -> RecordedBook:
    """Return a symbol's book from what was recorded of it.

    Raises
    ------
    DataGap
        If the differences have a hole after which no snapshot begins anew, or a snapshot lies before them all.
    """
    differences = _differences(recording, grid)
    return RecordedBook(
        differences=differences,
        touches=_touches(recording, grid),
        begins=_begins(symbol, differences, recording.snapshots, grid),
    )


def _differences(recording: SymbolRecording, grid: Grid) -> Differences:
    if "depthUpdate" not in recording.events:
        none = np.empty(0, dtype=np.int64)
        nothing = Changes(np.zeros(1, dtype=np.int64), none, none)
        return Differences(none, none, none, nothing, nothing)
    events = recording.events["depthUpdate"]
    return Differences(
        events.time_us,
        events.columns["pu"],
        events.columns["u"],
        _changes(events.levels["b"], grid),
        _changes(events.levels["a"], grid),
    )


def _changes(levels: Levels, grid: Grid) -> Changes:
    """Return one side of all differences, without the levels that lie off the tick."""
    kept = are_whole(steps_in(levels.price, grid.tick))
    before = np.concatenate([[0], np.cumsum(kept)])
    return Changes(
        before[levels.offset], grid.ticks(levels.price[kept]), grid.lots(levels.qty[kept])
    )


def _touches(recording: SymbolRecording, grid: Grid) -> Touches:
    if "bookTicker" not in recording.events:
        return Touches(*(np.empty(0, dtype=np.int64) for _ in Touches._fields))
    events = recording.events["bookTicker"]
    of = events.columns
    return Touches(
        events.time_us,
        of["u"],
        grid.ticks(of["b"]),
        grid.lots(of["B"]),
        grid.ticks(of["a"]),
        grid.lots(of["A"]),
    )


def _begins(
    symbol: str, known: Differences, snapshots: Sequence[Snapshot], grid: Grid
) -> tuple[Begin, ...]:
    """Return where the book begins anew: at first, after each hole, and with the first snapshot after either."""
    n = len(known.time_us)
    holes = np.flatnonzero(known.previous_id[1:] != known.last_id[:-1]) + 1
    placed = [(_first_kept(symbol, known, each), each) for each in snapshots]
    found: list[Begin] = []
    for start, stop in pairwise([0, *holes.tolist(), n] if n else []):
        if start > 0 and all(first < start for first, _ in placed):
            raise DataGap(
                f"{symbol}: depth differences must chain, or a later snapshot begin anew, pu was "
                f"{known.previous_id[start]} after u {known.last_id[start - 1]}"
            )
        spanning = next(((first, each) for first, each in placed if start <= first < stop), None)
        if spanning is None or spanning[1].time_us > known.time_us[start]:
            found.append(Begin(int(known.time_us[start]), start, -1, _NO_SIDES))
        if spanning is not None:
            found.append(_begin(spanning[1], spanning[0], grid))
    behind = next((each for first, each in placed if first == n), None)
    if behind is not None and not (found and found[-1].whole):
        found.append(_begin(behind, n, grid))
    return tuple(found)


def _first_kept(symbol: str, known: Differences, snapshot: Snapshot) -> int:
    """Return the first difference that is not older than a snapshot; the number of all where each is."""
    first = int(known.last_id.searchsorted(snapshot.update_id))
    if first < len(known.last_id) and known.previous_id[first] > snapshot.update_id:
        raise DataGap(
            f"{symbol}: {snapshot.name} must reach the differences, had lastUpdateId {snapshot.update_id} before "
            f"pu {known.previous_id[first]}"
        )
    return first


def _begin(snapshot: Snapshot, first: int, grid: Grid) -> Begin:
    sides = []
    for table, side in ((snapshot.bids, BID), (snapshot.asks, ASK)):
        kept = table[are_whole(steps_in(table[:, 0], grid.tick))]
        ticks, lots = grid.ticks(kept[:, 0]), grid.lots(kept[:, 1])
        sides.append(changed(no_levels(), ticks, lots, side))
    return Begin(snapshot.time_us, first, snapshot.update_id, (sides[0], sides[1]))
