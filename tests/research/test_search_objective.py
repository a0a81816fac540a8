"""The objective of a search: the Sharpe ratio or the lower end of its interval, after growing spans."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantcore.errors import ConfigError
from quantcore.research.search_objective import objective_values, stage_ends


def test_the_sharpe_ratio_is_annual_over_365_days() -> None:
    daily = np.array([[0.01, 0.0], [0.03, 0.0], [np.nan, 0.0]])
    ratios = objective_values(daily, "sharpe")
    assert ratios[0] == pytest.approx(0.02 / (0.01 * math.sqrt(2.0)) * math.sqrt(365.0))
    assert math.isnan(ratios[1])


def test_the_lower_end_prefers_the_longer_record() -> None:
    rng = np.random.default_rng(1)
    long = rng.normal(0.001, 0.01, 800)
    short = np.append(long[:200], np.full(600, np.nan))
    short[:200] += long.mean() - short[:200].mean()
    short[:200] = long.mean() + (short[:200] - long.mean()) * long.std() / short[:200].std()
    daily = np.column_stack([long, short])
    ratios, lower = objective_values(daily, "sharpe"), objective_values(daily, "sharpe_lower")
    assert ratios[0] == pytest.approx(ratios[1], rel=0.01)
    assert lower[0] > lower[1]
    # Lo (2002) for normal returns: the half width is 1.96 sqrt((1 + SR^2 / 2) / n) per period.
    daily_ratio = ratios[0] / math.sqrt(365.0)
    half = 1.96 * math.sqrt((1.0 + daily_ratio**2 / 2.0) / 800.0) * math.sqrt(365.0)
    assert ratios[0] - lower[0] == pytest.approx(half, rel=0.03)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ConfigError, match="objective must be one of sharpe, sharpe_lower, was x"):
        objective_values(np.zeros((2, 1)), "x")  # type: ignore[arg-type]  # the error under test


def test_spans_grow_in_equal_steps_to_the_whole() -> None:
    assert stage_ends(730, 4) == [182, 365, 547, 730]
    assert stage_ends(5, 1) == [5]
    for stages in (0, 6):
        with pytest.raises(
            ConfigError, match=f"stages must be from 1 to the 5 rows .* was {stages}"
        ):
            stage_ends(5, stages)
