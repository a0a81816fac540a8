"""The page of a finished sweep: what it says and draws, from a table alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from html import unescape

import numpy as np
import pandas as pd
import pytest

from quantcore.research import sweep_figures as figures
from quantcore.research.sweep_axes import axes_of
from quantcore.research.sweep_findings import findings, neighbours, peak
from quantcore.research.sweep_lines import LINES_MAX, drawn_rows
from quantcore.research.sweep_report import page
from quantcore.research.sweep_wording import SweepFacts, Verdict, refusals, value_text, verdict

PARAMETERS = ("strategy.fast", "strategy.slow", "portfolio")


def facts(**changed: object) -> SweepFacts:
    known = {
        "experiment": "majors <1h>", "start": "2023-01-01", "end": "2024-12-31", "symbols": 20, "sampling": "grid",
        "trials": 12.0, "deflated_sharpe": 0.97, "overfitting_probability": 0.2, "seconds": 65.0,
        "notes": ("The data has holes.",),
    }  # fmt: skip
    return SweepFacts(**(known | changed))  # type: ignore[arg-type]  # the fields above


def surface() -> pd.DataFrame:
    """Return a smooth hill over two numbers and two words, on which `slow <= fast` is refused."""
    rows = list(itertools.product([8, 16, 32, 64], [16, 32, 64, 128], ["half_kelly", "all"]))
    table = pd.DataFrame(rows, columns=list(PARAMETERS))
    distance = np.log2(table["strategy.fast"] / 16) ** 2 + np.log2(table["strategy.slow"] / 64) ** 2
    table["sharpe"] = 1.5 - 0.12 * distance + 0.02 * (table.portfolio == "all")
    table["total_return"] = 0.1 * table.sharpe
    table["max_drawdown"] = -0.2
    table["turnover_annual"] = 30.0
    bad = table["strategy.slow"] <= table["strategy.fast"]
    table.loc[bad, ["sharpe", "total_return", "max_drawdown", "turnover_annual"]] = np.nan
    said = [f"strategy: slow must be > fast = {row}.5, was {row}" for row in range(len(table))]
    table["refused"] = np.where(bad, said, "")
    return table


def told(table: pd.DataFrame, parameters: Sequence[str], known: SweepFacts) -> Verdict:
    return verdict(findings(table, parameters, trials=known.trials), known, table, parameters)


def drawn(table: pd.DataFrame, parameters: Sequence[str], known: SweepFacts) -> str:
    return unescape(
        page(table, parameters, known, findings(table, parameters, trials=known.trials))
    )


def test_a_broad_hill_beyond_luck_stands() -> None:
    said = told(surface(), PARAMETERS, facts())
    assert said.good
    assert said.headline.startswith("The best set\u2019s Sharpe ratio of 1.52 stands")
    assert (
        "strategy.fast=16, strategy.slow=64, portfolio=all, has a Sharpe ratio of 1.52"
        in said.sentences[0]
    )
    assert any("12 independent trials" in sentence for sentence in said.sentences)
    assert any("97.0 % (deflated" in sentence for sentence in said.sentences)
    assert any("4 adjacent sets have a median of 1.40, 92 %" in text for text in said.sentences)


@pytest.mark.parametrize(
    ("changed", "less", "doubt"),
    [
        ({"deflated_sharpe": 0.9}, 0.0, "it may be the luck of the best of many trials"),
        ({"deflated_sharpe": None, "trials": 1e9}, 1.0, "it is no more than the luck"),
        ({"deflated_sharpe": None, "trials": math.nan}, 0.0, "nothing says how much of it is luck"),
        ({"overfitting_probability": 0.5}, 0.0, "no better than choosing blindly"),
    ],
)
def test_what_speaks_against_the_best_set_is_in_the_headline(
    changed: dict[str, object], less: float, doubt: str
) -> None:
    table = surface()
    table["sharpe"] -= less
    said = told(table, PARAMETERS, facts(**changed))
    assert not said.good
    assert doubt in said.headline


def test_a_lone_peak_is_named_with_the_set_rather_to_take() -> None:
    table = surface()
    table.loc[
        (table["strategy.fast"] == 64) & (table.portfolio == "all") & table.sharpe.notna(), "sharpe"
    ] = 4.0
    said = told(table, PARAMETERS, facts())
    assert not said.good
    assert "it is a lone peak among its neighbours. Rather take the centre" in said.headline
    assert "The centre of the best plateau is strategy.fast=" in said.sentences[-1]


def test_losing_money_is_no_plateau() -> None:
    table = surface()
    table["sharpe"] -= 3.0
    said = told(table, PARAMETERS, facts())
    assert "it loses money" in said.headline
    assert "Rather take" not in said.headline


def test_refused_sets_are_counted_by_their_reason() -> None:
    assert refusals(surface()) == {"strategy: slow must be > fast": 12}
    assert refusals(surface().drop(columns="refused")) == {}
    html = drawn(surface(), PARAMETERS, facts())
    assert "12 sets of 32 are no valid combination" in html


def test_the_page_shows_every_section_and_escapes_names() -> None:
    known = facts()
    html = page(surface(), PARAMETERS, known, findings(surface(), PARAMETERS, trials=12.0))
    assert "majors &lt;1h&gt;" in html
    for title in (
        "Which set to take", "All sets", "Heat map", "Which parameters matter", "Parallel coordinates", "The sets",
        "Refused sets", "Method and data",
    ):  # fmt: skip
        assert (f"<h2>{title}</h2>" in html) == (title != "Which set to take")
    assert "<h2>The best set</h2>" in html
    assert "The data has holes." in html
    assert html.count('class="chart"') == 1 + 3 + 1 + 3 + 1


@pytest.mark.parametrize(
    ("table", "parameters", "there", "absent"),
    [
        (surface().drop(columns="portfolio").iloc[::2], PARAMETERS[:2], "Heat map", "Further pairs"),
        (pd.DataFrame({"a": [1, 2, 4], "sharpe": [0.1, 0.5, 0.4]}), ["a"], "The parameter", "Heat map"),
        (pd.DataFrame({"a": ["x", "y", "z"], "sharpe": [0.1, 0.5, 0.4]}), ["a"], "No set with", "Heat map"),
        (pd.DataFrame({"a": [1], "sharpe": [0.5]}), ["a"], "nothing to compare it with", "All sets"),
        (pd.DataFrame({"a": [1, 2], "sharpe": [math.nan] * 2}), ["a"], "None of 2 sets has a Sharpe", "All sets"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "sharpe": [1.0, 1.0]}), ["a", "b"], "not measured", "Effect of"),
        (pd.DataFrame({"a": [], "sharpe": []}, dtype=float), ["a"], "None of 0 sets", "All sets"),
    ],
)  # fmt: skip
def test_small_and_empty_sweeps_have_a_page(
    table: pd.DataFrame, parameters: Sequence[str], there: str, absent: str
) -> None:
    unknown = facts(trials=math.nan, deflated_sharpe=None, overfitting_probability=None, start="")
    html = drawn(table.reset_index(drop=True), parameters, unknown)
    body = html[: html.index("<script>")]
    assert there in body
    assert absent not in body
    assert "nan" not in body.replace("nance", "")


def test_a_page_of_ten_thousand_sets_is_small() -> None:
    rng = np.random.default_rng(1)
    numbers = {f"strategy.p{k}": rng.random(10_000) for k in range(8)}
    table = pd.DataFrame(numbers | {"portfolio": rng.choice(["x", "y"], 10_000)})
    table["sharpe"] = rng.normal(size=10_000)
    parameters = list(table.columns[:-1])
    html = drawn(table, parameters, facts())
    assert len(html) < 5_000_000
    assert f"Of 10,000 sets {LINES_MAX} are drawn" in html
    assert "The 8 most important parameters are shown" in html


def test_cells_of_a_heat_map_are_medians_over_the_other_parameters() -> None:
    table = surface()
    fast, slow, _ = axes_of(table, PARAMETERS)
    cells = figures.surface(fast, slow, table.sharpe.to_numpy(np.float64)).values
    expected = table.pivot_table(
        index="strategy.slow", columns="strategy.fast", values="sharpe", aggfunc="median"
    )
    np.testing.assert_allclose(cells, expected.reindex([16, 32, 64, 128]).to_numpy())
    assert np.isnan(cells[0, 2])


def test_a_heat_map_frames_the_best_set_and_the_centre() -> None:
    table = surface()
    axes = axes_of(table, PARAMETERS)
    values = table.sharpe.to_numpy(np.float64, copy=True)
    values[4] = 9.0
    top = peak(values, neighbours(axes, len(values)))
    assert top is not None
    cells = figures.surface(axes[0], axes[1], values)
    names = {path: path for path in PARAMETERS}
    spec = figures.heat_figure(cells, names, top, height=300, legend=True)
    best, centre = spec["layout"]["shapes"]
    assert (round(best["x0"] + best["x1"]), round(best["y0"] + best["y1"])) == (0, 4)
    column, row = int(axes[0].codes[top.centre]), int(axes[1].codes[top.centre])
    assert (round(centre["x0"] + centre["x1"]), round(centre["y0"] + centre["y1"])) == (
        2 * column,
        2 * row,
    )
    assert spec["data"][0]["texttemplate"]


@pytest.mark.parametrize(
    ("values", "low", "high", "colours"),
    [
        ([-1.0, 2.0], -2.0, 2.0, 3),
        ([1.0, 1.5], 1.015, 1.5, 2),
        ([-2.0, -1.0], -1.97, -1.0, 2),
        ([1.0, 1.0], 1.0, 2.0, 2),
        ([math.nan], 0.0, 1.0, 2),
    ],
)
def test_nothing_is_neutral_where_values_have_both_signs(
    values: list[float], low: float, high: float, colours: int
) -> None:
    scale = figures.colours(np.array(values))
    assert (scale["zmin"], scale["zmax"]) == pytest.approx((low, high))
    assert len(scale["colorscale"]) == colours


def test_lines_are_a_fair_sample_of_the_ranks() -> None:
    values = np.random.default_rng(2).normal(size=5000)
    values[:1000] = np.nan
    rows = drawn_rows(values, lines=100)
    assert len(set(rows.tolist())) == 100
    assert values[rows].min() == np.nanmin(values)
    assert values[rows].max() == np.nanmax(values)
    for share in (0.25, 0.5, 0.75):
        assert np.quantile(values[rows], share) == pytest.approx(
            np.nanquantile(values, share), abs=0.03
        )
    assert drawn_rows(values[:1010], lines=100).tolist() == np.argsort(values[:1010])[:10].tolist()


def test_a_histogram_counts_every_set_also_far_outliers() -> None:
    values = np.append(np.linspace(0.0, 1.0, 100), -50.0)
    spec = figures.distribution_figure(values, best=1.0, luck=math.nan)
    (bars,) = spec["data"]
    assert sum(bars["y"]) == 101
    assert min(bars["x"]) > -5.0
    assert [note["text"] for note in spec["layout"]["annotations"]] == ["best 1.00"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float64(0.12345678), "0.1235"),
        (8.0, "8"),
        (np.int64(8), "8"),
        (np.bool_(True), "true"),
        ("x", "x"),
        (math.nan, "\u2013"),
    ],
)
def test_values_are_written_as_people_read_them(value: object, text: str) -> None:
    assert value_text(value) == text
