"""The arrays of one group of parameter sets, the compiled pass over them, and what it came to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantcore.account_hold import Marks, solo_marks
from quantcore.account_plane import AccountPlane, events_per_bar, market_arrays
from quantcore.account_step import scan
from quantcore.backtest.curves import benchmark_curve
from quantcore.backtest.engine import check_conservation, decision_rows, traded_instruments
from quantcore.data import universe
from quantcore.data.instruments import Instrument
from quantcore.data.sources import MarketData
from quantcore.errors import DataGap
from quantcore.features.folding import known
from quantcore.finance import performance
from quantcore.frames import Bars
from quantcore.kernels import layout as at
from quantcore.kernels import tally as of
from quantcore.kernels.by_address import address
from quantcore.kernels.fields import Features, Fields, stacked
from quantcore.kernels.layout import Account, Journal, Market
from quantcore.orders import OrderScript
from quantcore.research.set_kernel import (
    Books,
    Common,
    Held,
    Kernels,
    Room,
    Sets,
    Timeline,
    run_sets,
)
from quantcore.research.set_metrics import Span, daily_returns, tally_metrics
from quantcore.research.study import Variant
from quantcore.settlements import settlement_rows
from quantcore.signal_plane import PORTFOLIOS, warm_up
from quantcore.signals import generator
from quantcore.signals.fixed import FixedSettings
from quantcore.timegrid import DAY_US, DAYS_PER_YEAR, interval_us, periods_per_year
from quantcore.types import BoolArray, FloatArray, IntArray

BLOCK_BYTES = 400_000
"""Of what is shared in a block: with the block's other data it stays near the processor."""
BLOCK_MIN, BLOCK_MAX = 16, 4096
SHARED_MAX = 0.5
"""Shared features, as a part of those that the sets would measure each alone, from which on sharing does not pay."""
_PLAIN_ORDERS = 2
"""Open orders for each symbol of an account that only trades targets, one bar later."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What all sets of a study read: bars of both grids, and when what happens."""

    data: MarketData
    decision_bars: Bars
    bars: Bars
    first: int
    instruments: tuple[Instrument, ...]
    rows: IntArray


def stage(data: MarketData) -> Stage:
    """Return what all sets of a study read.

    Raises
    ------
    DataGap
        If no decision falls into the traded span.
    """
    decision_bars = data.decision_bars()
    start_us = decision_bars.ts_us[0] if data.start_us is None else data.start_us
    first = int(np.searchsorted(decision_bars.ts_us, start_us))
    if first >= decision_bars.n_bars:
        raise DataGap(f"data must hold a decision bar of {data.interval} from {data.start_us} on")
    decided_us = decision_bars.ts_us[first:]
    begin = int(np.searchsorted(data.bars.ts_us, decided_us[0]))
    bars = data.bars.rows(begin, data.bars.n_bars)
    return Stage(
        data=data,
        decision_bars=decision_bars,
        bars=bars,
        first=first,
        instruments=traded_instruments(data),
        rows=decision_rows(bars.ts_us, decided_us),
    )


class SetGroup:
    """The arrays of one group, and what they say after the pass."""

    def __init__(
        self, where: Stage, variants: Sequence[Variant], planes: Sequence[AccountPlane]
    ) -> None:
        self.where = where
        self.variants = variants
        self.planes = planes
        bars, decisions = where.bars, where.decision_bars
        n_symbols = bars.n_symbols
        self.module = module_of(variants[0].signal.strategy)
        settings = [v.signal.strategy for v in variants]
        parts = [self.module.sweep_parts(s, decisions.interval, n_symbols) for s in settings]
        self.shared = _shared(self.module, settings, decisions.interval, n_symbols)
        vectors = stacked([p[0] for p in parts]) if self.shared is None else self.shared.vectors
        n_features = 0 if self.shared is None else self.shared.n_features
        portfolio = variants[0].signal.portfolio
        generated = 0 if isinstance(portfolio, FixedSettings) else n_symbols**2
        self.block = _block(8 * (generated + n_features * n_symbols), decisions.n_bars)
        portfolios = [_portfolio_vector(v.signal.portfolio, decisions.interval) for v in variants]
        distinct = {id(plane): plane for plane in planes}
        number = {key: r for r, key in enumerate(distinct)}
        rules = np.array([number[id(plane)] for plane in planes], dtype=np.int64)
        self.sets = Sets(
            vector=vectors,
            portfolio=np.array(portfolios),
            config=np.array([plane.config for plane in distinct.values()])[rules],
            rules=rules,
        )
        starts = [_start(plane) for plane in distinct.values()]
        self.books = Books(
            **{name: np.array([s[name] for s in starts])[rules] for name in Account._fields},
            rate=np.array([plane.rules.rate for plane in distinct.values()]),
            size=np.array([plane.rules.size for plane in distinct.values()]),
            bracket=np.array([plane.rules.bracket for plane in distinct.values()]),
        )
        n_days = int((bars.ts_us[-1] - bars.ts_us[0]) // DAY_US) + 2
        n_sets = len(variants)
        self.held = Held(
            state=stacked([p[1] for p in parts]),
            counts=np.array([p[2] for p in parts]),
            portfolio=np.zeros((n_sets, n_symbols, 7)),
            tally=np.zeros((n_sets, of.N_TALLY)),
            trips=np.zeros((n_sets, n_symbols, of.N_TRIP)),
            daily=np.full((n_sets, n_days), np.nan),
            views=np.zeros(n_sets, dtype=np.int64),
        )
        of.start_tallies(self.held.tally, self.held.trips)

    def run(self) -> None:
        """Run the pass, and check that each set's money adds up."""
        where, sets, books = self.where, self.sets, self.books
        timeline = self._timeline()
        account = Account(*(getattr(books, name)[0] for name in Account._fields))
        most = events_per_bar(
            account,
            timeline.settlement[:, at.SETTLEMENT_ROW],
            timeline.flow_row,
            OrderScript.empty(),
        )
        journal = Journal(
            np.zeros(2, dtype=np.int64),
            np.empty((4 * most, at.N_WHOLE), dtype=np.int64),
            np.empty((4 * most, at.N_NUMBER)),
            np.empty((at.N_LEAN, self.block + 1)),
        )
        fields, market = _fields(where.decision_bars), market_arrays(where.bars)
        weights = np.empty((self.block, where.bars.n_symbols))
        read = weights.view()
        read.flags.writeable = False
        room = Room(
            weights,
            read,
            np.empty((self.block, 1)),
            np.empty(self.block, dtype=np.int64),
        )
        common = Common(np.empty(0), np.empty(0), np.empty((0, self.block, where.bars.n_symbols)))
        features, kernel = 0, self.module.fill_rows
        if self.shared is not None:
            kernel = self.module.fill_from_features
            rows = np.empty((self.shared.n_features, self.block, where.bars.n_symbols))
            common = Common(self.shared.vector, self.shared.state, rows)
            features = address(
                self.module.fill_features, fields, common.vector, common.state, 0, 0, common.rows
            )
        rules = at.Rules(books.rate[0], books.size[0], books.bracket[0])
        strategy = address(
            kernel, fields, common.rows, sets.vector[0], self.held.state[0], self.held.counts[0], 0, 0, weights,
        )  # fmt: skip
        step = address(
            scan, account, market, rules, sets.config[0], timeline.settlement, timeline.settlement_value,
            timeline.flow_row, timeline.flow_time, timeline.flow_amount, timeline.local, read, timeline.script,
            timeline.script_value, journal, 0, 0, 0,
        )  # fmt: skip
        run_sets(
            Kernels(features, strategy, step), fields, self._members(), market, self._marks(market), timeline,
            where.first, common, sets, books, self.held, journal, room, len(journal.whole) - most,
        )  # fmt: skip
        check_conservation(
            np.array([plane.capital for plane in self.planes]),
            {"cash": books.cash, "position": books.position},
        )

    def refusal(self, g: int) -> str:
        """Return why a set could not be decided, as a backtest of it would say; else an empty text."""
        if self.held.views[g]:
            return ""
        n_bars = self.where.decision_bars.n_bars
        needed = warm_up(self.variants[g].signal, self.where.decision_bars.interval)
        if needed <= n_bars:
            return ""
        return (
            f"strategy and portfolio need {needed:,} bars to warm up, the data holds {n_bars:,}: "
            "no decision could be taken"
        )

    @property
    def days_us(self) -> IntArray:
        """The days that have a return, microseconds since 1970."""
        last = np.array([self.where.bars.ts_us[-1]])
        n_days = int(self.held.tally[0, of.DAYS])
        return ((last - 1) // DAY_US - np.arange(n_days - 1, -1, -1)) * DAY_US

    def result(self) -> tuple[FloatArray, FloatArray]:
        """Return `SET_METRICS` of each set, and daily returns of shape ``(n_sets, n_days)``."""
        tally = self.held.tally
        daily = daily_returns(self.held.daily[:, : int(tally[0, of.DAYS])])
        stamps = self.where.bars.ts_us[self.where.rows != -1]
        skip = int(tally[0, of.FIRST_DAY_ROW])
        held = benchmark_curve(self.where.data.bars, stamps)
        benchmark = performance.daily_returns(stamps[skip:], held[skip:], start=1.0)
        span = Span(
            days=float(stamps[-1] - stamps[0]) / DAY_US,
            days_per_year=min(float(DAYS_PER_YEAR), periods_per_year(self.where.data.interval)),
            benchmark=benchmark.to_numpy(np.float64),
        )
        return tally_metrics(tally, self.books.position, daily, span), daily

    def _timeline(self) -> Timeline:
        where, plane = self.where, self.planes[0]
        bars = where.bars
        paid = settlement_rows(bars, missing_rate=plane.missing_funding_rate)
        first_open = bars.ts_us[0] - interval_us(bars.interval)
        inside = (plane.flow_time_us >= first_open) & (plane.flow_time_us < bars.ts_us[-1])
        script = OrderScript.empty()
        rows = where.rows
        local = np.where(rows >= 0, rows % self.block, rows)
        decision_row = np.full(where.decision_bars.n_bars, -1, dtype=np.int64)
        decision_row[where.first :] = np.flatnonzero(rows >= 0)
        return Timeline(
            decision_row=decision_row,
            local=local,
            curve_ts=bars.ts_us[rows != -1],
            settlement=paid[0],
            settlement_value=paid[1],
            flow_row=np.searchsorted(bars.ts_us, plane.flow_time_us[inside], side="right"),
            flow_time=plane.flow_time_us[inside],
            flow_amount=plane.flow_amount[inside],
            script=script.whole,
            script_value=script.number,
        )

    def _marks(self, market: Market) -> Marks:
        """Return the marks of one symbol that is decided on at every execution bar, else none."""
        ts_us = self.where.bars.ts_us
        if self.where.bars.n_symbols > 1 or (self.where.rows < 0).any():
            row, windows = np.empty(0), np.empty((0, 0))
            no_day = np.empty(0, dtype=np.int64)
            return Marks(row, row, row, row, windows, windows, windows, windows, no_day)
        day = (ts_us - 1) // DAY_US
        day_end = np.flatnonzero(np.append(day[1:] != day[:-1], True))
        if len(ts_us) > 1 and ts_us[0] % DAY_US == 0:
            day_end = day_end[1:]  # a row at midnight with nothing done yet is no day
        return solo_marks(market, day_end)

    def _members(self) -> BoolArray:
        settings = self.variants[0].signal.universe
        bars = self.where.decision_bars
        if settings is None:
            return np.ones((0, bars.n_symbols), dtype=np.bool_)
        universe.check_universe(bars.n_symbols, settings)
        return universe.members(bars, settings)[0]


def _shared(module: Any, settings: Sequence[Any], interval: str, n_symbols: int) -> Features | None:
    """Return what the sets have in common, where the strategy can share it and that is less work than without."""
    if len(settings) < 2 or not hasattr(module, "shared_features"):
        return None
    shared: Features = module.shared_features(settings, interval, n_symbols)
    return shared if shared.n_features < SHARED_MAX * shared.n_alone else None


def _block(row_bytes: int, n_bars: int) -> int:
    """Return how many rows of a block keep what is shared within `BLOCK_BYTES`."""
    most = BLOCK_BYTES // row_bytes if row_bytes else BLOCK_MAX
    return min(max(most, BLOCK_MIN), BLOCK_MAX, n_bars)


def _start(plane: AccountPlane) -> dict[str, Any]:
    """Return the arrays of a fresh account, with no more room for orders than can be open."""
    held = plane.start().copies()
    config = plane.config
    others = (at.STOP_LOSS, at.TAKE_PROFIT, at.TRAILING_STOP, at.TIME_EXIT_US, at.POST_ONLY)
    if config[at.LATENCY_US] == 0.0 and all(config[column] == at.OFF for column in others):
        room = _PLAIN_ORDERS * len(plane.symbols)
        held["order"], held["ticket"] = held["order"][:room], held["ticket"][:room]
    return held


def _portfolio_vector(portfolio: PORTFOLIOS, interval: str) -> FloatArray:
    if isinstance(portfolio, FixedSettings):
        return np.array([portfolio.weight])
    return generator.parameters(portfolio, interval)


def module_of(strategy: Any) -> Any:
    """Return the module that holds a strategy."""
    return sys.modules[type(strategy).__module__]


def _fields(bars: Bars) -> Fields:
    return Fields(bars.ts_us, *(known(bars, name) for name in Fields._fields[1:]))
