"""Walk-forward on plain returns: by hand, and blind to every day that it must not see."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.errors import DataGap
from quantcore.research.folds import plan_folds
from quantcore.research.forward import (
    first_traded,
    fold_table,
    rank_correlation,
    stitched,
    stitched_naive,
    walk,
)
from quantcore.research.selection import Chooser, annual_sharpe
from quantcore.types import FloatArray

FOLDS = plan_folds(120, scheme="expanding", train=60, test=20, count=1, purge=3)
BEST = Chooser(criterion="best", confidence=0.95, n_draws=20, seed=1)
CHOOSERS = [
    Chooser(criterion=criterion, confidence=0.9, n_draws=20, seed=1)
    for criterion in ("deflated", "lower_confidence", "best")
]


def noise(seed: int) -> FloatArray:
    return np.asarray(np.random.default_rng(seed).normal(0.0, 0.01, (120, 5)))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    chooser=st.sampled_from(CHOOSERS),
    scheme=st.sampled_from(["expanding", "rolling"]),
    k=st.integers(0, 2),
)
def test_no_choice_depends_on_its_test_on_purged_days_or_on_anything_later(
    seed: int, chooser: Chooser, scheme: str, k: int
) -> None:
    folds = plan_folds(120, scheme=scheme, train=60, test=20, count=1, purge=3)
    returns = noise(seed)
    before = walk(returns, folds, chooser)
    changed = returns.copy()
    unseen = folds[k].train_stop
    changed[unseen:] = 3.0 * noise(seed + 5000)[unseen:]
    after = walk(changed, folds, chooser)
    for one, other in zip(before[: k + 1], after[: k + 1], strict=True):
        assert one.choice == other.choice


@pytest.mark.parametrize("chooser", CHOOSERS, ids=lambda c: c.criterion)
def test_the_last_training_day_counts(chooser: Chooser) -> None:
    returns = noise(1)
    changed = returns.copy()
    last = FOLDS[0].train_stop - 1
    changed[last] = [-0.5, -0.5, -0.5, -0.5, 0.5]
    assert walk(returns, FOLDS, chooser)[0].choice != walk(changed, FOLDS, chooser)[0].choice


def test_a_rolling_choice_forgets_what_an_expanding_one_remembers() -> None:
    returns = noise(2)
    returns[:20, 3] += 0.05  # a splendid beginning, mediocre ever after
    rolling = plan_folds(120, scheme="rolling", train=60, test=20, count=1, purge=3)
    changed = returns.copy()
    changed[:20] = noise(77)[:20]
    assert walk(returns, rolling, BEST)[1].choice == walk(changed, rolling, BEST)[1].choice
    assert walk(returns, FOLDS, BEST)[1].choice != walk(changed, FOLDS, BEST)[1].choice


def test_steps_say_what_was_promised_and_what_came_by_hand() -> None:
    returns = noise(3)
    (step, *_) = steps = walk(returns, FOLDS, BEST)
    trained, tested = annual_sharpe(returns[:57]), annual_sharpe(returns[60:80])
    best = int(np.argmax(trained))
    assert step.choice.chosen == step.choice.naive == best
    assert step.choice.sharpe == pytest.approx(trained[best])
    assert step.test_sharpe == pytest.approx(tested[best])
    assert step.naive_test_sharpe == step.test_sharpe
    assert step.hindsight_sharpe == pytest.approx(tested.max())
    assert step.mean_test_sharpe == pytest.approx(tested.mean())
    assert step.test_rank == pytest.approx((tested < tested[best]).sum() / 4)
    series = pd.Series(trained).corr(pd.Series(tested), method="spearman")
    assert step.rank_correlation == pytest.approx(series)
    joined = np.concatenate([returns[s.fold.test, s.choice.chosen] for s in steps])
    np.testing.assert_array_equal(stitched(returns, steps), joined)
    np.testing.assert_array_equal(stitched_naive(returns, steps), joined)
    assert len(joined) == 60


def test_a_doubtful_choice_is_left_in_cash_only_when_asked() -> None:
    returns = noise(4)
    returns[:77] -= 0.02  # every set loses
    returns[77:, 1] += 0.05
    steps = walk(returns, FOLDS, BEST, cash_if_doubtful=True)
    assert [s.held for s in steps] == [s.choice.lower > 0.0 for s in steps]
    assert [s.held for s in steps][:2] == [False, False]
    likely = walk(noise(4) - 0.001, FOLDS, BEST, cash_if_doubtful=True)[0]
    assert likely.choice.sharpe > 0.0 > likely.choice.lower  # more than nothing, less than sure
    assert not likely.held
    assert (stitched(returns, steps)[:40] == 0.0).all()
    assert all(s.held for s in walk(returns, FOLDS, BEST))


def test_training_begins_with_the_first_position() -> None:
    returns = noise(5)
    returns[:25] = 0.0
    assert first_traded(returns) == 25
    assert first_traded(np.zeros((7, 2))) == 7
    found = walk(returns, FOLDS, BEST, first=25)[0]
    assert found.choice.sharpe == pytest.approx(annual_sharpe(returns[25:57]).max())
    with pytest.raises(DataGap, match="no set held a position"):
        walk(np.zeros((120, 3)), FOLDS, BEST)


def test_the_table_of_folds_names_days_sets_and_values() -> None:
    returns = noise(6)
    steps = walk(returns, FOLDS, BEST)
    days = pd.date_range("2024-01-01", periods=120, tz="UTC", unit="us")
    sets = [{"strategy.fast": 4 * k} for k in range(5)]
    table = fold_table(steps, days, sets, [10, 11, 12, 13, 14])
    assert table["set"].tolist() == [10 + s.choice.chosen for s in steps]
    assert table["strategy.fast"].tolist() == [4 * s.choice.chosen for s in steps]
    assert table["train_days"].tolist() == [57, 77, 97]
    assert table["train_end"][0] == pd.Timestamp("2024-02-26", tz="UTC")
    assert table["test_start"][0] == pd.Timestamp("2024-03-01", tz="UTC")
    assert table["test_end"].tolist()[-1] == days[-1]


def test_rank_correlation_leaves_out_nan_and_has_no_value_without_order() -> None:
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == -1.0
    assert (
        rank_correlation(np.array([1.0, 2.0, np.nan, 4.0]), np.array([1.0, 2.0, 0.0, 9.0])) == 1.0
    )
    assert math.isnan(rank_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])))
    assert math.isnan(rank_correlation(np.array([1.0]), np.array([1.0])))
