"""What a run comes to, in a few sentences, and how much of it may be told at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quantcore.backtest.curves import Curves
from quantcore.backtest.markup import day, is_zero, money, percent, plural, share, whole
from quantcore.backtest.metrics import CONFIDENCE, closing_positions, declared_only
from quantcore.backtest.notes import MODEL_LIMITS
from quantcore.backtest.result import Recorded, Run
from quantcore.backtest.scorecard import RETURNS_MIN, Score, scorecard, verdict_line
from quantcore.timegrid import to_index

RATIO_RETURNS_MIN = 10
"""Daily returns below which ratios, tails and annual figures are not shown; `metrics.json` keeps them."""

_RATIOS = frozenset(
    {
        *("annual_return", "annual_volatility", "sharpe", "sharpe_ci_low", "sharpe_ci_high"),
        *("sortino", "calmar", "alpha", "beta", "var_95_daily", "es_95_daily", "psr", "dsr"),
        "min_track_record_days",
    }
)
_REFUSED = ("refused", "rejected")
_TOO_SMALL = {"below_step", "min_notional"}
_RULES = {
    "below_step": "as below the step size",
    "min_notional": "as below the minimum notional",
    "market_max_qty": "as above the largest market order",
    "margin": "for want of margin",
    "bracket_notional": "as above the leverage bracket",
    "post_only_would_cross": "as post-only orders that would cross",
    "no_price": "for want of a price",
}


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What is told of a run, on the page and on the terminal alike.

    Parameters
    ----------
    metrics : mapping of str to Any
        `metrics.json`, without the ratios that `RATIO_RETURNS_MIN` forbids.
    returns, closed : int
        Number of daily returns and of closed round trips.
    traded : bool
        Whether there was a fill.
    benchmark : str
        "BTC held", with the day from which it is where that is later than the start; empty without BTC bars.
    scores : tuple of Score
        The scorecard.
    verdict : str
        What the run comes to.
    """

    metrics: Mapping[str, Any]
    returns: int
    closed: int
    traded: bool
    benchmark: str
    scores: tuple[Score, ...]
    verdict: str


def findings(run: Recorded, metrics: Mapping[str, Any], curve: Curves) -> Findings:
    """Return what is to be told of a run with these metrics and curves."""
    enough = curve.returns >= RATIO_RETURNS_MIN
    told: dict[str, Any] = {
        k: None if k in _RATIOS and not enough else v for k, v in metrics.items()
    }
    scores = scorecard(told, execution_interval=run.execution_interval, returns=curve.returns)
    traded = not run.tables["fills"].empty
    first = outcome(told, curve.returns) if traded else f"Nothing was traded: {refusals(run)}."
    return Findings(
        metrics=told,
        returns=curve.returns,
        closed=told["trades"] - int((closing_positions(run)["qty"] != 0.0).sum()),
        traded=traded,
        benchmark=_benchmark(curve, told),
        scores=tuple(scores),
        verdict=f"{first} {verdict_line(scores)}",
    )


def outcome(metrics: Mapping[str, Any], returns: int) -> str:
    """Return what happened, and whether it can be told from luck."""
    total, psr = metrics["total_return"], metrics["psr"]
    size = share(abs(total))
    done = "Broke even" if is_zero(size) else f"{'Gained' if total > 0.0 else 'Lost'} {size}"
    first = f"{done} with a maximum drawdown of {share(metrics['max_drawdown'])}"
    if returns < RETURNS_MIN:
        second = f"{plural(returns, 'daily return')} cannot tell skill from luck"
    elif psr is None:
        second = "the returns are too even for a Sharpe ratio"
    elif total < 0.0:
        second = "nothing here is worth trading"
    elif psr < CONFIDENCE:
        record = metrics["min_track_record_days"]
        need = f"; it takes some {whole(record)} such days to tell" if record is not None else ""
        second = f"not yet to be told from luck (the Sharpe ratio is above zero with probability {percent(psr)}{need})"
    else:
        chance = percent(psr) if psr < 0.999 else "over 99.9 %"
        second = f"the Sharpe ratio is above zero with probability {chance}, {_deflated(metrics)}"
    return f"{first}; {second}."


def trials_told(run: Recorded, metrics: Mapping[str, Any]) -> str:
    """Return how many trials the run is the best of, where that was counted, and what is left of its Sharpe ratio."""
    if isinstance(run, Run):
        told = (declared_only(run) if run.trials is None else run.trials).sentence
    elif metrics["trials"] is None:
        told = "How many trials it is the best of was not counted when it was run."
    else:
        told = (
            f"It was counted as the best of {plural(metrics['trials'], 'trial')} when it was run."
        )
    chance = metrics["dsr"]
    if chance is None:
        return told
    return f"{told} Counting them, the Sharpe ratio is above what luck would show with probability {percent(chance)}."


def refusals(run: Recorded) -> str:
    """Return why a run did not trade: the rules that refused most of its orders, or that none was wanted."""
    reasons = run.tables["reasons"]
    refused = reasons[reasons["action"].isin(_REFUSED)]
    if refused.empty:
        return _unwanted(run)
    counts = refused["rule"].value_counts()
    named = [
        (f"{n:,} " if len(counts) > 1 else "") + _RULES.get(str(rule), f"by the rule {rule}")
        for rule, n in counts.head(3).items()
    ]
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    comma = ", " if len(counts) > 1 else " "
    verb = "was" if len(refused) == 1 else "were"
    text = f"{plural(len(refused), 'order')} {verb} refused{comma}{listed}"
    if set(counts.index) <= _TOO_SMALL:
        text += (
            f"; {money(run.capital, decimals=0)} USDT is too little for these symbols and weights"
        )
    return text


def is_limit(note: str) -> bool:
    """Return whether a note is about the model, the same in every run, not about this run's data."""
    return note in MODEL_LIMITS or "not modelled" in note


def _deflated(metrics: Mapping[str, Any]) -> str:
    trials, chance = metrics["trials"], metrics["dsr"]
    if trials is None or chance is None:
        return "before counting trials"
    return f"above what luck would show of {plural(trials, 'trial')} with probability {percent(chance)}"


def _unwanted(run: Recorded) -> str:
    orders, targets = (
        run.tables["orders"],
        run.tables["targets"].drop(columns="ts", errors="ignore"),
    )
    if len(orders):
        return f"{plural(len(orders), 'order')} sent, none filled"
    if not targets.fillna(0.0).to_numpy().any():
        return "no target asked for a position; the span may be shorter than the strategy's warm-up"
    return "no order was sent"


def _benchmark(curve: Curves, metrics: Mapping[str, Any]) -> str:
    start = curve.benchmark_from
    if start is None:  # a results folder keeps the benchmark's return and not its curve
        return "" if metrics["benchmark_return"] is None else "BTC held"
    late = start - to_index(curve.ts_us[:1])[0] >= pd.Timedelta(days=1)
    return f"BTC held from {day(start)}" if late else "BTC held"
