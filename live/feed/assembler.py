"""Rows out of messages, REST answers and the clock: a state machine without effects.

Whatever the order, repetition or loss of messages, REST behind them leads to the same rows: a bar of the stream is used
as it came only if it is plausible and nothing contradicts it, and else as REST tells it. Marks that were sampled from
the stream (``marks=stream``) depend on which samples came; the row's notes say so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple

from live.feed.messages import KlineEvent, MarkEvent
from live.feed.pending import PendingBar, sampled
from live.feed.rows import Parts, Row, RowForm, Skipped, bars_of, fault_of
from quantcore.data.rest_rows import Candle, Settled
from quantcore.errors import ConfigError
from quantcore.timegrid import HOUR_US

STREAM = "stream"
REST = "rest"
MARKS = (STREAM, REST)
AskKind = Literal["klines", "mark", "funding", "open_interest"]
_SECOND_US = 1_000_000
_ASKED_AT_ONCE = 400
"""Bars that one request is about at most: a page of the least weight."""
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class AssemblerSettings:
    """How long to wait, and whom to believe. All times are seconds of the exchange's clock.

    Parameters
    ----------
    form : RowForm
        What a row holds.
    marks : {"stream", "rest"}
        Mark bars out of the samples of every second, whose extremes between samples are not seen, or exact by REST.
    settle_s : float
        After a close, until REST answers about that bar count: before, they may not be final; >= 0.
    grace_s : float
        After a close, until what the streams have not brought is asked by REST, >= 0.
    absent_s : float
        After a close, until a bar that REST does not have, nor a later one, is taken for one that does not exist; >= 0.
    deadline_s : float
        After a close, until the decision is skipped, > grace_s.
    retry_s : float
        Between two requests for the same, > 0.
    funding_after_s : float
        After a full hour, at which settlements may be, until REST is asked for them, >= 0.
    funding_absent_s : float
        After a settlement that mark prices have shown, until REST, where it is missing, is believed, >= 0.
    jump : float
        Change of close against close as a fraction from which a bar of the stream must be confirmed by REST, > 0.
    mark_deviation : float
        Likewise the distance of close from mark close, the rule of `quantcore.data.quality`; > 0.
    coverage : float
        Share of a bar's seconds that samples of marks must have, else REST tells the bar; in (0, 1].
    horizon : int
        Bars that may wait for one that is missing, >= 1.

    Raises
    ------
    ConfigError
        If a setting is out of its range.
    """

    form: RowForm
    marks: Literal["stream", "rest"] = "rest"
    settle_s: float = 1.0
    grace_s: float = 2.0
    absent_s: float = 10.0
    deadline_s: float = 20.0
    retry_s: float = 1.0
    funding_after_s: float = 30.0
    funding_absent_s: float = 300.0
    jump: float = 0.2
    mark_deviation: float = 0.03
    coverage: float = 0.9
    horizon: int = 1500

    def __post_init__(self) -> None:
        if self.marks not in MARKS:
            raise ConfigError(f"marks must be one of {', '.join(MARKS)}, was {self.marks!r}")
        for name in ("settle_s", "grace_s", "absent_s", "funding_after_s", "funding_absent_s"):
            if not getattr(self, name) >= 0.0:
                raise ConfigError(f"{name} must be >= 0, was {getattr(self, name)}")
        for name in ("retry_s", "jump", "mark_deviation"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name} must be > 0, was {getattr(self, name)}")
        if not self.deadline_s > self.grace_s:
            raise ConfigError(f"deadline_s must be > grace_s, was {self.deadline_s}")
        if not 0.0 < self.coverage <= 1.0:
            raise ConfigError(f"coverage must be in (0, 1], was {self.coverage}")
        if self.horizon < 1:
            raise ConfigError(f"horizon must be >= 1, was {self.horizon}")


class Ask(NamedTuple):
    """What REST is to be asked.

    Attributes
    ----------
    kind : str
        ``"klines"``, ``"mark"``, ``"funding"`` or ``"open_interest"``.
    symbol : str
        Empty for the settlements of all.
    first_us, last_us : int
        Opens of the first and the last bar that it is about.
    """

    kind: AskKind
    symbol: str
    first_us: int
    last_us: int


class Assembler:
    """Puts rows together, one after the other without a gap.

    Parameters
    ----------
    settings : AssemblerSettings
        How.
    after_us : int
        Close of the last row that is had already, on the grid.
    born_us : int
        Since when somebody waits: bars that had closed by then are told without a skipped decision.
    closes : mapping of symbol to float
        Closes of that row, NaN of symbols without a bar, which are then not waited for; may be empty.
    """

    def __init__(
        self,
        settings: AssemblerSettings,
        after_us: int,
        born_us: int,
        closes: Mapping[str, float],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._form = settings.form
        self._length = settings.form.length_us
        if after_us % self._length:
            raise ConfigError(
                f"after_us must be on the grid of {self._form.interval}, was {after_us}"
            )
        self._symbols = frozenset(self._form.symbols)
        self._next_us = after_us  # open of the next row
        self._born_us = born_us
        self._closes = {s: c for s, c in closes.items() if not math.isnan(c)}
        self._dormant = {s for s, c in closes.items() if math.isnan(c)}
        self._markless: frozenset[str] = frozenset()  # of the last row's bars, those without a mark
        self._spans: dict[str, tuple[int, int]] = {}
        self._bars: dict[int, PendingBar] = {}
        self._mark_seen: dict[str, MarkEvent] = {}
        self._asked: dict[tuple[str, str], int] = {}  # when it may be asked again; -1 in flight
        self._failure = ""
        self._of_bars: tuple[tuple[AskKind, Callable[[PendingBar, str, int], bool]], ...] = (
            ("klines", self._wants_kline),
            ("mark", self._wants_mark),
        )

    @property
    def next_close_us(self) -> int:
        """Stamp of the row that is put together."""
        return self._next_us + self._length

    @property
    def dormant(self) -> frozenset[str]:
        """Symbols that had no bar in the last row."""
        return frozenset(self._dormant)

    def trades(self, symbol: str, from_us: int, to_us: int) -> None:
        """Take notice that a symbol trades in ``[from_us, to_us)`` only: bars outside are not waited for."""
        self._spans[symbol] = (from_us, to_us)
        for bar in self._bars.values():
            self._leave_out(bar)

    def on_kline(self, event: KlineEvent, now_us: int) -> None:
        """Take a bar of the stream; one that is still running says nothing yet."""
        if not event.closed or event.symbol not in self._symbols:
            return
        fault = fault_of(event.bar, self._length)
        if fault is not None:
            self.counts["malformed"] += 1
            return
        bar = self._pending(event.bar.open_us)
        if bar is None:
            return
        if now_us > bar.close_us + self._us(self._settings.grace_s):
            self.counts["late_bars"] += 1
        known = bar.klines.get(event.symbol)
        if known is None and event.symbol not in bar.confirmed:
            bar.klines[event.symbol] = event.bar
        elif known == event.bar:
            self.counts["duplicates"] += 1
        elif event.symbol not in bar.confirmed:
            self.counts["conflicts"] += 1
            bar.doubtful.add(event.symbol)

    def on_mark(self, event: MarkEvent) -> None:
        """Take a mark price of the stream."""
        if event.symbol not in self._symbols:
            return
        self._announce(event)
        if not self._form.has_marks or self._settings.marks != STREAM:
            return
        bar = self._pending(event.time_us // self._length * self._length)
        if bar is None:
            return
        samples = bar.samples.get(event.symbol)
        if samples is None:
            bar.samples[event.symbol] = sampled(event.time_us, event.mark)
        else:
            samples.add(event.time_us, event.mark)

    def on_bars(self, ask: Ask, found: Sequence[Candle], asked_us: int, now_us: int) -> None:
        """Take an answer about klines or marks that was asked for at `asked_us`."""
        self._answered(ask, now_us)
        by_open = {bar.open_us: bar for bar in found}
        newest_us = max(by_open, default=-1)
        for bar in self._between(ask.first_us, ask.last_us):
            told = by_open.get(bar.open_us)
            if asked_us < bar.close_us + self._us(self._settings.settle_s):
                continue
            if told is None:
                self._missing_at_rest(bar, ask, newest_us, asked_us)
                continue
            fault = fault_of(told, self._length)
            if fault is not None:
                self.counts["malformed"] += 1
                self._failure = f"{ask.kind} {ask.symbol}: {fault}"
            elif ask.kind == "mark":
                bar.marks[ask.symbol] = told
            else:
                self._told(bar, ask.symbol, told)

    def on_funding(self, ask: Ask, found: Sequence[Settled], asked_us: int, now_us: int) -> None:
        """Take an answer about settlements that was asked for at `asked_us`."""
        self._answered(ask, now_us)
        for bar in self._between(ask.first_us, ask.last_us):
            bar.funding_asked_us = max(bar.funding_asked_us, asked_us)
        for one in found:
            bar_of = self._bars.get(one.time_us // self._length * self._length)
            if bar_of is not None and one.symbol in self._symbols and math.isfinite(one.rate):
                bar_of.settled[one.time_us, one.symbol] = one

    def on_interest(self, ask: Ask, coins: float, now_us: int) -> None:
        """Take an answer about open interest."""
        self._answered(ask, now_us)
        for bar in self._between(ask.first_us, ask.last_us):
            bar.interest[ask.symbol] = coins if math.isfinite(coins) and coins >= 0.0 else math.nan

    def on_failure(self, ask: Ask, reason: str, now_us: int) -> None:
        """Take notice that a request came to nothing."""
        self._answered(ask, now_us)
        self.counts["rest_failures"] += 1
        self._failure = reason

    def asks(self, now_us: int) -> list[Ask]:
        """Return what is to be asked now; each is in flight until its answer or failure is told."""
        self._extend(now_us)
        found: list[Ask] = []
        waiting = list(islice(self._between(self._next_us, now_us), _ASKED_AT_ONCE))
        for symbol in self._form.symbols:
            for kind, wanted in self._of_bars:
                if self._may_ask(kind, symbol, now_us):
                    opens = [bar.open_us for bar in waiting if wanted(bar, symbol, now_us)]
                    found += _span(kind, symbol, opens)
            if self._form.has_interest and self._may_ask("open_interest", symbol, now_us):
                opens = [
                    bar.open_us for bar in waiting if self._wants_interest(bar, symbol, now_us)
                ]
                found += _span("open_interest", symbol, opens)
        if self._form.has_funding and self._may_ask("funding", "", now_us):
            opens = [bar.open_us for bar in waiting if self._wants_funding(bar, now_us)]
            found += _span("funding", "", opens)
        for ask in found:
            self._asked[ask.kind, ask.symbol] = -1
        return found

    def ready(self, now_us: int) -> list[Row | Skipped]:
        """Return the rows that are complete, and the decisions that are given up, in order."""
        self._extend(now_us)
        told: list[Row | Skipped] = []
        while (bar := self._bars.get(self._next_us)) is not None:
            if not self._is_complete(bar, now_us):
                break
            if self._gives_up(bar, now_us):
                told.append(Skipped(close_us=bar.close_us, reason="the row was complete too late"))
            told.append(self._row(bar))
        head = self._bars.get(self._next_us)
        if head is not None:
            told += [
                Skipped(close_us=bar.close_us, reason=self._missing_text(head))
                for bar in self._between(self._next_us, now_us)
                if self._gives_up(bar, now_us)
            ]
        return told

    def _gives_up(self, bar: PendingBar, now_us: int) -> bool:
        """Give a bar's decision up if its time is over; return whether that was now."""
        late = now_us >= bar.close_us + self._us(self._settings.deadline_s)
        if not late or bar.skipped or bar.overdue:
            return False
        bar.skipped = True
        self.counts["skipped"] += 1
        return True

    def _row(self, bar: PendingBar) -> Row:
        klines = {s: [k] for s, k in bar.klines.items() if k is not None}
        marks = {s: [m] for s, m in bar.marks.items() if m is not None}
        settled = [bar.settled[key] for key in sorted(bar.settled)]
        bars = bars_of(self._form, bar.close_us, 1, Parts(klines, marks, settled, bar.interest))
        self.counts["rows"] += 1
        self._dormant = set(self._symbols - klines.keys())
        self._markless = frozenset(klines.keys() - marks.keys())
        self._closes |= {s: k[0].close for s, k in klines.items()}
        del self._bars[bar.open_us]
        self._next_us = bar.close_us
        return Row(
            close_us=bar.close_us,
            bars=bars,
            in_time=not (bar.skipped or bar.overdue),
            notes=tuple(bar.notes),
        )

    def _is_complete(self, bar: PendingBar, now_us: int) -> bool:
        if any(s not in bar.klines for s in self._form.symbols):
            return False
        traded = [s for s in self._form.symbols if bar.klines[s] is not None]
        if self._form.has_marks:
            self._take_samples(bar, traded, now_us)
            if any(s not in bar.marks for s in traded):
                return False
        if self._form.has_funding and not self._has_funding(bar):
            return False
        fresh = now_us < bar.close_us + self._us(self._settings.grace_s)
        if self._form.has_interest and fresh and any(s not in bar.interest for s in traded):
            return False
        self._doubt(bar, traded)
        return not bar.doubtful

    def _doubt(self, bar: PendingBar, traded: Sequence[str]) -> None:
        """Let REST confirm what the stream told if it lies far from the bar before or from the mark."""
        for symbol in traded:
            kline, mark = bar.klines[symbol], bar.marks.get(symbol)
            if kline is None or symbol in bar.confirmed or symbol in bar.doubtful:
                continue
            before = self._closes.get(symbol)
            reason = ""
            if before is not None and abs(kline.close / before - 1.0) > self._settings.jump:
                reason = f"close {kline.close} after {before}"
            elif mark is not None and (
                abs(kline.close / mark.close - 1.0) > self._settings.mark_deviation
            ):
                reason = f"close {kline.close} with mark {mark.close}"
            if reason:
                bar.doubtful.add(symbol)
                bar.notes.append(f"{symbol}: {reason}, as REST had to confirm")
                self.counts["doubts"] += 1

    def _take_samples(self, bar: PendingBar, traded: Sequence[str], now_us: int) -> None:
        """Close the mark bars of symbols of which every second has come, or enough of them and the wait is over."""
        if self._settings.marks != STREAM:
            return
        over = now_us >= bar.close_us + self._us(self._settings.grace_s)
        for symbol in traded:
            samples, newest = bar.samples.get(symbol), self._mark_seen.get(symbol)
            if symbol in bar.marks or samples is None:
                continue
            wanted = self._length // _SECOND_US
            passed = newest is not None and newest.time_us >= bar.close_us
            share = len(samples.seconds) / wanted
            if (passed and share == 1.0) or (over and share >= self._settings.coverage):
                bar.marks[symbol] = samples.bar(bar.open_us)
                bar.notes.append(f"{symbol}: mark of {len(samples.seconds)} samples")

    def _told(self, bar: PendingBar, symbol: str, told: Candle) -> None:
        known = bar.klines.get(symbol)
        if known is None:
            self.counts["rest_repairs"] += 1
        elif known != told:
            self.counts["conflicts"] += 1
            bar.notes.append(f"{symbol}: kline of the stream differed from that of REST")
        bar.klines[symbol] = told
        bar.confirmed.add(symbol)
        bar.doubtful.discard(symbol)

    def _missing_at_rest(self, bar: PendingBar, ask: Ask, newest_us: int, asked_us: int) -> None:
        without = self._markless if ask.kind == "mark" else self._dormant
        patience_s = 0.0 if ask.symbol in without else self._settings.absent_s
        if newest_us <= bar.open_us and asked_us < bar.close_us + self._us(patience_s):
            return
        known = bar.marks if ask.kind == "mark" else bar.klines
        if known.setdefault(ask.symbol, None) is None:
            self.counts["absent"] += 1

    def _announce(self, event: MarkEvent) -> None:
        """Compare with the newest mark price: a settlement whose time passed between the two has happened."""
        newest = self._mark_seen.get(event.symbol)
        if newest is None or event.time_us > newest.time_us:
            self._mark_seen[event.symbol] = event
        if newest is None:
            return
        older, newer = sorted((newest, event), key=lambda one: one.time_us)
        time_us = older.next_funding_us // _SECOND_US * _SECOND_US
        passed = older.time_us < time_us <= newer.time_us and time_us >= self._next_us
        if passed and newer.next_funding_us > older.next_funding_us:
            bar = self._pending(time_us // self._length * self._length)
            if bar is not None:
                bar.announced.add((time_us, event.symbol))

    def _wants_kline(self, bar: PendingBar, symbol: str, now_us: int) -> bool:
        if symbol in bar.doubtful:
            wait_s = self._settings.settle_s
        elif symbol in bar.klines:
            return False
        elif symbol in self._dormant or bar.overdue:
            wait_s = self._settings.settle_s
        else:
            wait_s = max(self._settings.grace_s, self._settings.settle_s)
        return now_us >= bar.close_us + self._us(wait_s)

    def _wants_mark(self, bar: PendingBar, symbol: str, now_us: int) -> bool:
        if not self._form.has_marks or symbol in bar.marks:
            return False
        waits = symbol in self._dormant and symbol not in bar.klines
        if waits or bar.klines.get(symbol, bar) is None:
            return False
        exact = self._settings.marks == REST or bar.overdue
        wait_s = self._settings.settle_s
        if not exact:
            wait_s = max(self._settings.grace_s, wait_s)
        return now_us >= bar.close_us + self._us(wait_s)

    def _wants_interest(self, bar: PendingBar, symbol: str, now_us: int) -> bool:
        """Say whether now is the time: the exchange tells only the open interest of the moment."""
        age_us = now_us - bar.close_us
        fresh = 0 <= age_us < self._us(self._settings.grace_s)
        return fresh and symbol not in bar.interest and symbol not in self._dormant

    def _wants_funding(self, bar: PendingBar, now_us: int) -> bool:
        hour_us = self._last_hour_us(bar)
        if hour_us is not None:
            due_us = hour_us + self._us(self._settings.funding_after_s)
            if bar.funding_asked_us < due_us <= now_us:
                return True
        settle_us = self._us(self._settings.settle_s)
        return any(now_us >= time_us + settle_us for time_us, _ in self._unsettled(bar))

    def _has_funding(self, bar: PendingBar) -> bool:
        hour_us = self._last_hour_us(bar)
        if hour_us is not None:
            due_us = hour_us + self._us(self._settings.funding_after_s)
            if bar.funding_asked_us < due_us:
                return False
        return not self._unsettled(bar)

    def _unsettled(self, bar: PendingBar) -> set[tuple[int, str]]:
        """Return the settlements that have been seen to happen, but that REST does not have yet."""
        patience_us = self._us(self._settings.funding_absent_s)
        missing = bar.announced - bar.settled.keys()
        return {one for one in missing if bar.funding_asked_us < one[0] + patience_us}

    def _last_hour_us(self, bar: PendingBar) -> int | None:
        """Return the last full hour inside a bar: settlements are at full hours, whichever of them."""
        hour_us = (bar.close_us - 1) // HOUR_US * HOUR_US
        return hour_us if hour_us >= bar.open_us else None

    def _missing_text(self, bar: PendingBar) -> str:
        traded = [s for s in self._form.symbols if bar.klines.get(s, bar) is not None]
        parts = [
            ("klines", [s for s in self._form.symbols if s not in bar.klines]),
            ("confirmation", sorted(bar.doubtful)),
            ("marks", [s for s in traded if self._form.has_marks and s not in bar.marks]),
            ("settlements", sorted({s for _, s in self._unsettled(bar)})),
        ]
        told = [f"{what} of {_few(who)}" for what, who in parts if who]
        if self._form.has_funding and not told:
            told = ["an answer about settlements"]
        reason = f"no {'; '.join(told)} within {self._settings.deadline_s:g} s"
        return f"{reason}; {self._failure}" if self._failure else reason

    def _pending(self, open_us: int) -> PendingBar | None:
        """Return a bar that is waited for or to come; None for one that has passed, or lies too far ahead."""
        if open_us < self._next_us:
            self.counts["after_row"] += 1
            return None
        if open_us >= self._next_us + self._settings.horizon * self._length:
            self.counts["too_early"] += 1
            return None
        bar = self._bars.get(open_us)
        if bar is None:
            close_us = open_us + self._length
            bar = PendingBar(open_us, close_us, close_us <= self._born_us)
            self._leave_out(bar)
            self._bars[open_us] = bar
        return bar

    def _leave_out(self, bar: PendingBar) -> None:
        for symbol, (from_us, to_us) in self._spans.items():
            if bar.close_us <= from_us or bar.open_us >= to_us:
                bar.klines.setdefault(symbol, None)

    def _extend(self, now_us: int) -> None:
        """Make every bar that has begun, up to the horizon."""
        stop = self._next_us + self._settings.horizon * self._length
        for open_us in range(self._next_us, min(now_us + 1, stop), self._length):
            self._pending(open_us)

    def _between(self, first_us: int, last_us: int) -> Iterator[PendingBar]:
        """Yield the waiting bars that open in ``[first_us, last_us]``, in order."""
        first_us = max(first_us, self._next_us)
        stop = min(last_us + 1, self._next_us + self._settings.horizon * self._length)
        for open_us in range(first_us, stop, self._length):
            bar = self._bars.get(open_us)
            if bar is not None:
                yield bar

    def _may_ask(self, kind: str, symbol: str, now_us: int) -> bool:
        again_us = self._asked.get((kind, symbol), 0)
        return 0 <= again_us <= now_us

    def _answered(self, ask: Ask, now_us: int) -> None:
        self._asked[ask.kind, ask.symbol] = now_us + self._us(self._settings.retry_s)

    def _us(self, seconds: float) -> int:
        return int(seconds * _SECOND_US)


def _span(kind: AskKind, symbol: str, opens: Sequence[int]) -> Iterator[Ask]:
    if opens:
        yield Ask(kind, symbol, opens[0], opens[-1])


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
