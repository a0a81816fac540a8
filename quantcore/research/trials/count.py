r"""What a report makes of the ledger: how many trials a result is the best of, and by how much luck alone excels.

**What counts.** Every trial on the same market (the same bars, or symbols in common whose closes agree: `Market`) whose
days overlap with those of this run, by whichever strategy, decision interval and command. Who tried 200 settings on the
same coins and changed a month of the span has tried 200. Trials on other days, other coins or an invented market do
not count: a record on data that nobody looked at before is out of sample.

**Independent trials** are counted as `clusters` says, over everything that counts and for each part of the span apart:
on each of `SAMPLED` days, spread evenly over this run's, those whose days hold it; the mean over these days is the
number. So the same sets looked at in twelve folds, a twelfth of the span each, are not twelve times as many. There are
never more than distinct settings were tried. Where a line kept fewer representatives than it had clusters, those
without are added as it counted them.

**The spread.** Trials without any skill have Sharpe ratios with the variance 1 / n over n returns, whatever they have
in common: that is the null hypothesis, and what the independent trials are counted for. From `SPREAD_MIN` independent
trials on, the ratios of the representatives say whether luck reaches further than that (heavy tails, dependent returns,
true differences): where they scatter wider than luck would in nineteen of twenty cases, their own expected maximum
:math:`m^- + s\, z_N` takes the place of :math:`z_N` if it is larger, with their standard deviation s and, where it is
below zero, their mean :math:`m^-`, all in units of :math:`1/\sqrt{n_i}`, so that records of any length are comparable.
So trials that are nearly the same, whose ratios hardly differ, do not make the deflation vanish, and trials that lose
by their costs, whose ratios differ much and lie low, do not raise the bar for those that do not.

References
----------
Bailey and López de Prado, "The Deflated Sharpe Ratio", *Journal of Portfolio Management* 40(5), 2014, eq. 1 (with the
mean of the ratios) and 2. López de Prado and Lewis, "Detection of false investment strategies using unsupervised
learning methods", *Quantitative Finance* 19(9), 2019: number and variance of the trials from clusters' representatives.
Deviation: both take the observed variance as it is, also where it is below that of luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from quantcore.finance import overfitting
from quantcore.research.trials.clusters import independent, lead
from quantcore.research.trials.entries import Entry, Kept
from quantcore.research.trials.ledger import OFF, Contents
from quantcore.research.trials.market import Market
from quantcore.research.trials.record import Recorded
from quantcore.types import BoolArray, FloatArray, IntArray

SAMPLED = 12
"""Days of a run's span on which the trials that looked at them are counted."""

SPREAD_MIN = 10
"""Independent trials from which on their Sharpe ratios say how far luck reaches: the variance of ten has an error of
half its size."""

LEVEL = 0.05
"""Chance at which trials without skill and of normal returns would scatter as widely as is taken for more than luck."""


@dataclass(frozen=True, kw_only=True)
class TrialCount:
    """How many trials a result is the best of.

    Parameters
    ----------
    declared : int or None
        Variants that the strategies' files declare; None if one declares nothing.
    found : int or None
        Different trials that count, this run included; None if the ledger is off or cannot be read, and this is no
        sweep, whose own sets count all the same.
    effective : float or None
        How many independent ones they make; None likewise.
    spread : float
        How far luck reaches, in standard errors of a Sharpe ratio, >= 1.
    place : str
        Where the ledger is; ``"off"`` if it is off, empty if nobody asked it.
    damaged : int
        Lines of it that cannot be read.
    fault : str
        Why it could not be read or written, as a clause; else empty.
    alone : bool
        Whether nothing beside what was tried now was counted: the ledger is off or cannot be read.
    """

    declared: int | None
    found: int | None
    effective: float | None
    spread: float = 1.0
    place: str = ""
    damaged: int = 0
    fault: str = ""
    alone: bool = True

    @property
    def used(self) -> int | None:
        """What deflates the ratio: the larger of independent (rounded up) and declared; None if both are unknown."""
        return _larger(self.declared, self.effective)

    def deflated(self, sharpe: float, days: int, *, skew: float, kurtosis: float) -> float | None:
        """Return the deflated Sharpe ratio.

        Parameters
        ----------
        sharpe : float
            Per day, not annual.
        days : int
            Number of daily returns.
        skew, kurtosis : float
            Of the returns; kurtosis is raw (normal = 3).

        Returns
        -------
        float or None
            Probability that the true ratio is above what luck alone would show of the best of `used`; NaN where the
            ratio is; None with fewer than two returns or where nothing is known of trials.
        """
        if self.used is None or days < 2:
            return None
        return overfitting.deflated_sharpe(
            sharpe,
            days,
            skew=skew,
            kurtosis=kurtosis,
            n_trials=self.used,
            variance=self.spread**2 / days,
        )

    @property
    def sentence(self) -> str:
        """What a report says of it."""
        declared = (
            "the strategy files declare no number of variants"
            if self.declared is None
            else f"the strategy files declare {_many(self.declared, 'variant')}"
        )
        if self.alone or self.found is None or self.effective is None:
            asked = "is off (ledger=off)" if self.place == OFF else "was not asked"
            why = f"says nothing ({self.fault})" if self.fault else asked
            rest = "nothing else was counted"
            if self.found is not None and self.effective is not None:
                rest = (
                    f"the {_many(self.found, 'set')} tried here make {_whole(self.effective):,} effectively "
                    f"independent, {rest}. The larger number, {self.used:,}, deflates"
                )
            elif self.declared is None:
                rest = "so the Sharpe ratio is not deflated"
            return f"The ledger of trials {why}: {declared}, {rest}."
        held = "no other trial of this market and span"
        if self.found > 1:
            held = (
                f"{self.found:,} trials of this market and span with this one, {_whole(self.effective):,} of them "
                "effectively independent"
            )
        said = f"{_upper(declared)}; the ledger {self.place} holds {held}. The larger number, {self.used:,}, deflates."
        if self.spread > 1.005:
            said += f" Their Sharpe ratios scatter {self.spread:.1f} times as wide as luck alone."
        if self.damaged:
            said += f" {_many(self.damaged, 'line')} of it cannot be read."
        if self.fault:
            said += f" This run is not in it: {self.fault}."
        return said


def count_trials(recorded: Recorded, *, declared: int | None) -> TrialCount:
    """Return how many trials a run, or the best set of a sweep, is the best of.

    Parameters
    ----------
    recorded : Recorded
        What `record_run` or `record_sets` returned: it counts whether or not it could be written.
    declared : int or None
        Variants that the strategies' files declare (`signal_plane.declared_variants`).
    """
    held, entry = recorded.held, recorded.entry
    place = OFF if recorded.ledger is None else recorded.ledger.place
    if held is None:
        alone = TrialCount(
            declared=declared, found=None, effective=None, place=place, fault=recorded.fault
        )
        if len(entry.trials) == 1:
            return alone
        effective, spread, found = measure([entry], Contents(), entry, declared=declared)
        return replace(alone, found=found, effective=effective, spread=spread)
    family = related(held, entry, recorded.market)
    effective, spread, found = measure(family, held, entry, declared=declared)
    return TrialCount(
        declared=declared,
        found=found,
        effective=effective,
        spread=spread,
        place=place,
        damaged=len(held.damaged),
        fault=recorded.fault,
        alone=False,
    )


def related(held: Contents, entry: Entry, market: Market) -> list[Entry]:
    """Return what of a ledger counts for an entry, and the entry itself, in front."""
    same: dict[str, bool] = {entry.fingerprint: True}
    for fingerprint, other in held.markets.items():
        same[fingerprint] = market.overlaps(other)
    return [entry] + [
        other
        for other in held.entries
        if same.get(other.fingerprint, False)
        and other.first_day <= entry.last_day
        and other.last_day >= entry.first_day
    ]


def measure(
    family: Sequence[Entry], held: Contents, entry: Entry, *, declared: int | None = None
) -> tuple[float, float, int]:
    """Return the independent trials of related entries, the spread of their ratios, and how many trials there are.

    Parameters
    ----------
    family : sequence of Entry
        What counts; the same trials may be in several.
    held : Contents
        Says which symbols their bars have.
    entry : Entry
        Over whose span they are counted.
    declared : int or None
        With them the spread is measured up to where the larger number looks.
    """
    fresh = _fresh(family)
    found = sum(len(trials) for trials in fresh)
    settings = {(trial, *_series(other, held)) for other in family for trial in other.trials}
    pool = _Pool.of(family, held)
    counted: dict[bytes, float] = {}
    numbers = []
    for day in np.linspace(entry.first_day, entry.last_day, 2 * SAMPLED + 1)[1::2].round():
        alive = pool.alive(int(day))
        if alive.tobytes() not in counted:
            counted[alive.tobytes()] = independent(pool.returns[:, alive])
        numbers.append(counted[alive.tobytes()] + _beyond(family, fresh, int(day)))
    effective = min(max(math.fsum(numbers) / SAMPLED, 1.0), float(len(settings)))
    return effective, _spread(pool.z, effective, _larger(declared, effective) or 1), found


def _series(entry: Entry, held: Contents) -> tuple[str, str]:
    """Return what, beside its hash, makes a trial's returns what they are, whatever the span."""
    market = held.markets.get(entry.fingerprint)
    return entry.interval, entry.fingerprint if market is None else ",".join(market.symbols)


def _fresh(family: Sequence[Entry]) -> list[set[str]]:
    """Return the trials of each entry that no entry before it holds."""
    seen: dict[object, set[str]] = {}
    fresh = []
    for entry in family:
        known = seen.setdefault(entry.place, set())
        fresh.append(set(entry.trials) - known)
        known.update(entry.trials)
    return fresh


@dataclass(frozen=True)
class _Pool:
    """The clusters of everything that counts.

    Parameters
    ----------
    returns : float64 array, shape (n_days, n_clusters)
        Of the leaders.
    z : float64 array, shape (n_clusters,)
        Their Sharpe ratios in standard errors.
    spans : tuple of int64 array, each of shape (n, 2)
        First and last days of each cluster's records.
    """

    returns: FloatArray
    z: FloatArray
    spans: tuple[IntArray, ...]

    @classmethod
    def of(cls, family: Sequence[Entry], held: Contents) -> _Pool:
        """Return the clusters of the representatives of some entries."""
        records: dict[object, list[tuple[int, Kept]]] = {}
        for entry in family:
            series = _series(entry, held)
            for kept in entry.kept:
                if math.isfinite(kept.score.sharpe):
                    records.setdefault((kept.score.trial, *series), []).append(
                        (entry.first_day, kept)
                    )
        if not records:
            return cls(np.empty((0, 0)), np.empty(0), ())
        # The longest record stands for the others of the same settings, and leads.
        longest = [max(of, key=lambda record: record[1].score.days) for of in records.values()]
        order = sorted(range(len(longest)), key=lambda k: -longest[k][1].score.days)
        returns = _aligned([longest[k] for k in order])
        labels, leaders = lead(returns)
        every = list(records.values())
        spans: list[list[tuple[int, int]]] = [[] for _ in leaders]
        for k, label in zip(order, labels.tolist(), strict=True):
            spans[label] += [(first, first + len(kept.returns) - 1) for first, kept in every[k]]
        heads = [longest[order[k]][1].score for k in leaders]
        return cls(
            returns=returns[:, leaders],
            z=np.array([s.sharpe * math.sqrt(s.days) for s in heads]),
            spans=tuple(np.array(of, dtype=np.int64) for of in spans),
        )

    def alive(self, day: int) -> BoolArray:
        """Return which clusters have a record over a day, shape (n_clusters,)."""
        held = [bool(((of[:, 0] <= day) & (day <= of[:, 1])).any()) for of in self.spans]
        return np.array(held, dtype=np.bool_)


def _aligned(records: Sequence[tuple[int, Kept]]) -> FloatArray:
    first = min(begin for begin, _ in records)
    last = max(begin + len(kept.returns) for begin, kept in records)
    rows = np.full((last - first, len(records)), np.nan)
    for column, (begin, kept) in enumerate(records):
        rows[begin - first : begin - first + len(kept.returns), column] = kept.returns
    return rows


def _beyond(family: Sequence[Entry], fresh: Sequence[set[str]], day: int) -> float:
    """Return the independent trials over a day of which no representative is kept, new trials only."""
    return math.fsum(
        max(entry.effective - entry.effective_kept, 0.0) * len(new) / len(entry.trials)
        for entry, new in zip(family, fresh, strict=True)
        if entry.first_day <= day <= entry.last_day
    )


def _spread(z: FloatArray, effective: float, used: int) -> float:
    r"""Return :math:`\max(1, s + m^-/z_N)`; 1 where there are too few trials to say."""
    if effective < SPREAD_MIN or len(z) < SPREAD_MIN:
        return 1.0
    deviation = float(z.std(ddof=1))
    chance = math.sqrt(float(special.chdtri(len(z) - 1, LEVEL)) / (len(z) - 1))
    if deviation <= chance:
        return 1.0
    reach = overfitting.expected_max_sharpe(used, variance=1.0)
    return max(1.0, deviation + min(float(z.mean()), 0.0) / reach)


def _larger(declared: int | None, effective: float | None) -> int | None:
    if declared is None and effective is None:
        return None
    return max(declared or 1, 1 if effective is None else _whole(effective))


def _whole(effective: float) -> int:
    """Return a number of trials rounded up: what is between one and two is more than one."""
    return max(math.ceil(effective - 1e-9), 1)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
