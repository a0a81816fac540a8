"""The figure of a run: what is drawn where, and colours that read on light and dark pages."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from quantcore import plots
from quantcore.backtest.curves import curves
from quantcore.backtest.overview import overview
from quantcore.backtest.result import Run

PAGES = ("#ffffff", "#111111", "#1e1e1e")
"""White, and the dark pages of JupyterLab and VS Code."""


def drawn(run: Run, **columns: float) -> plots.Spec:
    equity = run.tables["equity"].assign(**columns)
    return overview(curves(run), equity, capital=run.capital, benchmark="BTC held")


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, WCAG 2.2."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_equity_drawdown_and_exposure_stand_beneath_each_other(run: Run) -> None:
    spec = drawn(run)
    names = {trace["name"]: trace.get("yaxis", "y") for trace in spec["data"]}
    assert names == {
        "BTC held": "y",
        "Account": "y",
        "Drawdown": "y2",
        "Gross exposure": "y3",
        "Net exposure": "y3",
    }
    domains = [spec["layout"][axis]["domain"] for axis in ("yaxis3", "yaxis2", "yaxis")]
    assert all(below[1] < above[0] for below, above in itertools.pairwise(domains))
    assert spec["layout"]["xaxis"]["anchor"] == "y3"


def test_the_account_is_drawn_without_its_deposits(run: Run) -> None:
    account = next(trace for trace in drawn(run)["data"] if trace["name"] == "Account")
    assert len(run.tables["cash_flows"]) == 1
    assert account["y"][-1] == pytest.approx(run.capital * curves(run).nav[-1], rel=1e-5)


def test_exposure_is_a_multiple_of_equity_and_unknown_where_nothing_is_left(run: Run) -> None:
    exposed = drawn(run, equity=200.0, gross_exposure=500.0, net_exposure=-100.0)["data"][-2:]
    assert [set(trace["y"]) for trace in exposed] == [{2.5}, {-0.5}]
    assert set(drawn(run, equity=0.0, gross_exposure=500.0)["data"][-2]["y"]) == {None}


def test_a_benchmark_that_is_unknown_is_left_out(run: Run) -> None:
    alone = run.bars.select([s for s in run.bars.symbols if s != "BTCUSDT"])
    without = Run(**{**vars(run), "bars": alone})
    assert "BTC held" not in [trace["name"] for trace in drawn(without)["data"]]


@pytest.mark.parametrize("theme", ["neutral", "light", "dark"])
def test_every_theme_gives_a_figure_without_tokens_or_numbers_that_json_lacks(
    run: Run, theme: str
) -> None:
    text = json.dumps(plots.themed(drawn(run), theme), allow_nan=False)
    assert '"@' not in text
    figure = plots.figure(drawn(run), theme=theme)
    assert len(figure.data) == 5


def test_the_neutral_palette_reads_on_light_and_dark_pages() -> None:
    assert set(plots.NEUTRAL) == set(plots.PALETTES["light"])
    for token in ("ink", "muted"):
        assert min(contrast(plots.NEUTRAL[token], page) for page in PAGES) >= 3.9, token
    for token in ("accent", "loss", "second", "teal", "violet", "amber"):
        assert min(contrast(plots.NEUTRAL[token], page) for page in PAGES) >= 3.0, token
    assert contrast(plots.NEUTRAL["ink"], plots.NEUTRAL["raised"]) >= 3.9


def test_the_frame_of_a_run_is_left_as_it_was(run: Run) -> None:
    before = run.tables["equity"].copy()
    drawn(run)
    pd.testing.assert_frame_equal(run.tables["equity"], before)
