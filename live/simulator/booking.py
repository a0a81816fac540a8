"""What a kernel did to an account, as its owner sees it: orders, trades, incomes and messages of the user stream."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from live.simulator import user_events
from live.simulator.accounts import Income, Trade, VenueAccount, each_event
from live.simulator.orders import AlgoOrder, Order, Terms
from quantcore.kernels import layout as at
from quantcore.kernels.layout import Journal
from quantcore.types import (
    FillReason,
    FloatArray,
    IntArray,
    Liquidity,
    OrderStatus,
    Rule,
    Side,
)

if TYPE_CHECKING:
    from live.simulator.engine import Engine

_ENDED = {
    OrderStatus.CANCELED: "CANCELED",
    OrderStatus.REJECTED: "EXPIRED",
    OrderStatus.EXPIRED: "EXPIRED",
}
_FORCED = {
    FillReason.LIQUIDATION: "autoclose-",
    FillReason.SETTLEMENT: "settlement_autoclose-",
}
_DELEVERAGED = "adl_autoclose"
_EXPIRY = {
    Rule.REDUCE_ONLY: "4",
    Rule.LIQUIDATION: "5",
    Rule.SYMBOL_ENDED: "7",
    Rule.NO_PRICE: "9",
}
"""The exchange's reasons for the end of an order, of those of the account step that it has."""


@dataclass
class Batch:
    """What one call of a kernel did to an account."""

    changed: set[int] = field(default_factory=set)
    transfer: float = 0.0
    reasons: list[str] = field(default_factory=list)


def book(venue: Engine, account: VenueAccount, journal: Journal) -> None:
    """Turn what a kernel wrote into orders, trades, incomes and messages."""
    batch = Batch()
    each_event(journal, lambda whole, number: _event(venue, account, batch, whole, number))
    if not (batch.changed or batch.reasons):
        return
    for s in batch.changed:
        account.touched_us[s] = venue.now_us
    marks = venue.marks
    reason = batch.reasons[0] if batch.reasons else "ORDER"
    venue.tell(
        account,
        user_events.account_update(
            account, reason, batch.changed, batch.transfer, marks, venue.now_us
        ),
    )


def _event(
    venue: Engine, account: VenueAccount, batch: Batch, whole: IntArray, number: FloatArray
) -> None:
    kind, s = int(whole[at.KIND]), int(whole[at.EVENT_SYMBOL])
    if kind == at.EVENT_NEW_ORDER and whole[at.EVENT_CLIENT] < 0:
        _forced_order(venue, account, whole)
    elif kind == at.EVENT_STATUS:
        _status(venue, account, whole)
    elif kind == at.EVENT_FILL:
        _fill(venue, account, whole, number)
        batch.changed.add(s)
    elif kind == at.EVENT_FUNDING:
        income(venue, account, venue.symbols[s], "FUNDING_FEE", -float(number[at.D]), "FUNDING_FEE")
        batch.changed.add(s)
        batch.transfer -= float(number[at.D])
        batch.reasons.append("FUNDING_FEE")
    elif kind == at.EVENT_LIQUIDATION:
        change = float(number[at.D] - number[at.C])
        income(venue, account, venue.symbols[s], "INSURANCE_CLEAR", change, "INSURANCE_CLEAR")
        batch.transfer += change


def _forced_order(venue: Engine, account: VenueAccount, whole: IntArray) -> None:
    """Write down an order that the exchange makes: a liquidation's, or of a symbol that has ended."""
    s, reason = int(whole[at.EVENT_SYMBOL]), FillReason(int(whole[at.EVENT_REASON]))
    order_id = venue.order_id()
    terms = Terms(
        instrument=venue.instruments[s], s=s, side=Side(int(whole[at.EVENT_SIDE])), type="LIMIT", tif="IOC",
        lots=int(whole[at.EVENT_LOTS]), price=None, stop=None,
        client_id=_forced_id(venue, reason, order_id),
    )  # fmt: skip
    order = Order(
        terms=terms, order_id=order_id, number=-1, made_us=venue.now_us, changed_us=venue.now_us, original="LIMIT"
    )  # fmt: skip
    order.step_id = int(whole[at.EVENT_ORDER])
    account.orders[order_id] = order
    account.by_step_id[order.step_id] = order
    venue.tell(account, user_events.order_update(order, "NEW", venue.now_us))


def _forced_id(venue: Engine, reason: FillReason, order_id: int) -> str:
    """Return the client id of an order that the exchange makes."""
    if reason not in _FORCED:
        return _DELEVERAGED
    return f"{_FORCED[reason]}{venue.now_us // 1000}{order_id % 1_000_000:06d}"


def _status(venue: Engine, account: VenueAccount, whole: IntArray) -> None:
    found = account.by_step_id.get(int(whole[at.EVENT_ORDER]))
    status = OrderStatus(int(whole[at.EVENT_STATE]))
    if found is None or status == OrderStatus.PARTIALLY_FILLED:
        return
    order = found.order if isinstance(found, AlgoOrder) else found
    if status == OrderStatus.FILLED:
        if order is not None:
            _filled(venue, account, order)
        return
    if isinstance(found, AlgoOrder):
        found.status = "CANCELED" if status == OrderStatus.CANCELED else "EXPIRED"
        found.changed_us = venue.now_us
        account.by_step_id.pop(found.step_id, None)
        why = "Reduce Only reject" if whole[at.EVENT_REASON] == Rule.REDUCE_ONLY else ""
        venue.tell(account, user_events.algo_update(found, venue.now_us, why=why))
        return
    found.status = _ENDED[status]
    found.changed_us = venue.now_us
    account.forget(found)
    refused = status == OrderStatus.REJECTED and found.done == 0
    if not (refused and not venue.lock_step):
        expiry = (
            _EXPIRY.get(Rule(whole[at.EVENT_REASON]), "0") if whole[at.EVENT_REASON] >= 0 else "0"
        )
        venue.tell(
            account, user_events.order_update(found, found.status, venue.now_us, expiry=expiry)
        )
    _finish_algo(venue, account, found)


def _filled(venue: Engine, account: VenueAccount, order: Order) -> None:
    order.status = "FILLED"
    order.terms.lots = order.done  # a reducing order was cut to what was held
    account.forget(order)
    _finish_algo(venue, account, order)


def _finish_algo(venue: Engine, account: VenueAccount, order: Order) -> None:
    if order.algo is not None and not order.is_open and order.algo.status == "TRIGGERED":
        order.algo.status, order.algo.changed_us = "FINISHED", venue.now_us
        venue.tell(account, user_events.algo_update(order.algo, venue.now_us))


def _fill(venue: Engine, account: VenueAccount, whole: IntArray, number: FloatArray) -> None:
    found = account.by_step_id.get(int(whole[at.EVENT_ORDER]))
    if isinstance(found, AlgoOrder):
        found = _triggered(venue, account, found, int(whole[at.EVENT_LOTS]))
    if found is None:
        return
    s, lots, price = int(whole[at.EVENT_SYMBOL]), int(whole[at.EVENT_LOTS]), float(number[at.B])
    found.done += lots
    found.quote += float(number[at.A]) * price
    found.status = "FILLED" if found.done >= found.terms.lots else "PARTIALLY_FILLED"
    found.changed_us = venue.now_us
    trade = Trade(
        id=venue.trade_id(), order=found, lots=lots, price=price, fee=float(number[at.C]),
        realised=float(number[at.F]), maker=bool(whole[at.EVENT_STATE] == Liquidity.MAKER), time_us=venue.now_us,
    )  # fmt: skip
    account.trades.append(trade)
    account.realised[s] = account.realised.get(s, 0.0) + trade.realised
    symbol = venue.symbols[s]
    income(venue, account, symbol, "COMMISSION", -trade.fee, str(trade.id), trade=trade.id)
    if trade.realised != 0.0:
        income(
            venue, account, symbol, "REALIZED_PNL", trade.realised, str(trade.id), trade=trade.id
        )
    liquidated = whole[at.EVENT_REASON] == FillReason.LIQUIDATION
    execution = "CALCULATED" if liquidated else "TRADE"
    venue.tell(account, user_events.trade_lite(trade))
    venue.tell(account, user_events.order_update(found, execution, venue.now_us, trade=trade))
    if liquidated:
        venue.forced.append(user_events.force_order(trade, found.average))


def _triggered(venue: Engine, account: VenueAccount, algo: AlgoOrder, lots: int) -> Order:
    """Return the market order that a conditional order became, new at its first fill."""
    if algo.order is not None:
        return algo.order
    trigger(venue, account, algo)
    terms = replace(algo.terms, type="MARKET", tif="GTC", stop=None)
    if terms.close_position:
        algo.terms.lots = terms.lots = lots
    order = Order(
        terms=terms, order_id=venue.order_id(), number=algo.number, made_us=venue.now_us, changed_us=venue.now_us,
        original=algo.terms.type, algo=algo, step_id=algo.step_id,
    )  # fmt: skip
    account.by_step_id[order.step_id] = order
    become(venue, account, algo, order)
    return order


def trigger(venue: Engine, account: VenueAccount, algo: AlgoOrder) -> None:
    """Let a conditional order trigger."""
    algo.status, algo.triggered_us, algo.changed_us = "TRIGGERING", venue.now_us, venue.now_us
    venue.tell(account, user_events.algo_update(algo, venue.now_us))


def become(venue: Engine, account: VenueAccount, algo: AlgoOrder, order: Order) -> None:
    """Let a conditional order that triggered become an order."""
    algo.order, algo.status = order, "TRIGGERED"
    account.orders[order.order_id] = order
    venue.tell(account, user_events.algo_update(algo, venue.now_us))
    venue.tell(account, user_events.order_update(order, "NEW", venue.now_us))


def income(
    venue: Engine,
    account: VenueAccount,
    symbol: str,
    kind: str,
    amount: float,
    info: str,
    trade: int | None = None,
) -> None:
    """Write a change of the wallet down."""
    account.incomes.append(
        Income(
            symbol=symbol, kind=kind, amount=amount, info=info, time_us=venue.now_us, id=venue.income_id(),
            trade=trade,
        )
    )  # fmt: skip
