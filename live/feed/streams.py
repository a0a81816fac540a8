"""The market streams of all symbols over a few supervised sockets."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator

import aiohttp
import numpy as np

from live.feed.line import Line, Sink, Stream, StreamSettings
from live.feed.messages import Channel, route_of, stream_name
from live.feed.rows import RowForm

_SECOND_US = 1_000_000
_KINDS: dict[Channel, str] = {"bookTicker": "book", "markPrice": "mark", "kline": "kline"}


class Streams:
    """Keeps the streams of all symbols connected, by the routed paths alone (BINANCE.md).

    Parameters
    ----------
    session : aiohttp.ClientSession
        Of its owner.
    settings : StreamSettings
        Limits.
    form : RowForm
        Symbols and interval.
    now_us : callable
        The exchange's time.
    sink : callable
        Where events go; it is called between two turns of the event loop and must be quick.
    rng : numpy.random.Generator
        Of the jitter of reconnects.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: StreamSettings,
        form: RowForm,
        *,
        now_us: Callable[[], int],
        sink: Sink,
        rng: np.random.Generator,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.stale_seconds = dict.fromkeys(_KINDS.values(), 0.0)
        self.dormant: frozenset[str] = frozenset()
        self._settings = settings
        self._now_us = now_us
        self._looked_us = -1
        self.lines = [
            Line(
                session,
                url,
                streams,
                settings,
                interval=form.interval,
                now_us=now_us,
                sink=sink,
                counts=self.counts,
                rng=rng,
            )
            for url, streams in self._split(form)
        ]

    async def run(self) -> None:
        """Look after the sockets for ever; ended, it leaves none of them."""
        try:
            while True:
                self._look(self._now_us())
                await asyncio.sleep(self._settings.look_s)
        finally:
            await asyncio.gather(*(line.close() for line in self.lines))

    def oldest(self, now_us: int, dormant: frozenset[str]) -> dict[str, float]:
        """Return by kind the seconds since the newest event of its oldest stream, infinity before the first."""
        ages = dict.fromkeys(_KINDS.values(), 0.0)
        for line in self.lines:
            for stream in line.streams.values():
                if stream.symbol not in dormant:
                    heard = stream.event_us >= 0
                    age_s = (now_us - stream.event_us) / _SECOND_US if heard else math.inf
                    ages[stream.kind] = max(ages[stream.kind], age_s)
        return ages

    def _look(self, now_us: int) -> None:
        passed_us = now_us - self._looked_us if self._looked_us >= 0 else 0
        self._looked_us = now_us
        for line in self.lines:
            line.look(now_us, self.dormant)
            for stream in line.stale(now_us, self.dormant):
                self.stale_seconds[stream.kind] += passed_us / _SECOND_US

    def _split(self, form: RowForm) -> Iterator[tuple[str, dict[str, Stream]]]:
        """Yield address and streams of each socket."""
        limits = {
            "book": self._settings.book_stale_s,
            "mark": self._settings.mark_stale_s,
            "kline": self._settings.kline_stale_s,
        }
        base = self._settings.base_url.rstrip("/")
        for route in ("public", "market"):
            streams = {
                stream_name(symbol, channel, form.interval): Stream(
                    symbol, kind, int(limits[kind] * _SECOND_US)
                )
                for symbol in form.symbols
                for channel, kind in _KINDS.items()
                if route_of(channel) == route
            }
            names = list(streams)
            size = self._settings.streams_per_socket
            for at in range(0, len(names), size):
                own = names[at : at + size]
                url = f"{base}/{route}/stream?streams={'/'.join(own)}"
                yield url, {name: streams[name] for name in own}
