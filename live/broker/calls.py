"""Every request that the broker makes: the client's method, weight, orders, and whether it is signed.

Weights are the exchange's own (BINANCE.md, Limits and clocks); what its headers say corrects their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Call:
    """A kind of request.

    Parameters
    ----------
    method : str
        Of python-binance's client.
    weight : int
        Of one request.
    orders : int
        How many orders it counts for.
    signed : bool
        Whether it carries a timestamp and a signature.
    """

    method: str
    weight: int
    orders: int = 0
    signed: bool = True


TIME: Final = Call("futures_time", 1, signed=False)
INFO: Final = Call("futures_exchange_info", 1, signed=False)
FUNDING_INFO: Final = Call("futures_v1_get_funding_info", 0, signed=False)
MAKE_KEY: Final = Call("futures_stream_get_listen_key", 1, signed=False)
EXTEND_KEY: Final = Call("futures_stream_keepalive", 1, signed=False)
SEND: Final = Call("futures_create_order", 0, orders=1)
CANCEL: Final = Call("futures_cancel_order", 1)
QUERY: Final = Call("futures_get_order", 1)
OPEN_ORDERS: Final = Call("futures_get_open_orders", 40)
POSITIONS: Final = Call("futures_position_information", 5)
ACCOUNT: Final = Call("futures_account", 5)
POSITION_MODE: Final = Call("futures_get_position_mode", 30)
MULTI_ASSETS: Final = Call("futures_get_multi_assets_mode", 30)
FEE_BURN: Final = Call("futures_v1_get_fee_burn", 30)
PERMISSIONS: Final = Call("get_account_api_permissions", 0)
SYMBOL_CONFIG: Final = Call("futures_symbol_config", 5)
TRADES: Final = Call("futures_account_trades", 5)
INCOME: Final = Call("futures_income_history", 30)
BRACKETS: Final = Call("futures_leverage_bracket", 1)
FEES: Final = Call("futures_commission_rate", 20)
LEVERAGE: Final = Call("futures_change_leverage", 1)
MARGIN_TYPE: Final = Call("futures_change_margin_type", 1)
SET_MODE: Final = Call("futures_change_position_mode", 1)
COUNTDOWN: Final = Call("futures_countdown_cancel_all", 10)
