"""What can be asked of the exchange: each route with its security, weight, order count and mandatory parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

Parameters = Mapping[str, str]


class Security(Enum):
    """What a request must bring."""

    NONE = "nothing"
    KEY = "an API key"
    SIGNED = "an API key and a signature"


@dataclass(frozen=True)
class Route:
    """One route.

    Parameters
    ----------
    security : Security
        What a request must bring.
    weight : int or callable
        Of the request, or what gives it from the parameters.
    mandatory : tuple of str
        Parameters without which it is refused before its signature is looked at.
    orders : mapping of str to int
        How many orders it counts for in the windows ``10S`` and ``1M``.
    funding : bool
        Whether it is one of the two that share a limit of their own.
    """

    security: Security
    weight: int | Callable[[Parameters], int] = 1
    mandatory: tuple[str, ...] = ()
    orders: Mapping[str, int] = field(default_factory=dict)
    funding: bool = False

    def weight_of(self, params: Parameters) -> int:
        """Return the weight of a request with these parameters."""
        return self.weight if isinstance(self.weight, int) else self.weight(params)


def _limit(params: Parameters, default: int) -> int:
    text = params.get("limit", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _kline_weight(params: Parameters) -> int:
    limit = _limit(params, 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _depth_weight(params: Parameters) -> int:
    limit = _limit(params, 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


def _by_symbol(one: int, every: int) -> Callable[[Parameters], int]:
    def weight(params: Parameters) -> int:
        return one if params.get("symbol") else every

    return weight


_ORDER = {"10S": 1, "1M": 1}
_BATCH = {"10S": 5, "1M": 1}


def _public() -> dict[str, Route]:
    klines = Route(Security.NONE, _kline_weight, ("symbol", "interval"))
    by_pair = Route(Security.NONE, _kline_weight, ("pair", "interval"))
    prices = Route(Security.NONE, _by_symbol(1, 2))
    books = Route(Security.NONE, _by_symbol(2, 5))
    return {
        "GET /api/v3/ping": Route(Security.NONE),
        "GET /api/v3/time": Route(Security.NONE),
        "GET /fapi/v1/ping": Route(Security.NONE),
        "GET /fapi/v1/time": Route(Security.NONE),
        "GET /fapi/v1/exchangeInfo": Route(Security.NONE),
        "GET /fapi/v1/depth": Route(Security.NONE, _depth_weight, ("symbol",)),
        "GET /fapi/v1/trades": Route(Security.NONE, 5, ("symbol",)),
        "GET /fapi/v1/historicalTrades": Route(Security.KEY, 20, ("symbol",)),
        "GET /fapi/v1/aggTrades": Route(Security.NONE, 20, ("symbol",)),
        "GET /fapi/v1/klines": klines,
        "GET /fapi/v1/continuousKlines": Route(
            Security.NONE, _kline_weight, ("pair", "contractType", "interval")
        ),
        "GET /fapi/v1/markPriceKlines": klines,
        "GET /fapi/v1/indexPriceKlines": by_pair,
        "GET /fapi/v1/premiumIndexKlines": klines,
        "GET /fapi/v1/premiumIndex": Route(Security.NONE, _by_symbol(1, 10)),
        "GET /fapi/v1/fundingRate": Route(Security.NONE, 0, funding=True),
        "GET /fapi/v1/fundingInfo": Route(Security.NONE, 0, funding=True),
        "GET /fapi/v1/ticker/24hr": Route(Security.NONE, _by_symbol(1, 40)),
        "GET /fapi/v1/ticker/price": prices,
        "GET /fapi/v2/ticker/price": prices,
        "GET /fapi/v1/ticker/bookTicker": books,
        "GET /fapi/v1/openInterest": Route(Security.NONE, 1, ("symbol",)),
        "POST /fapi/v1/listenKey": Route(Security.KEY),
        "PUT /fapi/v1/listenKey": Route(Security.KEY),
        "DELETE /fapi/v1/listenKey": Route(Security.KEY),
    }


def _orders() -> dict[str, Route]:
    algo = ("algoType", "symbol", "side", "type")
    order = ("symbol", "side", "type")
    changed = ("symbol", "side", "quantity")
    signed = Security.SIGNED
    return {
        "POST /fapi/v1/order": Route(signed, 0, order, _ORDER),
        "PUT /fapi/v1/order": Route(signed, 0, changed, _ORDER),
        "GET /fapi/v1/order": Route(signed, 1, ("symbol",)),
        "DELETE /fapi/v1/order": Route(signed, 1, ("symbol",)),
        "POST /fapi/v1/order/test": Route(signed, 0, order),
        "POST /fapi/v1/batchOrders": Route(signed, 5, ("batchOrders",), _BATCH),
        "PUT /fapi/v1/batchOrders": Route(signed, 5, ("batchOrders",), _BATCH),
        "DELETE /fapi/v1/batchOrders": Route(signed, 1, ("symbol",)),
        "GET /fapi/v1/openOrder": Route(signed, 1, ("symbol",)),
        "GET /fapi/v1/openOrders": Route(signed, _by_symbol(1, 40)),
        "DELETE /fapi/v1/allOpenOrders": Route(signed, 1, ("symbol",)),
        "GET /fapi/v1/allOrders": Route(signed, 5, ("symbol",)),
        "POST /fapi/v1/countdownCancelAll": Route(signed, 10, ("symbol", "countdownTime")),
        "POST /fapi/v1/algoOrder": Route(signed, 0, algo, _ORDER),
        "GET /fapi/v1/algoOrder": Route(signed),
        "DELETE /fapi/v1/algoOrder": Route(signed),
        "GET /fapi/v1/openAlgoOrders": Route(signed, _by_symbol(1, 40)),
        "GET /fapi/v1/allAlgoOrders": Route(signed, 5, ("symbol",)),
        "DELETE /fapi/v1/algoOpenOrders": Route(signed, 1, ("symbol",)),
    }


def _account() -> dict[str, Route]:
    signed = Security.SIGNED
    routes = {
        f"GET /fapi/{version}/{name}": Route(signed, 5)
        for version in ("v2", "v3")
        for name in ("account", "balance", "positionRisk")
    }
    margin = ("symbol", "amount", "type")
    return routes | {
        "GET /fapi/v1/symbolConfig": Route(signed, 5),
        "GET /fapi/v1/accountConfig": Route(signed, 5),
        "POST /fapi/v1/leverage": Route(signed, 1, ("symbol", "leverage")),
        "POST /fapi/v1/marginType": Route(signed, 1, ("symbol", "marginType")),
        "POST /fapi/v1/positionMargin": Route(signed, 1, margin),
        "GET /fapi/v1/positionMargin/history": Route(signed, 1, ("symbol",)),
        "GET /fapi/v1/positionSide/dual": Route(signed, 30),
        "POST /fapi/v1/positionSide/dual": Route(signed, 1, ("dualSidePosition",)),
        "GET /fapi/v1/multiAssetsMargin": Route(signed, 30),
        "POST /fapi/v1/multiAssetsMargin": Route(signed, 1, ("multiAssetsMargin",)),
        "GET /fapi/v1/leverageBracket": Route(signed),
        "GET /fapi/v1/commissionRate": Route(signed, 20, ("symbol",)),
        "GET /fapi/v1/userTrades": Route(signed, 5, ("symbol",)),
        "GET /fapi/v1/income": Route(signed, 30),
        "GET /fapi/v1/adlQuantile": Route(signed, 5),
        "GET /fapi/v1/forceOrders": Route(signed, _by_symbol(20, 50)),
        "GET /fapi/v1/feeBurn": Route(signed, 30),
        "POST /fapi/v1/feeBurn": Route(signed, 1, ("feeBurn",)),
        "GET /fapi/v1/rateLimit/order": Route(signed),
    }


ROUTES: Mapping[str, Route] = MappingProxyType(_public() | _orders() | _account())
"""By name, such as ``"GET /fapi/v1/depth"``; weights as the exchange documents them."""
