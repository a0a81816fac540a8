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
from quantcore.backtest.curves import curves
from quantcore.backtest.execution_quality import execution_quality
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.report import write_run
from quantcore.backtest.result import RUN_TABLES, Run
from quantcore.backtest.scorecard import scorecard, verdict_line
from quantcore.backtest.summary import print_folder, print_heading, print_summary
from quantcore.backtest.tearsheet import compose, tearsheet
from quantcore.backtest.verdict import findings, refusals
from quantcore.timegrid import index_us, to_index

HEADINGS = [
    "Equity",
    "Can this be believed?",
    "Exposure and margin",
    "Profit by symbol",
    "Round trips",
    "Days",
    "Daily returns",
    "Turnover and costs",
    "Execution",
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
        assert all(titles[1:]) or name in ("symbols", "shortfall"), name
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


def test_a_run_that_never_traded_says_why_instead_of_drawing(make_run: Callable[..., Run]) -> None:
    idle = page_of(refused(make_run(orders_per_bar=0.0, deposits=()), 5, 3))
    assert re.findall(r"<h2>(.*?)</h2>", idle) == ["Equity", *HEADINGS[-4:]]
    assert figures_of(idle) == {}
    assert (
        "Nothing was traded: 8 orders were refused, 5 as below the step size and 3 as below the minimum notional; "
        "1,000 USDT is too little for these symbols and weights. No target is measurable in this run."
    ) in idle
    own = re.sub(r"<script.*?</script>", "", idle, flags=re.DOTALL)
    assert not re.findall(r"\b(nan|inf|None)\b", own)
    assert "✓" not in own
    assert "✗" not in own


def refused(run: Run, below_step: int, min_notional: int) -> Run:
    rules = ["below_step"] * below_step + ["min_notional"] * min_notional
    rows = pd.DataFrame({"rule": rules}).assign(
        ts=run.tables["equity"]["ts"].iloc[0],
        symbol="BTCUSDT",
        stage="planner",
        limit=1.0,
        value=0.5,
        action="refused",
    )
    return replace(run, tables={**run.tables, "reasons": rows[list(run.tables["reasons"])]})


def test_a_run_without_an_order_says_that_none_was_wanted(make_run: Callable[..., Run]) -> None:
    idle = make_run(orders_per_bar=0.0, deposits=())
    assert refusals(idle).startswith("no target asked for a position")
    assert refusals(refused(idle, 1, 0)).startswith("1 order was refused as below the step size;")


def short_run(make_run: Callable[..., Run], **changes: Any) -> Run:
    return make_run(symbols=1, days=5, deposits=(), liquidation_at=None, **changes)


def test_a_run_of_days_is_told_by_day_and_without_ratios(make_run: Callable[..., Run]) -> None:
    page = page_of(short_run(make_run, orders_per_bar=0.05))
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    figures = figures_of(page)
    assert "<b>1</b> symbol<" in own
    assert "daily returns cannot tell skill from luck" in own
    assert "Turnover by day" in own
    assert figures["turnover"]["data"][0]["x"][:2] == ["Jan 1", "Jan 2"]
    assert "daily returns make no distribution" in own
    assert "distribution" not in figures
    assert "– to –" not in own
    assert not re.findall(r"−0\.0+\b(?!\d)", own)


def execution_of(page: str) -> str:
    """Return the text of the section on execution."""
    body = page[page.index("<h2>Execution</h2>") :]
    return re.sub(r"<[^>]+>", " ", body[: body.index("</section>")])


def test_on_coarse_bars_the_page_says_that_resting_orders_cannot_be_measured(page: str) -> None:
    text = execution_of(page)
    assert "Execution bars of 1h trade through almost any resting order, so the router" in text
    assert text.count("not measurable on 1h bars") == 2
    assert "as maker, " not in text


def on_fine_bars(run: Run) -> Run:
    """The same prices as bars of five minutes, and every stamp at the same distance from the end."""
    bars = run.bars
    end_us = int(bars.ts_us[-1])

    def nearer(stamps: pd.Series) -> pd.DatetimeIndex:
        return to_index(end_us - (end_us - index_us(pd.DatetimeIndex(stamps))) // 12)

    fine = replace(bars, interval="5m", ts_us=end_us - (end_us - bars.ts_us) // 12)
    orders, fills = run.tables["orders"], run.tables["fills"]
    tables = {
        "orders": orders.assign(decision_ts=nearer(orders["decision_ts"])),
        "fills": fills.assign(ts=nearer(fills["ts"])),
    }
    return replace(run, bars=fine, interval="5m", tables={**run.tables, **tables})


def test_on_fine_bars_the_page_tells_where_the_price_went_after_maker_fills(run: Run) -> None:
    fine = on_fine_bars(run)
    quality = execution_quality(fine)
    assert quality.adverse is not None
    metrics = {**compute_metrics(run), **quality.metrics()}
    text = execution_of(
        compose(fine, metrics=metrics, trades=run_trades(run), experiment="fine").body
    )
    fills = fine.tables["fills"]
    assert f"{(fills['liquidity'] == 'maker').sum()} fills as maker" in text
    for bps in quality.adverse.moves_bps:
        assert f"{abs(bps):.2f} bps {'against' if bps > 0.0 else 'for'} us" in text
    assert "100.0 %" in text
    assert "not measurable" not in text


def test_the_bars_of_the_shortfall_stand_one_on_the_other() -> None:
    """Delay 2, spread 1 and drift -4 end at -1; fees of 3 lead from there to a total of 2."""
    bar, label = plots.shortfall(["a", "b", "c", "d"], np.array([2.0, 1.0, -4.0, 3.0]))["data"]
    assert bar["y"] == label["y"] == ["a", "b", "c", "d", "Total"]
    assert bar["base"] == [0.0, 2.0, 3.0, -1.0, 0.0]
    assert bar["x"] == [2.0, 1.0, -4.0, 3.0, 2.0]
    assert label["x"] == [2.0, 3.0, 3.0, 2.0, 2.0]
    assert [text.strip() for text in label["text"]] == ["2.00", "1.00", "−4.00", "3.00", "2.00"]
    assert bar["marker"]["color"] == ["@loss", "@loss", "@accent", "@loss", "@second"]


def test_the_parts_of_the_shortfall_add_up_on_the_page(run: Run, page: str) -> None:
    bar = figures_of(page)["shortfall"]["data"][0]
    assert sum(bar["x"][:-1]) == pytest.approx(bar["x"][-1], abs=1e-3)
    assert bar["x"][-1] == pytest.approx(compute_metrics(run)["shortfall_bps"], rel=1e-5)


def test_without_a_closed_round_trip_there_is_a_sentence(make_run: Callable[..., Run]) -> None:
    run = short_run(make_run, orders_per_bar=0.05)
    trades = run_trades(run).iloc[-1:].assign(exit_reason="open")
    metrics = compute_metrics(run) | {"win_rate": None, "trades": 1}
    made = compose(run, metrics=metrics, trades=trades, experiment="fake")
    assert "No round trip was closed; 1 still open at the end." in made.body
    assert "excursions" not in made.figures


def test_btc_that_is_listed_late_is_held_from_its_first_day(run: Run) -> None:
    fields = dict(run.bars.fields)
    column = run.bars.symbols.index("BTCUSDT")
    fields["close"] = fields["close"].copy()
    fields["close"][: 48 + 24 * 20, column] = np.nan
    late = replace(run, bars=replace(run.bars, fields=fields))
    held = findings(late, compute_metrics(run), curves(late))
    assert held.benchmark == "BTC held from 2023-01-21"
    made = compose(late, metrics=compute_metrics(run), trades=run_trades(run), experiment="fake")
    assert "BTC held from 2023-01-21, its first day in the data" in made.body


def test_a_run_of_one_row_still_has_a_report(run: Run) -> None:
    tables = {name: run.tables[name].iloc[:0] for name in RUN_TABLES}
    tables["equity"] = run.tables["equity"].iloc[:1]
    assert len(page_of(replace(run, tables=tables))) > 1_000_000


def test_a_losing_run_says_so(make_run: Callable[..., Run]) -> None:
    lost = make_run(edge=-2.0, orders_per_bar=0.6, days=100)
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
    lines = scorecard(metrics, execution_interval="1h", returns=365)
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
    ("low", "high", "value", "doubt"),
    [
        (-0.5, 4.0, 1.6, "does not exclude missing it"),
        (1.51, 4.0, 1.6, "excludes missing it"),
        (-0.5, 2.2, 0.9, "does not exclude meeting it"),
        (-2.0, 1.4, 0.9, "excludes meeting it"),
    ],
)
def test_a_verdict_on_the_sharpe_ratio_tells_what_its_interval_excludes(
    low: float, high: float, value: float, doubt: str
) -> None:
    metrics = {"sharpe": value, "sharpe_ci_low": low, "sharpe_ci_high": high}
    line = scorecard(metrics, execution_interval="1h", returns=90)[0]
    assert line.verdict == ("met" if value >= 1.5 else "not met")
    assert line.reason.endswith(f", which {doubt}.")


def test_a_verdict_on_the_annual_return_tells_what_its_interval_excludes() -> None:
    span = {"start": "2023-01-01T00:00:00+00:00", "end": "2025-01-01T00:00:00+00:00"}
    metrics = {"annual_return": 0.35, "annual_volatility": 0.2, **span}
    line = scorecard(metrics, execution_interval="1h", returns=730)[2]
    assert line.verdict == "met"
    low, high = (1.35 * np.exp(s * 1.96 * 0.2 / np.sqrt(731 / 365)) - 1.0 for s in (-1, 1))
    assert f"from {100 * low:.1f} % to {100 * high:.1f} %" in line.reason
    assert line.reason.endswith("which does not exclude missing it.")


def test_a_quarter_of_a_year_is_needed_for_a_verdict_on_returns() -> None:
    metrics = {"sharpe": 5.2, "max_drawdown": -0.01, "annual_return": 0.4}
    few = scorecard(metrics, execution_interval="1h", returns=89)[:3]
    assert {line.verdict for line in few} == {"not measurable"}
    assert few[0].reason == "89 daily returns cannot carry a verdict: 90 are needed."
    enough = scorecard(metrics, execution_interval="1h", returns=90)[:3]
    assert {line.verdict for line in enough} == {"met"}


def test_nothing_is_met_where_nothing_was_traded() -> None:
    metrics = {"max_drawdown": 0.0, "annual_return": 0.0, "trades": 0}
    lines = scorecard(metrics, execution_interval="5m", returns=700)
    assert {line.verdict for line in lines} == {"not measurable"}
    assert verdict_line(lines) == "No target is measurable in this run."


@pytest.mark.parametrize(
    ("rate", "verdict"), [(0.96, "met"), (0.95, "not met"), (None, "not measurable")]
)
def test_fill_rate_counts_on_fine_bars(rate: float | None, verdict: str) -> None:
    lines = scorecard({"fill_rate": rate}, execution_interval="5m", returns=365)
    assert next(s.verdict for s in lines if s.name == "Fill rate") == verdict


def test_hourly_bars_say_why_post_only_is_not_measurable() -> None:
    lines = scorecard({"post_only_success": 0.99}, execution_interval="1h", returns=365)
    [line] = [s for s in lines if s.name == "Post-only success"]
    assert line.verdict == "not measurable"
    assert "bars of 5 minutes or finer are needed" in line.reason


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_last_line_printed_is_the_folder(run: Run, tmp_path: Path, width: int) -> None:
    folder = write_run(run, tmp_path / ("long" * 30), "backtest", "fake")
    out = io.StringIO()
    metrics = compute_metrics(run)
    console = Console(file=out, width=width)
    print_heading(run, experiment="fake", console=console)
    print_summary(run, metrics, console=console)
    print_folder(folder, console=console)
    lines = out.getvalue().splitlines()
    assert lines[-1] == str(folder)
    assert out.getvalue().endswith("\n")
    text = " ".join(out.getvalue().split())
    assert "Sharpe ratio" in text
    assert "not measurable in this run: Sharpe ratio, maximum drawdown, annual return" in text
    assert "12 targets are measured live, on finer bars or on longer records" in text
    assert f"note: {run.notes[1]}" in text
    assert run.notes[2] not in text
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
    assert [trace["name"] for trace in spec["data"]] == ["No change (5)"]
    assert spec["layout"]["shapes"] == []
    assert spec["data"][0]["y"] == [5]


@pytest.mark.parametrize("sign", [-1.0, 0.0, 1.0])
def test_no_bar_of_the_distribution_mixes_gains_and_losses(
    rng: np.random.Generator, sign: float
) -> None:
    daily = rng.normal(0.0005, 0.01, 400)
    daily = np.abs(daily) * sign if sign else daily
    daily[:30] = 0.0
    spec = plots.return_distribution(daily, value_at_risk=np.nan, expected_shortfall=np.nan)
    bars = {t["name"]: t for t in spec["data"] if t["type"] == "bar"}
    assert sum(bars.get("Losses", {"y": []})["y"]) == (daily < 0.0).sum()
    assert sum(bars.get("Gains", {"y": []})["y"]) == (daily > 0.0).sum()
    assert bars["No change (30)"]["y"] == [30]
    for bar in (bars[name] for name in ("Losses", "Gains") if name in bars):
        edges = np.array(bar["x"])[:, None] + np.array([-0.5, 0.5]) * bar["width"] / 0.92
        assert ((edges.min(axis=1) > -1e-6) | (edges.max(axis=1) < 1e-6)).all()


@pytest.mark.parametrize(
    ("last", "scale"), [(5.0, "log"), (1.4, "linear"), (np.nan, "linear"), (0.1, "log")]
)
def test_a_benchmark_that_dwarfs_the_account_asks_for_a_logarithmic_axis(
    last: float, scale: str
) -> None:
    index = pd.date_range("2024-01-01", periods=50, tz="UTC", unit="us")
    equity = 1000.0 * np.linspace(1.0, 1.2, 50)
    benchmark = 1000.0 * np.linspace(1.0, last, 50)
    spec = plots.equity_curve(index, equity, np.zeros(50), benchmark, benchmark_name="BTC held")
    assert spec["layout"]["yaxis"]["type"] == scale
    assert [t.get("meta") for t in spec["data"]].count("benchmark") == int(np.isfinite(last))
    ticks = spec["layout"]["meta"]["log_ticks"]
    assert ticks is None or 3 <= len(ticks) <= plots.TICKS


def test_the_margin_chart_reaches_up_to_liquidation_only_where_it_is_near() -> None:
    index = pd.date_range("2024-01-01", periods=3, tz="UTC", unit="us")
    far = plots.margin_ratio(index, np.array([0.0, 0.01, 0.005]))["layout"]
    assert far["yaxis"]["range"][1] < 0.02
    assert "shapes" not in far
    near = plots.margin_ratio(index, np.array([0.0, 0.6, 0.005]))["layout"]
    assert near["yaxis"]["range"][1] > 1.0
    assert len(near["shapes"]) == 1
