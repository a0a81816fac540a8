"""The newest quotes of each symbol, for the router between two bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from live.feed.messages import BookEvent, Event, KlineEvent


class Quote(NamedTuple):
    """What is known of a symbol's prices now; NaN, and -1 of times, where nothing was heard.

    Attributes
    ----------
    symbol : str
        Whose.
    bid, bid_qty, ask, ask_qty : float
        The touch, USDT per coin and coins.
    last, mark : float
        USDT per coin.
    book_us, last_us, mark_us : int
        Event times of touch, last and mark price, microseconds since 1970.
    update_id : int
        Orders the touches of one time.
    """

    symbol: str
    bid: float = math.nan
    bid_qty: float = math.nan
    ask: float = math.nan
    ask_qty: float = math.nan
    last: float = math.nan
    mark: float = math.nan
    book_us: int = -1
    last_us: int = -1
    mark_us: int = -1
    update_id: int = -1


class Quotes(Mapping[str, Quote]):
    """Quotes by symbol; an event that is older than what is known changes nothing."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._quotes = {symbol: Quote(symbol) for symbol in symbols}

    def __getitem__(self, symbol: str) -> Quote:
        """Return a symbol's quote."""
        return self._quotes[symbol]

    def __iter__(self) -> Iterator[str]:
        """Return the symbols."""
        return iter(self._quotes)

    def __len__(self) -> int:
        """Return how many symbols there are."""
        return len(self._quotes)

    def take(self, event: Event) -> None:
        """Take what an event says of a symbol that is held."""
        known = self._quotes.get(event.symbol)
        if known is None:
            return
        if isinstance(event, BookEvent):
            if (event.time_us, event.update_id) > (known.book_us, known.update_id):
                self._quotes[event.symbol] = known._replace(
                    bid=event.bid,
                    bid_qty=event.bid_qty,
                    ask=event.ask,
                    ask_qty=event.ask_qty,
                    book_us=event.time_us,
                    update_id=event.update_id,
                )
        elif isinstance(event, KlineEvent):
            if event.time_us > known.last_us:
                self._quotes[event.symbol] = known._replace(
                    last=event.bar.close, last_us=event.time_us
                )
        elif event.time_us > known.mark_us:
            self._quotes[event.symbol] = known._replace(mark=event.mark, mark_us=event.time_us)
