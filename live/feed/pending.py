"""One bar of the universe while it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from quantcore.data.rest_rows import Candle, Settled

_SECOND_US = 1_000_000


@dataclass
class MarkSamples:
    """What was seen of a mark price inside a bar, whatever the order in which it came."""

    first_us: int
    open: float
    high: float
    low: float
    last_us: int
    close: float
    seconds: set[int] = field(default_factory=set)

    def add(self, time_us: int, mark: float) -> None:
        """Take one more sample; one that came before changes nothing."""
        self.seconds.add(time_us // _SECOND_US)
        self.high = max(self.high, mark)
        self.low = min(self.low, mark)
        if time_us < self.first_us:
            self.first_us, self.open = time_us, mark
        if time_us > self.last_us:
            self.last_us, self.close = time_us, mark

    def bar(self, open_us: int) -> Candle:
        """Return the samples as a bar: extremes between two samples are not seen."""
        return Candle(open_us, self.open, self.high, self.low, self.close, 0.0, 0.0, 0.0, 0.0)


def sampled(time_us: int, mark: float) -> MarkSamples:
    """Return the first sample of a bar."""
    seconds = {time_us // _SECOND_US}
    return MarkSamples(time_us, mark, mark, mark, time_us, mark, seconds)


@dataclass
class PendingBar:
    """What is known of one bar.

    Parameters
    ----------
    open_us, close_us : int
        Its times.
    overdue : bool
        Whether it had closed before anybody waited for it: its row is not in time, and nothing was skipped.
    klines, marks : dict of symbol to bar
        None where the exchange is known to have none.
    confirmed, doubtful : set of symbols
        Whose kline REST has told; whose REST must tell before it is used.
    samples : dict of symbol to MarkSamples
        Marks of the stream.
    settled : dict of (time, symbol) to Settled
        Settlements that REST has told.
    announced : set of (time, symbol)
        Settlements that mark prices have shown to have happened.
    funding_asked_us : int
        When the newest answer about settlements was asked for.
    interest : dict of symbol to float
        Open interest, NaN where it could not be had.
    skipped : bool
        Whether its decision has been given up.
    notes : list of str
        For the row's record.
    """

    open_us: int
    close_us: int
    overdue: bool
    klines: dict[str, Candle | None] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    marks: dict[str, Candle | None] = field(default_factory=dict)
    samples: dict[str, MarkSamples] = field(default_factory=dict)
    settled: dict[tuple[int, str], Settled] = field(default_factory=dict)
    announced: set[tuple[int, str]] = field(default_factory=set)
    funding_asked_us: int = -1
    interest: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
    notes: list[str] = field(default_factory=list)
