"""Decision bars as kernels that run many parameter sets read them."""

from __future__ import annotations

from typing import NamedTuple

from quantcore.types import FloatArray, IntArray


class Fields(NamedTuple):
    """Fields of decision bars, each of shape ``(n_bars, n_symbols)`` but the stamps; NaN where not known."""

    ts_us: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    funding_rate: FloatArray
