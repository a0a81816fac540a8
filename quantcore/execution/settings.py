"""How orders are executed: costs, delay, and what works them into the market."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quantcore.execution.router import RouterSettings
from quantcore.execution.slippage import SlippageSettings
from quantcore.timegrid import MINUTE_US

ROUTER_INTERVAL_US = 5 * MINUTE_US
"""Execution bars up to this length let a resting order be watched; on coarser ones all orders cross (DESIGN.md 6)."""


@dataclass(frozen=True, kw_only=True)
class RestingSettings:
    """What is assumed of the book, which bars do not show, where a limit rests in it.

    Parameters
    ----------
    queue_ahead : float
        Coins that stand before an order at its price, as a share of the volume of the bar at whose close it is sent;
        >= 0.
    touch_share : float
        Share of a bar's volume that trades at a price which the bar touches and does not trade beyond, in [0, 1]; with
        0 only a trade beyond its price fills an order.
    """

    queue_ahead: float
    touch_share: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.queue_ahead < math.inf:
            raise ValueError(f"queue_ahead must be >= 0 and finite, was {self.queue_ahead}")
        if not 0.0 <= self.touch_share <= 1.0:
            raise ValueError(f"touch_share must be in [0, 1], was {self.touch_share}")


@dataclass(frozen=True, kw_only=True)
class ExecutionSettings:
    """What trading costs beside fees, how long an order takes, and how it is worked.

    Parameters
    ----------
    half_spread_bps, slippage_bps : float
        Added to the price of every taker fill, in basis points, >= 0.
    latency_ms : float
        From decision to venue; rounded up to whole execution bars, at least the next open.
    maker_fee, taker_fee : float or None
        Fractions of notional that replace the instruments' own.
    resting : RestingSettings or None
        When a touch fills a resting limit; never without.
    router : RouterSettings or None
        What works orders into the market; without, and on execution bars longer than `ROUTER_INTERVAL_US`, every
        decision is one market order.
    slippage : SlippageSettings or None
        What an order may cost; any price without.
    """

    half_spread_bps: float
    slippage_bps: float
    latency_ms: float
    maker_fee: float | None
    taker_fee: float | None
    resting: RestingSettings | None = None
    router: RouterSettings | None = None
    slippage: SlippageSettings | None = None

    def __post_init__(self) -> None:
        for name in ("half_spread_bps", "slippage_bps", "latency_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be >= 0, was {value}")
        for name in ("maker_fee", "taker_fee"):
            value = getattr(self, name)
            if value is not None and not -0.01 <= value <= 0.01:
                raise ValueError(f"{name} must be in [-0.01, 0.01] or null, was {value}")
