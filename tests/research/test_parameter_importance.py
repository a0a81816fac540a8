"""Importance of parameters: closed forms of functional ANOVA, and Optuna's own evaluator."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from quantcore.research.parameter_importance import SETS_MIN, Importance, importance
from quantcore.research.sweep_axes import axes_of
from quantcore.types import FloatArray


def grid(**levels: list[object]) -> pd.DataFrame:
    return pd.DataFrame(list(itertools.product(*levels.values())), columns=list(levels))


def measured(table: pd.DataFrame, values: FloatArray) -> Importance:
    found = importance(axes_of(table, [*map(str, table)]), values, seed=1)
    assert found is not None
    return found


def test_variances_of_a_sum_are_those_of_its_terms() -> None:
    table = grid(a=[*range(6)], b=[*range(6)], c=[*range(6)])
    values = (3.0 * table.a + 2.0 * table.b).to_numpy(np.float64)
    found = measured(table, values)
    np.testing.assert_allclose(found.main, [9 / 13, 4 / 13, 0.0], atol=0.03)
    assert found.pairs.max() < 0.02
    assert found.predicted > 0.95
    assert found.order() == [0, 1, 2]
    assert next(iter(found.pair_order())) == (0, 1)


def test_a_pure_interaction_belongs_to_the_pair() -> None:
    table = grid(a=["x", "y"], b=["u", "v"], c=[*range(24)])
    values = np.where((table.a == "x") == (table.b == "u"), 1.0, -1.0)
    found = measured(table, values)
    # Greedy trees see a pure interaction only after a first split by chance, here mostly of the third parameter.
    assert found.main[:2].max() < 0.02
    assert found.main[2] < 0.1
    assert found.pairs[0, 1] == found.pairs[1, 0]
    assert found.pairs[0, 1] > 0.75
    np.testing.assert_allclose(found.total[:2], found.pairs[0, 1], atol=0.08)


def test_shares_of_a_tree_add_up_to_all_of_its_variance() -> None:
    rng = np.random.default_rng(2)
    table = grid(a=[*range(5)], b=["x", "y", "z"])
    found = measured(table, rng.normal(size=len(table)))
    assert found.main.sum() + found.pairs[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_curves_are_the_means_of_a_full_grid() -> None:
    table = grid(a=[1, 2, 4, 8], b=["null", "0.1", "0.2"], c=[*range(8)])
    values = np.log2(table.a) + (table.b == "0.1") + 0.01 * table.c
    found = measured(table, values.to_numpy(np.float64))
    np.testing.assert_allclose(found.curves[0], values.groupby(table.a).mean(), atol=0.12)
    by_word = values.groupby(table.b).mean()[["null", "0.1", "0.2"]]
    np.testing.assert_allclose(found.curves[1], by_word, atol=0.12)
    assert all(
        (spread >= 0.0).all() and spread.shape == curve.shape
        for spread, curve in zip(found.spreads, found.curves, strict=True)
    )


def test_importance_agrees_with_optunas_fanova() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"a": rng.random(200), "b": rng.random(200), "c": rng.choice(["x", "y"], 200)}
    )
    values = np.sin(5.0 * table.a) + 0.5 * table.b + 0.4 * (table.c == "x")
    domains: dict[str, optuna.distributions.BaseDistribution] = {
        "a": optuna.distributions.FloatDistribution(0.0, 1.0),
        "b": optuna.distributions.FloatDistribution(0.0, 1.0),
        "c": optuna.distributions.CategoricalDistribution(("x", "y")),
    }
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={"a": a, "b": b, "c": c}, distributions=domains, value=value
            )
            for a, b, c, value in zip(table.a, table.b, table.c, values.tolist(), strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=3)
    theirs = evaluator.evaluate(study)
    ours = measured(table, values.to_numpy(np.float64)).main
    np.testing.assert_allclose(ours, [theirs[name] for name in "abc"], atol=0.06)


def test_noise_is_not_predicted() -> None:
    table = grid(a=[*range(10)], b=[*range(10)])
    assert measured(table, np.random.default_rng(4).normal(size=100)).predicted < 0.15


def test_sets_without_a_value_are_left_out() -> None:
    table = grid(a=[*range(8)], b=[*range(8)])
    values = table.a.to_numpy(np.float64)
    values[::3] = np.nan
    found = measured(table, values)
    assert found.main[0] > 0.95
    assert np.isfinite(found.curves[1]).all()


def test_a_seed_gives_the_same_shares_again() -> None:
    table = grid(a=[*range(8)], b=[*range(8)])
    values = np.random.default_rng(5).normal(size=64)
    one, two = measured(table, values), measured(table, values)
    np.testing.assert_array_equal(one.main, two.main)
    np.testing.assert_array_equal(one.curves[0], two.curves[0])


def test_too_few_or_equal_sets_say_nothing() -> None:
    table = pd.DataFrame({"a": range(SETS_MIN)})
    axes = axes_of(table, ["a"])
    values = np.arange(SETS_MIN, dtype=np.float64)
    assert importance(axes, values, seed=0) is not None
    assert importance((), values, seed=0) is None
    assert importance(axes, np.zeros(SETS_MIN), seed=0) is None
    values[0] = np.nan
    assert importance(axes, values, seed=0) is None
