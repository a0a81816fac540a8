"""Choice among sets: the criteria against the finance functions, and sets that cannot be chosen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcore.errors import ConfigError, DataGap
from quantcore.finance.overfitting import deflated_sharpe, effective_trials
from quantcore.finance.performance import raw_kurtosis, sharpe, skewness
from quantcore.finance.sharpe import robust_sharpe_error
from quantcore.research.selection import Chooser, annual_sharpe, choose, independent_sets
from quantcore.types import FloatArray

Z_95 = 1.6448536269514722


def chooser(criterion: str = "deflated") -> Chooser:
    return Chooser(criterion=criterion, confidence=0.95, n_draws=300, seed=3)


def noise(seed: int, n_days: int = 250, n_sets: int = 6) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.standard_t(4, (n_days, n_sets)) * 0.01 + 0.0005)


@pytest.mark.parametrize("seed", range(5))
def test_deflated_takes_the_set_with_the_highest_deflated_sharpe_ratio(seed: int) -> None:
    returns = noise(seed)
    trials = effective_trials(returns, n_draws=300, rng=np.random.default_rng(3))
    expected = [
        deflated_sharpe(
            sharpe(column, periods_per_year=1.0),
            len(column),
            skew=skewness(column),
            kurtosis=raw_kurtosis(column),
            n_trials=trials,
            variance=1.0 / len(column),
        )
        for column in returns.T
    ]
    found = choose(returns, chooser())
    assert found.chosen == int(np.argmax(expected))
    assert found.deflated == pytest.approx(max(expected), rel=1e-10)
    assert found.trials == pytest.approx(trials)


@pytest.mark.parametrize("seed", range(5))
def test_lower_confidence_takes_the_set_with_the_highest_lower_bound(seed: int) -> None:
    returns = noise(seed)
    bounds = [
        math.sqrt(365) * (sharpe(c, periods_per_year=1.0) - Z_95 * robust_sharpe_error(c))
        for c in returns.T
    ]
    found = choose(returns, chooser("lower_confidence"))
    assert found.chosen == int(np.argmax(bounds))
    assert found.lower == pytest.approx(max(bounds), rel=1e-9)


def test_the_naive_choice_takes_the_best_and_the_others_do_not_follow_it_blindly() -> None:
    # The highest ratio rests on returns that come in runs: its mean is known worse than the even set's.
    rng = np.random.default_rng(1)
    even = 0.001 + 0.01 * rng.standard_normal(400)
    shocks = np.repeat(rng.standard_normal(20), 20)
    runs = 0.01 * (shocks - shocks.mean()) / shocks.std() + 0.0012
    returns = np.column_stack([even - even.mean() + 0.001, runs])
    assert choose(returns, chooser("best")).chosen == 1
    careful = choose(returns, chooser("lower_confidence"))
    assert (careful.chosen, careful.naive) == (0, 1)
    assert careful.sharpe == pytest.approx(annual_sharpe(returns)[0])


def test_a_set_that_sells_crashes_is_deflated_behind_an_even_one() -> None:
    rng = np.random.default_rng(2)
    even = 0.01 * rng.standard_normal(300)
    even += 0.0015 - even.mean()
    seller = 0.004 + 0.002 * rng.standard_normal(300)
    seller[::75] = -0.12
    seller *= even.std() / seller.std()
    seller += even.mean() * 1.02 - seller.mean()
    returns = np.column_stack([seller, even])
    assert choose(returns, chooser("best")).chosen == 0
    assert choose(returns, chooser()).chosen == 1


def test_cash_is_never_chosen_and_nothing_can_be_chosen_from_cash_alone() -> None:
    returns = noise(3)
    returns[:, 2] = 0.0
    losing = -np.abs(returns)
    losing[:, 2] = 0.0
    assert choose(losing, chooser("best")).chosen != 2
    with pytest.raises(DataGap, match="no set held a position on any of the 50 days"):
        choose(np.zeros((50, 3)), chooser())


def test_copies_count_once_and_ties_go_to_the_first() -> None:
    one = noise(4, n_sets=1)
    copies = np.repeat(one, 7, axis=1)
    found = choose(copies, chooser())
    assert found.chosen == found.naive == 0
    assert found.trials == pytest.approx(1.0, abs=1e-6)
    alone = choose(one, chooser())
    assert alone.trials == 1.0
    assert found.deflated == pytest.approx(alone.deflated, abs=1e-6)
    many = independent_sets(noise(5, n_sets=30), chooser())
    assert many == pytest.approx(30, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criterion": "luckiest"}, "choose must be one of deflated, lower_confidence, best"),
        ({"confidence": 0.5}, r"confidence must be in \(0.5, 1\), was 0.5"),
        ({"n_draws": 0}, "n_draws must be >= 1, was 0"),
    ],
)
def test_a_criterion_out_of_range_is_refused(changes: dict[str, object], said: str) -> None:
    usual = {"criterion": "deflated", "confidence": 0.95, "n_draws": 10, "seed": 1}
    with pytest.raises(ConfigError, match=said):
        Chooser(**(usual | changes))  # type: ignore[arg-type] # mixed values of one mapping
