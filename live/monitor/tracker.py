"""Performance Tracker: a run against its targets, and against the backtest that promised it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from live.monitor.place import Place
from live.monitor.record import Record, record_of
from live.monitor.return_scores import whole_days
from live.monitor.score import Score
from live.monitor.scores import scores
from quantcore.backtest.curves import curves
from quantcore.backtest.report import open_folder
from quantcore.errors import ConfigError
from quantcore.finance.sequential import (
    N_MIN,
    Expectation,
    Power,
    Watched,
    expectation,
    growth_band,
    power,
    watch,
)
from quantcore.types import FloatArray

PERIODS: Final = {"day": 1.0, "week": 7.0}
"""Days that a report tells of in detail."""


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """How a run is judged.

    Parameters
    ----------
    period : str
        ``"day"`` or ``"week"``: what the report tells of in detail.
    window_days : float or None
        Days over which the targets are measured, the last ones, > 0; None: the whole run.
    expectation : str or None
        Results folder of the backtest that the run is watched against; None: it is not.
    false_alarm : float
        Chance of an alarm within `horizon_days` although nothing has changed, in (0, 1).
    horizon_days : int
        For which the limit holds, >= 1.
    band : float
        Share of resampled paths inside the band, in (0, 1).
    paths : int
        Resampled, >= 100.
    seed : int
        Of the resampling.
    """

    period: str
    window_days: float | None
    expectation: str | None
    false_alarm: float
    horizon_days: int
    band: float
    paths: int
    seed: int

    def __post_init__(self) -> None:
        if self.period not in PERIODS:
            raise ConfigError(f"period must be one of {', '.join(PERIODS)}, was {self.period!r}")
        for name, holds, rule in (
            ("window_days", self.window_days is None or self.window_days > 0.0, "> 0 or null"),
            ("false_alarm", 0.0 < self.false_alarm < 1.0, "in (0, 1)"),
            ("horizon_days", self.horizon_days >= 1, ">= 1"),
            ("band", 0.0 < self.band < 1.0, "in (0, 1)"),
            ("paths", self.paths >= 100, ">= 100"),
        ):
            if not holds:
                raise ConfigError(f"{name} must be {rule}, was {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A run against the backtest that promised it.

    Parameters
    ----------
    folder : str
        Of the backtest.
    expected : Expectation
        What its days promise.
    band : float64 array, shape (n_days, 3)
        Lower end, median and upper end of the growth of the run's whole days.
    growth : float64 array, shape (n_days,)
        Of the run itself.
    days : DatetimeIndex
        Those days.
    watched : Watched
        The sequential test over them.
    gone, turned : Power
        How it would find that the promised mean is gone, or has become a loss of the same size.
    """

    folder: str
    expected: Expectation
    band: FloatArray = field(repr=False)
    growth: FloatArray = field(repr=False)
    days: pd.DatetimeIndex = field(repr=False)
    watched: Watched
    gone: Power
    turned: Power

    @property
    def outside(self) -> bool:
        """Whether the last day is outside the band."""
        return not self.band[-1, 0] <= self.growth[-1] <= self.band[-1, 2]


@dataclass(frozen=True, kw_only=True, eq=False)
class Period:
    """A day or a week: its growth by unit value, a fraction; money in USDT, costs > 0 when paid; and counts."""

    words: str
    start: pd.Timestamp
    end: pd.Timestamp
    equity: float
    profit: float
    growth: float
    deepest: float
    fills: int
    turnover: float
    fees: float
    funding: float
    skipped: int
    symbols: Sequence[tuple[str, float, float, int]]
    """By symbol: traded USDT, fees, fills; the largest first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """All that the tracker found."""

    record: Record
    scores: Sequence[Score]
    period: Period
    comparison: Comparison | None
    why_not: str
    """Why there is no comparison, where one was asked for."""


def track(place: Place, settings: TrackerSettings) -> Track:
    """Judge a run.

    Raises
    ------
    QuantcoreError
        If the run or the expectation cannot be read, or there is nothing to judge yet.
    """
    record = record_of(place, days=settings.window_days)
    comparison, why_not = None, ""
    if settings.expectation is not None:
        comparison, why_not = compare(record, Path(settings.expectation), settings)
    return Track(
        record=record,
        scores=scores(record),
        period=period_of(record, settings.period),
        comparison=comparison,
        why_not=why_not,
    )


def compare(
    record: Record, folder: Path, settings: TrackerSettings
) -> tuple[Comparison | None, str]:
    """Return a run against a backtest, or why there is nothing to compare yet."""
    saved = open_folder(folder)
    promised = curves(saved).daily.dropna().to_numpy(np.float64)
    if len(promised) < N_MIN or not np.ptp(promised) > 0.0:
        raise ConfigError(
            f"expectation must hold {N_MIN} daily returns that vary, {folder} holds {len(promised)}"
        )
    daily = whole_days(record)
    if daily.empty:
        return None, "No whole day has passed."
    rng = np.random.default_rng(settings.seed)
    found = expectation(
        promised,
        false_alarm=settings.false_alarm,
        horizon=settings.horizon_days,
        n_paths=settings.paths,
        rng=rng,
    )
    returns = daily.to_numpy(np.float64)
    return Comparison(
        folder=str(folder),
        expected=found,
        band=growth_band(
            promised, days=len(returns), confidence=settings.band, n_paths=settings.paths, rng=rng
        ),
        growth=np.asarray(np.cumprod(1.0 + returns), dtype=np.float64),
        days=pd.DatetimeIndex(daily.index),
        watched=watch(returns, found),
        gone=power(promised, found, kept=0.0, n_paths=settings.paths, rng=rng),
        turned=power(promised, found, kept=-1.0, n_paths=settings.paths, rng=rng),
    ), ""


def period_of(record: Record, words: str) -> Period:
    """Return the last day or week of a run, up to its last row; all of a shorter one."""
    end = record.end
    since = end - pd.Timedelta(days=PERIODS[words])
    equity = record.equity[record.equity["ts"] > since]
    before = record.equity[record.equity["ts"] <= since]
    nav_before = record.nav_before if before.empty else float(before["nav"].iloc[-1])
    money_before = float(
        (before if len(before) else equity)["equity"].iloc[-1 if len(before) else 0]
    )
    fills = record.fills[record.fills["ts"] > since]
    funding = record.funding[record.funding["ts"] > since]
    paid = fills["qty"].astype(np.float64) * fills["price"].astype(np.float64)
    by_symbol = (
        pd.DataFrame({"symbol": fills["symbol"], "paid": paid, "fee": fills["fee"]})
        .groupby("symbol")
        .agg(paid=("paid", "sum"), fee=("fee", "sum"), n=("fee", "size"))
        .sort_values("paid", ascending=False)
    )
    nav = equity["nav"].to_numpy(np.float64)
    flow = equity["flow"].sum() if "flow" in equity else 0.0
    return Period(
        words=words,
        start=max(since, record.start),
        end=end,
        equity=float(equity["equity"].iloc[-1]),
        profit=float(equity["equity"].iloc[-1]) - money_before - float(flow),
        growth=float(nav[-1] / nav_before - 1.0),
        deepest=float(equity["drawdown"].min()),
        fills=len(fills),
        turnover=float(paid.sum()),
        fees=float(fills["fee"].sum()),
        funding=float(funding["amount"].sum()),
        skipped=0
        if record.stability is None
        else int((record.stability.skipped.index > since).sum()),
        symbols=list(
            zip(
                by_symbol.index.astype(str),
                by_symbol["paid"].tolist(),
                by_symbol["fee"].tolist(),
                by_symbol["n"].tolist(),
                strict=True,
            )
        ),
    )
