"""Combinatorial cross-validation of a choice: paths by hand, and blind to the tests and what is beside them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantcore.errors import ConfigError
from quantcore.research.cross_validation import cross_validate, spared
from quantcore.research.selection import Chooser, annual_sharpe
from quantcore.types import FloatArray

CHOOSER = Chooser(criterion="best", confidence=0.95, n_draws=20, seed=1)


def noise(seed: int, n_days: int = 90, n_sets: int = 4) -> FloatArray:
    return np.asarray(np.random.default_rng(seed).normal(0.0, 0.01, (n_days, n_sets)))


def test_three_groups_of_which_one_tests_by_hand() -> None:
    returns = noise(1)
    found = cross_validate(returns, CHOOSER, n_groups=3, n_test_groups=1, purge=2, embargo=3)
    trains = [np.r_[35:90], np.r_[0:28, 65:90], np.r_[0:58]]
    tests = [np.r_[0:30], np.r_[30:60], np.r_[60:90]]
    chosen = [int(np.argmax(annual_sharpe(returns[rows]))) for rows in trains]
    assert [c.chosen for c in found.choices] == chosen
    expected = np.concatenate([returns[rows, k] for rows, k in zip(tests, chosen, strict=True)])
    np.testing.assert_array_equal(found.paths, expected[np.newaxis])
    assert found.sharpe[0] == pytest.approx(annual_sharpe(expected[:, np.newaxis])[0])
    np.testing.assert_array_equal(found.naive_sharpe, found.sharpe)
    np.testing.assert_allclose(
        found.split_test,
        [annual_sharpe(returns[rows])[k] for rows, k in zip(tests, chosen, strict=True)],
    )
    np.testing.assert_allclose(
        found.split_train,
        [annual_sharpe(returns[rows])[k] for rows, k in zip(trains, chosen, strict=True)],
    )


def test_every_day_of_every_path_was_chosen_by_a_split_that_tests_it() -> None:
    returns = noise(2)
    found = cross_validate(returns, CHOOSER, n_groups=5, n_test_groups=2, purge=1, embargo=2)
    assert found.paths.shape == (4, 90)
    assert len(found.choices) == 10
    # Of each split's test groups, each is used by one path.
    used = set()
    for path, group in itertools.product(range(4), range(5)):
        rows = np.arange(18 * group, 18 * (group + 1))
        fitting = [
            split
            for split, (tests, choice) in enumerate(zip(found.tests, found.choices, strict=True))
            if rows[0] in tests
            and np.array_equal(found.paths[path, rows], returns[rows, choice.chosen])
        ]
        assert fitting
        used.update(fitting)
    assert used == set(range(10))


@settings(max_examples=30)
@given(
    seed=st.integers(0, 500),
    split=st.integers(0, 9),
    criterion=st.sampled_from(["deflated", "best"]),
)
def test_no_choice_depends_on_its_test_or_on_the_days_beside_it(
    seed: int, split: int, criterion: str
) -> None:
    chooser = Chooser(criterion=criterion, confidence=0.95, n_draws=20, seed=1)
    shape = {"n_groups": 5, "n_test_groups": 2, "purge": 2, "embargo": 4}
    returns = noise(seed)
    before = cross_validate(returns, chooser, **shape)
    unseen = np.zeros(90, dtype=np.bool_)
    for group in list(itertools.combinations(range(5), 2))[split]:
        unseen[max(18 * group - 2, 0) : 18 * (group + 1) + 6] = True
    changed = np.where(unseen[:, np.newaxis], 5.0 * noise(seed + 1000), returns)
    after = cross_validate(changed, chooser, **shape)
    assert after.choices[split] == before.choices[split]


def test_the_nearest_days_outside_the_gaps_count() -> None:
    shape = {"n_groups": 5, "n_test_groups": 1, "purge": 2, "embargo": 4}
    returns = noise(9)
    splendid = np.array([-0.5, -0.5, -0.5, 0.5])
    for day, counts in (
        (33, True),
        (34, False),
        (59, False),
        (60, True),
    ):  # the third split tests 36 to 53
        changed = returns.copy()
        changed[day] = splendid
        found = cross_validate(changed, CHOOSER, **shape).choices[2]
        assert (found != cross_validate(returns, CHOOSER, **shape).choices[2]) == counts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_groups": 46}, "groups must be from 2 to 45, half of the days with positions, was 46"),
        ({"n_test_groups": 5}, "test_groups must be from 1 to 4, was 5"),
        ({"embargo": 17}, "purge_days and walk_forward.embargo_days together must be shorter than a group of 18"),
    ],
)  # fmt: skip
def test_groups_that_the_days_cannot_make_are_refused(changes: dict[str, int], said: str) -> None:
    usual = {"n_groups": 5, "n_test_groups": 2, "purge": 1, "embargo": 0}
    with pytest.raises(ConfigError, match=said):
        cross_validate(noise(3), CHOOSER, **(usual | changes))


def test_a_group_spares_a_quarter_of_its_days() -> None:
    assert spared(700, n_groups=8, purge=4, embargo=1198) == (4, 21)
    assert spared(700, n_groups=8, purge=30, embargo=5) == (21, 5)
