"""Who listens to what: stream names, the routes that carry them, and what a subscriber may say (all pure)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, get_args

Route = Literal["public", "market", "private", "legacy"]
"""By what path a connection came; the paths from before 2026-03-06 are ``"legacy"``."""
ROUTES: tuple[Route, ...] = get_args(Route)
LEGACY = ("deliver", "mute")
"""What the legacy paths do: as the demo host, or as production, where they connect and stay silent."""
MAX_STREAMS = 1024
"""Names that one connection may subscribe to."""
MAX_NAME = 256
EXPIRED = "listenKeyExpired"
"""The one user event whose name is not in capitals."""
_PUBLIC = ("bookTicker", "depth", "rpiDepth", "trade")
"""Channels of the books, with figures or a speed behind them or not; every other channel is a market stream."""


class Message(NamedTuple):
    """One message of one stream.

    Parameters
    ----------
    stream : str
        Name of the stream, or the listen key.
    payload : object
        What is sent, as JSON has it.
    """

    stream: str
    payload: Any


def route_of(name: str) -> Route:
    """Return the route that carries a name; what is neither ``<symbol>@…`` nor ``!…`` is taken for a listen key.

    Examples
    --------
    >>> route_of("btcusdt@depth5@100ms"), route_of("!markPrice@arr"), route_of("pqia91ma19a5")
    ('public', 'market', 'private')
    """
    head, _, rest = name.partition("@")
    if name.startswith("!"):
        channel = head[1:]
    elif rest and not (rest.isupper() or rest == EXPIRED):  # an event stands after a listen key
        channel = rest.partition("@")[0]
    else:
        return "private"
    return "public" if channel.rstrip("0123456789") in _PUBLIC else "market"


class Subscriber:
    """One connection: its route, its names in the order in which they were asked for, and how it wants them.

    Parameters
    ----------
    route : {"public", "market", "private", "legacy"}
        By what path it came.
    combined : bool
        Whether each payload comes wrapped with the name of its stream.
    """

    def __init__(self, route: Route, *, combined: bool) -> None:
        self.route = route
        self.combined = combined
        self.names: dict[str, None] = {}

    def wants(self, key: str, event: str) -> bool:
        """Say whether it wants an event of a listen key's stream."""
        return key in self.names or f"{key}@{event}" in self.names


class SubscriptionError(Exception):
    """What the exchange objects to in a message of a subscriber, with its code (0 to 4)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "msg": message}


class Hub:
    """The subscribers of all connections.

    Parameters
    ----------
    legacy : {"deliver", "mute"}
        Whether the legacy paths carry anything.
    """

    def __init__(self, *, legacy: str) -> None:
        if legacy not in LEGACY:
            raise ValueError(f"legacy must be one of {', '.join(LEGACY)}, was {legacy}")
        self._legacy = legacy
        self._streams: list[str] | None = None  # those that someone hears, None: to be found anew
        self._listeners: dict[str, dict[Subscriber, None]] = {}  # by stream or listen key

    def subscribe(self, subscriber: Subscriber, names: Iterable[str]) -> None:
        """Add names; those that its route does not carry are kept and stay silent, as the exchange has it.

        Raises
        ------
        SubscriptionError
            If there would be more than 1024 of them; then nothing is added.
        """
        wanted = dict.fromkeys(names)
        if len(subscriber.names | wanted) > MAX_STREAMS:
            raise SubscriptionError(4, "Too many subscriptions")
        subscriber.names |= wanted
        self._streams = None
        for name in wanted:
            if self._carried(subscriber, name):
                self._listeners.setdefault(_root(name), {})[subscriber] = None

    def unsubscribe(self, subscriber: Subscriber, names: Iterable[str]) -> None:
        """Take names away; those that were not there are passed over."""
        gone = dict.fromkeys(names)
        for name in gone:
            subscriber.names.pop(name, None)
        left = {_root(name) for name in subscriber.names}
        for root in {_root(name): None for name in gone}:
            if root not in left:
                self._silence(root, subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber whose connection has ended."""
        for name in subscriber.names:
            self._silence(_root(name), subscriber)
        subscriber.names.clear()

    def streams(self) -> list[str]:
        """Return the names of the market data streams that someone hears; the same list until that changes."""
        if self._streams is None:
            self._streams = [name for name in self._listeners if route_of(name) != "private"]
        return self._streams

    def fan_out(self, message: Message) -> Iterator[tuple[Subscriber, str]]:
        """Yield who gets a message, and the text that is sent to each; the payload is written once."""
        listeners = self._listeners.get(message.stream)
        if not listeners:
            return
        raw = json.dumps(message.payload, separators=(",", ":"))
        wrapped = f'{{"stream":{json.dumps(message.stream)},"data":{raw}}}'
        to_one = route_of(message.stream) == "private"
        for subscriber in list(listeners):
            if not to_one or _hears(subscriber, message):
                yield subscriber, wrapped if subscriber.combined else raw

    def _carried(self, subscriber: Subscriber, name: str) -> bool:
        if subscriber.route == "legacy":
            return self._legacy == "deliver"
        return subscriber.route == route_of(name)

    def _silence(self, root: str, subscriber: Subscriber) -> None:
        listeners = self._listeners.get(root, {})
        listeners.pop(subscriber, None)
        if not listeners:
            self._listeners.pop(root, None)
            self._streams = None


def event_us(message: Message) -> int:
    """Return the event time of a message in microseconds, of an array that of its first element; 0 if it has none."""
    payload = message.payload
    if isinstance(payload, list):
        payload = payload[0] if payload else {}
    return int(payload.get("E", 0)) * 1000


def in_order(messages: Iterable[Message]) -> list[Message]:
    """Return messages by event time; those of equal times stay as they were."""
    return sorted(messages, key=event_us)


def forced_streams(order: dict[str, Any]) -> tuple[str, str]:
    """Return the streams of a forced order: that of its symbol and that of all symbols."""
    return f"{str(order['o']['s']).lower()}@forceOrder", "!forceOrder@arr"


def expired(key: str, now_ms: int) -> dict[str, Any]:
    """Return the last event of a listen key; its time is text, as the exchange sends it."""
    return {"e": EXPIRED, "E": str(now_ms), "listenKey": key}


def private_names(query: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names behind ``listenKey=K&events=A/B``, several keys each with its own events or all of them.

    Examples
    --------
    >>> private_names([("listenKey", "k"), ("events", "A/B"), ("listenKey", "m")])
    ['k@A', 'k@B', 'm']
    """
    keys: list[tuple[str, list[str]]] = []
    for word, value in query:
        if word == "listenKey" and value:
            keys.append((value, []))
        elif word == "events" and keys:
            keys[-1][1].extend(event for event in value.split("/") if event)
    return [name for key, events in keys for name in ([f"{key}@{e}" for e in events] or [key])]


def _root(name: str) -> str:
    return name.partition("@")[0] if route_of(name) == "private" else name


def _hears(subscriber: Subscriber, message: Message) -> bool:
    event = message.payload["e"]
    if event != EXPIRED:
        return subscriber.wants(message.stream, event)
    return any(_root(name) == message.stream for name in subscriber.names)
