"""What the feasibility of an account is judged by: the decisions that its signals would have taken until now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import numpy as np

from live.guard.checks import Check, failed, not_applicable
from live.guard.feasible import NAME, check_feasible
from live.guard.modes import MODES
from live.parts import Parts
from quantcore.backtest.engine import decide
from quantcore.data.instruments import Instrument
from quantcore.data.sources import MarketData
from quantcore.errors import QuantcoreError
from quantcore.frames import Bars
from quantcore.research.feasibility import Stage
from quantcore.signal_plane import warm_up
from quantcore.timegrid import interval_us

JUDGED = 120
"""Decisions after the warm-up, whose median counts."""

Backfill = Callable[[int, int], Awaitable[Bars]]
"""Returns the decision bars between two closes."""


async def check_portfolio(
    mode: str,
    parts: Parts,
    instruments: Sequence[Instrument],
    *,
    backfill: Backfill,
    now_us: int,
    wallet: float,
    positions_min: int,
) -> Check:
    """Return whether an account of this size makes a portfolio of what its signals ask for.

    Parameters
    ----------
    mode : str
        One of `modes.MODES`.
    parts : Parts
        Of both folds, with the limits that hold.
    instruments : sequence of Instrument
        As the host traded on has them.
    backfill : callable
        Returns decision bars.
    now_us : int
        The exchange's time.
    wallet : float
        USDT.
    positions_min : int
        Fewest positions that make a portfolio.
    """
    if MODES[mode].leverage_max is None:
        return not_applicable(NAME, f"conf={mode} is no stage")
    length_us = interval_us(parts.interval)
    last_us = now_us // length_us * length_us
    n_bars = warm_up(parts.signal, parts.interval) + JUDGED
    try:
        bars = await backfill(last_us - (n_bars - 1) * length_us, last_us)
        return await asyncio.to_thread(
            _judged, mode, parts, instruments, bars, wallet, positions_min
        )
    except QuantcoreError as error:
        if MODES[mode].real_money:
            return failed(NAME, str(error))
        return not_applicable(NAME, f"no real money is at stake: {error}")


def _judged(
    mode: str,
    parts: Parts,
    instruments: Sequence[Instrument],
    bars: Bars,
    wallet: float,
    positions_min: int,
) -> Check:
    listed = np.flatnonzero(~np.isnan(bars.array("close")).all(axis=1))
    known = bars.rows(int(listed[0]) if len(listed) else 0, bars.n_bars)
    decided = decide(
        MarketData(bars=known, interval=parts.interval, start_us=None, notes=()),
        signal=parts.signal,
    )
    stage = Stage(
        account=replace(parts.account, capital=wallet),
        execution=parts.execution,
        risk=parts.risk,
    )
    return check_feasible(mode, decided, stage, instruments, positions_min=positions_min)
