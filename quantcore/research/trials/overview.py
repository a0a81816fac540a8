"""A ledger as a whole: what was tried by experiment and span, what contradicts itself, what another one adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quantcore.research.trials.count import TrialCount, measure, related
from quantcore.research.trials.entries import Entry, Place, Score
from quantcore.research.trials.ledger import Contents
from quantcore.research.trials.market import Market
from quantcore.research.trials.record import score

TOLERANCE = 0.02
"""Largest difference between a Sharpe ratio per day that a line says and the one of its returns, in standard errors:
returns are kept in half precision."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Trials of one experiment on one set of bars over one span.

    Parameters
    ----------
    experiment : str
        Its name.
    commands : tuple of str
        Which tried it, sorted.
    place : Place
        Bars, decision interval and span.
    symbols : int or None
        Of the bars; None if the ledger does not say.
    found : int
        Different trials.
    effective : float
        How many independent ones they make.
    related : float
        How many independent ones everything in the ledger makes that counts for them, as a report counts.
    best : Score
        The one with the highest Sharpe ratio.
    deflated : float or None
        Probability that the best one's true ratio is above what luck alone would show of the best of `related`.
    """

    experiment: str
    commands: tuple[str, ...]
    place: Place
    symbols: int | None
    found: int
    effective: float
    related: float
    best: Score
    deflated: float | None


def groups(held: Contents) -> list[Group]:
    """Return what was tried, in the order in which it was first."""
    parts: dict[tuple[str, Place], list[Entry]] = {}
    for entry in held.entries:
        parts.setdefault((entry.experiment, entry.place), []).append(entry)
    return [_group(of, held) for of in parts.values()]


def contradictions(held: Contents) -> list[str]:
    """Return what is wrong with lines that can be read: ratios that are not those of the returns, unknown bars."""
    return [
        f"{entry.experiment} of {entry.time}: {fault}"
        for entry in held.entries
        for fault in _faults(entry, held)
    ]


def missing_lines(held: Contents, others: Sequence[Contents]) -> list[Entry | Market]:
    """Return the lines of other ledgers that this one lacks: markets it does not know and entries with new trials."""
    markets = set(held.markets)
    seen = {place: set(trials) for place, trials in held.trials.items()}
    lines: list[Entry | Market] = []
    for other in others:
        for entry in other.entries:
            known = seen.setdefault(entry.place, set())
            if known.issuperset(entry.trials):
                continue
            known.update(entry.trials)
            market = other.markets.get(entry.fingerprint)
            if market is not None and entry.fingerprint not in markets:
                markets.add(entry.fingerprint)
                lines.append(market)
            lines.append(entry)
    return lines


def _group(entries: Sequence[Entry], held: Contents) -> Group:
    first = entries[0]
    market = held.markets.get(first.fingerprint)
    effective, _, found = measure(entries, held, first)
    family = related(held, first, market) if market is not None else entries
    everything, spread, _ = measure(family, held, first)
    best = max((entry.best for entry in entries), key=_rank)
    count = TrialCount(declared=None, found=found, effective=everything, spread=spread)
    deflated = count.deflated(best.sharpe, best.days, skew=best.skew, kurtosis=best.kurtosis)
    return Group(
        experiment=first.experiment,
        commands=tuple(sorted({entry.command for entry in entries})),
        place=first.place,
        symbols=None if market is None else len(market.symbols),
        found=found,
        effective=effective,
        related=everything,
        best=best,
        deflated=deflated,
    )


def _rank(best: Score) -> float:
    return best.sharpe if math.isfinite(best.sharpe) else -math.inf


def _faults(entry: Entry, held: Contents) -> Iterator[str]:
    if entry.fingerprint not in held.markets:
        yield "no line says what its bars are"
    for kept in entry.kept:
        if kept.score.trial not in entry.trials:
            yield f"trial {kept.score.trial} is not among those of the line"
        found = score([kept.score.trial], kept.returns[:, np.newaxis])[0]
        said = kept.score
        if found.days != said.days:
            yield f"trial {said.trial} has {found.days} daily returns, says {said.days}"
        elif not _near(found.sharpe, said.sharpe, math.sqrt(said.days)):
            yield f"trial {said.trial} has a Sharpe ratio of {found.sharpe:.4f} a day, says {said.sharpe:.4f}"


def _near(found: float, said: float, scale: float) -> bool:
    if not (math.isfinite(found) and math.isfinite(said)):
        return math.isfinite(found) == math.isfinite(said)
    return abs(found - said) * scale <= TOLERANCE
