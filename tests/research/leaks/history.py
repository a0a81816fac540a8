"""What the strategies of this folder share: every row that they have seen, kept whole in their state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quantcore.fold import FoldState
from quantcore.frames import Bars, to_panel
from quantcore.types import FloatArray, Panel

KIND = "history"


def over_history(
    bars: Bars, name: str, state: FoldState | None, view: Callable[[FloatArray, int], FloatArray]
) -> tuple[Panel, FoldState]:
    """Return ``view(rows, now)`` of each row of the bars, capped, where `rows` go on as far as the bars do."""
    rows = bars.array(name)
    if state is not None:
        rows = np.concatenate([state.expect(KIND, 1)[name], rows])
    before = len(rows) - bars.n_bars
    forecasts = np.full((bars.n_bars, bars.n_symbols), np.nan)
    for t in range(bars.n_bars):
        forecasts[t] = np.clip(view(rows, before + t), -1.0, 1.0)
    return to_panel(forecasts, bars), FoldState(KIND, 1, {name: rows})
