"""Small folders of market data in the layout of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

HOUR_MS = 3_600_000
FIRST_MS = 1_672_531_200_000  # 2023-01-01 00:00 UTC

Columns = dict[str, Any]


def _write(path: Path, time_column: str, times_ms: Any, values: Columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stamps = pa.array(np.asarray(times_ms, dtype=np.int64)).cast(pa.timestamp("ms", tz="UTC"))
    columns = {name: pa.array(np.asarray(column)) for name, column in values.items()}
    pq.write_table(pa.table({time_column: stamps, **columns}), path)
    return path


@pytest.fixture
def kline_columns() -> Callable[..., Columns]:
    """Return a maker of plausible bars: a rising walk in which each bar holds its open and close."""

    def make(n_bars: int, *, start: float = 100.0, seed: int = 1) -> Columns:
        rng = np.random.default_rng(seed)
        close = start * np.exp(np.cumsum(rng.normal(0.0, 0.01, n_bars)))
        opens = np.concatenate([[start], close[:-1]])
        return {
            "open": opens,
            "high": np.maximum(opens, close) * 1.001,
            "low": np.minimum(opens, close) * 0.999,
            "close": close,
            "volume": rng.uniform(1.0, 2.0, n_bars),
        }

    return make


@pytest.fixture
def write_klines(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of ``klines_<interval>/SYM.parquet`` below ``tmp_path / "folder"``."""

    def write(symbol: str, columns: Columns, *, interval: str = "1h", times_ms: Any = None) -> Path:
        length = {"15m": HOUR_MS // 4, "1h": HOUR_MS, "8h": 8 * HOUR_MS}[interval]
        n_bars = len(columns["close"])
        if times_ms is None:
            times_ms = FIRST_MS + length * np.arange(n_bars)
        path = tmp_path / "folder" / f"klines_{interval}" / f"{symbol}.parquet"
        return _write(path, "open_time", times_ms, columns)

    return write


@pytest.fixture
def write_series(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of any other file of the folder."""

    def write(name: str, time_column: str, times_ms: Any, **values: Any) -> Path:
        return _write(tmp_path / "folder" / f"{name}.parquet", time_column, times_ms, values)

    return write


@pytest.fixture
def real_data() -> Path:
    """Return the folder of real data beside the project; skip where it is not there."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (folder / "klines_1h").is_dir():
        pytest.skip("the folder ../shared/data with real market data is not there")
    return folder
