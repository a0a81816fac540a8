"""Checks of what the exchange said: fills, the life of every order, and money to the last digit."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import accumulate, groupby, pairwise

from sqlalchemy import Connection, select

from live.broker.interface import Balance, Fill, Income, Order, OrderChange, Outcome
from live.journal import reading, tables
from live.journal.findings import Check
from live.journal.records import SEND
from live.journal.told import Event
from quantcore.types import OrderStatus

_EVENT = Decimal("1e-8")
"""USDT per event by which sums may differ: the exchange's numbers have eight digits."""
_SETTLED_WITHIN_US = 60_000_000
"""By which stream and list may stamp one settlement differently; settlements are at least an hour apart."""
_TRADES = ("REALIZED_PNL", "COMMISSION")
"""Incomes that the fills tell already."""
_ENDS = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.REJECTED, OrderStatus.EXPIRED)


@dataclass
class _Life:
    """What is known of an own order."""

    order: Order
    refused: bool
    changes: list[OrderChange] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)


def money_checks(connection: Connection) -> list[Check]:
    """Return the checks of fills, orders, wallet and funding."""
    told = [event for _, event in reading.events(connection)]
    lives = _lives(connection)
    prefixes = tuple({s.session.prefix for s in reading.sessions(connection)})
    return [
        _fills(told, lives, prefixes),
        _orders(told, lives),
        _wallet(told),
        _funding(told),
    ]


def _lives(connection: Connection) -> dict[str, _Life]:
    table, answers = tables.intents, tables.answers
    refused = set(
        connection.scalars(
            select(answers.c.intent_id).where(answers.c.outcome == Outcome.REFUSED.value)
        )
    )
    lives = {}
    for row in connection.execute(select(table).where(table.c.action == SEND)):
        request = reading.intent_of(row).request
        assert isinstance(request, Order)
        lives[row.client_id] = _Life(request, row.intent_id in refused)
    return lives


def _fills(told: Sequence[Event], lives: Mapping[str, _Life], prefixes: tuple[str, ...]) -> Check:
    fills = [event for event in told if isinstance(event, Fill)]
    times = Counter((fill.symbol, fill.trade_id) for fill in fills)
    found = [f"fill {symbol} {n} stands {t} times" for (symbol, n), t in times.items() if t > 1]
    for fill in fills:
        name = f"fill {fill.symbol} {fill.trade_id}"
        life = lives.get(fill.client_id)
        if life is None:
            if fill.client_id.startswith(prefixes):
                found.append(f"{name} is of {fill.client_id}, which no intent sent")
        elif (fill.symbol, fill.side) != (life.order.symbol, life.order.side):
            found.append(
                f"{name} must be a {life.order.side.name} of {life.order.symbol} as its order, is not"
            )
        if fill.fee_asset != "USDT":
            found.append(f"{name} must have its fee in USDT, was in {fill.fee_asset}")
    return Check("fills", len(fills), tuple(found))


def _orders(told: Sequence[Event], lives: dict[str, _Life]) -> Check:
    for event in told:
        if isinstance(event, Fill) and event.client_id in lives:
            lives[event.client_id].fills.append(event)
        elif isinstance(event, OrderChange) and event.order.client_id in lives:
            lives[event.order.client_id].changes.append(event)
    found = [
        f"order {client_id} {what}" for client_id, life in lives.items() for what in _illegal(life)
    ]
    return Check("orders", len(lives), tuple(found))


def _illegal(life: _Life) -> Iterator[str]:
    """Yield what an order cannot have lived through."""
    filled = sum((Decimal(fill.qty) for fill in life.fills), Decimal(0))
    if life.refused and (life.fills or life.changes):
        yield "was refused and yet lived"
    if life.order.qty is not None and filled > Decimal(life.order.qty):
        yield f"filled {filled} of {life.order.qty}"
    # The stream may tell of one instant in any order: its own count of what is filled decides.
    changes = sorted(life.changes, key=lambda c: (c.time_us, Decimal(c.order.filled)))
    for former, change in pairwise(changes):
        if Decimal(change.order.filled) < Decimal(former.order.filled):
            yield f"had filled {former.order.filled}, later {change.order.filled}"
    ends = [c for c in changes if c.order.status in _ENDS]
    if ends:
        yield from _after_the_end(life, ends[0])


def _after_the_end(life: _Life, end: OrderChange) -> Iterator[str]:
    status = end.order.status.name
    before = sum(
        (Decimal(fill.qty) for fill in life.fills if fill.time_us <= end.time_us), Decimal(0)
    )
    late = [fill for fill in life.fills if fill.time_us > end.time_us]
    if late:
        yield f"was {status} and then filled by trade {late[0].trade_id}"
    elif before != Decimal(end.order.filled):
        yield f"was {status} with {end.order.filled} filled, the fills make {before}"
    for change in life.changes:
        if change.time_us > end.time_us and change.order.status != end.order.status:
            yield f"was {status} and then {change.order.status.name}"


def _wallet(told: Sequence[Event]) -> Check:
    """Check each told wallet against the one before and all money that moved between, by the exchange's time."""
    balances = [event for event in told if isinstance(event, Balance)]
    fills = [event for event in told if isinstance(event, Fill)]
    trades = _Running((f.time_us, Decimal(f.realised) - Decimal(f.fee)) for f in fills)
    counts = _Running((e.time_us, Decimal(1)) for e in told if isinstance(e, Balance | Fill))
    others = _Running(
        (event.time_us, Decimal(event.amount))
        for event in told
        if isinstance(event, Income) and event.kind not in _TRADES
    )
    found = []
    former: tuple[int, Decimal] | None = None
    for time_us, group in groupby(sorted(balances, key=lambda b: b.time_us), lambda b: b.time_us):
        here = list(group)
        wallet = Decimal(here[-1].wallet)
        if former is not None:
            span = (former[0], time_us)
            traded = former[1] + trades.between(*span)
            # What moved while nobody listened is told by the list of incomes alone.
            heard = sum((Decimal(b.change) for b in here), Decimal(0))
            away = min(abs(wallet - traded - other) for other in (heard, others.between(*span)))
            if away > _EVENT * counts.between(*span):
                found.append(
                    f"the wallet at {time_us} us was told as {wallet}, what moved makes {traded + heard}"
                )
        former = (time_us, wallet)
    return Check("wallet", len(balances), tuple(found))


class _Running:
    """Amounts by time, for their sums between two times."""

    def __init__(self, amounts: Iterable[tuple[int, Decimal]]) -> None:
        ordered = sorted(amounts)
        self._times = [time_us for time_us, _ in ordered]
        self._sums = [Decimal(0), *accumulate(amount for _, amount in ordered)]

    def between(self, after_us: int, upto_us: int) -> Decimal:
        """Return the sum of what is later than the one and not later than the other."""
        first, last = (bisect_right(self._times, us) for us in (after_us, upto_us))
        return self._sums[last] - self._sums[first]


def _funding(told: Sequence[Event]) -> Check:
    """Check the funding that the stream told against the list of incomes, as far as the list reaches.

    What was settled while nobody listened is told by the list alone.
    """
    listed = [e for e in told if isinstance(e, Income) and e.kind == "FUNDING_FEE" and e.income_id]
    heard = [e for e in told if isinstance(e, Balance) and e.kind == "FUNDING_FEE"]
    if not listed or not heard:
        return Check(
            "funding", len(listed), skipped="" if not listed else "the stream told of none"
        )
    last = max(e.time_us for e in listed) + _SETTLED_WITHIN_US
    heard = [e for e in heard if e.time_us <= last]
    times = sorted(e.time_us for e in heard)
    paid = [Decimal(e.amount) for e in listed if _near(times, e.time_us)]
    told_paid = [Decimal(e.change) for e in heard]
    differing = abs(sum(paid, Decimal(0)) - sum(told_paid, Decimal(0)))
    found: tuple[str, ...] = ()
    if differing > _EVENT * (len(paid) + len(told_paid)):
        found = (
            f"the list of incomes makes {sum(paid)} USDT of funding, the stream {sum(told_paid)}",
        )
    return Check("funding", len(paid), found)


def _near(times: Sequence[int], time_us: int) -> bool:
    """Return whether one of some rising times belongs to the same settlement."""
    first = bisect_right(times, time_us - _SETTLED_WITHIN_US - 1)
    return first < len(times) and times[first] <= time_us + _SETTLED_WITHIN_US
