"""How far to believe a run: what was refused, what the data lacks, the scorecard, what the model leaves out."""

from __future__ import annotations

from html import escape

from quantcore.backtest.markup import (
    day,
    listed,
    percent,
    plural,
    section,
    stacked,
    table,
    whole,
    words,
)
from quantcore.backtest.scorecard import Score, verdict_line
from quantcore.backtest.sections.story import Section, Story, records
from quantcore.backtest.verdict import is_limit

_MARKS = {"met": ("yes", "✓"), "not met": ("no", "✗"), "not measurable": ("", "○")}
_SHARE_NAMES = {
    "assumed_funding_share": "of the notional charged with funding had an assumed rate: no settlement history there",
    "fallback_mark_share": "of the notional held was valued at last prices: no mark prices there",
}
_LIMITS = (
    "Partial liquidation by tiers is not modelled: a position that is liquidated closes whole.",
    "There is no order book: a limit order fills only when a bar trades through it; depth and queues are unknown.",
    "The path inside an execution bar is unknown; where the order of events matters, the worse one is taken.",
)


def interventions(story: Story) -> Section:
    """Return what was cut, refused or forced, counted by rule."""
    reasons = story.run.tables["reasons"]
    if reasons.empty:
        return section(
            "Refusals and interventions", "No order was cut or refused, and nothing intervened."
        ), {}
    grouped = reasons.groupby(["stage", "rule", "action"], observed=True)
    counted = grouped.agg(
        count=("ts", "size"), symbols=("symbol", "nunique"), last=("ts", "max")
    ).reset_index()
    counted = counted.sort_values("count", ascending=False, kind="stable")
    most = int(counted["count"].max())
    rows = [
        (
            escape(words(str(row.rule))),
            escape(words(str(row.stage))),
            escape(words(str(row.action))),
            f'<span class="bar narrow-off" style="width:{90.0 * row.count_ / most:.0f}px"></span>',
            whole(row.count_),
            whole(row.symbols),
            escape(day(row.last)),
        )
        for row in records(counted.rename(columns={"count": "count_"}))
    ]
    head = ["Rule", "Stage", "What was done", "", "Times", "Symbols", "Last"]
    drawn = table(head, rows, text=(0, 1, 2, 3))
    return section(
        "Refusals and interventions", f"{plural(len(reasons), 'event')}, by rule.", drawn
    ), {}


def data_notes(story: Story) -> Section:
    """Return what is known of the data's holes and of the defaults that filled them."""
    shares = [
        f"{percent(value, decimals=2)} {_SHARE_NAMES.get(name, words(name).lower())}."
        for name, value in story.run.quality.items()
        if value > 0.0
    ]
    notes = [*shares, *(n for n in story.run.notes if not is_limit(n))]
    if not notes:
        return section(
            "Data", "Nothing to report: no series is missing and no rule is a default."
        ), {}
    return section("Data", "", listed(notes)), {}


def scores(story: Story) -> Section:
    """Return the targets against the results, each on its own."""
    lines = story.found.scores
    drawn = stacked(
        ["Target", "Asked", "Result", "Verdict", "Why"],
        [_score_row(line) for line in lines],
        text=(3, 4),
    )
    lead = f"{verdict_line(list(lines))} Each target stands on its own."
    return section("Scorecard", lead, drawn), {}


def _score_row(line: Score) -> str:
    tone, mark = _MARKS[line.verdict]
    return (
        f'<tr><td>{escape(line.name)}</td><td class="side">{escape(line.target)}</td><td>{escape(line.result)}</td>'
        f'<td class="text side"><span class="badge {tone}">{mark} {line.verdict}</span></td>'
        f'<td class="wrap wide">{escape(line.reason)}</td></tr>'
    )


def limits(story: Story) -> Section:
    """Return what the model does not cover."""
    notes = [n for n in story.run.notes if is_limit(n)]
    told = " ".join(notes).lower()
    notes += [n for n in _LIMITS if " ".join(n.lower().split()[:3]) not in told]
    footer = (
        "<footer>Sharpe ratio and volatility use daily UTC returns and 365 days; no risk-free rate. "
        "Results of a model on past data.</footer>"
    )
    return section("What the model does not cover", "", listed(notes)) + footer, {}
