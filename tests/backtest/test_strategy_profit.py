"""What strategies earned on paper adds up to what the targets earned, and regimes to what the account did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.curves import curves
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.result import Run
from quantcore.backtest.strategy_profit import paper_returns, regime_profit, regime_spans
from quantcore.backtest.tearsheet import compose
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.signal_plane import Signals
from quantcore.types import FloatArray

HOUR_US = 3_600_000_000
ROWS, SYMBOLS = 60, 3


def said(bars: Bars, *, seed: int = 3, regimes: int = 2) -> Signals:
    """Two strategies whose combined forecast times 0.2 is the target weight."""
    rng = np.random.default_rng(seed)
    shape = (bars.n_bars, bars.n_symbols)
    fast, slow = rng.uniform(-1.0, 1.0, shape), rng.uniform(-1.0, 1.0, shape)
    slow[:5] = np.nan
    counted = np.column_stack([np.full(bars.n_bars, 0.5), np.full(bars.n_bars, 0.3)])
    combined = 0.5 * fast + 0.3 * np.nan_to_num(slow)
    wild = np.clip(np.linspace(-0.2, 1.2, bars.n_bars), 0.0, 1.0)
    probabilities = np.column_stack([1.0 - wild, wild])[:, :regimes]
    matrix = np.array([[0.625, 0.375], [0.5, 0.5]])[:regimes]
    return Signals(
        bars=bars,
        state=FoldState("signal_plane", 2, {"matrix/matrix": matrix}),
        weight_array=0.2 * combined,
        forecasts={"fast": fast, "slow": slow},
        combined=combined,
        counted=counted,
        regimes=probabilities if regimes > 1 else np.ones((bars.n_bars, 1)),
        members=np.ones(shape, dtype=np.bool_),
    )


def walk(seed: int = 0) -> Bars:
    rng = np.random.default_rng(seed)
    closes: FloatArray = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (ROWS, SYMBOLS)), axis=0))
    return Bars(
        interval="1h",
        ts_us=HOUR_US * np.arange(1, ROWS + 1),
        symbols=("AAA", "BBB", "CCC"),
        fields={"close": closes},
    )


def test_the_strategies_add_up_to_what_the_targets_earned() -> None:
    signals = said(walk())
    papers = paper_returns(signals)
    closes = signals.bars.array("close")
    returns = closes[1:] / closes[:-1] - 1.0
    expected = (signals.weight_array[:-1] * returns).sum(axis=1)
    np.testing.assert_allclose(papers.sum(axis=1).to_numpy()[1:], expected, atol=1e-15)
    assert papers.iloc[0].abs().sum() == 0.0
    assert list(papers) == ["fast", "slow"]


def test_a_strategy_without_a_view_earns_nothing() -> None:
    papers = paper_returns(said(walk()))
    assert (papers["slow"].iloc[:6] == 0.0).all()
    assert (papers["fast"].iloc[1:6] != 0.0).all()


def test_a_hole_keeps_the_weight_and_its_return_comes_with_the_next_close() -> None:
    bars = walk()
    closes = bars.array("close").copy()
    closes[10] = np.nan
    holed = replace(bars, fields={"close": closes})
    signals = said(holed)
    weights = signals.weight_array.copy()
    weights[10] = np.nan
    papers = paper_returns(replace(signals, weight_array=weights))
    assert papers.iloc[10].abs().sum() == 0.0
    moved = closes[11] / closes[9] - 1.0
    assert papers.iloc[11].sum() == pytest.approx(float(weights[9] @ moved), abs=1e-15)


def equity(labels: list[str | None], nav: list[float]) -> pd.DataFrame:
    ts = pd.date_range("2024-01-01", periods=len(nav), freq="h", tz="UTC")
    return pd.DataFrame({"ts": ts, "nav": nav, "regime": np.array(labels, dtype=object)})


def test_a_return_counts_for_the_regime_that_was_known_before_it() -> None:
    table = equity([None, "calm", "calm", "wild", "wild"], [1.0, 1.1, 1.21, 1.331, 1.1979])
    found = regime_profit(table)
    assert found.loc["calm", "total"] == pytest.approx(0.2)
    assert found.loc["wild", "total"] == pytest.approx(-0.1)
    assert found.loc["calm", "days"] == pytest.approx(2 / 24)
    spans = regime_spans(table)
    assert spans["calm"] == [(table.ts[1], table.ts[3])]
    assert spans["wild"] == [(table.ts[3], table.ts[4])]


def test_without_regimes_nothing_is_told_of_them() -> None:
    table = equity([None, None], [1.0, 1.0])
    assert regime_profit(table).empty
    assert regime_spans(table) == {}


@pytest.mark.parametrize("regimes", [1, 2])
def test_the_page_tells_strategies_regimes_and_the_matrix(
    make_run: Callable[..., Run], regimes: int
) -> None:
    run = make_run(days=10, symbols=2)
    rows = run.tables["targets"]
    bars = run.bars.rows(run.bars.n_bars - len(rows), run.bars.n_bars)
    table = run.tables["equity"].copy()
    if regimes > 1:
        half = len(table) // 2
        table["regime"] = np.array(["calm"] * half + ["wild"] * (len(table) - half), dtype=object)
    told = replace(
        run,
        tables={**run.tables, "equity": table},
        signals=said(bars, regimes=regimes),
        variants=12,
    )
    metrics = compute_metrics(told)
    page = compose(told, metrics=metrics, trades=run_trades(told), experiment="set")
    assert "Strategies and regimes" in page.body
    assert "<th>slow</th>" in page.body
    assert ("Shaded" in page.body) == (regimes > 1)
    assert len(page.figures["contributions"]["layout"]["shapes"]) == regimes - 1
    assert metrics["trials"] == 12
    assert metrics["dsr"] is None or metrics["dsr"] <= metrics["psr"]


def test_the_page_of_one_strategy_has_no_such_section(make_run: Callable[..., Run]) -> None:
    run = make_run(days=10, symbols=2)
    page = compose(run, metrics=compute_metrics(run), trades=run_trades(run), experiment="one")
    assert "Strategies and regimes" not in page.body
    assert curves(run).returns > 0
