"""Against the funding rate of the next settlement where it leaks, else of the last one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from tests.research.leaks.history import over_history


@dataclass(frozen=True, kw_only=True)
class BackfilledFundingSettings:
    """Whether rates are filled backwards."""

    leaks: bool
    exits: ExitSettings = NO_EXITS


def forecast(
    bars: Bars, settings: BackfilledFundingSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the capped rate with its sign turned; NaN where none is known."""

    def view(rates: FloatArray, now: int) -> FloatArray:
        rows = rates[now:] if settings.leaks else rates[now::-1]
        first = (~np.isnan(rows)).argmax(axis=0)
        return np.asarray(-3000.0 * rows[first, np.arange(rates.shape[1])])

    return over_history(bars, "funding_rate", state, view)


def warm_up(settings: BackfilledFundingSettings, interval: str) -> int:
    """Return a day of hourly rows."""
    return 24
