"""Spans of a walk-forward: small ones by hand, tests that cover their days once, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import ConfigError
from quantcore.research.folds import (
    TRAIN_DAYS_MIN,
    Fold,
    check_training,
    holding_days,
    plan_folds,
)
from quantcore.timegrid import DAY_US, HOUR_US


def spans(folds: tuple[Fold, ...]) -> list[tuple[int, int, int, int]]:
    return [(f.train_start, f.train_stop, f.test_start, f.test_stop) for f in folds]


def test_expanding_folds_by_hand() -> None:
    folds = plan_folds(20, scheme="expanding", train=8, test=5, count=9, purge=2)
    assert spans(folds) == [(0, 6, 8, 13), (0, 11, 13, 18), (0, 16, 18, 20)]
    assert [f.number for f in folds] == [1, 2, 3]


def test_rolling_folds_by_hand_train_as_long_as_the_first() -> None:
    folds = plan_folds(20, scheme="rolling", train=8, test=5, count=9, purge=2)
    assert spans(folds) == [(0, 6, 8, 13), (5, 11, 13, 18), (10, 16, 18, 20)]


def test_what_is_not_given_is_half_of_the_record_and_equal_tests() -> None:
    folds = plan_folds(731, scheme="expanding", train=None, test=None, count=6, purge=0)
    assert folds[0].test_start == 365
    assert [f.test_stop - f.test_start for f in folds] == [61] * 6
    uneven = plan_folds(31, scheme="expanding", train=None, test=None, count=3, purge=0)
    assert [f.test_stop - f.test_start for f in uneven] == [6, 5, 5]


@given(
    n_days=st.integers(2, 200),
    data=st.data(),
    scheme=st.sampled_from(["expanding", "rolling"]),
    given_test=st.booleans(),
)
def test_tests_cover_the_days_after_the_first_training_once_and_every_training_ends_before(
    n_days: int, data: st.DataObject, scheme: str, given_test: bool
) -> None:
    train = data.draw(st.integers(1, n_days - 1))
    purge = data.draw(st.integers(0, train - 1))
    test = data.draw(st.integers(1, n_days)) if given_test else None
    count = data.draw(st.integers(1, n_days - train))
    folds = plan_folds(n_days, scheme=scheme, train=train, test=test, count=count, purge=purge)
    covered = [day for f in folds for day in range(f.test_start, f.test_stop)]
    assert covered == list(range(train, n_days))
    for fold in folds:
        assert fold.test_start - fold.train_stop == purge
        first = 0 if scheme == "expanding" else fold.test_start - train
        assert fold.train_start == first
        assert fold.train_stop > fold.train_start


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": 10}, "train_days must leave days to test on, was 10 of the 10 days"),
        ({"train": 3, "purge": 3}, "purge_days must be shorter than the training span of 3"),
        ({"count": 6}, "folds must be at most 5, the days left to test on, was 6"),
        ({"scheme": "sliding"}, "scheme must be one of expanding, rolling, was 'sliding'"),
    ],
)
def test_spans_that_do_not_fit_are_refused(changes: dict[str, object], said: str) -> None:
    usual = {"scheme": "expanding", "train": None, "test": None, "count": 2, "purge": 0}
    with pytest.raises(ConfigError, match=said):
        plan_folds(10, **(usual | changes))  # type: ignore[arg-type] # mixed values of one mapping


def test_a_training_span_shorter_than_warm_up_and_a_month_is_refused_with_the_days_it_needs() -> (
    None
):
    folds = plan_folds(200, scheme="expanding", train=49, test=50, count=1, purge=4)
    check_training(folds, warm_up=49 - 4 - TRAIN_DAYS_MIN)
    with pytest.raises(
        ConfigError, match=r"train_days must be at least 50 days, was 49: .* for 16"
    ):
        check_training(folds, warm_up=50 - 4 - TRAIN_DAYS_MIN)


def test_a_rolling_span_behind_the_warm_up_needs_a_month_and_the_purged_days_only() -> None:
    folds = plan_folds(300, scheme="rolling", train=35, test=100, count=1, purge=5)[1:]
    check_training(folds, warm_up=90)
    short = plan_folds(300, scheme="rolling", train=34, test=100, count=1, purge=5)[1:]
    with pytest.raises(ConfigError, match="train_days must be at least 35 days, was 34"):
        check_training(short, warm_up=90)


def hourly(n_rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return HOUR_US * np.arange(1, n_rows + 1, dtype=np.int64)


def test_a_position_taken_anew_every_four_days_is_held_for_four_days() -> None:
    weights = np.zeros((24 * 40, 1))
    for k in range(10):  # every four days the other side: 0.5 is sold and 0.5 bought
        weights[96 * k : 96 * (k + 1)] = 0.5 * (-1) ** k
    assert holding_days(weights, hourly(len(weights))) == pytest.approx(4.0)


def test_holding_ignores_missing_weights_and_scale_and_counts_symbols_by_their_size() -> None:
    weights = np.zeros((24 * 12, 2))
    weights[:, 0] = 0.1  # held for all 12 days
    weights[:24, 1] = 0.3  # held for one
    found = holding_days(weights, hourly(len(weights)))
    # Days of exposure 12 * 0.1 + 0.3 over the 0.1 + 0.3 that was bought.
    assert found == pytest.approx(1.5 / 0.4)
    holes = weights.copy()
    holes[5:9, 0] = np.nan
    assert holding_days(3.0 * holes, hourly(len(weights))) == pytest.approx(found)
    assert holding_days(np.zeros((48, 2)), hourly(48)) == 0.0
    assert holding_days(weights, hourly(len(weights)) * 24) == pytest.approx(24 * found)
    assert DAY_US == 24 * HOUR_US
