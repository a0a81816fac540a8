"""Orders as the exchange keeps and shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from live.simulator.wire import digits_of, lots_text, milliseconds, text
from quantcore.data.instruments import Instrument
from quantcore.types import Side

OPEN = ("NEW", "PARTIALLY_FILLED")
"""Statuses of orders that may still trade."""
ALGO_OPEN = ("NEW", "TRIGGERING")
CONDITIONAL = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
MONEY = 8
"""Decimals of amounts in USDT."""


@dataclass(kw_only=True)
class Terms:
    """What a client asked for.

    Parameters
    ----------
    instrument : Instrument
        Its symbol's rules.
    s : int
        The symbol's column.
    side : Side
        Buy or sell.
    type : str
        The exchange's word, such as ``"LIMIT"``.
    tif : str
        Time in force.
    lots : int
        Whole steps; 0 with `close_position`.
    price, stop : float or None
        Limit and trigger price, USDT.
    client_id : str
        The client's own id, or one that the exchange made.
    reduce_only, close_position, price_protect : bool
        As asked for.
    working_type : str
        ``"CONTRACT_PRICE"`` or ``"MARK_PRICE"``.
    callback : float or None
        Percent by which a trailing stop follows.
    activation : float or None
        Price from which on it follows.
    good_till_ms : int
        When a GTD order ends, else 0.
    prevention : str
        Self-trade prevention; one account never meets itself here.
    """

    instrument: Instrument
    s: int
    side: Side
    type: str
    tif: str
    lots: int
    price: float | None
    stop: float | None
    client_id: str
    reduce_only: bool = False
    close_position: bool = False
    price_protect: bool = False
    working_type: str = "CONTRACT_PRICE"
    callback: float | None = None
    activation: float | None = None
    good_till_ms: int = 0
    prevention: str = "EXPIRE_MAKER"

    def price_text(self, value: float | None) -> str:
        """Return a price with the tick's decimals, ``"0"`` where there is none."""
        return "0" if value is None else text(value, digits_of(self.instrument.tick_size))

    def traded_text(self, price: float) -> str:
        """Return the price of a trade; in full where the exchange closed a position between two ticks."""
        told = self.price_text(price)
        return told if float(told) == price else f"{Decimal(repr(price)):f}"

    def lots_text(self, lots: int) -> str:
        """Return a quantity with the step's decimals."""
        return lots_text(lots, self.instrument.step_size)


@dataclass(kw_only=True)
class Order:
    """An order of the matching engine.

    Parameters
    ----------
    terms : Terms
        What was asked for.
    order_id : int
        The exchange's number.
    number : int
        The account step's client number.
    made_us, changed_us : int
        Stamps.
    status : str
        The exchange's word.
    done : int
        Lots filled.
    quote : float
        Their value, USDT.
    original : str
        Type of the conditional order that it came from, else its own.
    algo : AlgoOrder or None
        That conditional order.
    step_id : int
        The account step's number of it.
    """

    terms: Terms
    order_id: int
    number: int
    made_us: int
    changed_us: int
    status: str = "NEW"
    done: int = 0
    quote: float = 0.0
    original: str = ""
    algo: AlgoOrder | None = None
    step_id: int = -1

    @property
    def is_open(self) -> bool:
        """Whether it may still trade."""
        return self.status in OPEN

    @property
    def average(self) -> float:
        """Mean price of what filled, 0 before the first fill."""
        return self.quote / qty_of(self.terms, self.done) if self.done else 0.0

    def answer(self) -> dict[str, Any]:
        """Return the order as POST, PUT and DELETE send it: without averages (BINANCE.md)."""
        terms = self.terms
        return {
            "orderId": self.order_id,
            "symbol": terms.instrument.symbol,
            "status": self.status,
            "clientOrderId": terms.client_id,
            "price": terms.price_text(terms.price),
            "origQty": terms.lots_text(terms.lots),
            "executedQty": terms.lots_text(self.done),
            "cumQty": terms.lots_text(self.done),
            "timeInForce": terms.tif,
            "type": terms.type,
            "reduceOnly": terms.reduce_only,
            "closePosition": terms.close_position,
            "side": terms.side.name,
            "positionSide": "BOTH",
            "stopPrice": terms.price_text(terms.stop),
            "workingType": terms.working_type,
            "priceProtect": terms.price_protect,
            "origType": self.original or terms.type,
            "priceMatch": "NONE",
            "selfTradePreventionMode": terms.prevention,
            "goodTillDate": terms.good_till_ms,
            "updateTime": milliseconds(self.changed_us),
        }

    def listed(self) -> dict[str, Any]:
        """Return the order as queries send it: with averages and the time it was made."""
        terms = self.terms
        digits = digits_of(terms.instrument.tick_size)
        answer = self.answer()
        del answer["cumQty"]
        return answer | {
            "avgPrice": text(self.average, digits + 3),
            "cumQuote": text(self.quote, MONEY),
            "time": milliseconds(self.made_us),
        }


@dataclass(kw_only=True)
class AlgoOrder:
    """A conditional order of the Algo Service.

    Parameters
    ----------
    terms : Terms
        What was asked for.
    algo_id : int
        The exchange's number.
    number : int
        The account step's client number, -1 where the venue watches the trigger itself.
    made_us, changed_us : int
        Stamps.
    status : str
        NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, REJECTED or EXPIRED.
    triggered_us : int
        When it did, else 0.
    order : Order or None
        What it became.
    extreme : float
        Best price seen by a trailing stop that the venue watches.
    step_id : int
        The account step's number of it, -1 where the venue watches the trigger itself.
    """

    terms: Terms
    algo_id: int
    number: int
    made_us: int
    changed_us: int
    status: str = "NEW"
    triggered_us: int = 0
    order: Order | None = None
    extreme: float = field(default=float("nan"))
    step_id: int = -1

    @property
    def is_open(self) -> bool:
        """Whether it may still trigger."""
        return self.status in ALGO_OPEN

    def answer(self) -> dict[str, Any]:
        """Return the order as the Algo Service sends it when it is placed."""
        terms = self.terms
        return {
            "algoId": self.algo_id,
            "clientAlgoId": terms.client_id,
            "algoType": "CONDITIONAL",
            "orderType": terms.type,
            "symbol": terms.instrument.symbol,
            "side": terms.side.name,
            "positionSide": "BOTH",
            "timeInForce": terms.tif,
            "quantity": terms.lots_text(terms.lots),
            "algoStatus": self.status,
            "triggerPrice": terms.price_text(terms.stop),
            "price": terms.price_text(terms.price),
            "icebergQuantity": None,
            "selfTradePreventionMode": terms.prevention,
            "workingType": terms.working_type,
            "priceMatch": "NONE",
            "closePosition": terms.close_position,
            "priceProtect": terms.price_protect,
            "reduceOnly": terms.reduce_only,
            "activatePrice": "" if terms.activation is None else terms.price_text(terms.activation),
            "callbackRate": "" if terms.callback is None else text(terms.callback, 1),
            "createTime": milliseconds(self.made_us),
            "updateTime": milliseconds(self.changed_us),
            "triggerTime": milliseconds(self.triggered_us),
            "goodTillDate": terms.good_till_ms,
        }

    def listed(self) -> dict[str, Any]:
        """Return the order as queries send it: with what became of it."""
        terms, order = self.terms, self.order
        digits = digits_of(terms.instrument.tick_size)
        zero = text(0.0, digits)
        return self.answer() | {
            "actualOrderId": "" if order is None else str(order.order_id),
            "actualPrice": text(0.0 if order is None else order.average, digits + 3),
            "actualQty": terms.lots_text(0 if order is None else order.done),
            "actualType": "" if order is None else order.terms.type,
            "tpTriggerPrice": zero,
            "tpPrice": zero,
            "slTriggerPrice": zero,
            "slPrice": zero,
            "tpOrderType": "",
        }


def qty_of(terms: Terms, lots: int) -> float:
    """Return whole steps as coins, the float of their decimal text."""
    return float(terms.lots_text(lots))
