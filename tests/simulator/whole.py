"""The whole exchange behind its ports, in a process and an event loop of the test's own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from omegaconf import DictConfig
from yarl import URL

from live.simulator.limits import LimitSettings
from live.simulator.listener import listen
from live.simulator.server import Composition, ServerSettings, compose
from quantcore.config import build
from quantcore.config import compose as configured
from tests.simulator.requests_sent import signed


class Whole:
    """A composed exchange on a port, in an event loop of its own."""

    def __init__(self, runner: asyncio.Runner, root: Path, clock: str) -> None:
        self.runner = runner
        cfg = configured(
            "simulator",
            [f"data.root={root}", "data.days=20", "data.n_symbols=3", "data.late_listings=0"],
        )
        self.settings = ServerSettings(
            host="127.0.0.1",
            port=0,
            control_port=0,
            clock=clock,
            speed=1.0,
            start=None,
            seed=7,
            capital=7700.0,
            limits=LimitSettings(
                weight_1m=10**9, orders_10s=10**9, orders_1m=10**9, funding_5m=10**9, refusals_max=1
            ),
            legacy="mute",
            state_file="unused",
            snapshot_file=None,
            snapshot_seconds=60.0,
            idle_seconds=None,
        )
        self.key, self.secret = self.settings.credentials()
        self.made = runner.run(self._start(cfg))

    async def _start(self, cfg: DictConfig) -> Composition:
        wall = asyncio.get_running_loop().time
        data = build(cfg.data).load()
        made = compose(self.settings, data, build(cfg.execution), build(cfg.faults), wall)
        self.listener = await listen(made.app, host="127.0.0.1", port=0)
        self.control = await listen(made.control, host="127.0.0.1", port=0)
        self.session = aiohttp.ClientSession(f"http://{self.listener.address}")
        self.pump = asyncio.create_task(made.exchange.pump())
        return made

    def ask(self, name: str, params: dict[str, str]) -> tuple[int, Any]:
        async def send() -> tuple[int, Any]:
            method, path = name.split()
            now_ms = self.made.exchange.present() // 1000
            query = signed(params, secret=self.secret, at_ms=now_ms)
            url = URL(f"{path}?{query}", encoded=True)
            headers = {"X-MBX-APIKEY": self.key}
            async with self.session.request(method, url, headers=headers) as response:
                return response.status, json.loads(await response.read())

        return self.runner.run(send())

    def priced(self, params: dict[str, Any]) -> dict[str, str]:
        """Return parameters with shares of the last price turned into prices."""
        last = float(self.ask("GET /fapi/v1/ticker/price", {"symbol": "BTCUSDT"})[1]["price"])
        return {k: f"{v * last:.1f}" if isinstance(v, float) else v for k, v in params.items()}

    def advance(self) -> None:
        """Go on by a bar, as a driver does."""
        exchange = self.made.exchange
        self.runner.run(exchange.advance(exchange.present() + exchange.bar_us))

    def close(self) -> None:
        async def end() -> None:
            self.pump.cancel()
            await self.session.close()
            await self.listener.close()
            await self.control.close()

        self.runner.run(end())
