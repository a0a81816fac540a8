"""Vectors of unequal length as rows of one array."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from quantcore.kernels.fields import n_filled, stacked
from quantcore.types import FloatArray


@njit(cache=True)
def count(vector: FloatArray) -> int:
    return n_filled(vector)


def test_shorter_vectors_end_in_nan() -> None:
    found = stacked([np.array([1.0, 2.0]), np.array([3.0]), np.array([])])
    np.testing.assert_array_equal(found, [[1.0, 2.0], [3.0, np.nan], [np.nan, np.nan]])
    assert stacked([np.array([]), np.array([])]).shape == (2, 0)


@pytest.mark.parametrize("vector", [[], [1.0], [0.0, np.nan, 2.0]])
@pytest.mark.parametrize("more", [0, 1, 3])
def test_numbers_are_counted_without_what_fills_them_up(vector: list[float], more: int) -> None:
    filled = np.array([*vector, *[np.nan] * more])
    assert count(filled) == count.py_func(filled) == len(vector)
