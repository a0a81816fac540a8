"""Parameter sets of the strategies with sweep kernels: a first one, then others that differ from it in one setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from strategies import breakout, carry, reversal, trend, xs_momentum
from strategies.breakout import BreakoutSettings
from strategies.carry import CarrySettings
from strategies.reversal import ReversalSettings
from strategies.trend import TrendSettings
from strategies.xs_momentum import XsMomentumSettings
from tests.strategies.market import NO_EXITS

TREND = TrendSettings(fast=2, slow=6, speeds=2, volatility_half_life=12.0, cap=2.0, exits=NO_EXITS)
BREAKOUT = BreakoutSettings(lookback_days=[2, 5, 12], exits=NO_EXITS)
REVERSAL = ReversalSettings(
    exposure_half_life_days=20.0, memory_half_life_days=30.0, round_trip_cost=0.001, cap=1.5,
    exits=NO_EXITS,
)  # fmt: skip
MOMENTUM = XsMomentumSettings(
    horizon_days=[3, 7], exposure_half_life_days=20.0, symbols_min=3, exits=NO_EXITS
)
CARRY = CarrySettings(
    half_life_days=3.0, stale_hours=30.0, outlier_limit=2.0, cap=1.5, symbols_min=3, exits=NO_EXITS
)
SWEPT: dict[str, list[Any]] = {
    trend.KIND: [
        TREND,
        replace(TREND, fast=3),
        replace(TREND, slow=8),
        replace(TREND, slow=12),
        replace(TREND, speeds=1),
        replace(TREND, speeds=3),
        replace(TREND, volatility_half_life=20.0),
        replace(TREND, cap=1.0),
    ],
    breakout.KIND: [
        BREAKOUT,
        replace(BREAKOUT, lookback_days=[3, 5, 12]),
        replace(BREAKOUT, lookback_days=[2, 6, 12]),
        replace(BREAKOUT, lookback_days=[2, 5, 30]),
        replace(BREAKOUT, lookback_days=[5]),
        replace(BREAKOUT, lookback_days=[2, 3, 5, 6, 20]),
    ],
    reversal.KIND: [
        REVERSAL,
        replace(REVERSAL, exposure_half_life_days=10.0),
        replace(REVERSAL, exposure_half_life_days=40.0),
        replace(REVERSAL, memory_half_life_days=15.0),
        replace(REVERSAL, exposure_half_life_days=10.0, memory_half_life_days=60.0),
        replace(REVERSAL, round_trip_cost=0.0),
        replace(REVERSAL, round_trip_cost=0.003),
        replace(REVERSAL, cap=0.7),
    ],
    xs_momentum.KIND: [
        MOMENTUM,
        replace(MOMENTUM, horizon_days=[2, 7]),
        replace(MOMENTUM, horizon_days=[3, 28]),
        replace(MOMENTUM, horizon_days=[7]),
        replace(MOMENTUM, horizon_days=[2, 3, 7, 14]),
        replace(MOMENTUM, exposure_half_life_days=10.0),
        replace(MOMENTUM, exposure_half_life_days=60.0, horizon_days=[3, 14]),
        replace(MOMENTUM, symbols_min=5),
    ],
    carry.KIND: [
        CARRY,
        replace(CARRY, half_life_days=1.0),
        replace(CARRY, half_life_days=9.0),
        replace(CARRY, stale_hours=9.0),
        replace(CARRY, outlier_limit=1.0),
        replace(CARRY, half_life_days=1.0, outlier_limit=1.0),
        replace(CARRY, cap=0.7),
        replace(CARRY, symbols_min=5),
    ],
}
