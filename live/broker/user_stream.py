"""What the messages of the user stream mean: fills, changes of orders, balances, and reasons to doubt (all pure)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from live.broker.forms import (
    TRIGGERING,
    algo_status,
    flag_of,
    number_of,
    positive_of,
    price_of,
    status_of,
    time_of,
    type_of,
    whole_of,
)
from live.broker.interface import Balance, BrokerEvent, Doubt, Fill, OrderChange, OrderReport
from quantcore.types import Side

Message = Mapping[str, Any]

EXPIRED: Final = "listenKeyExpired"
KEPT: Final = 20_000
"""Trades, orders and conditional orders that are remembered, the newest."""
_UM: Final = 1
_EXECUTIONS: Final = frozenset({"TRADE", "CALCULATED"})
_DOUBTFUL: Final = MappingProxyType(
    {
        "MARGIN_CALL": "margin call",
        "CONDITIONAL_ORDER_TRIGGER_REJECT": "a conditional order was rejected as it triggered",
    }
)
_BRIEF_US: Final = 5_000_000
"""How long ORDER_TRADE_UPDATE may lag behind the TRADE_LITE of its trade."""


class _Remembered(OrderedDict[Hashable, Any]):
    """The newest entries, `KEPT` of them."""

    def __setitem__(self, key: Hashable, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > KEPT:
            self.popitem(last=False)


class UserStream:
    """Turns messages into events; it remembers which trades it told and which conditional orders hang.

    Parameters
    ----------
    stuck_us : int
        How long a conditional order may be in TRIGGERING, in the exchange's time.
    """

    def __init__(self, *, stuck_us: int) -> None:
        self._stuck_us = stuck_us
        self._told_trades = _Remembered()
        self._became = _Remembered()
        self._triggering: dict[str, tuple[int, OrderReport, bool]] = {}
        self._brief: dict[tuple[str, int], int] = {}
        self._leverages: dict[str, int] = {}
        self._kinds: Mapping[str, Callable[[Message], list[BrokerEvent]]] = {
            "ORDER_TRADE_UPDATE": self._order,
            "ALGO_UPDATE": self._algo,
            "ACCOUNT_UPDATE": self._balance,
            "ACCOUNT_CONFIG_UPDATE": self._config,
            "TRADE_LITE": self._trade_lite,
        }

    def expect_leverage(self, symbol: str, leverage: int) -> None:
        """Note what we set ourselves, so that hearing of it raises no doubt."""
        self._leverages[symbol] = leverage

    def hear(self, message: Any) -> list[BrokerEvent]:
        """Return what a message means; one that is not understood is a `Doubt`, a trade told before is nothing.

        Nor is the end of the listen key: the socket ends with it and tells that.

        Parameters
        ----------
        message : object
            The decoded JSON.
        """
        if not isinstance(message, Mapping) or not isinstance(message.get("e"), str):
            return [Doubt(time_us=0, reason="user stream: a message without an event type")]
        if message.get("st", _UM) != _UM:
            return []
        kind = message["e"]
        try:
            time_us = _stamp_us(message)
        except ValueError:
            return [Doubt(time_us=0, reason=f"user stream: {kind[:40]} at no time that there is")]
        if kind == EXPIRED:  # the socket tells of its end, once
            return []
        if kind in _DOUBTFUL:
            return [Doubt(time_us=time_us, reason=f"user stream: {_DOUBTFUL[kind]}")]
        if kind not in self._kinds:
            return [Doubt(time_us=time_us, reason=f"user stream: unknown event {kind[:40]}")]
        try:
            return self._kinds[kind](message)
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = f"user stream: {kind} not understood ({type(error).__name__}: {error})"
            return [Doubt(time_us=time_us, reason=reason[:200])]

    def watch(self, now_us: int) -> list[BrokerEvent]:
        """Return what silence means: conditional orders that hang, trades of which only the brief message came."""
        found: list[BrokerEvent] = []
        for name, (since_us, order, is_told) in list(self._triggering.items()):
            if not is_told and now_us - since_us > self._stuck_us:
                self._triggering[name] = (since_us, order, True)
                found.append(OrderChange(time_us=now_us, order=order, why="stuck in TRIGGERING"))
        for trade, heard_us in list(self._brief.items()):
            if now_us - heard_us > _BRIEF_US:
                del self._brief[trade]
                found.append(
                    Doubt(
                        time_us=now_us,
                        reason=f"user stream: trade {trade[1]} of {trade[0]} came without its order's update",
                    )
                )
        return found

    def _order(self, message: Message) -> list[BrokerEvent]:
        told = message["o"]
        time_us = time_of(told["T"])
        execution = str(told["x"])
        if execution in _EXECUTIONS and Decimal(number_of(told["l"])) != 0:
            return self._fill(told, time_us)
        order = OrderReport(
            client_id=self._client_id(told),
            symbol=str(told["s"]),
            side=Side[told["S"]],
            type=type_of(told["o"]),
            exchange_id=whole_of(told["i"]),
            conditional=False,
            status=status_of(told["X"]),
            qty=number_of(told["q"]),
            filled=number_of(told["z"]),
            price=price_of(told["p"]),
            stop_price=price_of(told["sp"]),
            reduce_only=flag_of(told["R"]),
            close_position=flag_of(told.get("cp", False)),
        )
        return [OrderChange(time_us=time_us, order=order, why=_reason(execution, told))]

    def _fill(self, told: Message, time_us: int) -> list[BrokerEvent]:
        trade = (str(told["s"]), whole_of(told["t"]))
        if trade in self._told_trades:
            return []
        fill = Fill(
            time_us=time_us,
            trade_id=trade[1],
            client_id=self._client_id(told),
            exchange_id=whole_of(told["i"]),
            symbol=trade[0],
            side=Side[told["S"]],
            qty=positive_of(told["l"]),
            price=positive_of(told["L"]),
            fee=number_of(told.get("n") or "0"),
            fee_asset=str(told.get("N") or "USDT"),
            maker=flag_of(told["m"]),
            order_status=status_of(told["X"]),
            realised=number_of(told["rp"]),
        )
        self._told_trades[trade] = None
        self._brief.pop(trade, None)
        return [fill]

    def _client_id(self, told: Message) -> str:
        """Return the client id of an order; of one that a conditional order became, the conditional order's."""
        return str(self._became.get((told["s"], whole_of(told["i"])), told["c"]))

    def _trade_lite(self, message: Message) -> list[BrokerEvent]:
        """Await the full message of the trade: the brief one has neither fee nor profit."""
        trade = (str(message["s"]), whole_of(message["t"]))
        if trade not in self._told_trades:
            self._brief[trade] = _stamp_us(message)
        return []

    def _algo(self, message: Message) -> list[BrokerEvent]:
        told = message["o"]
        state, time_us = str(told["X"]), _stamp_us(message)
        qty, filled = number_of(told.get("q") or "0"), number_of(told.get("aq") or "0")
        name = str(told["caid"])
        became = whole_of(told.get("ai") or 0)
        stuck = OrderReport(
            client_id=name,
            symbol=str(told["s"]),
            side=Side[told["S"]],
            type=type_of(told["o"]),
            exchange_id=whole_of(told["aid"]),
            conditional=True,
            status=algo_status(state, qty, filled),
            qty=qty,
            filled=filled,
            price=price_of(told.get("p")),
            stop_price=price_of(told.get("tp")),
            reduce_only=flag_of(told.get("R", False)),
            close_position=flag_of(told.get("cp", False)),
            stuck=True,
        )
        if became:
            self._became[stuck.symbol, became] = name
        if state == TRIGGERING:
            self._triggering.setdefault(name, (time_us, stuck, False))
        else:
            self._triggering.pop(name, None)
        why = str(told.get("rm") or state)
        return [OrderChange(time_us=time_us, order=_at_work(stuck), why=why)]

    def _balance(self, message: Message) -> list[BrokerEvent]:
        told, time_us = message["a"], _stamp_us(message)
        kind = str(told["m"])
        sides = {str(each.get("ps", "BOTH")) for each in told.get("P", [])}
        if sides - {"BOTH"}:
            return [Doubt(time_us=time_us, reason="user stream: a position of hedge mode")]
        found: list[BrokerEvent] = []
        for each in told.get("B", []):
            if each["a"] != "USDT":
                reason = f"user stream: the balance of {each['a']} changed by {kind}"
                found.append(Doubt(time_us=time_us, reason=reason))
                continue
            found.append(
                Balance(
                    time_us=time_us,
                    wallet=number_of(each["wb"]),
                    change=number_of(each["bc"]),
                    kind=kind,
                    positions=tuple(
                        (str(p["s"]), number_of(p["pa"]), number_of(p["ep"]))
                        for p in told.get("P", [])
                    ),
                )
            )
        if not found:
            reason = f"user stream: a position changed by {kind} without a balance"
            found.append(Doubt(time_us=time_us, reason=reason))
        return found

    def _config(self, message: Message) -> list[BrokerEvent]:
        time_us = _stamp_us(message)
        if "ac" not in message:
            return [Doubt(time_us=time_us, reason="user stream: multi-assets mode was changed")]
        symbol, leverage = str(message["ac"]["s"]), whole_of(message["ac"]["l"])
        if self._leverages.get(symbol) == leverage:
            return []
        reason = f"user stream: leverage of {symbol} was set to {leverage}"
        return [Doubt(time_us=time_us, reason=reason)]


def _at_work(order: OrderReport) -> OrderReport:
    """Return an order that is not, or not yet, told as stuck."""
    return replace(order, stuck=False)


def _reason(execution: str, told: Message) -> str:
    """Return why an order changed: the exchange's word, and its reason where it gives one."""
    given = str(told.get("er", "0"))
    return execution if given in ("", "0") else f"{execution} ({given})"


def _stamp_us(message: Message) -> int:
    """Return when it happened; of a message without a stamp, 0; ValueError where it is no time."""
    stamp = message.get("T", message.get("E", ""))  # of listenKeyExpired it is text
    return 0 if stamp in ("", None) else time_of(stamp)
