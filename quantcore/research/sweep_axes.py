"""The parameters of a finished sweep as axes: their values in order, and where on them each set stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quantcore.types import BoolArray, FloatArray, IntArray

LEVELS_MAX = 32
"""Most values of a parameter that are told apart one by one; more are put into bins."""
BINS = 16
"""Bins of a parameter with more values than that, with about equally many sets in each."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter over all sets of a sweep.

    Parameters
    ----------
    path : str
        Its override path.
    values : tuple
        Its different values: words first, in the order in which they came, then numbers from the smallest on.
    ranks : int64 array, shape (n_sets,)
        Which of `values` each set has.
    numeric : bool array, shape (n_values,)
        Which of `values` are numbers, so that the next one is a neighbour.
    labels : tuple of str
        Names of the levels that tables and figures show: the values, or the middles of bins of them.
    codes : int64 array, shape (n_sets,)
        Which level each set has.
    """

    path: str
    values: tuple[float | str, ...]
    ranks: IntArray = field(repr=False)
    numeric: BoolArray = field(repr=False)
    labels: tuple[str, ...]
    codes: IntArray = field(repr=False)

    @property
    def is_binned(self) -> bool:
        """Whether a level stands for several values."""
        return len(self.labels) < len(self.values)

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers."""
        return bool(self.numeric.all())


def axes_of(table: pd.DataFrame, parameters: Sequence[str]) -> tuple[Axis, ...]:
    """Return the axes of the parameters that differ between sets; one that is the same for all is none.

    Parameters
    ----------
    table : DataFrame
        One row per set. A parameter's column holds numbers, truth values or text; a column of text may mix words and
        the text of numbers, as in ``"null", "0.1"``.
    parameters : sequence of str
        Override paths, names of columns.

    Raises
    ------
    KeyError
        If the table lacks such a column.
    """
    axes = (_axis(path, table[path]) for path in parameters)
    return tuple(axis for axis in axes if len(axis.values) > 1)


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return how figures name each path: by its last part, with what contains it where that alone is ambiguous.

    Examples
    --------
    >>> short_names(["strategy.fast", "risk.symbol_max", "a.cap", "b.cap"])
    {'strategy.fast': 'fast', 'risk.symbol_max': 'symbol_max', 'a.cap': 'a.cap', 'b.cap': 'b.cap'}
    """
    last = [path.rpartition(".")[2] for path in paths]
    return {p: p if last.count(name) > 1 else name for p, name in zip(paths, last, strict=True)}


def number_text(value: float) -> str:
    """Return a number with four significant digits, whole ones in full.

    Examples
    --------
    >>> number_text(525600.0), number_text(0.123456)
    ('525600', '0.1235')
    """
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def _axis(path: str, column: pd.Series) -> Axis:
    plain = [_plain(value) for value in column.tolist()]
    words = list(dict.fromkeys(value for value in plain if isinstance(value, str)))
    numbers = sorted({value for value in plain if not isinstance(value, str)})
    values: tuple[float | str, ...] = (*words, *numbers)
    place = {value: k for k, value in enumerate(values)}
    ranks = np.array([place[value] for value in plain], dtype=np.int64)
    numeric = np.array([not isinstance(value, str) for value in values], dtype=np.bool_)
    labels = tuple(value if isinstance(value, str) else number_text(value) for value in values)
    codes = ranks
    if len(numbers) > LEVELS_MAX:
        labels, codes = _binned(words, np.array(numbers), ranks)
    return Axis(path=path, values=values, ranks=ranks, numeric=numeric, labels=labels, codes=codes)


def _binned(
    words: list[str], numbers: FloatArray, ranks: IntArray
) -> tuple[tuple[str, ...], IntArray]:
    """Return the levels of many numbers after those of words: bins with about equally many sets each."""
    among = ranks[ranks >= len(words)] - len(words)
    edges = np.unique(np.quantile(among, np.linspace(0.0, 1.0, BINS + 1)[1:-1], method="lower"))
    bin_of = np.searchsorted(edges, np.arange(len(numbers)), side="left")
    middles = [
        float(np.quantile(numbers[bin_of == b], 0.5, method="lower")) for b in range(bin_of[-1] + 1)
    ]
    names = [f"{middle:.3g}" for middle in middles]
    if len(set(names)) < len(names):
        names = [f"{middle:.9g}" for middle in middles]
    level = np.concatenate([np.arange(len(words)), len(words) + bin_of])
    return (*words, *names), level[ranks]


def _plain(value: object) -> float | str:
    """Return a cell as a number where it is or reads as one, else as a word."""
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, int | float | np.number):
        return float(value)
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return number if math.isfinite(number) else str(value)
