"""A replayed market that answers the assembler's questions, and tells its messages, as the exchange does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from live.feed.assembler import Ask, Assembler
from live.feed.messages import Event, KlineEvent, MarkEvent, read
from live.feed.rows import Row, Skipped
from live.simulator.market import Tape
from live.simulator.public import answer
from live.simulator.ticker_streams import opened
from quantcore.data.rest_rows import candle, settled

SECOND_US = 1_000_000
PATHS = {"klines": "GET /fapi/v1/klines", "mark": "GET /fapi/v1/markPriceKlines"}


def messages(tape: Tape, channels: Iterable[str], from_us: int, to_us: int) -> list[Event]:
    """Return what the streams of all symbols send, by event time."""
    interval = tape.bars.interval
    found: list[Event] = []
    for symbol in tape.symbols:
        for channel in channels:
            name = f"{symbol.lower()}@{channel}"
            send = opened(tape, name)
            assert send is not None
            # Over longer stretches a stream that repeats itself sends its last message only.
            for start_us in range(from_us, to_us, 5 * SECOND_US):
                for payload in send(start_us, min(start_us + 5 * SECOND_US, to_us)):
                    event = read(json.dumps({"stream": name, "data": payload}), interval)
                    assert event is not None
                    found.append(event)
    return sorted(found, key=lambda event: event.time_us)


def asked(tape: Tape, ask: Ask, now_us: int) -> list[Any]:
    """Return the rows of an answer at a time."""
    length = tape.bar_us
    end_us = ask.last_us + length
    if ask.kind == "funding":
        params = {"startTime": ask.first_us // 1000, "endTime": (end_us - 1) // 1000, "limit": 1000}
        rows = answer("GET /fapi/v1/fundingRate", tape, now_us, texts(params))
        return [settled(row) for row in rows]
    params = {"startTime": ask.first_us // 1000, "endTime": end_us // 1000, "limit": 499}
    named = {"symbol": ask.symbol, "interval": tape.bars.interval}
    return [candle(row) for row in answer(PATHS[ask.kind], tape, now_us, named | texts(params))]


def texts(params: dict[str, int]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}


class Played:
    """An assembler that is told messages at their arrivals, and whose questions are answered a while later."""

    def __init__(
        self,
        tape: Tape,
        assembler: Assembler,
        *,
        answer_us: int = SECOND_US // 5,
        fails: Iterable[bool] = (),
        settles_us: int = 0,
        funding_us: int = 0,
    ) -> None:
        self.tape = tape
        self.assembler = assembler
        self.told: list[Row | Skipped] = []
        self.asks: list[tuple[int, Ask]] = []
        self._answer_us = answer_us
        self._fails = iter(fails)
        self._settles_us = settles_us  # REST knows no settlement before
        self._funding_us = funding_us  # REST does not answer about settlements before
        self._flying: list[tuple[int, Ask]] = []

    def play(
        self, arrivals: Iterable[tuple[int, Event]], from_us: int, to_us: int, tick_us: int
    ) -> list[Row | Skipped]:
        waiting = sorted(arrivals, key=lambda one: one[0])
        at = 0
        for now_us in range(from_us, to_us + 1, tick_us):
            while at < len(waiting) and waiting[at][0] <= now_us:
                self.hear(*waiting[at])
                at += 1
            self.step(now_us)
        return self.told

    def hear(self, arrival_us: int, event: Event) -> None:
        if isinstance(event, KlineEvent):
            self.assembler.on_kline(event, arrival_us)
        elif isinstance(event, MarkEvent):
            self.assembler.on_mark(event)

    def step(self, now_us: int) -> None:
        for flying in list(self._flying):
            asked_us, ask = flying
            if now_us < asked_us + self._answer_us:
                continue
            self._flying.remove(flying)
            refused = ask.kind == "funding" and now_us < self._funding_us
            if next(self._fails, False) or refused:
                self.assembler.on_failure(ask, "HTTP 503: Service Unavailable", now_us)
                continue
            found = asked(self.tape, ask, now_us)
            if ask.kind == "funding":
                found = found if now_us >= self._settles_us else []
                self.assembler.on_funding(ask, found, asked_us, now_us)
            else:
                self.assembler.on_bars(ask, found, asked_us, now_us)
        self.told += self.assembler.ready(now_us)
        for ask in self.assembler.asks(now_us):
            self.asks.append((now_us, ask))
            self._flying.append((now_us, ask))
