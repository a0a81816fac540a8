"""Whether the runs' returns differ by more than luck: paired tests of all runs, and a sentence for each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantcore.backtest.markup import ratio, share
from quantcore.backtest.outlook import RETURNS_MIN
from quantcore.finance import paired, performance
from quantcore.research.compare_span import Span
from quantcore.types import BoolArray, FloatArray

STATISTICS = ("sharpe", "mean", "log_volatility")
"""What is tested: annual Sharpe ratios, mean returns per year, logarithms of volatilities."""

MARKED: Mapping[str, tuple[str, int]] = {
    "sharpe": ("sharpe", 1),
    "annual_return": ("mean", 1),
    "annual_volatility": ("log_volatility", -1),
}
"""Rows of the metrics of which one run may be marked: the test behind it, and whether more (1) or less is meant."""

_EQUAL = 1e-12
"""Daily returns that differ by less are the same."""


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """How differences are judged.

    Parameters
    ----------
    confidence : float
        Level of the intervals, in (0, 1); a difference counts where its p-value is at most 1 less this.
    paths : int
        Resampled series, >= 1,000.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    confidence: float
    paths: int

    def __post_init__(self) -> None:
        if not 0.0 < self.confidence < 1.0:
            raise ValueError(f"confidence must be in (0, 1), was {self.confidence}")
        if self.paths < 1000:
            raise ValueError(f"paths must be >= 1,000, was {self.paths}")
        if self.paths * (1.0 - self.confidence) < 1.0:
            raise ValueError(f"paths must be >= 1 / (1 - confidence), was {self.paths}")


def differences_table(span: Span, settings: CompareSettings, *, seed: int) -> pd.DataFrame:
    """Return how far every two runs are apart, with intervals and p-values.

    Parameters
    ----------
    span : Span
        What the runs have in common.
    settings : CompareSettings
        How differences are judged.
    seed : int
        Of the resampled series, the same for all three statistics.

    Returns
    -------
    DataFrame
        ``label base statistic estimate low high p_value p_base p_all``: the run less the base, the later letter less
        the earlier one; ``p_base`` is adjusted over the comparisons with the first run (NaN in the others), ``p_all``
        over all pairs, each within its statistic (Holm). NaN where a record does not vary or the span is shorter than
        `outlook.RETURNS_MIN` returns.
    """
    labels = [str(label) for label in span.returns]
    values = span.returns.to_numpy(np.float64)
    pairs = [(b, a) for a, b in itertools.combinations(range(len(labels)), 2)]
    usable = [] if len(values) < RETURNS_MIN else np.flatnonzero(_varies(values)).tolist()
    tables = []
    for statistic in STATISTICS:
        found = _tested(
            span, usable, pairs, statistic, confidence=settings.confidence,
            n_paths=settings.paths, rng=np.random.default_rng(seed),
        )  # fmt: skip
        rows = []
        for (a, b), one in zip(pairs, found, strict=True):
            numbers = (math.nan,) * 4 if one is None else _numbers(one)
            rows.append((labels[a], labels[b], statistic, *numbers))
        table = pd.DataFrame(
            rows, columns=["label", "base", "statistic", "estimate", "low", "high", "p_value"]
        )
        first = (table["base"] == labels[0]).to_numpy()
        table["p_base"] = paired.holm(np.where(first, table["p_value"], np.nan))
        table["p_all"] = paired.holm(table["p_value"].to_numpy(np.float64))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def against_base(span: Span) -> pd.DataFrame:
    """Return what each run's daily returns are beside those of the first.

    Returns
    -------
    DataFrame
        ``label``, without the first, ``mean`` and ``tracking_error``, per year, of the differences, as fractions, and
        ``correlation``; NaN where a record does not vary.
    """
    base, q = span.returns.iloc[:, 0], span.periods_per_year
    rows = []
    for label in span.returns.columns[1:]:
        apart = span.returns[label] - base
        both = span.returns[[base.name, label]].to_numpy(np.float64)
        varied = len(both) > 1 and bool(_varies(both).all())
        error = performance.annual_volatility(apart, periods_per_year=q)
        correlation = float(np.corrcoef(both.T)[0, 1]) if varied else math.nan
        rows.append((str(label), float(apart.mean()) * q, error, correlation))
    return pd.DataFrame(rows, columns=["label", "mean", "tracking_error", "correlation"])


def marks(differences: pd.DataFrame, metrics: pd.DataFrame, settings: CompareSettings) -> list[str]:
    """Return for each row of the metrics the run that stands out there beyond luck, or ``""``.

    A run stands out where it differs from every other one at the settings' level, adjusted over all pairs. Of what is
    not tested, such as a drawdown, which is one number of one path, none does.
    """
    labels = [c for c in metrics.columns if c not in ("metric", "basis")]
    limit = 1.0 - settings.confidence
    found = []
    for row in metrics.to_dict("records"):
        statistic, sign = MARKED.get(str(row["metric"]), ("", 0))
        if not statistic or row["basis"] != metrics["basis"].iloc[0]:
            found.append("")
            continue
        tests = differences[differences["statistic"] == statistic]
        values = [sign * float(row[label]) for label in labels]
        best = labels[int(np.argmax(np.nan_to_num(values, nan=-math.inf)))]
        mine = tests[(tests["label"] == best) | (tests["base"] == best)]
        found.append(best if (mine["p_all"] <= limit).all() else "")
    return found


def verdicts(
    span: Span, differences: pd.DataFrame, settings: CompareSettings
) -> list[dict[str, Any]]:
    """Return for each run but the first whether it can be told apart from it.

    Returns
    -------
    list of dict
        ``label base kind text``: `kind` is ``same``, ``multiple``, ``short``, ``no_ratio``, ``better``, ``worse`` or
        ``undecided``; `text` is a sentence or two.
    """
    first = str(span.returns.columns[0])
    chosen = (differences["statistic"] == "sharpe") & (differences["base"] == first)
    rows = differences[chosen].to_dict("records")
    found = []
    for row in rows:
        kind, text = _judged(row, span, settings, comparisons=len(rows))
        found.append({"label": row["label"], "base": first, "kind": kind, "text": text})
    return found


def _judged(
    row: Mapping[Any, Any], span: Span, settings: CompareSettings, *, comparisons: int
) -> tuple[str, str]:
    one, other = row["label"], row["base"]
    values = span.returns[[one, other]].to_numpy(np.float64)
    if len(values) and float(np.abs(values[:, 0] - values[:, 1]).max()) <= _EQUAL:
        return "same", f"{one} is the same as {other}: no day's return differs."
    if len(values) < RETURNS_MIN:
        return "short", (
            f"{one} cannot be told apart from {other}: {len(values)} common days are too few, {RETURNS_MIN} are needed."
        )
    for label, varies in zip((one, other), _varies(values).tolist(), strict=True):
        if not varies:
            return "no_ratio", (
                f"{one} cannot be compared with {other}: the returns of {label} do not vary, so it has no Sharpe ratio."
            )
    if row["low"] == row["high"]:
        return "multiple", (
            f"{one} is a multiple of {other}: its Sharpe ratio is the same whatever the market does."
        )
    return _tested_verdict(row, span, settings, comparisons=comparisons)


def _tested_verdict(
    row: Mapping[Any, Any], span: Span, settings: CompareSettings, *, comparisons: int
) -> tuple[str, str]:
    one, other, estimate = row["label"], row["base"], float(row["estimate"])
    limit = 1.0 - settings.confidence
    adjusted = ""
    if comparisons > 1:
        adjusted = f", {_p(row['p_base'])} adjusted for {comparisons} comparisons"
    told = (
        f"{100.0 * settings.confidence:g} % interval of the difference of Sharpe ratios {ratio(row['low'])} to "
        f"{ratio(row['high'])} ({_p(row['p_value'])}{adjusted})"
    )
    if row["p_base"] <= limit:
        kind, word = ("better", "higher") if estimate > 0.0 else ("worse", "lower")
        return kind, (
            f"{one} differs from {other} by more than luck: its Sharpe ratio is {word} by {ratio(abs(estimate))}, "
            f"{told}."
        )
    text = f"{one} cannot be told apart from {other}: {told}."
    if row["p_value"] <= limit:
        text += (
            f" Alone the difference would count; as one of {comparisons} comparisons it does not."
        )
    elif estimate != 0.0:
        half = float(row["high"]) - estimate
        years = len(span.returns) * (half / estimate) ** 2 / span.periods_per_year
        text += f" A difference of {ratio(estimate, signed=True)} would show after some {_years(years)}."
    return "undecided", text


def part_told(one: str, other: str, parts: Mapping[str, float]) -> str:
    """Return in a sentence what made the difference of two runs' profit; `parts` are fractions of opening equity."""
    total = math.fsum(parts.values())
    listed = sorted(parts.items(), key=lambda item: -abs(item[1]))
    named = ", ".join(f"{name} {share(value, signed=True)}" for name, value in listed if value)
    word = "more" if total >= 0.0 else "less"
    return f"{one} earned {share(abs(total))} of the opening equity {word} than {other}" + (
        f": {named}." if named else "."
    )


def _tested(
    span: Span, usable: Sequence[int], pairs: Sequence[paired.Pair], statistic: str, **how: Any
) -> list[paired.Difference | None]:
    """Return the tests of the pairs of which both records can be used, None for the others."""
    places = {column: k for k, column in enumerate(usable)}
    tested = [(places[a], places[b]) for a, b in pairs if a in places and b in places]
    if not tested:
        return [None] * len(pairs)
    columns = span.returns.to_numpy(np.float64)[:, list(usable)]
    if statistic == "log_volatility":
        found = paired.log_volatility_differences(columns, pairs=tested, mean_block=None, **how)
    else:
        test = paired.sharpe_differences if statistic == "sharpe" else paired.mean_differences
        q = span.periods_per_year
        found = test(columns, pairs=tested, periods_per_year=q, mean_block=None, **how)
    left = iter(found)
    return [next(left) if a in places and b in places else None for a, b in pairs]


def _numbers(found: paired.Difference) -> tuple[float, float, float, float]:
    return found.estimate, found.low, found.high, found.p_value


def _varies(values: FloatArray) -> BoolArray:
    spread, size = values.std(axis=0), np.abs(values.mean(axis=0))
    return np.asarray(spread > performance.ROUNDING * np.maximum(size, performance.ROUNDING))


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _years(years: float) -> str:
    if years < 2.0:
        return f"{365.0 * years:,.0f} days"
    return f"{years:,.0f} years" if years < 1000.0 else "a thousand years and more"
