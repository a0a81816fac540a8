"""The simulator as a process of its own, and its clock as a client measures it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from quantcore.config import build
from quantcore.config import compose as configured
from quantcore.frames import Bars

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120.0


@dataclass
class ExchangeProcess:
    """A running simulator: its addresses, what it replays, and its time."""

    rest: str
    ws: str
    control: str
    session: aiohttp.ClientSession
    bars: Bars
    speed: float
    _measured: tuple[int, float] = (0, 0.0)

    async def measure(self) -> None:
        """Compare its clock with the wall's."""
        loop = asyncio.get_running_loop()
        best_s = 1e9
        for _ in range(5):
            before_s = loop.time()
            shown = await self.ask("GET", f"{self.rest}/fapi/v1/time")
            after_s = loop.time()
            if after_s - before_s < best_s:
                best_s = after_s - before_s
                self._measured = shown["serverTime"] * 1000, (before_s + after_s) / 2

    def now_us(self) -> int:
        """Return its time as measured last."""
        shown_us, wall_s = self._measured
        passed_s = asyncio.get_running_loop().time() - wall_s
        return shown_us + int(passed_s * self.speed * 1e6)

    async def ask(self, method: str, url: str, body: Any = None) -> Any:
        async with self.session.request(method, url, json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def advance(self, close_us: int) -> None:
        """Move it, in lock-step, and the time that is measured with it."""
        answer = await self.ask("POST", f"{self.control}/advance", {"to": close_us // 1000})
        self._measured = answer["time"] * 1000, 0.0


@contextlib.asynccontextmanager
async def exchange(
    state: Path, data: list[str], words: list[str], *, clock: str, speed: float = 1.0
) -> AsyncIterator[ExchangeProcess]:
    """Give a simulator over some data; it has ended when the context has."""
    words = [
        *data,
        *words,
        f"clock={clock}",
        f"speed={speed}",
        f"state_file={state / 'state.json'}",
    ]
    bars = build(configured("simulator", data).data).load().bars
    with (state / "simulator.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "live.simulator",
            *words,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_SECONDS)
        assert line, (state / "simulator.log").read_text()[-2000:]
        ready = json.loads(line)
        async with aiohttp.ClientSession() as session:
            running = ExchangeProcess(
                ready["rest"], ready["ws"], ready["control"], session, bars, speed
            )
            if clock == "lock_step":
                running.speed = 0.0
            await running.measure()
            yield running
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 30.0)
