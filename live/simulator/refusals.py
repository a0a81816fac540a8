"""What the exchange answers where a rule of the account step refuses an order."""

from __future__ import annotations

from live.simulator.wire import Refused
from quantcore.data.instruments import Instrument
from quantcore.types import Rule

REFUSALS = {
    Rule.MIN_NOTIONAL: (-4164, "Order's notional must be no smaller than {least:g} (unless you choose reduce only)."),
    Rule.BELOW_STEP: (-4004, "Quantity less than min quantity."),
    Rule.MARKET_MAX_QTY: (-4005, "Quantity greater than max quantity."),
    Rule.MARGIN: (-2019, "Margin is insufficient."),
    Rule.BRACKET_NOTIONAL: (-2027, "Exceeded the maximum allowable position at current leverage."),
    Rule.POST_ONLY_WOULD_CROSS: (
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. "
        "The order will not be recorded in the order history",
    ),
    Rule.REDUCE_ONLY: (-2022, "ReduceOnly Order is rejected."),
    Rule.FOK_NOT_FILLABLE: (
        -5021,
        "Due to the order could not be filled immediately, the FOK order has been rejected. "
        "The order will not be recorded in the order history",
    ),
    Rule.OPEN_ORDER_LIMIT: (-2025, "Reach max open order limit."),
    Rule.NO_PRICE: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    Rule.WOULD_TRIGGER: (-2021, "Order would immediately trigger."),
    Rule.SYMBOL_ENDED: (-4140, "Invalid symbol status for opening position."),
    Rule.LIQUIDATION: (-2023, "User in liquidation mode now."),
}  # fmt: skip


def refusal(instrument: Instrument, rule: int) -> Refused:
    """Return the refusal of an order in an instrument by a rule."""
    code, message = REFUSALS[Rule(rule)]
    return Refused(code, message.format(least=instrument.min_notional))
