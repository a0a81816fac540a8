"""Stability of choices: by hand, against all pairs of draws, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from quantcore.research.stability import stability

SETS = [
    {"strategy.fast": fast, "portfolio": option}
    for fast in (4, 8, 64)
    for option in ("risk_parity", "hierarchical")
]


def test_numbers_move_by_ranks_and_names_by_whole_steps() -> None:
    found = stability(SETS, [0, 2, 2, 5])
    # fast: 4, 8, 8, 64 are the ranks 0, 1/2, 1/2, 1; the portfolio changes once.
    assert found.parameters["strategy.fast"][0] == pytest.approx(1 / 3)
    assert found.parameters["strategy.fast"][2] == pytest.approx((0.5 + 0.0 + 0.5) / 3)
    assert found.parameters["portfolio"][0] == pytest.approx(2 / 3)
    assert found.parameters["portfolio"][2] == pytest.approx(1 / 3)
    assert found.same_set == pytest.approx(1 / 3)
    assert found.distance == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_what_drawing_gives_is_the_mean_over_all_pairs_of_sets() -> None:
    found = stability(SETS, [0, 1])
    pairs = list(itertools.product(SETS, repeat=2))
    place = {4: 0.0, 8: 0.5, 64: 1.0}
    apart = [abs(place[a["strategy.fast"]] - place[b["strategy.fast"]]) for a, b in pairs]  # type: ignore[index]
    other = [float(a["portfolio"] != b["portfolio"]) for a, b in pairs]
    assert found.parameters["strategy.fast"][3] == pytest.approx(np.mean(apart))
    assert found.parameters["portfolio"][3] == pytest.approx(np.mean(other))
    assert found.parameters["portfolio"][1] == pytest.approx(0.5)
    assert found.distance_drawn == pytest.approx((np.mean(apart) + np.mean(other)) / 2)
    assert found.same_set_drawn == pytest.approx(1 / 6)


def test_lists_and_missing_values_are_names() -> None:
    found = stability([{"a": [1, 2]}, {"a": None}, {"a": [1, 2]}], [0, 1, 2, 0])
    assert found.parameters["a"][0] == pytest.approx(1 / 3)
    assert found.parameters["a"][2] == pytest.approx(2 / 3)


def test_one_fold_has_no_border_and_no_folds_are_refused() -> None:
    assert math.isnan(stability(SETS, [3]).same_set)
    assert math.isnan(stability(SETS, [3]).distance)
    with pytest.raises(ValueError, match="sets and chosen must not be empty, were 6 and 0"):
        stability(SETS, [])
