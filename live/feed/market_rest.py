"""Public market data over REST: what the feed asks, and the client that asks it, mindful of weights."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import aiohttp

from quantcore.data.rest_rows import Candle, Settled, candle, settled
from quantcore.errors import ConfigError, VenueError
from quantcore.timegrid import MINUTE_US, interval_us

Kind = Literal["klines", "mark"]
"""Bars of last or of mark prices, by the names of `quantcore.data.schema`."""

_MS_US = 1000
_PAGE = 499
"""Bars per request at most: their weight of 2 is the least per bar (BINANCE.md)."""
_FUNDING_PAGE = 1000
_PATHS = {"klines": "/fapi/v1/klines", "mark": "/fapi/v1/markPriceKlines"}
_INVALID_SYMBOL = -1121
_LIMITED = (418, 429)
_LOOK_SECONDS = 0.05


class MarketRest(Protocol):
    """Public market data on request. All raise `VenueError` where the exchange refuses or does not answer."""

    @property
    def requests(self) -> int:
        """Requests since the start."""
        ...

    @property
    def failures(self) -> int:
        """Those of them that were not answered with success."""
        ...

    @property
    def used_weight(self) -> int:
        """Weight that the exchange has counted in the running minute, as far as it is known."""
        ...

    async def server_us(self) -> int:
        """Return the exchange's clock, microseconds since 1970."""
        ...

    async def klines(
        self, kind: Kind, symbol: str, interval: str, start_us: int, end_us: int
    ) -> list[Candle]:
        """Return the bars that open in ``[start_us, end_us]``, oldest first, also one that is still running.

        A symbol that the exchange does not know, or no longer, has none.
        """
        ...

    async def funding(self, symbol: str | None, start_us: int, end_us: int) -> list[Settled]:
        """Return the settlements stamped in ``[start_us, end_us]``, oldest first; of all symbols without one."""
        ...

    async def open_interest(self, symbol: str) -> float:
        """Return the open interest now, in coins."""
        ...


@dataclass(frozen=True, kw_only=True)
class MarketRestSettings:
    """How the public REST interface is asked.

    Parameters
    ----------
    base_url : str
        Such as ``"https://fapi.binance.com"``.
    timeout_s : float
        Seconds for one attempt, > 0, on the wall.
    retries : int
        Further attempts after a failed one, >= 0.
    backoff_s : float
        Seconds before the first further attempt, doubled each time, >= 0, on the wall.
    concurrency : int
        Requests at a time, >= 1.
    weight_max : int or None
        Used weight of the running minute, of whoever shares the address, from which on the feed waits for the next
        one; None never waits.
    """

    base_url: str
    timeout_s: float = 10.0
    retries: int = 3
    backoff_s: float = 0.2
    concurrency: int = 8
    weight_max: int | None = 1600

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base_url must start with http:// or https://, was {self.base_url!r}"
            )
        if not self.timeout_s > 0.0:
            raise ConfigError(f"timeout_s must be > 0, was {self.timeout_s}")
        if not self.backoff_s >= 0.0:
            raise ConfigError(f"backoff_s must be >= 0, was {self.backoff_s}")
        if self.retries < 0:
            raise ConfigError(f"retries must be >= 0, was {self.retries}")
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be >= 1, was {self.concurrency}")
        if self.weight_max is not None and self.weight_max < 1:
            raise ConfigError(f"weight_max must be >= 1 or null, was {self.weight_max}")


class HttpMarketRest:
    """The public endpoints of one host; a `MarketRest`.

    Parameters
    ----------
    session : aiohttp.ClientSession
        Of its owner, who closes it.
    settings : MarketRestSettings
        Host and patience.
    now_us : callable
        The exchange's time, by whose minutes weights are counted.
    sleep : callable
        Waits for some seconds on the wall.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: MarketRestSettings,
        now_us: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = 0
        self._failures = 0
        self._session = session
        self._settings = settings
        self._base = settings.base_url.rstrip("/")
        self._now_us = now_us
        self._sleep = sleep
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._timeout = aiohttp.ClientTimeout(total=settings.timeout_s)
        self._used = 0
        self._used_minute = -1
        self._banned_until_s = 0.0

    @property
    def requests(self) -> int:
        """Requests since the start."""
        return self._requests

    @property
    def failures(self) -> int:
        """Those of them that were not answered with success."""
        return self._failures

    @property
    def used_weight(self) -> int:
        """Weight that the exchange has counted in the running minute, as far as it is known."""
        return self._used if self._now_us() // MINUTE_US == self._used_minute else 0

    async def server_us(self) -> int:
        """Return the exchange's clock, microseconds since 1970."""
        answer = await self._get("/fapi/v1/time", {})
        try:
            return int(answer["serverTime"]) * _MS_US
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise VenueError(f"serverTime must be milliseconds, was {answer!r:.200}") from error

    async def klines(
        self, kind: Kind, symbol: str, interval: str, start_us: int, end_us: int
    ) -> list[Candle]:
        """Return the bars that open in ``[start_us, end_us]``, as `MarketRest.klines`."""
        length = interval_us(interval)
        found: list[Candle] = []
        while start_us <= end_us:
            wanted = (end_us - start_us) // length + 1
            limit = min(wanted, _PAGE)
            params = {
                "symbol": symbol,
                "interval": interval,
                "startTime": start_us // _MS_US,
                "endTime": end_us // _MS_US,
                "limit": limit,
            }
            rows = _list(await self._get(_PATHS[kind], params, unknown=[]))
            found += [candle(row) for row in rows]
            if len(rows) < limit:
                break
            start_us = _following(found[-1].open_us, start_us, length)
        return found

    async def funding(self, symbol: str | None, start_us: int, end_us: int) -> list[Settled]:
        """Return the settlements stamped in ``[start_us, end_us]``, as `MarketRest.funding`."""
        found: dict[tuple[int, str], Settled] = {}
        chosen = {} if symbol is None else {"symbol": symbol}
        while start_us <= end_us:
            params = {
                **chosen,
                "startTime": start_us // _MS_US,
                "endTime": end_us // _MS_US,
                "limit": _FUNDING_PAGE,
            }
            rows = _list(await self._get("/fapi/v1/fundingRate", params, unknown=[]))
            for row in rows:
                one = settled(row)
                found[one.time_us, one.symbol] = one
            if len(rows) < _FUNDING_PAGE:
                break
            last_us = int(rows[-1]["fundingTime"]) * _MS_US
            # A page may end amid the symbols that settle in one millisecond, which is therefore asked again.
            start_us = _following(last_us, start_us, 0 if symbol is None else _MS_US)
        return [found[key] for key in sorted(found)]

    async def open_interest(self, symbol: str) -> float:
        """Return the open interest now, in coins."""
        answer = await self._get("/fapi/v1/openInterest", {"symbol": symbol})
        try:
            coins = float(answer["openInterest"])
        except (TypeError, ValueError, KeyError) as error:
            raise VenueError(f"openInterest must be a number, was {answer!r:.200}") from error
        if not 0.0 <= coins < math.inf:
            raise VenueError(f"openInterest must be finite and >= 0, was {answer!r:.200}")
        return coins

    async def _get(self, path: str, params: dict[str, Any], *, unknown: Any = None) -> Any:
        """Return an answer; `unknown`, where given, stands for that of a symbol that the exchange does not know."""
        reason = ""
        for attempt in range(self._settings.retries + 1):
            if attempt:
                await self._sleep(self._settings.backoff_s * 2 ** (attempt - 1))
            async with self._turns:
                await self._wait_for_weight()
                self._requests += 1
                status, body, reason = await self._attempt(path, params)
            if status == 200:
                return body
            code = body.get("code") if isinstance(body, dict) else None
            if code == _INVALID_SYMBOL and unknown is not None:
                return unknown
            self._failures += 1
            if 400 <= status < 500 and status not in _LIMITED and status != 408:
                break
        raise VenueError(f"{path}: {reason}")

    async def _attempt(self, path: str, params: dict[str, Any]) -> tuple[int, Any, str]:
        """Return status (0 without an answer), body, and in one line what is wrong."""
        try:
            async with self._session.get(
                self._base + path, params=params, timeout=self._timeout
            ) as response:
                self._note(response)
                raw = await response.read()
                status = response.status
        except TimeoutError:
            return 0, None, f"no answer within {self._settings.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return 0, None, " ".join((str(error) or type(error).__name__).split())
        try:
            body = json.loads(raw)
        except ValueError:
            # With status 200 this is a proxy's page, as good as no answer.
            return (0 if status == 200 else status), None, f"HTTP {status}, not JSON"
        told = f"HTTP {status}: {' '.join(raw[:200].decode(errors='replace').split())}"
        return status, body, told

    def _note(self, response: aiohttp.ClientResponse) -> None:
        used = response.headers.get("X-MBX-USED-WEIGHT-1M", "")
        if used.isdigit():
            self._used, self._used_minute = int(used), self._now_us() // MINUTE_US
        if response.status in _LIMITED:
            after = response.headers.get("Retry-After", "")
            wait_s = float(after) if after.isdigit() else self._settings.backoff_s
            loop = asyncio.get_running_loop()
            self._banned_until_s = max(self._banned_until_s, loop.time() + wait_s)

    async def _wait_for_weight(self) -> None:
        """Wait while the exchange wants no requests, or the minute's weight is for others."""
        loop = asyncio.get_running_loop()
        limit = self._settings.weight_max
        while loop.time() < self._banned_until_s or (
            limit is not None and self.used_weight >= limit
        ):
            await self._sleep(_LOOK_SECONDS)


def _list(rows: Any) -> list[Any]:
    if not isinstance(rows, list):
        raise VenueError(f"an answer must be a list, was {rows!r:.200}")
    return rows


def _following(last_us: int, start_us: int, step_us: int) -> int:
    following = last_us + step_us
    if following <= start_us:
        raise VenueError(f"pages must advance, were twice at {start_us // _MS_US} ms")
    return following
