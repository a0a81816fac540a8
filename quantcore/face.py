"""What a notebook calls: ``import quantcore as qc; bars = qc.load("synthetic"); run = qc.backtest("trend")``.

`quantcore` hands these out by name; nothing of it is imported before the first is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from quantcore.backtest.entrance import backtest, open_run
from quantcore.config import build, compose
from quantcore.data.sources import DataSource
from quantcore.errors import DataGap, QuantcoreError
from quantcore.frames import Bars
from quantcore.overrides import cause, check_text, override_list, place_overrides, told
from quantcore.research.entrance import compare, sweep, walk_forward
from quantcore.timegrid import interval_us, to_us

__all__ = ["Bars", "backtest", "compare", "load", "open_run", "sweep", "walk_forward"]


def load(
    source: str | Path = "synthetic",
    *,
    symbols: str | Sequence[str] | None = None,
    interval: str = "1h",
    start: str | date | None = None,
    end: str | date | None = None,
) -> Bars:
    """Return market data as bars, from the same sources as the commands.

    Parameters
    ----------
    source : str or Path
        ``"synthetic"``: an invented market of 2024, generated once and then read from ``data/synthetic``.
        ``"store"``: what ``python -m quantcore.data`` wrote to ``data/store``. Else the path of a folder of
        ``klines_<interval>/SYM.parquet``, ``funding/``, ``mark_<interval>/``, or the path or URL of a store.
    symbols : str or sequence of str, optional
        All that are held if left out.
    interval : str
        Of the bars, such as ``"15m"`` or ``"4h"``. A folder or store must hold it. Synthetic bars are hourly ones
        resampled; those shorter than an hour, or no multiple of it, are another draw.
    start, end : str or date, optional
        UTC; bars that open before `start` or close after `end` are left out.

    Returns
    -------
    Bars
        A pandas frame per field: ``bars.close``, ``bars.funding_rate``; NaN before a listing and in a hole.

    Raises
    ------
    ConfigError
        If a place does not exist, or an interval, symbol or time is none.
    DataGap
        If the place has no such bars.
    SchemaMismatch
        If a file is not what it should be.

    Examples
    --------
    In a notebook::

        bars = qc.load("synthetic", symbols=["BTCUSDT", "ETHUSDT"], interval="4h")
        bars.close.pct_change().std()
    """
    try:
        chosen: dict[str, Any] = {"data.interval": check_text(interval, "interval")}
        if symbols is not None:
            chosen["data.symbols"] = [symbols] if isinstance(symbols, str) else list(symbols)
        if start is not None:
            chosen["data.start"] = start
        if end is not None:
            chosen["data.end"] = end
        if source == "synthetic" and interval_us(interval) % interval_us("1h"):
            chosen["data.execution_interval"] = interval
        cfg = compose("backtest", [*place_overrides(source), *override_list(chosen)])
        data: DataSource = build(cfg.data)
        bars = data.load(reviewed=True).decision_bars()
        if start is not None and bars.n_bars:
            first = to_us(cfg.data.start) + interval_us(interval)
            bars = bars.between(first, int(bars.ts_us[-1]))
        if not bars.n_bars:
            raise DataGap(f"start and end must leave a bar of {interval}, were {start} and {end}")
        return bars
    except QuantcoreError as error:
        raise told(error) from cause(error)
