"""The real simulator as a process of its own, and a broker on it whose events are collected."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from live.broker.binance import BinanceBroker
from live.broker.interface import BrokerEvent
from live.broker.settings import BrokerSettings, Credentials

COMMAND = [
    sys.executable, "-m", "live.simulator", "data=synthetic", "data.interval=1m", "data.execution_interval=1m",
    "data.days=3", "data.n_symbols=3", "data.late_listings=0", "start=2024-01-02T07:58:00", "idle_seconds=60",
]  # fmt: skip
START_US = 1_704_182_280_000_000


@dataclass
class Simulator:
    """A simulator that runs, by its ready line."""

    ready: dict[str, str]

    def settings(self, **changes: Any) -> BrokerSettings:
        given: dict[str, Any] = {
            "rest_url": self.ready["rest"],
            "stream_url": self.ready["ws"],
            "credentials": Credentials(self.ready["api_key"], self.ready["api_secret"]),
            "clock_off_max_ms": None,
        }
        return BrokerSettings(**{**given, **changes})

    async def control(self, path: str, **body: Any) -> Any:
        """Ask the control port."""

        def ask() -> Any:
            request = urllib.request.Request(
                f"{self.ready['control']}{path}",
                data=json.dumps(body).encode() if body else None,
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())

        return await asyncio.to_thread(ask)


@contextmanager
def simulator(place: Path, *options: str) -> Iterator[Simulator]:
    """Run a simulator of its own."""
    command = [*COMMAND, f"state_file={place / 'state.json'}", *options]
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (place / "log").read_text()[-2000:]
            yield Simulator(json.loads(line))
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()


@dataclass
class Connected:
    """A broker, and what it has told so far."""

    broker: BinanceBroker
    events: list[BrokerEvent] = field(default_factory=list)

    async def listen(self) -> None:
        async for events in self.broker.events():
            self.events += events

    async def heard(self, kind: type[Any], /, seconds: float = 10.0, **wanted: Any) -> Any:
        """Wait for an event of a kind with these fields, of itself or of its order."""
        async with asyncio.timeout(seconds):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and _fits(event, wanted):
                        return event
                await asyncio.sleep(0.01)


def _fits(event: Any, wanted: dict[str, Any]) -> bool:
    order = getattr(event, "order", None)
    return all(getattr(event, n, getattr(order, n, None)) == v for n, v in wanted.items())


@asynccontextmanager
async def connected(settings: BrokerSettings) -> AsyncIterator[Connected]:
    """Start a broker, listen, and close it."""
    broker = BinanceBroker(settings)
    await broker.start()
    found = Connected(broker)
    listening = asyncio.create_task(found.listen())
    try:
        yield found
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        await broker.close()
