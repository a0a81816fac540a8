"""A finished sweep in sentences, the same on the page and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quantcore.backtest.markup import MISSING, percent, plural, ratio
from quantcore.research.sweep_axes import number_text
from quantcore.research.sweep_findings import Findings, Peak

SURE = 0.95
"""Deflated Sharpe ratio from which the best set is more than the luck of many trials."""
OVERFITTED = 0.5
"""Probability of backtest overfitting from which choosing by the sweep is no better than choosing blindly."""


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What a sweep's table does not say by itself.

    Parameters
    ----------
    experiment : str
        Its name.
    start, end : str
        First and last traded day, as ``2024-06-01``; empty where nothing ran.
    symbols : int
        Number of symbols.
    sampling : str
        How the sets were chosen: grid, random, sobol or optuna's sampler.
    trials : float
        Effectively independent trials among the sets; NaN where unknown.
    deflated_sharpe : float or None
        Of the best set: the probability that its true Sharpe ratio is above the luck of so many trials.
    overfitting_probability : float or None
        Probability of backtest overfitting (combinatorially symmetric cross-validation).
    seconds : float
        How long it took.
    notes : tuple of str
        Sentences about the data and the sets.
    """

    experiment: str
    start: str
    end: str
    symbols: int
    sampling: str
    trials: float
    deflated_sharpe: float | None
    overfitting_probability: float | None
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a sweep comes to.

    Parameters
    ----------
    headline : str
        The verdict itself, one or two sentences.
    sentences : tuple of str
        What it rests on: the best set, its luck, its neighbourhood, and the set rather to take.
    good : bool
        Whether nothing of that speaks against the best set.
    """

    headline: str
    sentences: tuple[str, ...]
    good: bool


def verdict(
    found: Findings, facts: SweepFacts, table: pd.DataFrame, parameters: Sequence[str]
) -> Verdict:
    """Return the verdict on a sweep, for every table: also one without any value.

    Parameters
    ----------
    found : Findings
        What the table says.
    facts : SweepFacts
        What it does not say.
    table : DataFrame
        One row per set.
    parameters : sequence of str
        Override paths, names of columns.
    """
    peak = found.peak
    if peak is None:
        told = (
            f"None of {plural(len(table), 'set')} has a Sharpe ratio: all were refused or did not "
            "trade long enough."
        )
        return Verdict(told, (), good=False)
    best = set_text(table.iloc[peak.best], parameters)
    if len(table) == 1:
        told = (
            f"The only set has a Sharpe ratio of {ratio(peak.value)}: nothing to compare it with."
        )
        return Verdict(told, (), good=peak.value > 0.0)
    first = f"The best of {plural(len(table), 'set')}, {best}, has a Sharpe ratio of {ratio(peak.value)}."
    lucky, doubts = _luck(found, facts, peak)
    around, doubt = _neighbourhood(peak)
    rather = _rather(peak, table, parameters)
    doubts = ["it loses money"] * (peak.value <= 0.0) + doubts + doubt
    sentences = tuple(sentence for sentence in (first, *lucky, around, rather) if sentence)
    return Verdict(_headline(peak, doubts), sentences, good=not doubts)


def _headline(peak: Peak, doubts: Sequence[str]) -> str:
    told = f"The best set\u2019s Sharpe ratio of {ratio(peak.value)} "
    if not doubts:
        return f"{told}stands: it is more than the luck of so many trials, and its neighbours share it."
    told += f"cannot be taken at its word: {', and '.join(doubts)}."
    if peak.centre != peak.best and peak.value > 0.0:
        told += (
            f" Rather take the centre of the best plateau, which with its neighbours has "
            f"{ratio(peak.centre_mean)} on average."
        )
    return told


def set_text(row: pd.Series, parameters: Sequence[str]) -> str:
    """Return a set as overrides, numbers with four significant digits."""
    return ", ".join(f"{path}={value_text(row[path])}" for path in parameters)


def value_text(value: object) -> str:
    """Return a parameter's value as people read it."""
    if isinstance(value, float):
        return number_text(value) if math.isfinite(value) else MISSING
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def refusals(table: pd.DataFrame) -> Mapping[str, int]:
    """Return the reasons for which the settings refused sets, the most frequent first, with their counts.

    Numbers in a reason differ from set to set and are left out: reasons that say the same of other values are one.
    """
    if "refused" not in table:
        return {}
    said = table["refused"].fillna("").astype(str)
    rules = said[said != ""].str.replace(r", was .*$| = -?[\d.][\d.e+-]*", "", regex=True)
    return {str(rule): int(count) for rule, count in rules.value_counts().items()}


def _luck(found: Findings, facts: SweepFacts, peak: Peak) -> tuple[list[str], list[str]]:
    """Return what is known of luck, and what of it speaks against the best set."""
    told, doubts = [], []
    if not math.isnan(found.luck) and facts.trials > 1.0:
        told.append(
            f"The best of about {facts.trials:,.0f} independent trials without any skill would be expected to show "
            f"{ratio(found.luck)}."
        )
    surely = facts.deflated_sharpe
    if surely is not None and math.isfinite(surely):
        told.append(
            f"It is above that luck with probability {percent(surely)} (deflated Sharpe ratio)."
        )
        if surely < SURE:
            doubts.append("it may be the luck of the best of many trials")
    elif math.isnan(found.luck):
        doubts.append("nothing says how much of it is luck")
    elif peak.value <= found.luck:
        doubts.append("it is no more than the luck of the best of many trials")
    chance = facts.overfitting_probability
    if chance is not None and math.isfinite(chance):
        told.append(
            "Of the set that is the best in one half of the time the other half says that it is below the median with "
            f"probability {percent(chance)} (PBO)."
        )
        if chance >= OVERFITTED:
            doubts.append("choosing by this sweep is no better than choosing blindly")
    return told, doubts


def _neighbourhood(peak: Peak) -> tuple[str, list[str]]:
    """Return what surrounds the best set, and what of it speaks against that."""
    if not peak.around:
        return "No set with a Sharpe ratio is next to it.", [
            "nothing near it says whether it holds"
        ]
    told = f"Its {plural(peak.around, 'adjacent set' if peak.adjacent else 'nearest set')} "
    told += f"{'has' if peak.around == 1 else 'have a median of'} {ratio(peak.around_median)}"
    if peak.holds is None:
        return f"{told}.", []
    told += f", {percent(peak.kept, decimals=0)} of its own: "
    if peak.holds:
        return f"{told}it stands on a plateau.", []
    return f"{told}a lone peak.", ["it is a lone peak among its neighbours"]


def _rather(peak: Peak, table: pd.DataFrame, parameters: Sequence[str]) -> str:
    """Return which set to take instead of the best, in words; empty where no set has neighbours."""
    if not peak.around and peak.centre == peak.best:
        return ""
    if peak.centre == peak.best:
        return "It is itself the centre of the best plateau."
    chosen = set_text(table.iloc[peak.centre], parameters)
    return (
        f"The centre of the best plateau is {chosen}: {ratio(peak.centre_mean)} on average with its neighbours, "
        f"{ratio(peak.centre_value)} itself."
    )
