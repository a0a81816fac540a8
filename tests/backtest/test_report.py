"""The tearsheet, its figures, the scorecard and the printed summary."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from quantcore import plots
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.report import write_run
from quantcore.backtest.result import RUN_TABLES, Run
from quantcore.backtest.scorecard import scorecard, verdict_line
from quantcore.backtest.summary import print_summary
from quantcore.backtest.tearsheet import compose, tearsheet

HEADINGS = [
    "Equity",
    "Exposure and margin",
    "Profit by symbol",
    "Round trips",
    "Months",
    "Daily returns",
    "Turnover and costs",
    "Worst days",
    "Refusals and interventions",
    "Data",
    "Scorecard",
    "What the model does not cover",
]


class Balance(HTMLParser):
    """Counts tags that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(run: Run) -> str:
    metrics, trades = compute_metrics(run), run_trades(run)
    return tearsheet(run, metrics=metrics, trades=trades, experiment="fake")


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return page_of(run)


def figures_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    figures: dict[str, Any] = json.loads(found[1])
    return figures


def test_the_page_is_whole_and_needs_no_network(page: str) -> None:
    own = re.sub(r"<script>.*?</script>", "<script></script>", page, flags=re.DOTALL)
    balance = Balance()
    balance.feed(own)
    assert balance.open == []
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import", own)
    assert "Plotly" in page


def test_sections_come_in_reading_order(page: str) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", page) == HEADINGS


def test_every_figure_has_its_place_and_its_units(page: str) -> None:
    places = set(re.findall(r'class="chart" id="(\w+)"', page))
    figures = figures_of(page)
    assert places == set(figures)
    for name, figure in figures.items():
        axes = [v for k, v in figure["layout"].items() if re.match(r"[xy]axis", k)]
        titles = [axis["title"]["text"] for axis in axes]
        dated = figure["layout"]["xaxis"].get("type") == "date"
        assert all(titles[1:]) or name == "symbols", name
        assert dated or titles[0], name


def test_figures_are_valid_plotly(run: Run, page: str) -> None:
    for theme in ("light", "dark"):
        for spec in figures_of(page).values():
            made = plots.figure(spec, theme=theme)
            assert "@" not in json.dumps(made.layout.to_plotly_json().get("font", {}))


def test_the_same_run_gives_the_same_page(run: Run, page: str) -> None:
    assert page_of(run) == page


def test_names_are_escaped(run: Run) -> None:
    made = compose(run, metrics=compute_metrics(run), trades=run_trades(run), experiment="<b>&</b>")
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in made.body
    assert "<h1><b>" not in made.body


def test_parts_of_a_symbol_s_profit_add_up_on_the_page(run: Run, page: str) -> None:
    bars = [t for t in figures_of(page)["symbols"]["data"] if t["type"] == "bar"]
    [net] = [t for t in figures_of(page)["symbols"]["data"] if t["name"] == "Net"]
    np.testing.assert_allclose(np.sum([t["x"] for t in bars], axis=0), net["x"], atol=1e-2)
    m = compute_metrics(run)
    assert sum(net["x"]) == pytest.approx(
        m["final_equity"] - m["capital"] - m["deposits"], abs=1e-2
    )


def test_data_notes_and_limits_are_told_apart(run: Run, page: str) -> None:
    data, limits = page.index("<h2>Data</h2>"), page.index("<h2>What the model does not cover</h2>")
    assert data < page.index("3.40 % of the notional charged with funding") < limits
    assert data < page.index(run.notes[1]) < limits < page.index(run.notes[2])
    assert page.count("Partial liquidation by tiers") == 1


def test_a_run_that_never_traded_still_has_a_report(make_run: Callable[..., Run]) -> None:
    idle = page_of(make_run(orders_per_bar=0.0, deposits=()))
    assert re.findall(r"<h2>(.*?)</h2>", idle) == HEADINGS
    assert "Nothing was traded" in idle
    own = re.sub(r"<script>.*?</script>", "", idle, flags=re.DOTALL)
    assert not re.findall(r"\b(nan|inf|None)\b", own)


def test_a_run_of_one_row_still_has_a_report(run: Run) -> None:
    tables = {name: run.tables[name].iloc[:0] for name in RUN_TABLES}
    tables["equity"] = run.tables["equity"].iloc[:1]
    assert len(page_of(replace(run, tables=tables))) > 1_000_000


def test_a_losing_run_says_so(make_run: Callable[..., Run]) -> None:
    lost = make_run(edge=-2.0, orders_per_bar=0.6)
    assert compute_metrics(lost)["total_return"] < 0.0
    assert "nothing here is worth trading" in page_of(lost)


def test_the_large_report_is_quick_and_small(make_run: Callable[..., Run]) -> None:
    large = make_run(symbols=20, days=400, orders_per_bar=1.5, deposits=())
    metrics, trades = compute_metrics(large), run_trades(large)
    compose(large, metrics=metrics, trades=trades, experiment="warm")
    started = time.process_time()
    made = compose(large, metrics=metrics, trades=trades, experiment="large")
    assert time.process_time() - started < 1.5
    assert len(made.body) + len(json.dumps(made.figures)) < 1_000_000


def test_thinning_keeps_the_extremes(rng: np.random.Generator) -> None:
    values = rng.normal(size=17_544)
    values[[5, 9000]] = [-50.0, 50.0]
    values[100:3000] = np.nan
    rows = plots.thin(values, points=400)
    assert len(rows) <= 402
    assert {0, 5, 9000, 17_543} <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    assert plots.thin(values[:10], points=400).tolist() == list(range(10))


def test_an_unknown_theme_is_refused() -> None:
    with pytest.raises(ValueError, match="theme must be one of"):
        plots.themed({}, "sepia")


def test_both_palettes_know_the_same_tokens() -> None:
    assert set(plots.PALETTES["light"]) == set(plots.PALETTES["dark"])


def test_each_target_is_met_not_met_or_not_measurable() -> None:
    metrics = {
        "sharpe": 1.6,
        "max_drawdown": -0.13,
        "annual_return": 0.29,
        "mean_slippage_bps": 4.9,
    }
    lines = scorecard(metrics, execution_interval="1h")
    verdicts = {line.name: line.verdict for line in lines}
    assert verdicts["Sharpe ratio"] == "met"
    assert verdicts["Maximum drawdown"] == "not met"
    assert verdicts["Annual return"] == "not met"
    assert verdicts["Slippage"] == "met"
    assert verdicts["Post-only success"] == verdicts["Uptime"] == "not measurable"
    assert len(lines) == 16
    assert all(line.reason.endswith(".") for line in lines)
    assert verdict_line(lines) == (
        "2 of 4 measurable targets met; missed: maximum drawdown, annual return."
    )


@pytest.mark.parametrize(
    ("rate", "verdict"), [(0.96, "met"), (0.95, "not met"), (None, "not measurable")]
)
def test_fill_rate_counts_on_fine_bars(rate: float | None, verdict: str) -> None:
    lines = scorecard({"fill_rate": rate}, execution_interval="5m")
    assert next(s.verdict for s in lines if s.name == "Fill rate") == verdict


def test_hourly_bars_say_why_post_only_is_not_measurable() -> None:
    lines = scorecard({"post_only_success": 0.99}, execution_interval="1h")
    [line] = [s for s in lines if s.name == "Post-only success"]
    assert line.verdict == "not measurable"
    assert "bars of 5 minutes or finer are needed" in line.reason


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_last_line_printed_is_the_folder(run: Run, tmp_path: Path, width: int) -> None:
    folder = write_run(run, tmp_path / ("long" * 30), "backtest", "fake")
    out = io.StringIO()
    metrics = compute_metrics(run)
    console = Console(file=out, width=width)
    print_summary(run, metrics, folder, experiment="fake", console=console)
    lines = out.getvalue().splitlines()
    assert lines[-1] == str(folder)
    assert out.getvalue().endswith("\n")
    text = out.getvalue()
    assert "Sharpe ratio" in text
    assert "not met" in text
    assert "\x1b" not in text


def test_plotly_is_not_imported_by_the_report() -> None:
    source = Path(plots.__file__).read_text("utf-8")
    assert not re.findall(r"^import plotly|^from plotly", source, re.MULTILINE)


def test_durations_count_every_round_trip() -> None:
    hours = np.array([0.0, 0.2, 1.0, 30.0, 5000.0])
    [trace] = plots.durations(hours)["data"]
    assert sum(trace["y"]) == len(hours)
    assert trace["x"][-1] == "over 30 d"
    assert plots.durations(np.empty(0))["data"][0]["y"] == []


def test_a_distribution_without_spread_has_no_normal(run: Run) -> None:
    spec = plots.return_distribution(np.zeros(5), value_at_risk=np.nan, expected_shortfall=np.nan)
    assert [trace["type"] for trace in spec["data"]] == ["bar"]
    assert spec["layout"]["shapes"] == []
    assert pd.Series(spec["data"][0]["y"]).sum() == 5
