"""Quality of stored data: what is wrong, doubtful or missing, as one row per finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from quantcore.data.checks import bad_prices
from quantcore.data.coverage import FUNDING_GAP_US
from quantcore.data.findings import Finding
from quantcore.data.repair import series_label, time_faults
from quantcore.data.schema import (
    BAR_KINDS,
    FLOW_COLUMNS,
    KINDS,
    PRICE_COLUMNS,
    SCHEMAS,
    column,
    times,
)
from quantcore.data.tables import TableReader, full_name
from quantcore.errors import ConfigError
from quantcore.timegrid import HOUR_US, MINUTE_US, interval_us
from quantcore.types import BoolArray, FloatArray, IntArray

_JITTER_US = 10 * MINUTE_US
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """Thresholds of the checks.

    Parameters
    ----------
    frozen_bars : int
        Bars in a row with one single price from which on a series counts as frozen, >= 2.
    spike_sigmas : float
        A bar is an outlier against its neighbours if its log return and the next one both exceed this many robust
        standard deviations, in opposite directions; > 0.
    spike_reversal : float
        And if the next return takes back at least this share of it, in (0, 1].
    spike_window : int
        Bars around it whose median absolute log return gives the robust standard deviation, >= 3.
    mark_deviation : float
        Distance of close from mark close, as a fraction, that is too far; > 0.
    """

    frozen_bars: int
    spike_sigmas: float
    spike_reversal: float
    spike_window: int
    mark_deviation: float

    def __post_init__(self) -> None:
        if self.frozen_bars < 2:
            raise ConfigError(f"frozen_bars must be >= 2, was {self.frozen_bars}")
        if not self.spike_sigmas > 0:
            raise ConfigError(f"spike_sigmas must be > 0, was {self.spike_sigmas}")
        if not 0 < self.spike_reversal <= 1:
            raise ConfigError(f"spike_reversal must be in (0, 1], was {self.spike_reversal}")
        if self.spike_window < 3:
            raise ConfigError(f"spike_window must be >= 3, was {self.spike_window}")
        if not self.mark_deviation > 0:
            raise ConfigError(f"mark_deviation must be > 0, was {self.mark_deviation}")


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A finding before it has a symbol and a kind."""

    check: str
    ts_us: int
    count: int
    value: float | None
    detail: str


def series_of(
    reader: TableReader, symbols: Sequence[str] | None = None
) -> list[tuple[str, str, str]]:
    """Return kind, interval and symbol of every series that a reader holds, of some symbols or all."""
    return [
        (kind, interval, symbol)
        for kind in KINDS
        for interval in reader.intervals(kind)
        for symbol in reader.symbols(kind, interval)
        if symbols is None or symbol in symbols
    ]


def validate_series(
    reader: TableReader, series: tuple[str, str, str], settings: QualitySettings
) -> list[Finding]:
    """Return what is found in one series; a file that cannot be read, and a series without rows, are findings too.

    Klines are also compared with the mark series of their own interval and symbol.
    """
    kind, interval, symbol = series
    label = series_label(kind, interval)
    table, damaged = reader.salvage(kind, interval, symbol)

    def whole(check: str, detail: str) -> Finding:
        return Finding(
            symbol=symbol, kind=label, check=check, ts_us=None, count=1, value=None, detail=detail
        )

    found = [whole("unreadable", reason) for reason in damaged.values()]
    if len(table) == 0:
        name = full_name(reader, kind, interval, symbol)
        return found or [whole("empty", f"{name} has no rows")]
    mark = None
    if kind == "klines" and symbol in reader.symbols("mark", interval):
        mark, _ = reader.salvage("mark", interval, symbol)
    inside = validate_table(table, kind, interval, settings, mark=mark)
    return found + [Finding(symbol=symbol, kind=label, **asdict(item)) for item in inside]


def validate_table(
    table: pa.Table,
    kind: str,
    interval: str,
    settings: QualitySettings,
    *,
    mark: pa.Table | None = None,
) -> list[_Found]:
    """Return what is found in one long table, rows in any state.

    Values are checked on the first row of each time, in order of time.
    """
    names = SCHEMAS[kind].names[2:]
    found = list(_time_findings(table, names))
    faults = time_faults(table, names)
    rows = faults.order[~faults.repeated]
    ts_us = times(table)[rows]
    values = {name: column(table, name)[rows] for name in names}
    if kind in BAR_KINDS:
        found += _bar_findings(ts_us, values, interval_us(interval), settings)
        if kind == "klines":
            found += _flow_findings(ts_us, values)
        if mark is not None:
            found += _mark_findings(ts_us, values["close"], mark, settings)
        return found
    name = names[0]
    bad = ~np.isfinite(values[name]) | ((kind == "open_interest") & (values[name] < 0))
    found += _each_run("bad_value", bad, ts_us, values[name], f"{name} is not possible")
    if kind == "funding":
        found += _funding_findings(ts_us)
    return found


def _time_findings(table: pa.Table, names: list[str]) -> Iterator[_Found]:
    ts_us = times(table)
    late = np.flatnonzero(np.diff(ts_us) < 0) + 1
    if len(late):
        yield _Found(
            check="not_sorted",
            ts_us=int(ts_us[late[0]]),
            count=len(late),
            value=None,
            detail="rows that lie before the one above them",
        )
    faults = time_faults(table, names)
    ordered = ts_us[faults.order]
    for check, rows, detail in (
        ("duplicate", faults.repeated & ~faults.conflicting, "rows that repeat another"),
        (
            "conflicting_duplicate",
            faults.conflicting,
            "rows with the time of another, other values",
        ),
    ):
        at = np.flatnonzero(rows)
        if len(at):
            yield _Found(
                check=check, ts_us=int(ordered[at[0]]), count=len(at), value=None, detail=detail
            )


def _bar_findings(
    ts_us: IntArray, values: dict[str, FloatArray], length: int, settings: QualitySettings
) -> Iterator[_Found]:
    yield from _each_run("off_grid", ts_us % length != 0, ts_us, None, "stamp is off the grid")
    prices = {name: values[name] for name in PRICE_COLUMNS}
    impossible = bad_prices(prices)
    worst = np.minimum.reduce([np.where(np.isnan(p), -np.inf, p) for p in prices.values()])
    yield from _each_run("bad_price", impossible, ts_us, worst, "price is not finite and positive")
    empty = np.isnan(np.stack(list(prices.values()))).all(axis=0)
    yield from _gap_findings(ts_us[~empty], length)
    possible = ~impossible & ~empty
    with np.errstate(divide="ignore", invalid="ignore"):  # of impossible prices, which are left out
        excess = np.maximum(
            np.maximum(prices["open"], prices["close"]) / prices["high"] - 1,
            1 - np.minimum(prices["open"], prices["close"]) / prices["low"],
            where=possible,
            out=np.zeros(len(ts_us)),
        )
    detail = "open or close outside low to high, value is the excess as a fraction"
    yield from _each_run("ohlc", possible & (excess > 0), ts_us, excess, detail)
    at = np.flatnonzero(possible)
    yield from _frozen_findings(ts_us[at], {n: p[at] for n, p in prices.items()}, settings)
    yield from _spike_findings(ts_us[at], prices["close"][at], length, settings)


def _gap_findings(ts_us: IntArray, length: int) -> Iterator[_Found]:
    missing = np.diff(ts_us) // length - 1
    for at in np.flatnonzero(missing > 0):
        yield _Found(
            check="gap",
            ts_us=int(ts_us[at]) + length,
            count=int(missing[at]),
            value=None,
            detail="missing bars",
        )


def _frozen_findings(
    ts_us: IntArray, prices: dict[str, FloatArray], settings: QualitySettings
) -> Iterator[_Found]:
    close = prices["close"]
    flat = (prices["high"] == prices["low"]) & (prices["open"] == close)
    flat[1:] &= close[1:] == close[:-1]
    for start, stop in _runs(flat):
        if stop - start >= settings.frozen_bars:
            yield _Found(
                check="frozen",
                ts_us=int(ts_us[start]),
                count=stop - start,
                value=float(close[start]),
                detail="bars of one single price, which is the value",
            )


def _spike_findings(
    ts_us: IntArray, close: FloatArray, length: int, settings: QualitySettings
) -> Iterator[_Found]:
    if len(close) < 3:
        return
    log_returns = np.diff(np.log(close))
    log_returns[np.diff(ts_us) != length] = np.nan
    size = pd.Series(np.abs(log_returns))
    local = size.rolling(settings.spike_window, center=True, min_periods=3).median().to_numpy()
    # Of a calm or frozen stretch the median is near zero and any move would stand out.
    scale = _MAD_TO_SIGMA * np.maximum(local, float(size.median()) / 2)
    limit = settings.spike_sigmas * scale
    there, back = log_returns[:-1], log_returns[1:]
    spike = (
        (np.abs(there) > limit[:-1])
        & (np.abs(back) > limit[:-1])
        & (there * back < 0)
        & (np.abs(there + back) <= (1 - settings.spike_reversal) * np.abs(there))
        & (limit[:-1] > 0)
    )
    for at in np.flatnonzero(spike):
        yield _Found(
            check="spike",
            ts_us=int(ts_us[at + 1]),
            count=1,
            value=float(there[at]),
            detail="close far from both neighbours, value is the log return",
        )


def _flow_findings(ts_us: IntArray, values: dict[str, FloatArray]) -> Iterator[_Found]:
    for name in FLOW_COLUMNS:
        flow = values[name]
        bad = np.isinf(flow) | (flow < 0)
        yield from _each_run("bad_flow", bad, ts_us, flow, f"{name} is not finite and >= 0")
    yield from _each_run("zero_volume", values["volume"] == 0, ts_us, None, "bars without trades")


def _mark_findings(
    ts_us: IntArray, close: FloatArray, mark: pa.Table, settings: QualitySettings
) -> Iterator[_Found]:
    marks_us, first = np.unique(times(mark), return_index=True)
    _, here, there = np.intersect1d(ts_us, marks_us, assume_unique=True, return_indices=True)
    reference = column(mark, "close")[first[there]]
    usable = (close[here] > 0) & (reference > 0)
    here, reference = here[usable], reference[usable]
    distance = close[here] / reference - 1
    far = np.abs(distance) > settings.mark_deviation
    yield from _each_run("mark_deviation", far, ts_us[here], distance, "close against mark close")


def _funding_findings(ts_us: IntArray) -> Iterator[_Found]:
    gaps = np.diff(ts_us)
    if len(gaps) == 0:
        return
    running = int(gaps[0])
    for at in range(1, len(gaps)):
        gap = int(gaps[at])
        settles = at + 1 < len(gaps) and abs(int(gaps[at + 1]) - gap) <= _JITTER_US
        if abs(gap - running) <= _JITTER_US:
            continue
        if gap <= FUNDING_GAP_US and (settles or gap < running):
            # A shorter distance is an extra settlement or a new interval, a longer one that repeats a new interval.
            yield _Found(
                check="funding_interval",
                ts_us=int(ts_us[at + 1]),
                count=1,
                value=gap / HOUR_US,
                detail=f"hours since the last settlement, before {running / HOUR_US:g}",
            )
            running = gap
        elif gap > running + _JITTER_US and gap <= FUNDING_GAP_US:
            yield _funding_hole(ts_us, at, running)
    for hole in np.flatnonzero(gaps > FUNDING_GAP_US):
        yield _funding_hole(ts_us, int(hole), 8 * HOUR_US)


def _funding_hole(ts_us: IntArray, at: int, running: int) -> _Found:
    gap = int(ts_us[at + 1] - ts_us[at])
    return _Found(
        check="funding_hole",
        ts_us=int(ts_us[at]),
        count=max(round(gap / running) - 1, 1),
        value=gap / HOUR_US,
        detail="settlements missing after this one, value is the distance in hours",
    )


def _each_run(
    check: str, rows: BoolArray, ts_us: IntArray, values: FloatArray | None, detail: str
) -> Iterator[_Found]:
    for start, stop in _runs(rows):
        value = None
        if values is not None:
            finite = values[start:stop][np.isfinite(values[start:stop])]
            value = float(finite[np.argmax(np.abs(finite))]) if len(finite) else None
        yield _Found(
            check=check, ts_us=int(ts_us[start]), count=stop - start, value=value, detail=detail
        )


def _runs(rows: BoolArray) -> list[tuple[int, int]]:
    """Return first and last (exclusive) position of each stretch of true rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
