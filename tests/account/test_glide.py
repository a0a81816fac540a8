"""The fast way over quiet bars is the step itself: to the last bit, with orders resting and targets at every bar."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from quantcore.account_plane import Events
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.orders import OrderScript, order_script
from tests.account.random_cases import (
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_requests,
    case_targets,
    random_case,
    random_limits,
    random_resting,
    random_router,
    random_slippage,
)

NOBODY = 10**6
"""Number of a request that never was: its cancel does nothing, but a bar with one does not glide."""


def cancels_of_nothing(n_bars: int) -> OrderScript:
    whole = np.zeros((n_bars, at.N_SCRIPT), dtype=np.int64)
    whole[:, at.SCRIPT_ROW] = np.arange(n_bars)
    whole[:, at.SCRIPT_CLIENT] = NOBODY
    whole[:, at.SCRIPT_CANCEL] = 1
    return OrderScript(whole=whole, number=np.full((n_bars, 3), np.nan))


def joined(first: OrderScript, second: OrderScript) -> OrderScript:
    whole = np.concatenate([first.whole, second.whole])
    order = np.argsort(whole[:, at.SCRIPT_ROW], kind="stable")
    return OrderScript(
        whole=whole[order], number=np.concatenate([first.number, second.number])[order]
    )


def thinned(case: Case, draw: random.Random) -> tuple[np.ndarray, np.ndarray | None]:
    """Return targets at every bar, at few bars, or decided on a coarser grid."""
    targets = case_targets(case, 1.5 * case.leverage)
    form = draw.choice(["every", "few", "coarse"])
    if form == "few":
        rows = np.random.default_rng(case.seed).random(len(targets)) < 0.9
        targets[rows] = np.nan
    if form != "coarse":
        return targets, None
    decisions = np.where(np.arange(case.n_bars) % 4 == 3, np.arange(case.n_bars), -1)
    decisions[::5] = np.where(decisions[::5] == -1, -2, decisions[::5])
    return targets, decisions


def run(case: Case, *, glides: bool, full_curve: bool) -> tuple[FoldState, Events]:
    bars, plane = case_bars(case), case_plane(case)
    script = order_script(case_requests(case, bars), bars, case_instruments(case))
    if not glides:
        script = joined(script, cancels_of_nothing(bars.n_bars))
    targets, decisions = thinned(case, random.Random(case.seed))
    return plane.advance(
        plane.start(), bars, targets=targets, decisions=decisions, script=script, full_curve=full_curve
    )  # fmt: skip


def draw_case(seed: int) -> Case:
    draw = random.Random(seed)
    exits = ExitSettings(
        stop_loss=draw.choice([None, 0.05, 0.3]),
        take_profit=draw.choice([None, 0.1]),
        trailing_stop=draw.choice([None, 0.05, 0.1]),
        time_exit=draw.choice([None, 7]),
    )
    case = random_case(draw)
    few = tuple(case.orders[: draw.choice([0, 3, 10])])
    return replace(
        case,
        n_bars=draw.choice([60, 300]),
        exits=exits,
        orders=few,
        crash=draw.choice([0.0, 0.0, case.crash]),
        no_trade_band=draw.choice([0.0, 0.05, 0.5]),
        interval=draw.choice(["1m", "5m", "1h"]) if seed % 2 else case.interval,
        risk=random_limits(draw) if seed % 2 else None,
        router=random_router(draw) if seed % 4 == 1 else None,
        resting=random_resting(draw) if seed % 3 == 1 else None,
        slippage=random_slippage(draw) if seed % 5 < 2 else None,
    )


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_gliding_changes_nothing(first: int) -> None:
    for seed in range(first, first + 100):
        case = draw_case(seed)
        full_curve = seed % 3 > 0
        state, events = run(case, glides=True, full_curve=full_curve)
        exact_state, exact = run(case, glides=False, full_curve=full_curve)
        for name in ("whole", "number", "curve_ts", "curve"):
            ours, theirs = getattr(events, name), getattr(exact, name)
            assert np.array_equal(ours, theirs, equal_nan=name == "number"), f"{name} of {case}"
        for name, values in exact_state.copies().items():
            if name == "position":  # what only a bar with orders writes, and reads again before use
                values[:, at.FORMER_MARK] = state["position"][:, at.FORMER_MARK]
            known = values.dtype.kind == "f"
            assert np.array_equal(state[name], values, equal_nan=known), f"{name} of {case}"
