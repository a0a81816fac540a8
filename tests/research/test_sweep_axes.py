"""Columns of a sweep's table as axes: values in order, bins where there are many."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quantcore.research.sweep_axes import BINS, LEVELS_MAX, axes_of, short_names


def test_words_come_first_and_numbers_in_order() -> None:
    table = pd.DataFrame({"a": ["0.5", "null", "0.1", "null", "10", "1e-3"]})
    (axis,) = axes_of(table, ["a"])
    assert axis.values == ("null", 0.001, 0.1, 0.5, 10.0)
    assert axis.labels == ("null", "0.001", "0.1", "0.5", "10")
    assert axis.ranks.tolist() == [3, 0, 2, 0, 4, 1] == axis.codes.tolist()
    assert axis.numeric.tolist() == [False, True, True, True, True]
    assert not axis.is_numeric
    assert not axis.is_binned


def test_truth_values_are_words_and_text_of_numbers_are_numbers() -> None:
    table = pd.DataFrame(
        {"truth": [True, False, True], "whole": [8, 525600, 16], "text": ["a", "nan", "inf"]}
    )
    truth, whole, text = axes_of(table, ["truth", "whole", "text"])
    assert truth.values == ("true", "false")
    assert whole.labels == ("8", "16", "525600")
    assert text.values == ("a", "nan", "inf")


def test_a_parameter_that_is_the_same_for_all_sets_is_no_axis() -> None:
    table = pd.DataFrame({"a": [1, 1], "b": [1, 2]})
    assert [axis.path for axis in axes_of(table, ["a", "b"])] == ["b"]


def test_many_values_are_put_into_bins_of_about_equally_many_sets() -> None:
    numbers = np.random.default_rng(1).lognormal(0.0, 3.0, 1000)
    column = [*map(repr, numbers.tolist()), *["null"] * 50]
    (axis,) = axes_of(pd.DataFrame({"a": column}), ["a"])
    assert axis.is_binned
    assert len(axis.values) == 1001
    assert axis.labels[0] == "null"
    assert len(axis.labels) == 1 + BINS
    counts = np.bincount(axis.codes)
    assert counts[0] == 50
    assert counts[1:].min() >= 60
    assert counts[1:].max() <= 65
    middles = [np.median(numbers[axis.codes[:1000] == k]) for k in range(1, 1 + BINS)]
    np.testing.assert_allclose([float(x) for x in axis.labels[1:]], middles, rtol=0.05)
    assert (np.diff(axis.codes[:1000][np.argsort(numbers)]) >= 0).all()


def test_as_many_values_as_may_be_are_told_apart() -> None:
    (axis,) = axes_of(pd.DataFrame({"a": range(LEVELS_MAX)}), ["a"])
    assert not axis.is_binned
    (axis,) = axes_of(pd.DataFrame({"a": range(LEVELS_MAX + 1)}), ["a"])
    assert axis.is_binned


def test_bins_too_near_for_three_digits_have_different_names() -> None:
    (axis,) = axes_of(pd.DataFrame({"a": 1.0 + np.arange(100) * 1e-6}), ["a"])
    assert len(set(axis.labels)) == len(axis.labels) == BINS


def test_names_are_short_where_they_are_unambiguous() -> None:
    names = short_names(["strategy", "strategy.fast", "a.cap", "b.cap"])
    assert list(names.values()) == ["strategy", "fast", "a.cap", "b.cap"]
