"""Orders given one by one, for tests, replays and the simulator: what a target cannot express."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from quantcore.data.instruments import Instrument, decimal_fraction
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.timegrid import to_us
from quantcore.types import FloatArray, IntArray, OrderType, Side, TimeInForce, WorkingType


@dataclass(frozen=True, kw_only=True)
class OrderRequest:
    """One order, sent at the close of the bar stamped `ts`; or the cancel of an earlier one.

    Parameters
    ----------
    ts : str
        UTC stamp of the bar at whose close it is sent.
    symbol : str
        Held by the bars.
    side : Side
        Buy or sell.
    type : OrderType
        Market by default.
    qty : float
        Coins, > 0, rounded down to the step; 0 with `close_position`.
    price, stop_price : float or None
        Limit and trigger price; a limit is rounded to the tick that is no better for the market, a trigger to the
        nearest.
    callback : float or None
        Fraction by which a trailing stop follows.
    cancel : int or None
        Number of the earlier request in the script whose order is cancelled; all else is ignored.
    """

    ts: str
    symbol: str
    side: Side = Side.BUY
    type: OrderType = OrderType.MARKET
    qty: float = 0.0
    price: float | None = None
    stop_price: float | None = None
    callback: float | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    working_type: WorkingType = WorkingType.CONTRACT_PRICE
    reduce_only: bool = False
    close_position: bool = False
    cancel: int | None = None


@dataclass(frozen=True, kw_only=True)
class OrderScript:
    """Requests as the kernel reads them, sorted by bar."""

    whole: IntArray = field(repr=False)
    number: FloatArray = field(repr=False)

    @classmethod
    def empty(cls) -> OrderScript:
        """Return a script without orders."""
        return cls(whole=np.empty((0, at.N_SCRIPT), dtype=np.int64), number=np.empty((0, 3)))


def order_script(
    requests: Sequence[OrderRequest], bars: Bars, instruments: Sequence[Instrument]
) -> OrderScript:
    """Return requests as a script for some bars; requests outside them are left out.

    Raises
    ------
    ValueError
        If a symbol is not held, a price that the type needs is missing, or a quantity is not positive.
    """
    by_symbol = {i.symbol: i for i in instruments}
    whole = np.zeros((len(requests), at.N_SCRIPT), dtype=np.int64)
    number = np.full((len(requests), 3), np.nan)
    inside = np.zeros(len(requests), dtype=bool)
    for k, request in enumerate(requests):
        row = int(np.searchsorted(bars.ts_us, to_us(request.ts)))
        inside[k] = row < bars.n_bars and bars.ts_us[row] == to_us(request.ts)
        whole[k, at.SCRIPT_ROW] = row
        whole[k, at.SCRIPT_CLIENT] = k
        if request.cancel is not None:
            whole[k, at.SCRIPT_CLIENT] = request.cancel
            whole[k, at.SCRIPT_CANCEL] = 1
            continue
        if request.symbol not in bars.symbols:
            raise ValueError(
                f"symbol must be one of {', '.join(bars.symbols)}, was {request.symbol}"
            )
        _check(request)
        instrument = by_symbol[request.symbol]
        whole[k, at.SCRIPT_SYMBOL] = bars.symbols.index(request.symbol)
        whole[k, at.SCRIPT_SIDE] = int(request.side)
        whole[k, at.SCRIPT_TYPE] = int(request.type)
        whole[k, at.SCRIPT_TIF] = int(request.time_in_force)
        whole[k, at.SCRIPT_WORKING] = int(request.working_type)
        whole[k, at.SCRIPT_LOTS] = _down(request.qty, instrument.step_size)
        whole[k, at.SCRIPT_FLAGS] = (
            at.REDUCE_ONLY * request.reduce_only | at.CLOSE_POSITION * request.close_position
        )
        if request.price is not None:
            number[k, 0] = _passive(request.price, instrument.tick_size, request.side)
        if request.stop_price is not None:
            number[k, 1] = _nearest(request.stop_price, instrument.tick_size)
        if request.callback is not None:
            number[k, 2] = request.callback
    order = np.argsort(whole[:, at.SCRIPT_ROW], kind="stable")
    order = order[inside[order]]
    return OrderScript(whole=whole[order], number=number[order])


def _check(request: OrderRequest) -> None:
    needs = {
        OrderType.LIMIT: "price",
        OrderType.STOP_MARKET: "stop_price",
        OrderType.TAKE_PROFIT_MARKET: "stop_price",
        OrderType.TRAILING_STOP_MARKET: "callback",
    }.get(request.type)
    if needs is not None and getattr(request, needs) is None:
        raise ValueError(f"{needs} must be given for a {request.type.name} order, was None")
    if not request.close_position and not (math.isfinite(request.qty) and request.qty > 0.0):
        raise ValueError(f"qty must be > 0, was {request.qty}")


def _steps(value: float, size: str) -> float:
    numerator, denominator = decimal_fraction(size)
    return value * denominator / numerator


def _price(ticks: int, size: str) -> float:
    numerator, denominator = decimal_fraction(size)
    return ticks * numerator / denominator


def _down(qty: float, step_size: str) -> int:
    return math.floor(_steps(qty, step_size) + 1e-6)


def _nearest(price: float, tick_size: str) -> float:
    return _price(round(_steps(price, tick_size)), tick_size)


def _passive(price: float, tick_size: str, side: Side) -> float:
    ticks = _steps(price, tick_size)
    whole = math.floor(ticks + 1e-6) if side == Side.BUY else math.ceil(ticks - 1e-6)
    return _price(whole, tick_size)
