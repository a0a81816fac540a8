"""Feasibility at a start: judged by the decisions that the signals would have taken until now."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from live.guard.checks import Check, Verdict
from live.guard.portfolio import JUDGED, check_portfolio
from quantcore.data.instruments import load_instruments
from quantcore.errors import VenueError
from quantcore.frames import Bars
from quantcore.signal_plane import warm_up
from quantcore.timegrid import interval_us
from tests.loop.made import parts_of
from tests.loop.on_exchange import QUICK

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
PARTS = parts_of("data.interval=1h", "data.execution_interval=1h", "execution=taker", *QUICK)
NOW_US = 1_704_182_280_000_000


async def checked(mode: str, wallet: float, backfill: Any = None, positions_min: int = 2) -> Check:
    return await check_portfolio(
        mode, PARTS, load_instruments(SYMBOLS), backfill=backfill or bars, now_us=NOW_US, wallet=wallet,
        positions_min=positions_min,
    )  # fmt: skip


async def bars(first_us: int, last_us: int) -> Bars:
    """Return prices that wander, the first tenth of them from before the symbols were listed."""
    length_us = interval_us("1h")
    stamps = np.arange(first_us, last_us + 1, length_us)
    assert len(stamps) == warm_up(PARTS.signal, "1h") + JUDGED
    assert last_us == NOW_US // length_us * length_us
    moves = np.random.default_rng(7).normal(0.0, 0.01, (len(stamps), len(SYMBOLS)))
    closes = np.array([42_000.0, 2_000.0, 100.0]) * np.exp(moves.cumsum(axis=0))
    closes[: len(stamps) // 10] = np.nan
    fields = dict.fromkeys(("open", "high", "low", "close", "mark_price"), closes)
    return Bars(interval="1h", ts_us=stamps, symbols=SYMBOLS, fields=fields)


async def silent(first_us: int, last_us: int) -> Bars:
    raise VenueError("the exchange must answer, did not")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "wallet", "verdict"),
    [
        ("prod", 1e6, Verdict.PASSED),
        ("prod", 8.0, Verdict.FAILED),
        ("paper", 8.0, Verdict.NOT_APPLICABLE),
    ],
)
async def test_the_wallet_is_held_against_what_the_signals_ask_for(
    mode: str, wallet: float, verdict: Verdict
) -> None:
    check = await checked(mode, wallet)
    assert check.verdict is verdict
    assert f"With {wallet:,.0f} USDT" in check.line


async def test_what_cannot_be_judged_refuses_real_money_alone() -> None:
    assert (await checked("staging", 230.0, silent)).verdict is Verdict.FAILED
    found = await checked("testnet", 230.0, silent)
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert found.line.endswith("the exchange must answer, did not")
    assert (await checked("sim", 230.0, silent)).verdict is Verdict.NOT_APPLICABLE
