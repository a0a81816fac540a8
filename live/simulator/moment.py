"""One row of the market, as the account step's kernels read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quantcore.kernels.layout import Market
from quantcore.types import FloatArray


@dataclass(kw_only=True)
class Moment:
    """A row of a market."""

    market: Market
    row: int


def one_row(ts_us: int, fields: Sequence[FloatArray]) -> Market:
    """Return a market of one row.

    Parameters
    ----------
    ts_us : int
        Its stamp, microseconds.
    fields : sequence of float64 arrays, each of shape (n_symbols,)
        Open, high, low, close, and the same of the mark price; volumes are NaN.
    """
    stamps = np.array([ts_us], dtype=np.int64)
    rows = [
        np.ascontiguousarray(np.asarray(each, dtype=np.float64)[np.newaxis, :]) for each in fields
    ]
    rows.append(np.full((1, len(fields[0])), np.nan))
    for array in (stamps, *rows):
        array.flags.writeable = False  # as the bars' own: numba would compile the step once more
    return Market(stamps, *rows)
