"""Recordings made by hand: lines of combined streams as the exchange sends them, and depth snapshots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START_MS = 1_700_000_040_000
"""The open of a minute."""
START_US = 1000 * START_MS
SYMBOL = "NEWUSDT"
"""The project knows no rules of it."""

Level = tuple[str, str]


class Lines:
    """A recording of some symbols; times are milliseconds since `START_MS`."""

    def __init__(self, *, wrapped: bool = True) -> None:
        self.lines: list[str] = []
        self.wrapped = wrapped
        self.trade_id = 500
        self.update_id = 9_000
        self.depth_id = 9_000

    def add(self, stream: str, data: Any) -> Lines:
        message = {"stream": stream, "data": data}
        self.lines.append(
            json.dumps({"received": 1.5, "message": message} if self.wrapped else message)
        )
        return self

    def trade(
        self, at: int, price: str, qty: str, *, sold: bool = False, symbol: str = SYMBOL, n: int = 1
    ) -> Lines:
        """Print `n` trades as one; `sold` where the taker did."""
        first, self.trade_id = self.trade_id, self.trade_id + n
        number = sum('"aggTrade"' in line and f'"{symbol}"' in line for line in self.lines)
        stamp = START_MS + at
        return self.add(
            f"{symbol.lower()}@aggTrade",
            {
                "e": "aggTrade", "E": stamp + 3, "s": symbol, "a": 70 + number, "p": price, "q": qty, "f": first,
                "l": first + n - 1, "T": stamp, "m": sold,
            },
        )  # fmt: skip

    def touch(self, at: int, bid: Level, ask: Level, *, symbol: str = SYMBOL) -> Lines:
        """Tell the touch."""
        self.update_id += 10
        stamp = START_MS + at
        return self.add(
            f"{symbol.lower()}@bookTicker",
            {
                "e": "bookTicker", "u": self.update_id, "s": symbol, "b": bid[0], "B": bid[1], "a": ask[0],
                "A": ask[1], "T": stamp, "E": stamp + 2,
            },
        )  # fmt: skip

    def depth(
        self,
        at: int,
        bids: Sequence[Level] = (),
        asks: Sequence[Level] = (),
        *,
        previous: int | None = None,
        symbol: str = SYMBOL,
        stream: str = "depth@100ms",
    ) -> Lines:
        """Tell what changed in the book since the last difference, or since an id `previous`."""
        before = self.depth_id if previous is None else previous
        last = self.update_id if previous is None else previous
        self.update_id = self.depth_id = last + 10
        stamp = START_MS + at
        return self.add(
            f"{symbol.lower()}@{stream}",
            {
                "e": "depthUpdate", "E": stamp + 4, "T": stamp, "s": symbol, "U": before + 1, "u": self.update_id,
                "pu": before, "b": [list(level) for level in bids], "a": [list(level) for level in asks],
            },
        )  # fmt: skip

    def mark(self, at: int, price: str, rate: str, next_ms: int, *, symbol: str = SYMBOL) -> Lines:
        """Tell the mark price, and the rate that is settled at a time."""
        return self.add(
            f"{symbol.lower()}@markPrice@1s",
            {
                "e": "markPriceUpdate", "E": START_MS + at, "s": symbol, "p": price, "i": price, "r": rate,
                "T": next_ms,
            },
        )  # fmt: skip

    def write(self, path: Path) -> Path:
        path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return path


def snapshot(
    folder: Path,
    at: int,
    update_id: int,
    bids: Sequence[Level],
    asks: Sequence[Level],
    *,
    symbol: str = SYMBOL,
    name: str = "1",
) -> Path:
    """Write a depth snapshot into a recording's folder."""
    path = folder / f"depth_snapshot_{symbol}_{name}.json"
    body = {
        "lastUpdateId": update_id, "E": START_MS + at + 5, "T": START_MS + at, "bids": [list(x) for x in bids],
        "asks": [list(x) for x in asks],
    }  # fmt: skip
    path.write_text(json.dumps(body), encoding="utf-8")
    return path
