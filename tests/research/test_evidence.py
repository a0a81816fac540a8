"""The whole evidence on noise and on a planted edge: what luck brings it must not find, what is there it must."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from quantcore.errors import ConfigError
from quantcore.finance.overfitting import backtest_overfitting
from quantcore.research.evidence import Evidence, Validation, deflated, examine
from quantcore.research.folds import plan_folds
from quantcore.research.selection import Chooser, annual_sharpe
from quantcore.types import FloatArray

N_DAYS, N_SETS = 500, 10
PLANTED, EDGE = 6, 4.0
"""Column and annual Sharpe ratio of the set that is not noise."""
FOLDS = plan_folds(N_DAYS, scheme="expanding", train=None, test=None, count=4, purge=3)
VALIDATION = Validation(n_groups=5, n_test_groups=2, purge=3, embargo=5, n_blocks=10)
CHOOSER = Chooser(criterion="deflated", confidence=0.95, n_draws=50, seed=1)


def noise(seed: int) -> FloatArray:
    return np.asarray(np.random.default_rng(seed).normal(0.0, 0.01, (N_DAYS, N_SETS)))


def with_edge(seed: int) -> FloatArray:
    returns = noise(seed)
    returns[:, PLANTED] += 0.01 * EDGE / math.sqrt(365)
    return returns


def rejected(probabilities: list[float]) -> float:
    return float(np.mean(np.array(probabilities) > 0.95))


@cache
def on_noise() -> tuple[Evidence, ...]:
    return tuple(examine(noise(seed), FOLDS, CHOOSER, VALIDATION) for seed in range(40))


@cache
def on_edge() -> tuple[Evidence, ...]:
    return tuple(examine(with_edge(seed), FOLDS, CHOOSER, VALIDATION) for seed in range(1000, 1010))


def test_on_noise_the_probability_of_overfitting_is_a_half() -> None:
    found = [backtest_overfitting(noise(seed), n_blocks=10).pbo for seed in range(200)]
    # Of one record it spreads by 0.25 around a half.
    assert abs(np.mean(found) - 0.5) < 4 * np.std(found) / math.sqrt(200)
    assert np.std(found) < 0.3
    assert np.mean([e.overfitting.pbo for e in on_noise()]) == pytest.approx(0.5, abs=0.1)


def test_on_noise_the_best_in_hindsight_is_not_told_from_luck() -> None:
    best = [annual_sharpe(noise(seed)).max() for seed in range(40)]
    assert np.mean(best) > 1.0  # what naive belief would see
    assert rejected([e.best_deflated for e in on_noise()]) <= 0.05


def test_on_noise_the_record_out_of_sample_rejects_no_more_often_than_its_level_says() -> None:
    # 40 records at 5 %: more than 6 come once in 300 times.
    assert rejected([deflated(e.forward, trials=1.0) for e in on_noise()]) <= 6 / 40
    strict = [deflated(e.forward, trials=e.independent_sets) for e in on_noise()]
    assert rejected(strict) <= 0.05
    earned = [annual_sharpe(e.forward[:, np.newaxis])[0] for e in on_noise()]
    assert abs(np.mean(earned)) < 4 * np.std(earned) / math.sqrt(40)


def test_on_noise_the_paths_of_cross_validation_earn_nothing_on_average() -> None:
    means = [e.cross_validation.sharpe.mean() for e in on_noise()]
    assert abs(np.mean(means)) < 4 * np.std(means) / math.sqrt(40)


def test_a_planted_edge_is_chosen_and_keeps_its_ratio_out_of_sample() -> None:
    chosen = [step.choice.chosen == PLANTED for e in on_edge() for step in e.steps]
    assert np.mean(chosen) >= 0.9
    earned = [annual_sharpe(e.forward[:, np.newaxis])[0] for e in on_edge()]
    # Ten records of 250 days know a ratio to 1 / sqrt(10 * 250 / 365) = 0.38; now and then noise is chosen.
    assert np.mean(earned) == pytest.approx(EDGE, abs=3 * 0.38)
    crossed = [e.cross_validation.sharpe.mean() for e in on_edge()]
    assert np.mean(crossed) == pytest.approx(EDGE, abs=3 * 0.38)


def test_a_planted_edge_is_told_from_luck_and_is_not_overfitted() -> None:
    assert np.mean([e.overfitting.pbo for e in on_edge()]) < 0.1
    assert all(e.best == PLANTED for e in on_edge())
    assert rejected([e.best_deflated for e in on_edge()]) >= 0.75
    assert rejected([deflated(e.forward, trials=1.0) for e in on_edge()]) >= 0.75


def test_everything_begins_with_the_first_position() -> None:
    returns = with_edge(1)
    returns[:40] = 0.0
    found = examine(returns, FOLDS, CHOOSER, VALIDATION)
    assert found.first == 40
    assert found.cross_validation.paths.shape == (4, N_DAYS - 40)
    assert found.best_sharpe == pytest.approx(annual_sharpe(returns[40:])[PLANTED])
    assert found.overfitting.pbo == backtest_overfitting(returns[40:], n_blocks=10).pbo


def test_sets_that_never_held_anything_are_left_out_and_one_is_not_enough() -> None:
    returns = with_edge(2)
    returns[:, [0, 3]] = 0.0
    found = examine(returns, FOLDS, CHOOSER, VALIDATION)
    alive = np.delete(returns, [0, 3], axis=1)
    assert found.overfitting.pbo == backtest_overfitting(alive, n_blocks=10).pbo
    assert found.best == PLANTED
    returns[:, 1:] = 0.0
    returns[:, 0] = noise(2)[:, 0]
    with pytest.raises(
        ConfigError, match="at least two sets that ever hold a position, gave 1 of 10"
    ):
        examine(returns, FOLDS, CHOOSER, VALIDATION)


def test_the_same_returns_give_the_same_evidence() -> None:
    one, other = (examine(noise(3), FOLDS, CHOOSER, VALIDATION) for _ in range(2))
    assert one.steps == other.steps
    assert one.best_deflated == other.best_deflated
    np.testing.assert_array_equal(one.cross_validation.paths, other.cross_validation.paths)


def test_deflated_has_no_value_for_cash_and_falls_with_trials() -> None:
    assert math.isnan(deflated(np.zeros(50), trials=1.0))
    assert math.isnan(deflated(np.array([0.01]), trials=1.0))
    daily = with_edge(4)[:, PLANTED]
    assert deflated(daily, trials=1.0) > deflated(daily, trials=50.0)
