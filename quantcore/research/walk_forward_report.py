"""What a walk-forward found, as a page: from summary and tables alone, in the tearsheet's frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, TypeAlias

import pandas as pd

from quantcore import plots
from quantcore.backtest.markup import (
    chart,
    day,
    known,
    listed,
    pair,
    percent,
    plural,
    ratio,
    section,
    sentence,
    share,
    table,
    tile,
    tiles,
    toned,
    whole,
)
from quantcore.backtest.tearsheet import frame
from quantcore.research.walk_forward_figures import (
    crossed_figure,
    curve_figure,
    degradation_figure,
    fold_figure,
    rank_figure,
    stability_figure,
)
from quantcore.research.walk_forward_verdict import (
    FAILS,
    Summary,
    chosen_heading,
    chosen_text,
    short,
    value_text,
)

Tables: TypeAlias = dict[str, pd.DataFrame]
Part: TypeAlias = tuple[str, dict[str, plots.Spec]]

SETS_SHOWN = 25
_CRITERIA = {
    "deflated": "deflated Sharpe ratio",
    "lower_confidence": "lower confidence bound of the Sharpe ratio",
    "best": "Sharpe ratio, naively",
}


def page(summary: Summary, tables: Tables) -> str:
    """Return the report as one HTML page that needs no network, in the tearsheet's frame.

    Raises
    ------
    DataGap
        If plotly's script cannot be found.
    """
    parts, figures = [_header(summary), _headline(summary)], {}
    for build in (_curve, _folds, _overfitting, _crossed, _stability, _sets):
        html, drawn = build(summary, tables)
        parts.append(html)
        figures.update(drawn)
    parts.append(section("Method and limits", "", listed([*_method(summary), *summary["notes"]])))
    return frame(f"{summary['experiment']} · walk-forward", "\n".join(parts), figures)


def _header(s: Summary) -> str:
    facts = [
        ("", f"{day(s['start'])} to {day(s['end'])}"),
        (whole(len(s["folds"])), "test" if len(s["folds"]) == 1 else "tests"),
        (whole(s["sets"]), "parameter sets"),
        (whole(s["train_days"]), f"days of training, {s['scheme']}"),
        (whole(s["purge_days"]), "purged"),
        (s["interval"], "decisions"),
    ]
    items = "".join(f"<li><b>{escape(b)}</b> {escape(t)}</li>" for b, t in facts)
    bad = " bad" if s["verdict"] == FAILS else ""
    first, *others = s["sentences"]
    return (
        '<header><p class="kicker">Walk-forward on Binance USDT-M perpetuals</p>'
        f'<h1>{escape(s["experiment"])}</h1><ul class="facts">{items}</ul>'
        f'<p class="verdict{bad}">{escape(first)}</p>{listed(others)}</header>'
    )


def _headline(s: Summary) -> str:
    crossed = s["cross_validation"]
    spread = f"95 %: {ratio(s['sharpe_oos_low'])} to {ratio(s['sharpe_oos_high'])}"
    items = [
        tile("Sharpe out of sample", toned(ratio(s["sharpe_oos"]), s["sharpe_oos"]), spread),
        tile("Promised in training", ratio(s["sharpe_promised"]), "mean of the choices"),
        tile("PBO", percent(s["pbo"], decimals=0), "½ is drawing lots"),
        tile(
            "Above zero",
            percent(s["psr"], decimals=0),
            f"as one trial; {percent(s['dsr'], decimals=0)} above luck of {s['independent_sets']:.1f}",
        ),
        tile(
            "Return out of sample",
            toned(share(s["total_return_oos"], signed=True), s["total_return_oos"]),
            f"over {plural(s['test_days'], 'day')}",
        ),
        tile("Maximum drawdown", share(s["max_drawdown_oos"]), "of the joined account"),
        tile(
            "Cross-validated",
            toned(ratio(crossed["sharpe"]["q50"]), crossed["sharpe"]["q50"]),
            f"median of {plural(crossed['paths'], 'record')}",
        ),
        tile(
            "Best in hindsight",
            ratio(s["best_in_sample"]["sharpe"]),
            f"above luck: {percent(s['best_in_sample']['dsr'], decimals=0)}",
        ),
    ]
    return f"<div>{tiles(items)}</div>"


def _curve(s: Summary, tables: Tables) -> Part:
    lead = (
        "One account that trades each test with what was chosen before it; positions are carried over the borders, "
        "and switching is paid for. Beside it the experiment's own settings over the same days. Every other test is "
        "shaded. The joined account's own report is tearsheet.html."
    )
    rows = [
        [escape(name), toned(ratio(value), value), f'<span class="muted">{escape(why)}</span>']
        for name, value, why in (
            ("The joined account", s["sharpe_oos"], "what was really traded"),
            (
                "The chosen sets' own backtests",
                s["sharpe_chosen"],
                "stitched: nothing is paid at the borders",
            ),
            ("The best in training", s["sharpe_best_in_training"], "stitched, chosen naively"),
            ("Mean of all sets", s["sharpe_mean_of_sets"], "what drawing lots brings on average"),
            ("The experiment as it stands", s["sharpe_experiment"], "nothing is chosen"),
            (
                "The best in hindsight",
                s["sharpe_best_in_hindsight"],
                "of the tests themselves: nobody can have it",
            ),
        )
    ]
    body = chart("curve") + table(["Over all tests", "Sharpe ratio", ""], rows, text=(0, 2))
    return section("Out of sample", lead, body), {
        "curve": curve_figure(tables["curves"], tables["folds"])
    }


def _folds(s: Summary, tables: Tables) -> Part:
    lead = (
        f"On each training span the set with the best {_CRITERIA[s['choose']]} is chosen, then tested on the days "
        "after. Deflated: the probability that the choice is more than the luck of having tried so many. Rank: the "
        "share of the other sets that it beat in the test. Order kept: the rank correlation of all sets between "
        "training and test."
    )
    head = [
        "Test",
        "Days",
        "Promised",
        "Lower bound",
        "Deflated",
        "Brought",
        "Rank",
        "Order kept",
        chosen_heading(s),
    ]
    rows = [
        [
            escape(f"{fold['test_start']} to {fold['test_end']}"),
            whole(fold["test_days"]),
            ratio(fold["train_sharpe"]),
            ratio(fold["train_lower"]),
            percent(fold["train_deflated"], decimals=0),
            toned(ratio(fold["test_sharpe"]), fold["test_sharpe"]),
            percent(fold["test_rank"], decimals=0),
            ratio(fold["rank_correlation"]),
            escape(chosen_text(fold["chosen"])) if fold["held"] else "cash",
        ]
        for fold in s["folds"]
    ]
    body = chart("folds") + table(head, rows, text=(0, len(head) - 1))
    return section("Promised and brought", lead, body), {"folds": fold_figure(tables["folds"])}


def _overfitting(s: Summary, tables: Tables) -> Part:
    halves = tables["overfitting"]
    lead = (
        f"Days with positions are cut into blocks; each of {len(halves):,} ways of taking half of them names a best "
        "set, and the other half judges it. Left: what it promised against what it brought. Right: how it ranked "
        "there; the share in the lower half is the probability of backtest overfitting, "
        f"{percent(s['pbo'], decimals=0)}. Two halves share one record: what one of them has more the other has "
        "less, so that the cloud falls unless sets differ by more than halves do."
    )
    body = pair(("Degradation", chart("degradation")), ("Rank out of sample", chart("ranks")))
    return section("Overfitting", lead, body), {
        "degradation": degradation_figure(halves, s["degradation"]),
        "ranks": rank_figure(halves),
    }


def _crossed(s: Summary, tables: Tables) -> Part:
    c = s["cross_validation"]
    lead = (
        f"The days are cut into {c['groups']} groups; every way of testing {c['test_groups']} of them chooses on the "
        f"others, without {plural(c['purge_days'], 'day')} on either side and {c['embargo_days']} more after a test. "
        f"The {plural(c['splits'], 'split')} join up to {plural(c['paths'], 'whole record')}. They share their days, "
        "and some choose on days after their test: evidence about the procedure, not a record that could have been "
        "traded."
    )
    q = c["sharpe"]
    rows = [
        [
            "Chosen",
            *(toned(ratio(q[name]), q[name]) for name in ("q0", "q25", "q50", "q75", "q100")),
            ratio(c["sharpe_mean"]),
            percent(c["share_negative"], decimals=0),
        ]
    ]
    head = [
        "Whole records",
        "Lowest",
        "Quarter",
        "Median",
        "Three quarters",
        "Highest",
        "Mean",
        "Below 0",
    ]
    body = chart("crossed") + table(head, rows)
    return section("Cross-validation", lead, body), {
        "crossed": crossed_figure(s, tables["paths"], tables["splits"])
    }


def _stability(s: Summary, tables: Tables) -> Part:
    found = s["stability"]
    lead = (
        "Which values each fold chose. A parameter that moves between tests as far as drawing lots moves it was "
        "fitted to noise; one that stays need not matter either: then all its values do as well."
    )
    if not known(found["same_set"]):
        return section(
            "Stability", "", sentence("A single test has no borders over which to be stable.")
        ), {}
    rows = [
        [
            escape(path),
            percent(values["same"], decimals=0),
            percent(values["same_drawn"], decimals=0),
            percent(values["distance"], decimals=0),
            percent(values["distance_drawn"], decimals=0),
        ]
        for path, values in found["parameters"].items()
    ]
    whole_set = [
        "The whole set",
        percent(found["same_set"], decimals=0),
        percent(found["same_set_drawn"], decimals=0),
        percent(found["distance"], decimals=0),
        percent(found["distance_drawn"], decimals=0),
    ]
    head = ["Parameter", "Stays", "If drawn", "Moves, of its range", "If drawn"]
    drawn = stability_figure(s["folds"], _tried(tables["sets"], list(found["parameters"]), s))
    body = (chart("stability") if drawn else "") + table(head, rows, total=whole_set)
    return section("Stability", lead, body), {"stability": drawn} if drawn else {}


def _tried(sets: pd.DataFrame, paths: Sequence[str], s: Summary) -> dict[str, list[object]]:
    """Return the different values of each parameter, chosen ones as the folds spell them."""
    tried: dict[str, list[object]] = {}
    for path in paths:
        values = sets[path].drop_duplicates().tolist()
        told = {value_text(fold["chosen"][path]) for fold in s["folds"]}
        named = {value_text(value) for value in values}
        tried[path] = values if told <= named else [*values, *sorted(told - named)]
    return tried


def _sets(s: Summary, tables: Tables) -> Part:
    sets = tables["sets"].sort_values("sharpe_from_first_position", ascending=False, kind="stable")
    paths = list(s["stability"]["parameters"])
    shown = sets.head(SETS_SHOWN)
    lead = (
        f"All {len(sets)} sets"
        if len(sets) <= SETS_SHOWN
        else f"The {SETS_SHOWN} best of {len(sets)} sets"
    )
    lead += (
        f" by their Sharpe ratio over the whole record: what would have been believed without any test. "
        f"They amount to {s['independent_sets']:.1f} independent ones."
    )
    head = [
        *(short(path) for path in paths),
        "Whole record",
        "In the tests",
        "Drawdown",
        "Turnover",
        "Folds",
        "Splits",
    ]
    rows = [
        [
            *(escape(value_text(row[path])) for path in paths),
            toned(ratio(row["sharpe_from_first_position"]), row["sharpe_from_first_position"]),
            toned(ratio(row["sharpe_in_tests"]), row["sharpe_in_tests"]),
            share(row["max_drawdown"]),
            f"{ratio(row['turnover_annual'], decimals=0)}×",
            whole(row["folds_chosen"]),
            whole(row["splits_chosen"]),
        ]
        for row in _records(shown)
    ]
    return section("Sets", lead, table(head, rows, text=tuple(range(len(paths))))), {}


def _method(s: Summary) -> list[str]:
    return [
        "Every set is backtested once over the whole record. What it does on a day depends on no later day, so "
        "choices read nothing of their tests; but a set enters its test with the equity, positions and lots of its "
        "own past. The joined account does not: it is traded anew from the first test, and carries its positions "
        "from choice to choice.",
        f"Training begins with the first position, after {plural(s['warm_up_days'], 'day')}; no choice rests on "
        "fewer than 30 days of returns.",
        "The joined record is one trial of one procedure: its ratio stands against zero. Whoever changes the "
        "procedure after reading this page and runs it again has made another trial.",
        "Deflated Sharpe ratios take the sets for as many independent trials as would make luck as likely as these "
        "correlated ones do; what else was tried on this market counts where the ledger is named.",
    ]


def _records(values: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in values.to_dict("records")]
