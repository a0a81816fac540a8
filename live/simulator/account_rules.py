"""Signed requests that tell by which rules an account trades: leverage, brackets, fees, limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from live.simulator.accounts import VenueAccount, notional_max
from live.simulator.filters import symbol_of, symbols_of
from live.simulator.wire import text
from quantcore.kernels import layout as at

if TYPE_CHECKING:
    from live.simulator.engine import Engine

Params = Mapping[str, str]


def symbol_config(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET symbolConfig: margin type and leverage."""
    chosen = symbols_of(params, venue.symbols)
    return [
        {
            "symbol": venue.symbols[s],
            "marginType": "ISOLATED" if account.isolated(s) else "CROSSED",
            "isAutoAddMargin": False,
            "leverage": account.leverage(s),
            "maxNotionalValue": text(notional_max(venue.instruments[s], account.leverage(s)), 0),
        }
        for s in chosen
    ]


def account_config(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET accountConfig."""
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": False,
        "dualSidePosition": False,
        "updateTime": 0,
        "multiAssetsMargin": False,
        "tradeGroupId": -1,
    }


def leverage_bracket(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET leverageBracket: of one symbol or all, always a list."""
    chosen = symbols_of(params, venue.symbols)
    return [
        {
            "symbol": venue.symbols[s],
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": k + 1,
                    "initialLeverage": row.leverage_max,
                    "notionalCap": _whole(row.cap),
                    "notionalFloor": _whole(row.floor),
                    "maintMarginRatio": row.maintenance_margin_rate,
                    "cum": _whole(row.cum),
                }
                for k, row in enumerate(venue.instruments[s].brackets)
            ],
        }
        for s in chosen
    ]


def commission_rate(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET commissionRate."""
    s = symbol_of(params, venue.symbols)
    rate = account.rules.rate[s]
    return {
        "symbol": venue.symbols[s],
        "makerCommissionRate": text(float(rate[at.MAKER_FEE]), 6),
        "takerCommissionRate": text(float(rate[at.TAKER_FEE]), 6),
    }


def order_limits(venue: Engine, account: VenueAccount, params: Params) -> Any:
    """GET rateLimit/order."""
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    ]


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value
