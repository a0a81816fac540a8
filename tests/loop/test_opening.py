"""What an exchange says before anything is traded: out of reach, or without a symbol, it is refused in one line."""

from __future__ import annotations

import io
from typing import Any

import pytest

from live import place as place_file
from live.asked import Asked
from live.opening import connected
from live.status import Status
from quantcore.config import compose
from quantcore.errors import ConfigError, VenueError

LISTED = {
    "symbols": [
        {"symbol": symbol, "status": "TRADING", "quoteAsset": "USDT", "contractType": "PERPETUAL"}
        for symbol in ("ETHUSDT", "BTCUSDT")
    ]
}


def asked(*overrides: str) -> Asked:
    here = ("conf.rest_url=http://127.0.0.1:1", "conf.stream_url=ws://127.0.0.1:1")
    arguments = ["conf=paper", *here, *overrides]
    return Asked.of(compose("live", arguments), arguments)


async def opened(what: Asked) -> tuple[str, ...]:
    said = io.StringIO()
    async with connected(what, Status(said)) as (_, _, symbols):
        assert said.getvalue() == "conf=paper takes prices from http://127.0.0.1:1.\n"
        return symbols


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(url: str) -> Any:
        return {"serverTime": 1_704_182_280_000} if url.endswith("/time") else LISTED

    monkeypatch.setattr(place_file, "_get", get)


async def test_an_exchange_out_of_reach_is_refused() -> None:
    with pytest.raises(VenueError, match="/fapi/v1/time must answer, did not"):
        await opened(asked())


@pytest.mark.usefixtures("answers")
async def test_symbols_are_the_exchanges_or_those_asked_for() -> None:
    assert await opened(asked()) == ("BTCUSDT", "ETHUSDT")
    assert await opened(asked("conf.symbols_max=1")) == ("ETHUSDT",)
    assert await opened(asked("data.symbols=[BTCUSDT]")) == ("BTCUSDT",)


@pytest.mark.usefixtures("answers")
async def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be perpetuals that trade at the exchange, XUSDT"):
        await opened(asked("data.symbols=[BTCUSDT,XUSDT]"))
