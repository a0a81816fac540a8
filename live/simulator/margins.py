"""Signed requests that set how positions are margined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from live.simulator import user_events
from live.simulator.accounts import VenueAccount, notional_max
from live.simulator.filters import decimal_of, flag_of, integer_of, mandatory, symbol_of
from live.simulator.orders import MONEY
from live.simulator.refusals import refusal
from live.simulator.wire import Refused, milliseconds, text
from quantcore.kernels import layout as at
from quantcore.types import MarginType, Rule

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]
LEVERAGE_MAX = 125


def set_leverage(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST leverage."""
    s = symbol_of(params, venue.symbols)
    mandatory(params, "leverage")
    leverage = integer_of(params, "leverage")
    instrument = venue.instruments[s]
    if leverage is None or not 1 <= leverage <= min(LEVERAGE_MAX, instrument.leverage_max):
        raise Refused(-4028, f"Leverage {params['leverage']} is not valid")
    mark = float(venue.marks[s])
    if abs(account.qty(s)) * mark > notional_max(instrument, leverage):
        raise refusal(venue.instruments[s], Rule.BRACKET_NOTIONAL)
    former = account.leverage(s)
    if leverage < former and account.isolated(s) and account.lots(s) != 0:
        raise Refused(
            -4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions"
        )
    account.set_leverage(s, leverage)
    if leverage < former and _short_of_margin(venue, account, s):
        account.set_leverage(s, former)
        raise Refused(-2028, "Leverage is smaller than permitted: insufficient margin balance.")
    if leverage != former:
        venue.tell(account, user_events.leverage_update(account, s, venue.now_us))
    return {
        "leverage": leverage,
        "maxNotionalValue": text(notional_max(instrument, leverage), 0),
        "symbol": instrument.symbol,
    }


def _short_of_margin(venue: Engine, account: VenueAccount, s: int) -> bool:
    held = account.qty(s) != 0.0 and not account.isolated(s)
    return held and account.available(venue.marks) <= 0.0


def set_margin_type(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST marginType: of a symbol without position and orders."""
    s = symbol_of(params, venue.symbols)
    word = mandatory(params, "marginType")
    if word not in ("ISOLATED", "CROSSED"):
        raise Refused(-1130, "Data sent for parameter 'marginType' is not valid.")
    wanted = MarginType.ISOLATED if word == "ISOLATED" else MarginType.CROSS
    if account.rules.size[s, at.MARGIN_TYPE] == wanted:
        raise Refused(-4046, "No need to change margin type.")
    if account.lots(s) != 0:
        raise Refused(-4048, "Margin type cannot be changed if there exists position.")
    if account.open_orders(s) or account.open_algos(s):
        raise Refused(-4047, "Margin type cannot be changed if there exists open orders.")
    account.rules.size[s, at.MARGIN_TYPE] = int(wanted)
    return {"code": 200, "msg": "success"}


def move_margin(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST positionMargin: into (1) or out of (2) an isolated position."""
    s = symbol_of(params, venue.symbols)
    mandatory(params, "amount")
    amount, way = decimal_of(params, "amount"), integer_of(params, "type")
    if amount is None or amount <= 0:
        raise Refused(-4055, "Amount must be positive.")
    if way not in (1, 2):
        raise Refused(-1130, "Data sent for parameter 'type' is not valid.")
    if not account.isolated(s):
        raise Refused(-4049, "Add margin only support for isolated position.")
    if account.lots(s) == 0:
        raise Refused(-4054, "Cannot add position margin: position is 0.")
    moved = float(amount) if way == 1 else -float(amount)
    position = account.held["position"]
    mark = float(venue.marks[s])
    profit = account.qty(s) * (mark - account.entry(s))
    least = abs(account.qty(s)) * mark / account.leverage(s)
    if moved > 0.0 and moved > account.available(venue.marks):
        raise Refused(-4050, "Cross balance insufficient.")
    if moved < 0.0 and position[s, at.MARGIN] + min(profit, 0.0) + moved < least:
        raise Refused(-4051, "Isolated balance insufficient.")
    position[s, at.MARGIN] += moved
    account.held["cash"][at.WALLET] -= moved
    account.margin_changes.append(
        {
            "symbol": venue.symbols[s], "type": way, "deltaType": "USER_ADJUST", "amount": text(float(amount), MONEY),
            "asset": "USDT", "time": milliseconds(venue.now_us), "positionSide": "BOTH",
        }
    )  # fmt: skip
    venue.tell(
        account,
        user_events.account_update(
            account, "MARGIN_TRANSFER", [s], -moved, venue.marks, venue.now_us
        ),
    )
    return {
        "amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": way,
    }  # fmt: skip


def margin_history(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionMargin/history."""
    symbol = venue.symbols[symbol_of(params, venue.symbols)]
    return [dict(each) for each in account.margin_changes if each["symbol"] == symbol]


def position_side(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET positionSide/dual: one-way."""
    return {"dualSidePosition": False}


def set_position_side(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST positionSide/dual: hedge mode is not built, and refused."""
    mandatory(params, "dualSidePosition")
    if flag_of(params, "dualSidePosition"):
        raise _not_built("Hedge mode")
    raise Refused(-4059, "No need to change position side.")


def multi_assets(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET multiAssetsMargin: single-asset."""
    return {"multiAssetsMargin": False}


def set_multi_assets(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST multiAssetsMargin: multi-assets mode is not built, and refused."""
    mandatory(params, "multiAssetsMargin")
    if flag_of(params, "multiAssetsMargin"):
        raise _not_built("Multi-Assets mode")
    raise Refused(
        -4171, "Adjusted asset mode is currently set and does not need to be adjusted repeatedly."
    )


def fee_burn(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET feeBurn: fees are paid in USDT."""
    return {"feeBurn": False}


def set_fee_burn(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """POST feeBurn: paying fees in BNB is not built; switching it off is success."""
    mandatory(params, "feeBurn")
    if flag_of(params, "feeBurn"):
        raise _not_built("Paying fees in BNB")
    return {"code": 200, "msg": "success"}


def _not_built(what: str) -> Refused:
    return Refused(
        -4084, f"Method is not allowed currently. {what} is not supported by this exchange."
    )
