"""What the loop believes against what the exchange says: each difference with the rule that resolves it (pure)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from live.broker.interface import AccountReport, Cancel, OrderReport, PositionReport
from live.journal.records import Resolution
from live.ledger import Ledger
from live.wanted import ClientIds

WALLET_TOLERANCE = 1e-6
"""USDT by which wallets may differ: many fees, each rounded to eight digits."""
WALLET_ADOPTED = 0.01
"""USDT up to which a difference of the wallet is booked; beyond it nothing opens any more."""


@dataclass(frozen=True, kw_only=True)
class Believed:
    """What the ledger has.

    Parameters
    ----------
    orders : mapping of int to Cancel
        What names each open order, by number.
    lots : mapping of str to str
        Signed coins held, as text, of every symbol traded.
    wallet : float
        USDT, isolated margin included.
    """

    orders: Mapping[int, Cancel] = field(repr=False)
    qty: Mapping[str, str]
    wallet: float


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the exchange has."""

    orders: Sequence[OrderReport] = field(repr=False)
    positions: Sequence[PositionReport]
    account: AccountReport


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One difference.

    Parameters
    ----------
    subject : str
        ``"order"``, ``"algo_order"``, ``"position"`` or ``"balance"``.
    symbol : str or None
        Whose; None of the wallet.
    client_id : str or None
        Of an order.
    expected, found : str
        As the ledger and as the exchange has it.
    rule : Resolution
        What is done.
    order : Cancel or None
        What names the order that is to be cancelled, or asked for.
    number : int or None
        Of an own order that the ledger has.
    amount : float
        By which the exchange's wallet is larger, USDT.
    """

    subject: str
    symbol: str | None
    expected: str
    found: str
    rule: Resolution
    client_id: str | None = None
    order: Cancel | None = None
    number: int | None = None
    amount: float = 0.0


def believed(ledger: Ledger) -> Believed:
    """Return what a ledger has."""
    return Believed(
        orders=ledger.open_orders(),
        qty={symbol: ledger.qty(symbol) for symbol in ledger.at},
        wallet=ledger.wallet,
    )


def compare(own: Believed, exchange: Found, ids: ClientIds) -> list[Finding]:
    """Return every difference, orders first.

    Parameters
    ----------
    own : Believed
        With everything booked that the exchange is known to have done.
    exchange : Found
        Read while nothing happened.
    ids : ClientIds
        Tells own orders from foreign ones.
    """
    return [
        *_orders(own, exchange, ids),
        *_positions(own, exchange),
        *_wallet(own, exchange),
    ]


def halts(findings: Collection[Finding]) -> set[str]:
    """Return the symbols that are not to be traded."""
    return {f.symbol for f in findings if f.rule is Resolution.HALT and f.symbol is not None}


def _orders(own: Believed, exchange: Found, ids: ClientIds) -> Iterator[Finding]:
    there = {order.client_id: order for order in exchange.orders}
    known = {cancel.client_id for cancel in own.orders.values()}
    for order in exchange.orders:
        if order.client_id in known:
            continue
        name = Cancel(client_id=order.client_id, symbol=order.symbol, conditional=order.conditional)
        is_own = ids.number(order.client_id) is not None
        yield Finding(
            subject=_subject(order.conditional),
            symbol=order.symbol,
            client_id=order.client_id,
            expected="none",
            found=f"{order.side.name.lower()} {order.qty} {order.type.name.lower()}",
            rule=Resolution.CANCEL if is_own else Resolution.HALT,
            order=name,
        )
    for number, cancel in own.orders.items():
        if cancel.client_id not in there:
            yield Finding(
                subject=_subject(cancel.conditional),
                symbol=cancel.symbol,
                client_id=cancel.client_id,
                expected="open",
                found="not open",
                rule=Resolution.ADOPT,
                order=cancel,
                number=number,
            )


def _positions(own: Believed, exchange: Found) -> Iterator[Finding]:
    held = {position.symbol: position.qty for position in exchange.positions}
    for symbol in sorted(own.qty.keys() | held.keys()):
        mine, theirs = own.qty.get(symbol, "0"), held.get(symbol, "0")
        if Decimal(mine) != Decimal(theirs):
            yield Finding(
                subject="position",
                symbol=symbol,
                expected=mine,
                found=theirs,
                rule=Resolution.HALT,
            )


def _wallet(own: Believed, exchange: Found) -> Iterator[Finding]:
    away = float(exchange.account.wallet) - own.wallet
    if abs(away) > WALLET_TOLERANCE:
        yield Finding(
            subject="balance",
            symbol=None,
            expected=f"{own.wallet:.8f}",
            found=exchange.account.wallet,
            rule=Resolution.ADOPT if abs(away) <= WALLET_ADOPTED else Resolution.HALT,
            amount=away,
        )


def _subject(conditional: bool) -> str:
    return "algo_order" if conditional else "order"
