"""What the exchange demands of an order's parameters, in its order and with its codes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from live.simulator.orders import CONDITIONAL, Terms
from live.simulator.wire import Refused, digits_of
from quantcore.data.instruments import Instrument
from quantcore.types import Side

_CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
_TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD")
_POSITION_SIDES = ("BOTH", "LONG", "SHORT")
_RESPONSES = ("ACK", "RESULT")
_WORKING_TYPES = ("CONTRACT_PRICE", "MARK_PRICE")
_PREVENTIONS = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")
GOOD_TILL_MS = 600_000
"""A GTD order lives at least so long."""
GOOD_TILL_MAX_MS = 253_402_300_799_000
LARGEST = Decimal(10) ** 15
"""No quantity or price of a client is as large."""

Params = Mapping[str, str]


def mandatory(params: Params, name: str) -> str:
    """Return a parameter.

    Raises
    ------
    Refused
        -1102 if it is missing or empty.
    """
    if not params.get(name):
        raise Refused(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return params[name]


def symbol_of(params: Params, symbols: Sequence[str]) -> int:
    """Return the column of a request's symbol.

    Raises
    ------
    Refused
        -1102 without, -1121 if it is not listed.
    """
    name = mandatory(params, "symbol")
    if name not in symbols:
        raise Refused(-1121, "Invalid symbol.")
    return symbols.index(name)


def symbols_of(params: Params, symbols: Sequence[str]) -> Sequence[int]:
    """Return the column of a request's symbol, those of all where it names none.

    Raises
    ------
    Refused
        -1121 if it is not listed.
    """
    return [symbol_of(params, symbols)] if params.get("symbol") else range(len(symbols))


def decimal_of(params: Params, name: str) -> Decimal | None:
    """Return a decimal number, None where it was not sent.

    Raises
    ------
    Refused
        -1102 if it is none.
    """
    raw = params.get(name)
    if raw is None or raw == "":
        return None
    try:
        value = Decimal(raw)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value) >= LARGEST:
        raise Refused(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return value


def integer_of(params: Params, name: str) -> int | None:
    """Return a whole number, None where it was not sent.

    Raises
    ------
    Refused
        -1102 if it is none.
    """
    value = decimal_of(params, name)
    if value is None:
        return None
    if value != value.to_integral_value():
        raise Refused(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return int(value)


def flag_of(params: Params, name: str) -> bool:
    """Return a truth value, False where it was not sent.

    Raises
    ------
    Refused
        -1102 if it is neither true nor false.
    """
    raw = params.get(name, "false").lower()
    if raw not in ("true", "false"):
        raise Refused(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return raw == "true"


def choice_of(
    params: Params, name: str, known: Sequence[str], default: str, refusal: Refused
) -> str:
    """Return a word out of some, or the default where it was not sent."""
    word = params.get(name) or default
    if word not in known:
        raise refusal
    return word


def client_id_of(params: Params, name: str, otherwise: str) -> str:
    """Return the id that a client gave, or another.

    Raises
    ------
    Refused
        -4015 if it is too long or has other characters than the exchange allows.
    """
    given = params.get(name)
    if given is None or given == "":
        return otherwise
    if len(given) > 36:
        raise Refused(-4015, "Client order id length should be less than 36 chars.")
    if not _CLIENT_ID.fullmatch(given):
        raise Refused(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^[\\.A-Z\\:/a-z0-9_-]{{1,36}}$'.",
        )
    return given


def whole_steps(value: Decimal, size: str, refusal: Refused) -> int:
    """Return a number in steps of a size; the refusal is raised where it is no whole number of them.

    Raises
    ------
    Refused
        -1111 with more decimals than the size has; else `refusal`.
    """
    if -int(value.normalize().as_tuple().exponent) > digits_of(size):
        raise Refused(-1111, "Precision is over the maximum defined for this asset.")
    steps = value / Decimal(size)
    if steps != steps.to_integral_value():
        raise refusal
    return int(steps)


def terms_of(
    params: Params,
    instruments: Sequence[Instrument],
    *,
    conditional: bool,
    made_id: str,
    now_ms: int,
) -> Terms:
    """Return what an order's parameters ask for, checked against everything but prices and the account.

    Parameters
    ----------
    params : mapping of str to str
        As sent.
    instruments : sequence of Instrument
        Of all symbols, in their order.
    conditional : bool
        Whether they were sent to the Algo Service.
    made_id : str
        Client id where none was given.
    now_ms : int
        Server time.

    Raises
    ------
    Refused
        As the exchange does.
    """
    s = symbol_of(params, [i.symbol for i in instruments])
    instrument = instruments[s]
    side = (
        choice_of(params, "side", ("BUY", "SELL"), "", Refused(-1117, "Invalid side."))
        if params.get("side")
        else mandatory(params, "side")
    )
    kind = mandatory(params, "type")
    if kind in CONDITIONAL and not conditional:
        raise Refused(
            -4120,
            "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
        )
    if kind not in (CONDITIONAL if conditional else ("LIMIT", "MARKET")):
        raise Refused(-1116, "Invalid orderType.")
    choice_of(
        params, "positionSide", _POSITION_SIDES, "BOTH", Refused(-4060, "Invalid position side.")
    )
    if params.get("positionSide", "BOTH") != "BOTH":
        raise Refused(-4061, "Order's position side does not match user's setting.")
    if params.get("priceMatch", "NONE") != "NONE":
        raise Refused(-5037, "Invalid price match")
    choice_of(
        params, "newOrderRespType", _RESPONSES, "ACK", Refused(-1136, "Invalid newOrderRespType.")
    )
    tif = choice_of(
        params, "timeInForce", _TIMES_IN_FORCE, "GTC", Refused(-1115, "Invalid timeInForce.")
    )
    limited = kind in ("LIMIT", "STOP", "TAKE_PROFIT")
    if kind == "LIMIT":
        mandatory(params, "timeInForce")
    if params.get("price") and not limited:
        raise Refused(-1106, "Parameter 'price' sent when not required.")
    close, reduce = flag_of(params, "closePosition"), flag_of(params, "reduceOnly")
    _check_closing(params, kind, close, reduce)
    return Terms(
        instrument=instrument,
        s=s,
        side=Side[side],
        type=kind,
        tif=tif,
        lots=0 if close else _lots(params, instrument, kind),
        price=_price(params, "price", instrument) if limited else None,
        stop=_trigger(params, instrument, kind) if conditional else None,
        client_id=client_id_of(params, "clientAlgoId" if conditional else "newClientOrderId", made_id),
        reduce_only=reduce or close,
        close_position=close,
        price_protect=flag_of(params, "priceProtect"),
        working_type=choice_of(
            params, "workingType", _WORKING_TYPES, "CONTRACT_PRICE",
            Refused(-4031, f"Invalid parameter working type: {params.get('workingType')}"),
        ),
        callback=_callback(params) if kind == "TRAILING_STOP_MARKET" else None,
        activation=_activation(params, instrument) if kind == "TRAILING_STOP_MARKET" else None,
        good_till_ms=_good_till(params, now_ms) if tif == "GTD" else 0,
        prevention=choice_of(
            params, "selfTradePreventionMode", _PREVENTIONS, "EXPIRE_MAKER",
            Refused(-5039, "Invalid self trade prevention mode"),
        ),
    )  # fmt: skip


def _check_closing(params: Params, kind: str, close: bool, reduce: bool) -> None:
    if not close:
        return
    if kind not in ("STOP_MARKET", "TAKE_PROFIT_MARKET"):
        raise Refused(-4136, f"Target strategy invalid for orderType {kind},closePosition true")
    if reduce:
        raise Refused(-1106, "Parameter 'reduceonly' sent when not required.")
    if params.get("quantity"):
        raise Refused(-4137, "Quantity must be zero with closePosition equals true")


def _lots(params: Params, instrument: Instrument, kind: str) -> int:
    mandatory(params, "quantity")
    qty = decimal_of(params, "quantity")
    assert qty is not None  # mandatory
    if qty <= 0:
        raise Refused(-4003, "Quantity less than zero.")
    lots = whole_steps(qty, instrument.step_size, Refused(-4023, "Qty not increased by step size."))
    if qty < Decimal(instrument.min_qty):
        raise Refused(-4004, "Quantity less than min quantity.")
    most = (
        instrument.limit_max_qty
        if kind in ("LIMIT", "STOP", "TAKE_PROFIT")
        else instrument.market_max_qty
    )
    if qty > Decimal(most):
        raise Refused(-4005, "Quantity greater than max quantity.")
    return lots


def _price(
    params: Params,
    name: str,
    instrument: Instrument,
    negative: tuple[int, str] = (-4001, "Price less than 0."),
) -> float:
    mandatory(params, name)
    price = decimal_of(params, name)
    assert price is not None  # mandatory
    if price <= 0:
        raise Refused(*negative)
    whole_steps(price, instrument.tick_size, Refused(-4014, "Price not increased by tick size."))
    return float(price)


def _trigger(params: Params, instrument: Instrument, kind: str) -> float | None:
    if kind == "TRAILING_STOP_MARKET":
        return None
    name = (
        "triggerPrice" if params.get("triggerPrice") or not params.get("stopPrice") else "stopPrice"
    )
    return _price(params, name, instrument, (-4006, "Stop price less than zero."))


def _activation(params: Params, instrument: Instrument) -> float | None:
    for name in ("activatePrice", "activationPrice"):
        if params.get(name):
            return _price(params, name, instrument, (-4135, "Invalid activation price"))
    return None


def _callback(params: Params) -> float:
    mandatory(params, "callbackRate")
    rate = decimal_of(params, "callbackRate")
    assert rate is not None  # mandatory
    if not Decimal("0.1") <= rate <= 10:
        raise Refused(-2007, "Invalid callBack rate")
    return float(rate)


def _good_till(params: Params, now_ms: int) -> int:
    mandatory(params, "goodTillDate")
    until = integer_of(params, "goodTillDate")
    assert until is not None  # mandatory
    if not now_ms + GOOD_TILL_MS <= until < GOOD_TILL_MAX_MS:
        raise Refused(
            -5040,
            "The goodTillDate timestamp must be greater than the current time plus 600 seconds and smaller than "
            "253402300799000 (UTC 9999-12-31 23:59:59)",
        )
    return until
