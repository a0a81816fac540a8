"""Finding places in ascending rows."""

from __future__ import annotations

from quantcore.kernels.compiled import inner
from quantcore.types import IntArray


@inner()
def first_row(rows: IntArray, row: int) -> int:
    """Return the first place in ascending rows that is not before a row; their number if there is none."""
    low, high = 0, len(rows)
    while low < high:
        middle = (low + high) // 2
        if rows[middle] < row:
            low = middle + 1
        else:
            high = middle
    return low
