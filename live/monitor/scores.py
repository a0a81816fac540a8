"""Every target of DESIGN.md 7 against a record: number, interval, window, and what can be said of it (pure)."""

from __future__ import annotations

import numpy as np

from live.monitor.operation_scores import execution_scores, latency_scores, stability_scores
from live.monitor.record import Record
from live.monitor.return_scores import return_scores, risk_scores, whole_days
from live.monitor.score import Score

SEED = 7


def scores(record: Record) -> list[Score]:
    """Return every target, in the order of DESIGN.md 7."""
    daily = whole_days(record)
    rng = np.random.default_rng(SEED)
    return [
        *return_scores(record, daily, rng),
        *risk_scores(record, daily),
        *execution_scores(record),
        *latency_scores(record.stability),
        *stability_scores(record),
    ]
