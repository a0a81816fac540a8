"""What a walk-forward says, in plain words: from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from quantcore.backtest.markup import known, percent, plural, ratio

Summary: TypeAlias = Mapping[str, Any]

SURE = 0.95
"""Probability from which a ratio counts as told from zero."""
PBO_LOW, PBO_HIGH = 0.2, 0.4
"""Below the first, choosing by the past helps; from the second on it is hardly better than drawing lots."""

ALIKE = 2.0
"""Independent sets below which all are nearly one and the same."""

APART = 0.25
"""Difference of two ratios of the same record that is worth a sentence."""

HOLDS, FAILS, OPEN = "holds", "does_not_hold", "undecided"


def judge(summary: Summary) -> str:
    """Return whether the result holds out of sample.

    ``"holds"``: the ratio of the joined record is above zero with probability `SURE` or more, and so is its whole
    interval; ``"does_not_hold"``: it is not above zero; ``"undecided"``: it is, but luck explains it too.
    """
    found, chance, low = summary["sharpe_oos"], summary["psr"], summary["sharpe_oos_low"]
    if not known(found) or not known(chance) or found <= 0.0:
        return FAILS
    return HOLDS if chance >= SURE and known(low) and low > 0.0 else OPEN


def told(summary: Summary) -> list[str]:
    """Return the verdict's sentences: does it hold, was the choice worth anything, what did it cost, is it stable."""
    return [
        _holds(summary),
        _overfitted(summary),
        _cost(summary),
        _hindsight(summary),
        _stable(summary),
    ]


def _holds(s: Summary) -> str:
    if not known(s["sharpe_oos"]):
        return f"Out of sample nothing was earned or lost on {plural(s['test_days'], 'day')}."
    found = (
        f"a Sharpe ratio of {ratio(s['sharpe_oos'])} ({_interval(s)}) over {plural(s['test_days'], 'day')} in "
        f"{plural(len(s['folds']), 'test')}"
    )
    chance = percent(s["psr"], decimals=0)
    if judge(s) == HOLDS:
        return f"It holds out of sample: {found}, above zero with probability {chance}."
    if judge(s) == OPEN:
        return f"Out of sample it cannot be told from luck: {found}, above zero with probability {chance}."
    return f"It does not hold out of sample: {found}."


def _interval(s: Summary) -> str:
    low, high = s["sharpe_oos_low"], s["sharpe_oos_high"]
    if not (known(low) and known(high)):
        return "no interval"
    return f"95 % interval {ratio(low)} to {ratio(high)}"


def _overfitted(s: Summary) -> str:
    pbo = s["pbo"]
    chance = percent(pbo, decimals=0)
    found = (
        f"whichever of the {plural(s['sets'], 'set')} is best in one half of the record comes out in the lower half of "
        f"them in the other half with probability {chance} (PBO), and loses there with probability "
        f"{percent(s['probability_of_loss'], decimals=0)}"
    )
    if s["independent_sets"] < ALIKE:
        found += f"; they amount to {s['independent_sets']:.1f} independent ones, so that there is little to choose"
    if pbo < PBO_LOW:
        return f"Choosing by the past works among these sets: {found}."
    if pbo < PBO_HIGH:
        return f"Choosing by the past helps a little among these sets: {found}."
    return f"Choosing by the past is hardly better than drawing lots among these sets: {found}."


def _cost(s: Summary) -> str:
    promised, came, drawn = s["sharpe_promised"], s["sharpe_chosen"], s["sharpe_mean_of_sets"]
    return (
        f"The chosen sets promised a Sharpe ratio of {ratio(promised)} in training and brought {ratio(came)} in their "
        f"tests; the mean of all sets brought {ratio(drawn)} there, the best in training {_naive(s)}, and the "
        f"experiment's own settings {ratio(s['sharpe_experiment'])}.{_joining(s)}"
    )


def _joining(s: Summary) -> str:
    """Return what joining the tests in one account changed, where it changed much."""
    account, stitched = s["sharpe_oos"], s["sharpe_chosen"]
    if not (known(account) and known(stitched)) or abs(account - stitched) < APART:
        return ""
    return (
        f" Joined in one account they made {ratio(account)}: positions that stand at a border, whole lots and smallest "
        "orders count, the more so the smaller the account."
    )


def _naive(s: Summary) -> str:
    same = s["sharpe_best_in_training"] == s["sharpe_chosen"]
    return "the same" if same else ratio(s["sharpe_best_in_training"])


def _hindsight(s: Summary) -> str:
    best, crossed = s["best_in_sample"], s["cross_validation"]
    return (
        f"In hindsight the best set shows {ratio(best['sharpe'])}: above what the luckiest of "
        f"{s['independent_sets']:.1f} independent worthless sets would show with probability "
        f"{percent(best['dsr'], decimals=0)}{_counted(best)}. Chosen without the days it is tested on, "
        f"{plural(crossed['paths'], 'record')} of cross-validation have a median of {ratio(crossed['sharpe']['q50'])} "
        f"({ratio(crossed['sharpe']['q0'])} to {ratio(crossed['sharpe']['q100'])})."
    )


def _counted(best: Mapping[str, Any]) -> str:
    """Return what is left when everything that the ledger holds of this market is counted."""
    if best["trials"] is None or not known(best["dsr_ledger"]):
        return ""
    return (
        f", of the {plural(best['trials'], 'trial')} that count with it (ledger and strategy files) with probability "
        f"{percent(best['dsr_ledger'], decimals=0)}"
    )


def _stable(s: Summary) -> str:
    found = s["stability"]
    if not known(found["same_set"]):
        return "With a single test nothing can be said about the stability of the parameters."
    borders = len(s["folds"]) - 1
    stayed = round(found["same_set"] * borders)
    return (
        f"The choice stayed at {stayed} of {plural(borders, 'border')} between tests; its parameters moved by "
        f"{percent(found['distance'], decimals=0)} of their range on average, where drawing lots moves them by "
        f"{percent(found['distance_drawn'], decimals=0)}."
    )


def chosen_text(values: Mapping[str, object]) -> str:
    """Return a set's values as people read them, in the order of `chosen_heading`.

    Examples
    --------
    >>> chosen_text({"strategy.fast": 24, "portfolio": "risk_parity"})
    '24 · risk_parity'
    """
    return " · ".join(value_text(value) for value in values.values())


def chosen_heading(summary: Summary) -> str:
    """Return the last names of the parameters' paths, over a column of `chosen_text`."""
    return " · ".join(short(path) for path in summary["stability"]["parameters"])


def short(path: str) -> str:
    """Return the last name of a path."""
    return path.rpartition(".")[2]


def value_text(value: object) -> str:
    """Return a value as text: numbers without noise, null for none."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(value_text(item) for item in value) + "]"
    return str(value)
