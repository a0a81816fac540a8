"""Planted groups of trials are found again, and as many independent ones as were planted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcore.finance.overfitting import expected_max_normal
from quantcore.research.trials.clusters import COMMON_MIN, independent, lead
from quantcore.types import FloatArray

DAYS = 500


def planted(rng: np.random.Generator, groups: int, copies: int, noise: float) -> FloatArray:
    """Return independent series, each repeated with noise of its own, in mixed order."""
    ideas = np.repeat(rng.standard_normal((DAYS, groups)), copies, axis=1)
    mixed = rng.permutation(groups * copies)
    found: FloatArray = (ideas + noise * rng.standard_normal(ideas.shape))[:, mixed]
    return 0.01 * found


@pytest.mark.parametrize(("groups", "copies"), [(1, 40), (5, 20), (40, 30)])
def test_repeated_ideas_count_as_often_as_there_are_ideas(
    rng: np.random.Generator, groups: int, copies: int
) -> None:
    returns = planted(rng, groups, copies, 0.15)
    labels, leaders = lead(returns)
    assert len(leaders) == groups
    assert (np.bincount(labels) == copies).all()
    assert independent(returns[:, leaders]) == pytest.approx(groups, rel=0.12)


def test_independent_trials_count_all(rng: np.random.Generator) -> None:
    returns = planted(rng, 800, 1, 0.0)
    labels, leaders = lead(returns)
    assert labels.tolist() == leaders.tolist() == list(range(800))
    assert independent(returns) == pytest.approx(800, rel=0.12)


def test_equal_trials_count_once_whatever_their_leverage(rng: np.random.Generator) -> None:
    one = rng.standard_normal((DAYS, 1))
    labels, leaders = lead(one * np.linspace(0.001, 3.0, 700))
    assert leaders.tolist() == [0]
    assert not labels.any()
    assert independent(one) == 1.0
    assert independent(one[:, :0]) == 0.0


def test_leaders_that_still_correlate_are_fewer_than_their_number(rng: np.random.Generator) -> None:
    """Of n normal variables with the same correlation the largest is sqrt(1 - rho) of that of independent ones."""
    shared = math.sqrt(0.7) * rng.standard_normal((DAYS, 1))
    returns = shared + math.sqrt(0.3) * rng.standard_normal((DAYS, 50))
    _, leaders = lead(returns)
    assert len(leaders) == 50
    assert expected_max_normal(independent(returns)) == pytest.approx(
        math.sqrt(0.3) * expected_max_normal(50), rel=0.05
    )


def test_a_mirror_image_is_another_trial(rng: np.random.Generator) -> None:
    one = rng.standard_normal((DAYS, 1))
    assert len(lead(np.hstack([one, -one]))[1]) == 2


def test_a_trial_joins_the_leader_it_is_most_like(rng: np.random.Generator) -> None:
    first, other = rng.standard_normal((2, DAYS))
    second = 0.8 * first + 0.6 * other
    between = second + 0.35 * first
    labels, leaders = lead(np.stack([first, second, between], axis=1), alike=0.85)
    assert leaders.tolist() == [0, 1]
    assert labels.tolist() == [0, 1, 1]
    # In a later block the leaders are known already, and the nearest of them is chosen as well.
    many = np.repeat(np.stack([first, second], axis=1), [1, 600], axis=1)
    labels, _ = lead(np.column_stack([many, between]), alike=0.85)
    assert labels[-1] == 1


def test_records_of_other_days_are_compared_on_those_they_share(rng: np.random.Generator) -> None:
    whole = 0.01 * rng.standard_normal(DAYS) + 0.002
    late, early = whole.copy(), whole.copy()
    late[: DAYS // 2] = np.nan
    early[DAYS // 2 + COMMON_MIN + 5 :] = np.nan
    stranger = np.where(np.isnan(late), np.nan, rng.standard_normal(DAYS))
    returns = np.stack([whole, early, late, stranger], axis=1)
    labels, leaders = lead(returns)
    assert labels.tolist() == [0, 0, 0, 1]
    labels, leaders = lead(returns[:, 1:3])
    assert leaders.tolist() == [0]
    shared = [
        float(np.corrcoef(early[k], late[k])[0, 1])
        for k in (slice(DAYS // 2, DAYS // 2 + COMMON_MIN + 5),)
    ]
    assert shared == [pytest.approx(1.0)]


def test_correlation_on_common_days_is_that_of_numpy(rng: np.random.Generator) -> None:
    one = rng.standard_normal(DAYS)
    other = 0.9 * one + 0.35 * rng.standard_normal(DAYS) + 0.3
    one[:300], other[400:] = np.nan, np.nan
    both = slice(300, 400)
    expected = np.corrcoef(one[both], other[both])[0, 1]
    pair = np.stack([one, other], axis=1)
    assert len(lead(pair, alike=expected - 1e-4)[1]) == 1
    assert len(lead(pair, alike=expected + 1e-4)[1]) == 2


def test_too_few_common_days_say_nothing(rng: np.random.Generator) -> None:
    whole = rng.standard_normal(DAYS)
    early, late = whole.copy(), whole.copy()
    early[COMMON_MIN:], late[1 : -COMMON_MIN + 1] = np.nan, np.nan
    late[0] = np.nan
    assert len(lead(np.stack([whole, late], axis=1))[1]) == 2
    late[0] = whole[0]
    assert len(lead(np.stack([whole, late], axis=1))[1]) == 1


def test_records_too_short_to_be_compared_lead_themselves(rng: np.random.Generator) -> None:
    returns = rng.standard_normal((DAYS, 4))
    returns[COMMON_MIN - 1 :, 1:] = np.nan
    labels, leaders = lead(returns)
    assert labels.tolist() == leaders.tolist() == [0, 1, 2, 3]


def test_trials_on_other_days_are_independent(rng: np.random.Generator) -> None:
    whole = rng.standard_normal(DAYS)
    returns = np.stack([whole, whole, whole], axis=1)
    for column, part in enumerate((slice(0, 150), slice(150, 300), slice(300, None))):
        kept = returns[part, column].copy()
        returns[:, column] = np.nan
        returns[part, column] = kept
    assert independent(returns) == pytest.approx(3.0, rel=0.1)


def test_that_two_earn_on_the_same_part_of_the_days_makes_them_not_alike(
    rng: np.random.Generator,
) -> None:
    returns = np.full((DAYS, 4), np.nan)
    returns[:200] = rng.standard_normal((200, 4)) + 3.0
    assert independent(returns) == pytest.approx(4.0, rel=0.1)
