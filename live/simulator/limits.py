"""How much a client may ask: request weight per address, orders per account, counted in simulated time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from live.simulator.wire import Refused, milliseconds

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
_BAN_FIRST_US = 2 * MINUTE_US
_BAN_LONGEST_US = 3 * 24 * 60 * MINUTE_US
_ADDRESSES_MAX = 10_000


class Limited(Refused):
    """A request over a limit; `retry_us` is how long the client must wait, in simulated microseconds."""

    def __init__(self, code: int, message: str, status: int, retry_us: int) -> None:
        super().__init__(code, message, status)
        self.retry_us = retry_us


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """The exchange's limits, as its exchangeInfo and documentation publish them (BINANCE.md, Limits and clocks).

    Parameters
    ----------
    weight_1m : int
        Request weight per address and minute.
    orders_10s, orders_1m : int
        Orders per account in ten seconds and in a minute.
    funding_5m : int
        Requests of fundingRate and fundingInfo together per address in five minutes.
    refusals_max : int
        Requests refused within a minute for their weight before the address is banned.

    Raises
    ------
    ValueError
        If one is not positive.
    """

    weight_1m: int
    orders_10s: int
    orders_1m: int
    funding_5m: int
    refusals_max: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"limits.{name} must be >= 1, was {value}")


class _Window:
    """Counts per client within spans that begin at whole multiples of their length."""

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self._index = 0
        self._counts: dict[str, int] = {}

    def used(self, client: str, now_us: int) -> int:
        return self.add(client, 0, now_us)

    def add(self, client: str, amount: int, now_us: int) -> int:
        """Return the count after adding; only the present span is kept, so memory stays bounded."""
        index = now_us // self.length_us
        if index != self._index:
            self._index, self._counts = index, {}
        count = self._counts.get(client, 0) + amount
        if amount and (client in self._counts or len(self._counts) < _ADDRESSES_MAX):
            self._counts[client] = count
        return count

    def state(self) -> dict[str, Any]:
        return {"index": self._index, "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._index = int(state["index"])
        self._counts = {client: int(count) for client, count in state["counts"].items()}

    def left_us(self, now_us: int) -> int:
        return self.length_us - now_us % self.length_us


class Limits:
    """The counters of one exchange.

    Parameters
    ----------
    settings : LimitSettings
        What is allowed.
    enforced : bool
        Whether to refuse; without, requests are only counted. In lock-step no minute ever ends by itself, so a
        client could do nothing but wait for ever.
    """

    def __init__(self, settings: LimitSettings, *, enforced: bool = True) -> None:
        self.settings = settings
        self.enforced = enforced
        self._weight = _Window(MINUTE_US)
        self._funding = _Window(5 * MINUTE_US)
        self._refusals = _Window(MINUTE_US)
        self._orders: Mapping[str, tuple[_Window, int, str]] = {
            "10S": (_Window(10 * SECOND_US), settings.orders_10s, "TEN_SECONDS"),
            "1M": (_Window(MINUTE_US), settings.orders_1m, "MINUTE"),
        }
        self._banned: dict[str, tuple[int, int]] = {}

    def spend(self, address: str, weight: int, now_us: int) -> int:
        """Count a request's weight.

        Returns
        -------
        int
            What the address has used in this minute, for ``X-MBX-USED-WEIGHT-1M``.

        Raises
        ------
        Limited
            429 above the limit; 418 from an address that went on regardless.
        """
        used = self._weight.add(address, weight, now_us)
        if not self.enforced:
            return used
        until_us = self._banned.get(address, (0, 0))[0]
        if now_us < until_us:
            raise _ban(address, until_us, now_us)
        if used <= self.settings.weight_1m:
            return used
        if self._refusals.add(address, 1, now_us) > self.settings.refusals_max:
            raise _ban(address, self._ban(address, now_us), now_us)
        raise Limited(
            -1003,
            f"Too many requests; current limit of IP({address}) is {self.settings.weight_1m} requests per minute. "
            "Please use the websocket for live updates to avoid polling the API.",
            429,
            self._weight.left_us(now_us),
        )

    def spend_funding(self, address: str, now_us: int) -> None:
        """Count a request of the funding history, which has its own limit; raises `Limited` above it."""
        most = self.settings.funding_5m
        if self._funding.add(address, 1, now_us) > most and self.enforced:
            raise Limited(
                -1003,
                f"Too many requests; current limit of IP({address}) is {most} requests per 5 minutes. "
                "Please use the websocket for live updates to avoid polling the API.",
                429,
                self._funding.left_us(now_us),
            )

    def place(self, key: str, orders: Mapping[str, int], now_us: int) -> dict[str, int]:
        """Count a request's orders.

        Parameters
        ----------
        key : str
            The account's.
        orders : mapping
            How many it counts for in each window, such as ``{"10S": 5, "1M": 1}``.
        now_us : int
            Simulated time.

        Returns
        -------
        dict
            What the account has used in each window, for ``X-MBX-ORDER-COUNT-…``.

        Raises
        ------
        Limited
            -1015 above a limit; the order then counts in no window.
        """
        for name, amount in orders.items():
            window, most, words = self._orders[name]
            if self.enforced and window.used(key, now_us) + amount > most:
                raise Limited(
                    -1015,
                    f"Too many new orders; current limit is {most} orders per {words}.",
                    429,
                    window.left_us(now_us),
                )
        return {name: self._orders[name][0].add(key, n, now_us) for name, n in orders.items()}

    def counts(self, address: str, key: str | None, now_us: int) -> list[dict[str, str | int]]:
        """Return what an address and an account have used, as the WebSocket API tells it with each answer."""
        settings = self.settings
        told: list[dict[str, str | int]] = [
            _count("REQUEST_WEIGHT", "MINUTE", 1, settings.weight_1m)
            | {"count": self._weight.used(address, now_us)}
        ]
        if key is not None:
            for name, interval, number in (("10S", "SECOND", 10), ("1M", "MINUTE", 1)):
                window, most, _ = self._orders[name]
                told.append(
                    _count("ORDERS", interval, number, most) | {"count": window.used(key, now_us)}
                )
        return told

    def state(self) -> dict[str, Any]:
        """Return counts and bans as plain values of which JSON can be made."""
        windows = {name: window.state() for name, window in self._windows().items()}
        return {"windows": windows, "banned": {a: list(ban) for a, ban in self._banned.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state` returned."""
        for name, window in self._windows().items():
            window.restore(state["windows"][name])
        self._banned = {
            address: (int(until_us), int(length_us))
            for address, (until_us, length_us) in state["banned"].items()
        }

    def _windows(self) -> dict[str, _Window]:
        orders = {f"orders_{name}": window for name, (window, _, _) in self._orders.items()}
        return {
            "weight": self._weight,
            "funding": self._funding,
            "refusals": self._refusals,
        } | orders

    def _ban(self, address: str, now_us: int) -> int:
        """Return until when an address is banned: two minutes, each time twice as long, three days at most."""
        if len(self._banned) >= _ADDRESSES_MAX:
            self._banned = {a: ban for a, ban in self._banned.items() if ban[0] > now_us}
        length_us = min(2 * self._banned.get(address, (0, _BAN_FIRST_US // 2))[1], _BAN_LONGEST_US)
        self._banned[address] = (now_us + length_us, length_us)
        return now_us + length_us


def _ban(address: str, until_us: int, now_us: int) -> Limited:
    return Limited(
        -1003,
        f"Way too many requests; IP({address}) banned until {milliseconds(until_us)}. "
        "Please use the websocket for live updates to avoid bans.",
        418,
        until_us - now_us,
    )


def _count(kind: str, interval: str, number: int, most: int) -> dict[str, str | int]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": most}
