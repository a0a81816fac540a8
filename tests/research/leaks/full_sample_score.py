"""The z-score of the close, by mean and deviation of all rows where it leaks, else of those so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.types import FloatArray, Panel
from tests.research.leaks.history import over_history


@dataclass(frozen=True, kw_only=True)
class FullSampleScoreSettings:
    """Whether the sample is the full one."""

    leaks: bool
    exits: ExitSettings = NO_EXITS


def forecast(
    bars: Bars, settings: FullSampleScoreSettings, state: FoldState | None = None
) -> tuple[Panel, FoldState]:
    """Return the capped z-score."""

    def view(closes: FloatArray, now: int) -> FloatArray:
        sample = closes if settings.leaks else closes[: now + 1]
        deviation = np.maximum(sample.std(axis=0), 1e-9)
        return np.asarray((sample.mean(axis=0) - closes[now]) / (2.0 * deviation))

    return over_history(bars, "close", state, view)


def warm_up(settings: FullSampleScoreSettings, interval: str) -> int:
    """Return some rows: the sample has no end."""
    return 10
