"""What a record says of its future: only what it is long enough for, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from quantcore.backtest.curves import Curves, curves
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.outlook import RETURNS_MIN, Outlook, outlook
from quantcore.backtest.result import Run
from quantcore.backtest.sections.believe import Question, questions
from quantcore.backtest.sections.story import Story
from quantcore.backtest.tearsheet import compose
from quantcore.backtest.verdict import findings
from quantcore.types import FloatArray


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Run]) -> Run:
    return make_run(days=10, symbols=2)


@pytest.fixture(scope="module")
def curve(run: Run) -> Curves:
    return curves(run)


def with_returns(curve: Curves, daily: FloatArray) -> Curves:
    """Return a curve of these daily returns; what else it holds stays."""
    index = pd.date_range("2023-01-02", periods=len(daily), freq="D", tz="UTC")
    first = curve.ts_us[0]
    stamps = np.linspace(first, first + len(daily) * 86_400_000_000, len(curve.ts_us)).astype(
        np.int64
    )
    return replace(curve, daily=pd.Series(daily, index=index), ts_us=stamps)


def record(n: int, *, mean: float, sd: float, seed: int = 3) -> FloatArray:
    draws: FloatArray = np.random.default_rng(seed).normal(0.0, 1.0, n)
    scaled: FloatArray = (draws - draws.mean()) / draws.std(ddof=1)
    return mean + sd * scaled


def ask(run: Run, curve: Curves, daily: FloatArray) -> dict[str, Question]:
    long = with_returns(curve, daily)
    told = outlook(run, long)
    total = float(np.prod(1.0 + daily)) - 1.0
    metrics = compute_metrics(run, ahead=told) | {"total_return": total}
    q = np.sqrt(365.0)
    metrics |= {
        "sharpe": float(daily.mean() / daily.std(ddof=1) * q),
        "psr": 0.99,
        "min_track_record_days": 400.0,
    }
    story = Story(
        run=run,
        experiment="record",
        found=findings(run, metrics, long),
        trades=pd.DataFrame(),
        curve=long,
        by_symbol=pd.DataFrame(),
        by_day=pd.DataFrame(),
        outlook=told,
    )
    return {question.asked: question for question in questions(story)}


def test_a_short_or_even_record_says_nothing(run: Run, curve: Curves) -> None:
    nothing = Outlook(sharpe=None, drawdown=None, tail=None, ruin=None, liquidation=None)
    assert outlook(run, with_returns(curve, record(RETURNS_MIN - 1, mean=0.0, sd=0.01))) == nothing
    assert outlook(run, with_returns(curve, np.zeros(400))) == nothing


def test_the_same_record_gives_the_same_numbers(run: Run, curve: Curves) -> None:
    long = with_returns(curve, record(400, mean=0.001, sd=0.02))
    first, second = outlook(run, long), outlook(run, long)
    assert first.sharpe == second.sharpe
    assert first.ruin is not None
    assert second.ruin is not None
    assert first.ruin.probability == second.ruin.probability


def test_the_interval_holds_the_ratio_and_the_metrics_take_it(run: Run, curve: Curves) -> None:
    daily = record(700, mean=0.001, sd=0.015)
    told = outlook(run, with_returns(curve, daily))
    assert told.sharpe is not None
    measured = daily.mean() / daily.std(ddof=1) * np.sqrt(365.0)
    assert told.sharpe.low < measured < told.sharpe.high
    metrics = compute_metrics(run, ahead=told)
    assert metrics["sharpe_ci_low"] == told.sharpe.low
    assert told.ruin is not None
    assert metrics["ruin_probability"] == told.ruin.probability


def test_forecasts_of_the_tail_are_tested_from_the_first_position_on(
    run: Run, curve: Curves
) -> None:
    traded = record(400, mean=0.0005, sd=0.02)
    alone = outlook(run, with_returns(curve, traded)).tail
    waited = outlook(run, with_returns(curve, np.concatenate([np.zeros(200), traded]))).tail
    assert alone is not None
    assert waited == alone


def test_a_wild_losing_record_is_ruinous_and_a_calm_one_is_not(run: Run, curve: Curves) -> None:
    wild = outlook(run, with_returns(curve, record(400, mean=-0.002, sd=0.05))).ruin
    calm = outlook(run, with_returns(curve, record(400, mean=0.001, sd=0.005))).ruin
    assert wild is not None
    assert calm is not None
    assert wild.probability > 0.5
    assert calm.high < 0.001


def test_questions_speak_for_a_steady_record(run: Run, curve: Curves) -> None:
    asked = ask(run, curve, record(900, mean=0.002, sd=0.01))
    for name in (
        "Is it more than luck?",
        "Is the record long enough?",
        "Did both halves earn?",
        "Is it far from ruin?",
    ):
        assert asked[name].answer == "yes", name
    assert asked["Would it stand out among ten?"].answer == "open"


def test_questions_speak_against_luck(run: Run, curve: Curves) -> None:
    """A record that earned on a handful of days, and lost in its second half."""
    daily = record(900, mean=-0.0005, sd=0.01)
    daily[100:110] = 0.08
    asked = ask(run, curve, daily)
    assert asked["Does it hold without its best days?"].answer == "no"
    assert asked["Did both halves earn?"].answer == "no"
    assert asked["Would it stand out among ten?"].answer == "no"


def test_clustered_losses_are_told(run: Run, curve: Curves) -> None:
    rng = np.random.default_rng(5)
    quiet = rng.normal(0.001, 0.005, 900)
    for start in range(300, 900, 150):
        quiet[start : start + 20] = rng.normal(-0.02, 0.03, 20)
    told = ask(run, curve, quiet)["Do its risk numbers hold?"]
    assert told.answer == "no"
    assert "exceeded on" in told.why


def test_the_panel_of_a_short_record_is_one_line(make_run: Callable[..., Run]) -> None:
    short = make_run(days=4, symbols=1)
    metrics, trades = compute_metrics(short), run_trades(short)
    made = compose(short, metrics=metrics, trades=trades, experiment="short")
    assert "daily returns cannot tell skill from luck" in made.body
    assert "Is it more than luck?" not in made.body
