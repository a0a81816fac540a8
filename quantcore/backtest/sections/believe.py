"""Can this be believed? One question per line, answered in a sentence with its numbers, in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np

from quantcore.backtest.markup import day, percent, plural, ratio, section, share, stacked, whole
from quantcore.backtest.outlook import RUIN_DAYS, RUIN_THRESHOLD
from quantcore.backtest.sections.story import Section, Story
from quantcore.backtest.verdict import RATIO_RETURNS_MIN, trials_told
from quantcore.finance import calendar, overfitting, performance
from quantcore.timegrid import DAYS_PER_YEAR, to_index

BEST_DAYS = 10
TRIALS = (10, 100)
SURE = 0.95
DOUBTFUL_P = 0.05
RUIN_MAX, LIQUIDATION_MAX = 0.01, 0.005

Answer = Literal["yes", "no", "open"]
_MARKS = {"yes": ("yes", "✓"), "no": ("no", "✗"), "open": ("", "○")}


@dataclass(frozen=True)
class Question:
    """One line of the panel: a question, whether its answer speaks for the result, and why."""

    asked: str
    answer: Answer
    why: str


def believe(story: Story) -> Section:
    """Return the panel; a record too short for statistics says so in one line."""
    if story.found.returns < RATIO_RETURNS_MIN:
        lead = (
            f"{plural(story.found.returns, 'daily return')} cannot tell skill from luck: "
            f"{RATIO_RETURNS_MIN} are the least, a few hundred are useful."
        )
        return section("Can this be believed?", lead), {}
    rows = [_row(question) for question in questions(story)]
    lead = "What speaks for the result, what against it, and what a backtest cannot know. ○ marks what is open."
    return section(
        "Can this be believed?", lead, stacked(["Question", "", "Answer"], rows, text=(0, 1, 2))
    ), {}


def questions(story: Story) -> list[Question]:
    """Return every question that the run's record can answer."""
    return [
        *_luck(story),
        *_few_days(story),
        *_halves(story),
        *_trials(story),
        *_tails(story),
        *_depth(story),
        *_ruin(story),
        *_liquidation(story),
    ]


def _luck(story: Story) -> Iterator[Question]:
    m = story.metrics
    psr, low, high = m["psr"], m["sharpe_ci_low"], m["sharpe_ci_high"]
    if psr is None or low is None or high is None:
        return
    why = (
        f"The Sharpe ratio of {ratio(m['sharpe'])} has a 95 % interval from {ratio(low)} to {ratio(high)}; "
        f"it is above zero with probability {percent(psr)}."
    )
    yield Question("Is it more than luck?", "yes" if psr >= SURE and low > 0.0 else "no", why)
    needed = m["min_track_record_days"]
    if needed is not None and m["sharpe"] > 0.0:
        enough = story.curve.days >= needed
        why = (
            f"{whole(story.curve.days)} days were traded; to tell a ratio this high from zero takes "
            f"{whole(needed)}."
        )
        yield Question("Is the record long enough?", "yes" if enough else "no", why)


def _few_days(story: Story) -> Iterator[Question]:
    total = story.metrics["total_return"]
    if total is None or total <= 0.0 or story.found.returns <= 5 * BEST_DAYS:
        return
    without = calendar.without_best_days(story.curve.daily, count=BEST_DAYS)
    why = f"Without its {BEST_DAYS} best days the return would be {share(without)} instead of {share(total)}."
    yield Question("Does it hold without its best days?", "yes" if without > 0.0 else "no", why)


def _halves(story: Story) -> Iterator[Question]:
    daily = story.curve.daily.dropna().to_numpy(np.float64)
    if len(daily) < 4 * RATIO_RETURNS_MIN:
        return
    q = story.curve.days_per_year
    halves = [performance.sharpe(part, periods_per_year=q) for part in np.array_split(daily, 2)]
    if not np.isfinite(halves).all():
        return
    first, second = halves
    why = (
        f"Sharpe ratio {ratio(first)} in the first half of the days, {ratio(second)} in the second."
    )
    yield Question("Did both halves earn?", "yes" if min(first, second) > 0.0 else "no", why)


def _trials(story: Story) -> Iterator[Question]:
    years, ratio_now = story.curve.years, story.metrics["sharpe"]
    if ratio_now is None or not years > 0.0:
        return
    few, many = (overfitting.expected_max_sharpe(n, variance=1.0 / years) for n in TRIALS)
    why = (
        f"Of {TRIALS[0]} strategies without any skill the best would show a Sharpe ratio of {ratio(few)} over this "
        f"span, of {TRIALS[1]} {ratio(many)}; this one shows {ratio(ratio_now)}."
    )
    yield Question("Would it stand out among ten?", "no" if ratio_now < few else "open", why)
    chance = story.metrics["dsr"]
    answer: Answer = "open"
    if chance is not None and chance < SURE:
        answer = "no"
    elif chance is not None and story.run.trials is not None and not story.run.trials.alone:
        answer = "yes"  # only what was counted, not what was declared alone, can speak for it
    yield Question(
        "Does it stand out among all that was tried?", answer, trials_told(story.run, story.metrics)
    )


def _tails(story: Story) -> Iterator[Question]:
    tail = story.outlook.tail
    if tail is None:
        return
    p = tail.conditional_coverage_p
    good = tail.zone == "green" and not p < DOUBTFUL_P
    kind = "as often and as evenly as they should" if good else "not as they should"
    why = (
        f"Value at risk, forecast each day from the days before, was exceeded on {tail.failures} of {whole(tail.days)} "
        f"days, {tail.expected_failures:.0f} expected: losses come {kind} (p = {p:.2f})."
    )
    if tail.shortfall_p < DOUBTFUL_P:
        good, why = False, f"{why} When they come they are larger than the forecast shortfall."
    yield Question("Do its risk numbers hold?", "yes" if good else "no", why)


def _depth(story: Story) -> Iterator[Question]:
    found, measured = story.outlook.drawdown, story.metrics["max_drawdown"]
    ruin = story.outlook.ruin
    if found is None or measured is None or ruin is None:
        return
    middle, deep = (ruin.drawdown_quantile(q).value for q in (0.5, 0.05))
    why = (
        f"Another record of this length and kind would fall by {share(-found.high)} to {share(-found.low)} at its "
        f"deepest; this one fell by {share(-measured)}. Within a year: {share(-middle)} at the median, one in twenty "
        f"deeper than {share(-deep)}."
    )
    yield Question("How deep may it fall?", "open", why)


def _ruin(story: Story) -> Iterator[Question]:
    ruin = story.outlook.ruin
    if ruin is None:
        return
    years = RUIN_DAYS / DAYS_PER_YEAR
    span = "a year" if years == 1.0 else f"{years:g} years"
    why = (
        f"Losing {percent(1.0 - RUIN_THRESHOLD, decimals=0)} within {span} has the probability "
        f"{_chance(ruin.probability)}; counting that the record itself is a sample, up to {_chance(ruin.high)}."
    )
    yield Question("Is it far from ruin?", "yes" if ruin.high < RUIN_MAX else "no", why)


def _liquidation(story: Story) -> Iterator[Question]:
    near = story.outlook.liquidation
    if near is None:
        return
    at = day(to_index(np.array([near.ts_us]))[0])
    chance = near.estimate.probability
    why = (
        f"On its riskiest day, {at} at {ratio(near.leverage, decimals=1)}× leverage, the probability within 24 hours "
        f"was {_chance(chance)} by the shocks of the year before."
    )
    yield Question("Is it far from liquidation?", "yes" if chance < LIQUIDATION_MAX else "no", why)


def _chance(value: float) -> str:
    return percent(value, decimals=2) if value >= 5e-5 else "under 0.01\u00a0%"


def _row(question: Question) -> str:
    tone, mark = _MARKS[question.answer]
    return (
        f'<tr><td>{escape(question.asked)}</td><td class="text side"><span class="badge {tone}">{mark} '
        f'{question.answer}</span></td><td class="wrap wide">{escape(question.why)}</td></tr>'
    )
