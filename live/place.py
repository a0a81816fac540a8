"""Where the exchange is: the addresses of a mode, or a simulator that is found or started; and what it trades."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import Any

import aiohttp

from live.broker.settings import BrokerSettings, Credentials
from live.clock import ExchangeClock
from live.settings import LiveSettings
from live.simulator_process import SNAPSHOT, attach
from quantcore.errors import ConfigError, VenueError

_TIMEOUT_S = 10.0
_ATTEMPTS = 2
_CLOCK_SAMPLES = 3
_CLOCK_EVERY_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """An exchange.

    Parameters
    ----------
    broker : BrokerSettings
        How its account is reached.
    words : str
        For people.
    started : bool
        Whether it is a simulator that was started for this session, whose account is nobody else's.
    """

    broker: BrokerSettings
    words: str
    started: bool = False

    @property
    def is_real(self) -> bool:
        """Whether it is on another machine."""
        return self.broker.rest_url.startswith("https://")


async def find_place(settings: LiveSettings) -> Place:
    """Return where the exchange of a mode is.

    Raises
    ------
    ConfigError
        If an address is missing, or the simulator's clock is moved by hand.
    VenueError
        If the simulator cannot be started, or does not answer.
    """
    common: dict[str, Any] = {
        "permissions_url": settings.permissions_url,
        "recv_window_ms": settings.recv_window_ms,
        "api_key": settings.api_key,
        "api_secret": settings.api_secret,
    }
    if settings.simulator is None:
        assert settings.rest_url is not None
        assert settings.stream_url is not None
        assert settings.clock_speed is not None
        reached = BrokerSettings(
            rest_url=settings.rest_url,
            stream_url=settings.stream_url,
            clock_speed=settings.clock_speed,
            **common,
        )
        return Place(broker=reached, words=settings.rest_url)
    found, started = await attach(
        settings.simulator, hidden=(settings.api_key, settings.api_secret)
    )
    told = await _get(f"{found.control}/time")
    if int(told["time"]) + int(told["bar"]) >= int(told["end"]):
        raise ConfigError(
            f"the simulated market must not be over, is: end process {found.pid}, remove "
            f"{settings.simulator.folder}/{SNAPSHOT}, and the next start begins another"
        )
    speed = speed_of(str(told["clock"]))
    reached = BrokerSettings(
        rest_url=found.rest,
        stream_url=found.ws,
        credentials=Credentials(found.api_key, found.api_secret),
        clock_speed=speed,
        clock_off_max_ms=None,
        **common,
    )
    how = "started" if started else "found running"
    words = f"a simulated exchange, {how}, at {told['clock']}; its page is {found.control}"
    return Place(broker=reached, words=words, started=started)


def speed_of(clock: str) -> float:
    """Return how fast a simulator's clock runs, from its words.

    Raises
    ------
    ConfigError
        If somebody moves it by hand.

    Examples
    --------
    >>> speed_of("20 × real time"), speed_of("real time")
    (20.0, 1.0)
    """
    found = re.fullmatch(r"(?:(\S+) × )?real time", clock)
    if found is None:
        raise ConfigError(f"the simulator's clock must run by itself, was {clock}")
    return float(found.group(1) or 1.0)


async def symbols_at(place: Place, wanted: list[str] | None, most: int) -> tuple[str, ...]:
    """Return the symbols that are traded, sorted.

    Parameters
    ----------
    place : Place
        Where.
    wanted : list of str or None
        By name; None: the first that the exchange lists.
    most : int
        Of those.

    Raises
    ------
    ConfigError
        If one does not trade there.
    VenueError
        If the exchange does not answer.
    """
    info = await _get(f"{place.broker.rest_url}/fapi/v1/exchangeInfo")
    listed = [
        str(each["symbol"])
        for each in info["symbols"]
        if (each["status"], each["quoteAsset"], each["contractType"])
        == ("TRADING", "USDT", "PERPETUAL")
    ]
    if wanted is None:
        return tuple(sorted(listed[:most]))
    missing = [symbol for symbol in wanted if symbol not in listed]
    if missing:
        raise ConfigError(
            f"data.symbols must be perpetuals that trade at the exchange, {missing[0]} does not"
        )
    return tuple(sorted(wanted))


async def prices_at(place: Place) -> dict[str, float]:
    """Return the last price of every symbol, USDT per coin.

    Raises
    ------
    VenueError
        If the exchange does not answer.
    """
    told = await _get(f"{place.broker.rest_url}/fapi/v1/ticker/price")
    return {str(each["symbol"]): float(each["price"]) for each in told}


async def clock_at(place: Place) -> ExchangeClock:
    """Return the exchange's clock, measured without an account.

    Raises
    ------
    VenueError
        If the exchange does not answer.
    """
    clock = ExchangeClock(speed=place.broker.clock_speed)
    await _measure(clock, place)
    return clock


async def keep_measured(clock: ExchangeClock, place: Place) -> None:
    """Measure an exchange's clock now and then, for ever; where that fails it goes on as it was."""
    while True:
        await asyncio.sleep(_CLOCK_EVERY_S)
        with contextlib.suppress(VenueError):
            await _measure(clock, place)


async def _measure(clock: ExchangeClock, place: Place) -> None:
    async def ask_ms() -> int:
        return int((await _get(f"{place.broker.rest_url}/fapi/v1/time"))["serverTime"])

    await clock.measure(ask_ms, samples=_CLOCK_SAMPLES)


async def _get(url: str) -> Any:
    """Return the JSON of an address without secrets; silence is asked once more: a machine may be busy compiling."""
    kind = ""
    for _ in range(_ATTEMPTS):
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.get(url) as answer,
            ):
                told = await answer.json()
        except TimeoutError as error:
            kind = type(error).__name__
            continue
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind = type(error).__name__
        else:
            if answer.status == 200:
                return told
            kind = f"HTTP {answer.status}"
        break
    raise VenueError(f"{url} must answer, did not ({kind})")
