"""What a stream of a market sends over a stretch of time."""

from __future__ import annotations

from typing import Any

from live.simulator.market import Tape
from live.simulator.ticker_streams import opened


def messages(tape: Tape, stream: str, from_us: int, to_us: int) -> list[Any]:
    """Return the payloads that are due in ``(from_us, to_us]``."""
    send = opened(tape, stream)
    assert send is not None, stream
    return [payload for payload in send(from_us, to_us) if payload is not None]
