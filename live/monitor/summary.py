"""What the tracker found as plain values, for programs."""

from __future__ import annotations

from typing import Any

from live.monitor.score import Score, counted
from live.monitor.tracker import Comparison, Track


def summary(track: Track) -> dict[str, Any]:
    """Return a scorecard as it stands in ``summary.json``: fractions, milliseconds, basis points; no number is null."""
    record = track.record
    return {
        "name": record.name,
        "start": record.start.isoformat(),
        "end": record.end.isoformat(),
        "days": record.days,
        "states": {state.value: n for state, n in counted(track.scores).items()},
        "targets": {score.key: _score(score) for score in track.scores},
        "expectation": None if track.comparison is None else _comparison(track.comparison),
    }


def _score(score: Score) -> dict[str, Any]:
    found = score.estimate
    return {
        "target": score.target,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "state": score.state.value,
        "reason": score.reason,
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    alarm = found.watched.alarm
    return {
        "folder": found.folder,
        "days": len(found.growth),
        "growth": float(found.growth[-1]) - 1.0,
        "band_low": float(found.band[-1, 0]) - 1.0,
        "band_high": float(found.band[-1, 2]) - 1.0,
        "to_alarm": float(found.watched.sums[-1]),
        "alarm": None if alarm is None else found.days[alarm].isoformat(),
        "false_alarm": found.expected.false_alarm,
        "horizon_days": found.expected.horizon,
        "power_edge_gone": found.gone.found,
        "power_edge_turned": found.turned.found,
    }
