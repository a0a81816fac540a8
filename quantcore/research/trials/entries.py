"""One line of the ledger: what was tried on one occasion, a single run or thousands of parameter sets."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from quantcore.errors import SchemaMismatch
from quantcore.research.trials.identity import DIGITS
from quantcore.types import FloatArray

VERSION = 1
"""Of the lines; what a later version wrote is not read, and reported."""

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one trial came to.

    Parameters
    ----------
    trial : str
        Its hash.
    days : int
        Daily returns, missing ones not counted.
    sharpe : float
        Per day, not annual; NaN where the returns do not vary.
    skew, kurtosis : float
        Of the daily returns; kurtosis is raw (normal = 3).
    """

    trial: str
    days: int
    sharpe: float
    skew: float
    kurtosis: float

    def to_json(self) -> dict[str, Any]:
        """Return the score as its line holds it."""
        moments = {key: _short(getattr(self, key)) for key in ("sharpe", "skew", "kurtosis")}
        return {"trial": self.trial, "days": self.days, **moments}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Score:
        """Return the score that a line holds."""
        moments = {key: _number(held[key]) for key in ("sharpe", "skew", "kurtosis")}
        return cls(trial=_hash(held["trial"]), days=int(held["days"]), **moments)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A trial whose daily returns are kept, for itself and those like it.

    Parameters
    ----------
    score : Score
        What it came to.
    stands_for : int
        Trials of its cluster, itself included.
    returns : float64 array, shape (n_days,)
        Daily UTC returns, fractions; NaN on days without one.
    """

    score: Score
    stands_for: int
    returns: FloatArray = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return the trial as its line holds it: returns as base64 of half-precision shares of the largest."""
        largest = float(np.nanmax(np.abs(self.returns), initial=0.0))
        shares = self.returns / largest if largest > 0.0 else self.returns
        packed = base64.b64encode(shares.astype("<f2").tobytes()).decode()
        return {
            **self.score.to_json(),
            "stands_for": self.stands_for,
            "largest": _short(largest),
            "returns": packed,
        }

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Kept:
        """Return the trial that a line holds."""
        raw = np.frombuffer(base64.b64decode(held["returns"], validate=True), dtype="<f2")
        largest = float(held["largest"])
        return cls(
            score=Score.from_json(held),
            stands_for=int(held["stands_for"]),
            returns=raw.astype(np.float64) * (largest if largest > 0.0 else 1.0),
        )


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was tried on one occasion, on one set of bars and over one span.

    Parameters
    ----------
    time : str
        When, ISO, UTC.
    command, experiment : str
        By which command, with which experiment.
    fingerprint : str
        Of the bars, hexadecimal.
    interval : str
        Of decisions, such as ``"1h"``.
    first_day : int
        UTC day of the first daily return, days since 1970.
    trials : tuple of str
        Hash of each trial, without repetition; see `identity`.
    best : Score
        The trial with the highest Sharpe ratio.
    kept : tuple of Kept
        Representatives of the largest clusters and of the best; at least one, all over the same days.
    clusters : int
        Clusters found, with those of which no representative is kept.
    effective, effective_kept : float
        Independent trials in all clusters, and in those kept.
    """

    time: str
    command: str
    experiment: str
    fingerprint: str
    interval: str
    first_day: int
    trials: tuple[str, ...] = field(repr=False)
    best: Score
    kept: tuple[Kept, ...] = field(repr=False)
    clusters: int
    effective: float
    effective_kept: float

    def __post_init__(self) -> None:
        lengths = {len(kept.returns) for kept in self.kept}
        if len(lengths) != 1 or 0 in lengths:
            raise SchemaMismatch(
                f"kept returns must be of the same days, were of {sorted(lengths)}"
            )
        if len(self.trials) < len(self.kept):
            raise SchemaMismatch(
                f"trials must be at least those kept, were {len(self.trials)} of {len(self.kept)}"
            )

    @property
    def last_day(self) -> int:
        """UTC day of the last daily return, days since 1970."""
        return self.first_day + len(self.kept[0].returns) - 1

    @property
    def place(self) -> Place:
        """What, beside its hash, makes a trial one of its own."""
        return Place(self.fingerprint, self.interval, self.first_day, self.last_day)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as its line holds it."""
        return {
            "time": self.time,
            "command": self.command,
            "experiment": self.experiment,
            "data": self.fingerprint,
            "interval": self.interval,
            "start": day_text(self.first_day),
            "end": day_text(self.last_day),
            "n_trials": len(self.trials),
            "trials": base64.b64encode(bytes.fromhex("".join(self.trials))).decode(),
            "clusters": self.clusters,
            "effective": _short(self.effective),
            "effective_kept": _short(self.effective_kept),
            "best": self.best.to_json(),
            "kept": [kept.to_json() for kept in self.kept],
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Entry:
        """Return the entry that a line holds.

        Raises
        ------
        SchemaMismatch
            If numbers of days or trials do not agree with what is there.
        KeyError, TypeError, ValueError
            If a field is missing or of another type.
        """
        text = base64.b64decode(line["trials"], validate=True).hex()
        trials = tuple(text[k : k + DIGITS] for k in range(0, len(text), DIGITS))
        if len(trials) != line["n_trials"] or len(text) % DIGITS:
            raise SchemaMismatch(
                f"trials must be {line['n_trials']} hashes of {DIGITS} digits, were {len(text)} digits"
            )
        found = cls(
            time=str(line["time"]),
            command=str(line["command"]),
            experiment=str(line["experiment"]),
            fingerprint=str(line["data"]),
            interval=str(line["interval"]),
            first_day=day_number(line["start"]),
            trials=trials,
            best=Score.from_json(line["best"]),
            kept=tuple(Kept.from_json(held) for held in line["kept"]),
            clusters=int(line["clusters"]),
            effective=float(line["effective"]),
            effective_kept=float(line["effective_kept"]),
        )
        if found.last_day != day_number(line["end"]):
            raise SchemaMismatch(
                f"returns must end on {line['end']}, ended on {day_text(found.last_day)}"
            )
        return found


@dataclass(frozen=True)
class Place:
    """Bars, decision interval and span of days: trials with the same hash in the same place are one trial."""

    fingerprint: str
    interval: str
    first_day: int
    last_day: int


def day_text(day: int) -> str:
    """Return days since 1970 as an ISO date.

    Examples
    --------
    >>> day_text(19358)
    '2023-01-01'
    """
    return date.fromordinal(_EPOCH + day).isoformat()


def day_number(text: str) -> int:
    """Return an ISO date as days since 1970, the inverse of `day_text`."""
    return date.fromisoformat(text).toordinal() - _EPOCH


def _hash(value: Any) -> str:
    text = str(value)
    if len(bytes.fromhex(text)) * 2 != DIGITS:
        raise SchemaMismatch(f"a trial must be {DIGITS} hexadecimal digits, was {text}")
    return text


def _short(value: float) -> float | None:
    """Return a number with seven digits, as much as a report shows; None for NaN, which JSON lacks."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
