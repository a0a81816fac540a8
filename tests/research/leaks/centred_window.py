"""The close against its mean over a window that, where it leaks, lies around the row instead of behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from tests.research.leaks.history import over_history

HALF = 2


@dataclass(frozen=True, kw_only=True)
class CentredWindowSettings:
    """Whether the window is centred."""

    leaks: bool
    exits: ExitSettings = NO_EXITS


def forecast(
    bars: Bars, settings: CentredWindowSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the capped distance from the mean."""

    def view(closes: FloatArray, now: int) -> FloatArray:
        window = closes[max(now - HALF, 0) : now + 1 + (HALF if settings.leaks else 0)]
        return np.asarray(20.0 * (closes[now] / window.mean(axis=0) - 1.0))

    return over_history(bars, "close", state, view)


def warm_up(settings: CentredWindowSettings, interval: str) -> int:
    """Return the rows behind a row."""
    return HALF
