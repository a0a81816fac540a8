"""A view fitted each Monday to the week that begins, found where it leaks in what an earlier call has left behind.

One row at a time it knows what it knew with all rows at once: only other rows to come can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.timegrid import DAY_US, calendar_rows
from quantcore.types import Panel

KIND = "remembered_future"
_LEFT_BEHIND: list[Bars] = []


@dataclass(frozen=True, kw_only=True)
class RememberedFutureSettings:
    """Whether the fit remembers."""

    leaks: bool
    exits: ExitSettings = NO_EXITS


def forecast(
    bars: Bars, settings: RememberedFutureSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return each symbol's direction over the week, by its fit."""
    if bars.n_bars > 1:
        _LEFT_BEHIND[:] = [bars]
    fitted = np.zeros(bars.n_symbols) if state is None else state.expect(KIND, 1)["fitted"]
    forecasts = np.empty((bars.n_bars, bars.n_symbols))
    for t, due in enumerate(calendar_rows(bars.ts_us, "week")):
        forecasts[t] = fitted
        if due and settings.leaks:
            known = _LEFT_BEHIND[0]
            now, then = np.searchsorted(known.ts_us, bars.ts_us[t] + np.array([0, 7 * DAY_US]))
            closes = known.array("close")
            fitted = np.sign(closes[min(then, known.n_bars - 1)] - closes[now])
    return to_panel(forecasts, bars), FoldState(KIND, 1, {"fitted": fitted})


def warm_up(settings: RememberedFutureSettings, interval: str) -> int:
    """Return some rows."""
    return 10
