"""A market of three symbols told bar by bar, and what an account did in it, in words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from quantcore.account_plane import Events
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import MINUTE_US
from quantcore.types import Action, FillReason, Liquidity, OrderStatus, OrderType, Rule
from tests.account.random_cases import START_PRICES, Case, case_bars, case_plane, random_limits

Prices = tuple[float, float, float, float]
NAN = float("nan")
VOLUME = 1e4

NO_LIMITS = replace(
    random_limits(random.Random(0)), leverage_max=20.0, net_max=None, symbol_max=None, cluster_max=None,
    daily_var_max=None, drawdown_max=None, drawdown_reduce=0.9, drawdown_restore=0.5, daily_loss_max=None,
    size_limit=1.0, liquidation_probability_max=None, stress_move=0.0, volatility_floor=0.0, margin_ratio_max=None,
    margin_ratio_after=None, halts_max=2, resume_hours=None, protective_stop=None,
)  # fmt: skip
"""A risk controller that limits nothing: each test sets what it is about."""


def limits(**changes: float | None) -> RiskSettings:
    return replace(NO_LIMITS, **changes)  # type: ignore[arg-type]


def tell_bars(
    case: Case,
    bars: Mapping[int, Mapping[int, Prices | None]],
    weights: Mapping[int, Sequence[float]],
) -> tuple[list[FoldState], Events]:
    """Run a case bar by bar; return the state at every close and all events.

    A symbol stands still at its last close but for the `bars` given, by row and symbol: open, high, low and close, or
    None for a hole.
    """
    made, plane = case_bars(case), case_plane(case)
    fields = {
        name: np.full((case.n_bars, 3), NAN) for name in ("open", "high", "low", "close", "volume")
    }
    for s, start in enumerate(START_PRICES):
        last = start
        for row in range(case.n_bars):
            prices = bars.get(row, {}).get(s, (last, last, last, last))
            if prices is None:
                continue
            for name, value in zip(("open", "high", "low", "close"), prices, strict=True):
                fields[name][row, s] = value
            fields["volume"][row, s] = VOLUME
            last = prices[3]
    market = replace(made, fields=fields)
    targets = np.full((case.n_bars, 3), NAN)
    for row, wanted in weights.items():
        targets[row] = wanted
    state, states, parts = plane.start(), [], []
    for row in range(case.n_bars):
        state, events = plane.advance(
            state, market.rows(row, row + 1), targets=targets[row : row + 1]
        )
        states.append(state)
        parts.append(events)
    return states, Events(
        whole=np.concatenate([p.whole for p in parts]),
        number=np.concatenate([p.number for p in parts]),
        curve_ts=market.ts_us,
        curve=np.concatenate([p.curve for p in parts]),
    )


def lots_held(states: Sequence[FoldState], s: int) -> list[int]:
    """Return a symbol's signed lots at every close."""
    return [int(state["held"][s, at.LOTS]) for state in states]


def told(events: Events) -> list[str]:
    """Return what happened in words: minute, symbol, what, coins, price or rule."""
    lines, first = [], int(events.curve_ts[0])
    for whole, number in zip(events.whole, events.number, strict=True):
        minute = (int(whole[at.TS]) - first) // MINUTE_US
        symbol = "ABC"[whole[at.EVENT_SYMBOL]] if whole[at.EVENT_SYMBOL] >= 0 else "all"
        side = {1: "buy", -1: "sell"}.get(int(whole[at.EVENT_SIDE]), "")
        said = ""
        if whole[at.KIND] == at.EVENT_NEW_ORDER:
            kind = OrderType(whole[at.EVENT_TYPE]).name.lower()
            said = f"{kind} {side} {number[at.A]:g}"
        elif whole[at.KIND] == at.EVENT_FILL:
            how = Liquidity(whole[at.EVENT_STATE]).name.lower()
            why = FillReason(whole[at.EVENT_REASON]).name.lower()
            said = f"filled {side} {number[at.A]:g} {how} {why}"
        elif whole[at.KIND] == at.EVENT_STATUS and whole[at.EVENT_STATE] >= OrderStatus.CANCELED:
            said = OrderStatus(whole[at.EVENT_STATE]).name.lower()
        elif whole[at.KIND] == at.EVENT_WHY:
            rule, action = Rule(whole[at.EVENT_REASON]), Action(whole[at.EVENT_ACTION])
            said = f"{rule.name.lower()} {action.name.lower()}"
        if said:
            lines.append(f"{minute} {symbol} {said}")
    return lines
