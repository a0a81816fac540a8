"""What replays the journal of a live run, for ``python -m live.journal action=verify`` (all pure)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from live.folds import advance
from live.journal.records import KeptSession, KeptStep
from live.journal.replay_check import Replayer
from live.parts import kept
from quantcore.account_adopt import adopt
from quantcore.account_plane import AccountPlane
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.types import FillReason


def replayer_of(session: KeptSession) -> Replayer:
    """Return a session's replayer, from the settings and rules that it kept."""
    held = kept(session)
    plane = held.plane

    def unprotected(state: FoldState, step: KeptStep) -> Sequence[str]:
        return naked(plane, state)

    return Replayer(
        advance=advance(plane, held.parts.signal, interval=held.parts.interval),
        wallet=wallet,
        unprotected=unprotected,
        adopt=partial(adopt, plane),
        signals=(held.parts.signal, held.parts.interval, plane.symbols),
    )


def wallet(state: FoldState) -> float:
    """Return an account's wallet balance, isolated margin included, USDT."""
    return float(state["cash"][at.WALLET] + state["position"][:, at.MARGIN].sum())


def naked(plane: AccountPlane, state: FoldState) -> list[str]:
    """Return the symbols whose position has neither the stop that the settings ask for nor an exit on its way."""
    if plane.config[at.STOP_LOSS] == at.OFF:
        return []
    tickets = state["ticket"][: int(state["counter"][at.OPEN_ORDERS])]
    found = []
    for s in np.flatnonzero(state["held"][:, at.LOTS]).tolist():
        mine = tickets[tickets[:, at.SYMBOL] == s]
        stops = (mine[:, at.REASON] == FillReason.STOP_LOSS) & (mine[:, at.CANCEL_TS] == at.NEVER)
        leaves = len(state["route"]) > 0 and bool(state["route"][s, at.URGENT])
        if not stops.any() and not leaves:
            found.append(plane.symbols[s])
    return found
