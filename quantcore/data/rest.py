"""Backfill of the newest days over the exchange's REST interface, through python-binance (extra `live`)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from quantcore.data.rest_rows import bar_table, candle, funding_table, settled
from quantcore.data.schema import times
from quantcore.data.store import Store
from quantcore.errors import ConfigError, VenueError
from quantcore.timegrid import interval_us

PAGE = 1000
"""Rows per request: the largest page of weight 5 (BINANCE.md)."""
_WEIGHT_PAUSE = 1900
"""Used weight of the 2400 per minute from which on we wait for the next minute."""
_SECOND_US = 1_000_000
_MS_US = 1000


@dataclass(frozen=True, kw_only=True)
class RestSettings:
    """How to reach the exchange.

    Parameters
    ----------
    base_url : str
        Such as ``"https://fapi.binance.com"``.
    timeout_s : float
        Seconds per request, > 0.
    retries : int
        Further attempts after a failed one, >= 0.
    backoff_s : float
        Seconds before the first further attempt, doubled each time, >= 0.
    """

    base_url: str
    timeout_s: float
    retries: int
    backoff_s: float

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(f"rest_url must start with http:// or https://, was {self.base_url}")
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout_s must be > 0, was {self.timeout_s}")
        if self.retries < 0:
            raise ConfigError(f"retries must be >= 0, was {self.retries}")
        if self.backoff_s < 0:
            raise ConfigError(f"backoff_s must be >= 0, was {self.backoff_s}")


class RestClient:
    """The public market data of one host; only what a backfill needs.

    Parameters
    ----------
    settings : RestSettings
        Host and patience.
    sleep : callable
        Waits for some seconds.

    Raises
    ------
    ConfigError
        If python-binance is not installed.
    """

    def __init__(
        self, settings: RestSettings, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        try:
            client_module = importlib.import_module("binance.client")
            self._errors = importlib.import_module("binance.exceptions")
        except ImportError as error:
            raise ConfigError(
                "backfill needs python-binance, which is not installed: pip install 'quantcore[live]'"
            ) from error
        # The class attribute decides the host as long as testnet and demo stay off (BINANCE.md).
        url = {"FUTURES_URL": f"{settings.base_url.rstrip('/')}/fapi"}
        host_client = type("HostClient", (client_module.Client,), url)
        self._settings = settings
        self._sleep = sleep
        make = partial(host_client, ping=False, requests_params={"timeout": settings.timeout_s})
        # It takes its thread's event loop, or leaves one open there, and needs none for these requests.
        with ThreadPoolExecutor(max_workers=1) as elsewhere:
            self._client: Any = elsewhere.submit(make).result()
        self._client.loop.close()

    def __enter__(self) -> RestClient:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.session.close()

    def now_us(self) -> int:
        """Return the exchange's clock, microseconds since 1970."""
        return int(self._call(self._client.futures_time)["serverTime"]) * _MS_US

    def bars(self, kind: str, interval: str, symbol: str, first_us: int, now_us: int) -> pa.Table:
        """Return the closed bars that open from `first_us` on, as a long table."""
        method = (
            self._client.futures_klines
            if kind == "klines"
            else self._client.futures_mark_price_klines
        )
        length = interval_us(interval)
        rows = self._pages(
            method,
            {"symbol": symbol, "interval": interval},
            first_us,
            now_us,
            lambda row: int(row[0]) * _MS_US,
        )
        bars = [candle(row) for row in rows]
        closed = [bar for bar in bars if bar.open_us + length <= now_us]
        return bar_table(kind, symbol, closed, length)

    def funding(self, symbol: str, first_us: int, now_us: int) -> pa.Table:
        """Return the settlements from `first_us` on, floored to the second, as a long table."""
        rows = self._pages(
            self._client.futures_funding_rate,
            {"symbol": symbol},
            first_us,
            now_us,
            lambda row: int(row["fundingTime"]) * _MS_US,
        )
        return funding_table(symbol, [settled(row) for row in rows])

    def _pages(
        self,
        method: Callable[..., list[Any]],
        parameters: dict[str, str],
        first_us: int,
        now_us: int,
        time_of: Callable[[Any], int],
    ) -> list[Any]:
        rows: list[Any] = []
        start_ms, end_ms = first_us // _MS_US, now_us // _MS_US
        while start_ms <= end_ms:
            page = self._call(method, **parameters, startTime=start_ms, endTime=end_ms, limit=PAGE)
            rows += page
            if len(page) < PAGE:
                break
            following = time_of(page[-1]) // _MS_US + 1
            if following <= start_ms:
                raise VenueError(f"pages must advance, were twice at {start_ms} ms: {parameters}")
            start_ms = following
        return rows

    def _call(self, method: Callable[..., Any], **parameters: object) -> Any:
        for attempt in range(self._settings.retries + 1):
            wait_s = self._settings.backoff_s * 2**attempt
            try:
                answer = method(**parameters)
            except self._errors.BinanceAPIException as error:
                status = int(error.status_code or 0)
                reason = f"HTTP {status}, code {error.code}: {error.message}"
                if status == 429:
                    wait_s = max(wait_s, float(error.response.headers.get("Retry-After", 0)))
                elif status < 500:
                    raise VenueError(_one_line(reason)) from error
                last: Exception = error
            except (self._errors.BinanceRequestException, OSError) as error:
                reason, last = str(error) or type(error).__name__, error
            else:
                self._pace()
                return answer
            if attempt == self._settings.retries:
                raise VenueError(_one_line(f"{self._settings.base_url}: {reason}")) from last
            self._sleep(wait_s)
        raise AssertionError("unreachable")

    def _pace(self) -> None:
        used = self._client.response.headers.get("X-MBX-USED-WEIGHT-1M", "0")
        if int(used) > _WEIGHT_PAUSE:
            self._sleep(60.0)


def backfill(
    client: RestClient, store: Store, series: Sequence[tuple[str, str, str]], *, start_us: int
) -> Iterator[tuple[str, int]]:
    """Bring series of a store up to the exchange's clock, each from its last row on; yield names and new rows.

    Parameters
    ----------
    client : RestClient
        Connected to a host.
    store : Store
        Where the rows go.
    series : sequence of (kind, interval, symbol)
        Kinds ``klines``, ``mark`` and ``funding``.
    start_us : int
        Where series that the store does not hold begin, microseconds since 1970.

    Raises
    ------
    VenueError
        If the host refuses or does not answer.
    """
    now_us = client.now_us()
    for kind, interval, symbol in series:
        held = times(store.read(kind, interval, symbol))
        if kind == "funding":
            first_us = int(held[-1]) + _SECOND_US if len(held) else start_us
            table = client.funding(symbol, first_us, now_us)
        else:
            # A bar's stamp is its close, which is when the next one opens.
            first_us = int(held[-1]) if len(held) else start_us
            table = client.bars(kind, interval, symbol, first_us, now_us)
        added = store.write(table, kind, interval, symbol) if len(table) else 0
        yield store.name(kind, interval, symbol), added


def _one_line(text: str) -> str:
    return " ".join(text.split())
