"""Random markets and random order scripts: a case is a few whole numbers, so that it shrinks and repeats."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pandas as pd

from quantcore.account_plane import (
    AccountPlane,
    AccountSettings,
    CashFlow,
    account_plane,
)
from quantcore.data.instruments import Bracket, Instrument
from quantcore.execution.router import RouterSettings
from quantcore.execution.settings import ExecutionSettings, RestingSettings
from quantcore.execution.slippage import SlippageSettings
from quantcore.exits import ExitSettings
from quantcore.frames import Bars, Settlements, funding_rows
from quantcore.orders import OrderRequest
from quantcore.risk.limits import RiskSettings
from quantcore.timegrid import interval_us, to_us
from quantcore.types import FloatArray, OrderType, Side, TimeInForce, WorkingType

FIRST = "2024-03-01T05:00"
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
TICKS = ("0.1", "0.01", "0.5")
STEPS = ("0.1", "1", "0.001")
MIN_NOTIONALS = (5.0, 5.0, 100.0)
START_PRICES = (100.0, 10.0, 20000.0)
NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)
PRICES = ("open", "high", "low", "close")
MARKS = ("mark_open", "mark_high", "mark_low", "mark_price")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything random about one run; `orders` are seeds of one order each."""

    seed: int = 0
    n_bars: int = 40
    leverage: int = 5
    isolated: bool = False
    capital: float = 1000.0
    interval: str = "1h"
    volatility: float = 0.01
    crash: float = 0.0
    marks: bool = True
    holes: bool = False
    ends: bool = False
    funding: bool = True
    missing_rate: float = 0.0
    costs_bps: float = 5.0
    latency_bars: int = 1
    small_maximum: bool = False
    bracket_scale: float = 1.0
    orders: tuple[int, ...] = ()
    flows: tuple[int, ...] = ()
    exits: ExitSettings = field(default=NO_EXITS)
    no_trade_band: float = 0.0
    margin_buffer: float = 0.0
    risk: RiskSettings | None = None
    router: RouterSettings | None = None
    resting: RestingSettings | None = None
    slippage: SlippageSettings | None = None


def bar_stamps(case: Case) -> list[int]:
    length = interval_us(case.interval)
    first = -(-to_us(FIRST) // length) * length
    return [first + length * (k + 1) for k in range(case.n_bars)]


def stamp_text(time_us: int) -> str:
    return str(pd.Timestamp(time_us, unit="us"))


def end_bar(case: Case) -> int:
    """Row after which the last symbol no longer trades."""
    return max(case.n_bars * 2 // 3, 1)


def case_instruments(case: Case) -> tuple[Instrument, ...]:
    scale = case.bracket_scale
    made = []
    for k, symbol in enumerate(SYMBOLS):
        ends = None
        if case.ends and k == 2:
            # Sometimes inside the bar, sometimes at its close.
            early = interval_us(case.interval) // 3 if case.seed % 2 else 0
            ends = stamp_text(bar_stamps(case)[end_bar(case) - 1] - early)
        made.append(
            Instrument(
                symbol=symbol,
                tick_size=TICKS[k],
                step_size=STEPS[k],
                min_qty=STEPS[k],
                market_max_qty=("20", "200", "0.1")[k] if case.small_maximum else "10000000",
                limit_max_qty=("30", "300", "0.2")[k] if case.small_maximum else "10000000",
                min_notional=MIN_NOTIONALS[k],
                maker_fee=0.0002,
                taker_fee=0.0005,
                liquidation_fee=0.0125,
                funding_interval_hours=8,
                brackets=(
                    Bracket(
                        floor=0.0, cap=1e3 * scale, maintenance_margin_rate=0.01, cum=0.0,
                        leverage_max=20,
                    ),
                    Bracket(
                        floor=1e3 * scale, cap=5e3 * scale, maintenance_margin_rate=0.02,
                        cum=10.0 * scale, leverage_max=10,
                    ),
                    Bracket(
                        floor=5e3 * scale, cap=1e5 * scale, maintenance_margin_rate=0.05,
                        cum=160.0 * scale, leverage_max=5,
                    ),
                ),
                ends=ends,
                origin="made up",
            )
        )  # fmt: skip
    return tuple(made)


def case_bars(case: Case) -> Bars:
    rng = np.random.default_rng(case.seed)
    shape = (case.n_bars, len(SYMBOLS))
    fields = {name: np.full(shape, np.nan) for name in (*PRICES, *MARKS)}
    common = rng.normal(0.0, case.volatility, case.n_bars)
    for s in range(len(SYMBOLS)):
        columns = _walk(case, rng, common, s)
        for name, values in columns.items():
            fields[name][:, s] = values
    if not case.marks:
        for name in MARKS:
            del fields[name]
    _take_out(case, rng, fields)
    if case.router is not None or case.slippage is not None:
        # Other draws than those of the prices, which are so the same with a router and without.
        traded = np.random.default_rng(case.seed + 2).lognormal(0.0, 1.5, shape)
        traded *= 1e4 / np.array(START_PRICES)
        fields["volume"] = np.where(np.isnan(fields["close"]), np.nan, traded)
    ts_us = np.array(bar_stamps(case), dtype=np.int64)
    settlements = _settlements(case, rng, ts_us, fields["close"])
    bars = Bars(
        interval=case.interval, ts_us=ts_us, symbols=SYMBOLS, fields=fields, settlements=settlements
    )
    fields["funding_rate"] = funding_rows(bars, settlements)
    return Bars(
        interval=case.interval, ts_us=ts_us, symbols=SYMBOLS, fields=fields, settlements=settlements
    )


def _walk(
    case: Case, rng: np.random.Generator, common: FloatArray, s: int
) -> dict[str, list[float]]:
    """Return last prices on ticks and marks off them, with gaps and, where asked for, crashes and jumps."""
    tick = Fraction(TICKS[s])
    v = case.volatility
    price = START_PRICES[s]
    out: dict[str, list[float]] = {name: [] for name in (*PRICES, *MARKS)}
    crashes = rng.random(case.n_bars) < 0.05
    for k in range(case.n_bars):
        gap = rng.normal(0.0, v) if rng.random() < 0.2 else 0.0
        open_ = price * math.exp(gap)
        close = open_ * math.exp(common[k] * (1.0 if s < 2 else -0.5) + rng.normal(0.0, v))
        if case.crash and crashes[k]:
            moved = 1.0 - case.crash * rng.random() if rng.random() < 0.6 else 1.0 + case.crash
            if rng.random() < 0.6:
                open_ *= moved
            close *= moved
        high = max(open_, close) * math.exp(abs(rng.normal(0.0, v)) * 0.7)
        low = min(open_, close) * math.exp(-abs(rng.normal(0.0, v)) * 0.7)
        # Some bars open or close at their extreme, or do not move at all.
        form = rng.random()
        if form < 0.1:
            high = max(open_, close)
        elif form < 0.2:
            low = min(open_, close)
        elif form < 0.23:
            high = low = close = open_
        ticks = [max(round(x / tick), 1) for x in (open_, high, low, close)]
        for name, n in zip(PRICES, ticks, strict=True):
            out[name].append(n * tick.numerator / tick.denominator)
        shift = rng.normal(0.0, 0.3 * v, 4)
        mark_open, mark_close = open_ * math.exp(shift[0]), close * math.exp(shift[1])
        mark_high = max(mark_open, mark_close, high * math.exp(shift[2]))
        mark_low = min(mark_open, mark_close, low * math.exp(shift[3]))
        for name, x in zip(MARKS, (mark_open, mark_high, mark_low, mark_close), strict=True):
            out[name].append(round(x, 8))
        price = close
    return out


def _take_out(case: Case, rng: np.random.Generator, fields: dict[str, FloatArray]) -> None:
    """Make holes, missing marks, a late listing and an end."""
    shape = fields["close"].shape
    whole, last, mark = (rng.random(shape) < p for p in (0.05, 0.02, 0.1))
    listed = int(rng.integers(0, max(shape[0] // 3, 1)))
    for name, values in fields.items():
        if case.holes:
            values[whole] = np.nan
            values[last if name in PRICES else mark] = np.nan
            values[:listed, 1] = np.nan
        if case.ends:
            values[end_bar(case) :, 2] = np.nan


def _settlements(
    case: Case, rng: np.random.Generator, ts_us: np.ndarray, close: FloatArray
) -> Settlements:
    hour = interval_us("1h")
    first = int(ts_us[0]) - interval_us(case.interval)
    rows = []
    for time in range(-(-first // hour) * hour, int(ts_us[-1]), hour):
        for s in range(len(SYMBOLS)):
            regular = time % (8 * hour) == 0
            if not case.funding or rng.random() > (0.7 if regular else 0.05):
                continue
            later = 0 if rng.random() < 0.8 else int(rng.integers(0, 3600)) * 1_000_000
            mark = close[int(np.searchsorted(ts_us, time + later, side="right")) % len(ts_us), s]
            rows.append(
                (time + later, s, rng.normal(0.0, 0.001), mark if rng.random() < 0.6 else np.nan)
            )
    rows = [r for r in rows if r[0] < int(ts_us[-1])]
    return Settlements(
        time_us=np.array([r[0] for r in rows], dtype=np.int64),
        symbol=np.array([r[1] for r in rows], dtype=np.int64),
        rate=np.array([r[2] for r in rows], dtype=np.float64),
        mark_price=np.array([r[3] for r in rows], dtype=np.float64),
    )


def case_flows(case: Case) -> tuple[CashFlow, ...]:
    stamps = bar_stamps(case)
    length = interval_us(case.interval)
    flows = []
    for seed in case.flows:
        draw = random.Random(seed)
        bar = draw.randrange(case.n_bars)
        inside = draw.choice([0, 0, length // 2])
        size = case.capital * draw.choice([0.1, 0.5, 2.0])
        sign = draw.choice([1.0, -1.0])
        flows.append(CashFlow(ts=stamp_text(stamps[bar] - length + inside), amount=sign * size))
    return tuple(flows)


def case_settings(case: Case) -> tuple[AccountSettings, ExecutionSettings]:
    account = AccountSettings(
        capital=case.capital,
        margin="isolated" if case.isolated else "cross",
        leverage_max=case.leverage,
        no_trade_band=case.no_trade_band,
        margin_buffer=case.margin_buffer,
        missing_funding_rate=case.missing_rate,
        cash_flows=case_flows(case),
    )
    bar_ms = interval_us(case.interval) / 1000
    execution = ExecutionSettings(
        half_spread_bps=case.costs_bps * 0.5,
        slippage_bps=case.costs_bps * 0.5,
        latency_ms=100.0 if case.latency_bars == 1 else bar_ms * (case.latency_bars - 0.5),
        maker_fee=None,
        taker_fee=None,
        router=case.router,
        resting=case.resting,
        slippage=case.slippage,
    )
    return account, execution


def case_plane(case: Case) -> AccountPlane:
    account, execution = case_settings(case)
    return account_plane(
        case_instruments(case),
        interval=case.interval,
        account=account,
        execution=execution,
        exits=case.exits,
        risk=case.risk,
    )


def random_limits(draw: random.Random) -> RiskSettings:
    """Return limits, some of them left away, that a random account meets often."""
    leverage = draw.choice([0.5, 1.0, 3.0])
    drawdown = draw.choice([None, 0.1, 0.3])
    reduce_at = 0.6 * (drawdown or 0.2)
    watched = draw.random() < 0.5
    return RiskSettings(
        leverage_max=leverage,
        net_max=draw.choice([None, 0.5 * leverage]),
        symbol_max=draw.choice([None, 0.3 * leverage]),
        cluster_max=draw.choice([None, 0.6 * leverage]),
        cluster_correlation=0.5,
        daily_var_max=draw.choice([None, 0.03]),
        var_confidence=0.95,
        drawdown_max=drawdown,
        drawdown_reduce=reduce_at,
        drawdown_restore=0.5 * reduce_at,
        reduce_scale=0.5,
        daily_loss_max=draw.choice([None, 0.05]),
        cool_down_hours=draw.choice([3.0, 24.0]),
        halts_max=draw.choice([0, 2]),
        resume_hours=draw.choice([None, 12.0]),
        size_limit=draw.choice([1.0, 0.5]),
        liquidation_probability_max=draw.choice([None, 0.005]),
        volatility_floor=draw.choice([0.0, 0.5]),
        stress_move=draw.choice([0.0, 0.3]),
        margin_ratio_max=0.3 if watched else None,
        margin_ratio_after=0.2 if watched else None,
        covariance_half_life_hours=48.0,
        protective_stop=draw.choice([None, 0.2]),
        stage_capital=None,
    )


def random_router(draw: random.Random) -> RouterSettings:
    """Return how patiently orders are worked; on minutes, a few bars."""
    return RouterSettings(
        post_only=draw.random() < 0.85,
        inside_ticks=draw.choice([0, 0, 1]),
        requote_after_seconds=draw.choice([60.0, 120.0]),
        requote_bps=draw.choice([0.0, 10.0, 1000.0]),
        requotes_max=draw.choice([0, 1, 3, 100]),
        cross_after_seconds=draw.choice([60.0, 300.0, 900.0]),
        participation_max=draw.choice([0.02, 0.3, 1.0]),
        slice_pause_seconds=draw.choice([0.0, 60.0]),
        schedule_urgency=draw.choice([0.0, 2.0]),
    )


def random_resting(draw: random.Random) -> RestingSettings:
    """Return what is assumed of the book."""
    return RestingSettings(
        queue_ahead=draw.choice([0.0, 0.1, 1.0]), touch_share=draw.choice([0.0, 0.2, 1.0])
    )


def random_slippage(draw: random.Random) -> SlippageSettings:
    """Return a budget that some orders exceed."""
    return SlippageSettings(
        budget_bps=draw.choice([1.0, 10.0, 60.0]),
        edge_multiple=0.0,
        half_spread_bps=0.5,
        prior_coefficient=1.0,
        prior_error=0.5,
        prior_noise=0.2,
        half_life_fills=50.0,
        liquidity_half_life_hours=draw.choice([2.0, 72.0]),
    )


def case_requests(case: Case, bars: Bars) -> list[OrderRequest]:
    """Return one request per seed, priced near the market at which it is sent, sorted by time."""
    drawn = [(random.Random(seed), seed) for seed in case.orders]
    rows = sorted(
        ((draw.randrange(case.n_bars), k, draw) for k, (draw, _) in enumerate(drawn)),
        key=lambda item: item[:2],
    )
    requests: list[OrderRequest] = []
    for number, (row, _, draw) in enumerate(rows):
        requests.append(_request(case, bars, row, number, draw))
    return requests


def _request(case: Case, bars: Bars, row: int, number: int, draw: random.Random) -> OrderRequest:
    ts = stamp_text(int(bars.ts_us[row]))
    s = draw.randrange(len(SYMBOLS))
    side = draw.choice([Side.BUY, Side.SELL])
    kind = draw.choices([*OrderType, "cancel"], weights=[6, 5, 3, 3, 2, 3 if number else 0], k=1)[0]
    if kind == "cancel":
        return OrderRequest(
            ts=ts, symbol=SYMBOLS[s], cancel=draw.randrange(max(number - 8, 0), number)
        )
    assert isinstance(kind, OrderType)
    closes = bars.array("close")[: row + 1, s]
    known = closes[~np.isnan(closes)]
    price = float(known[-1]) if len(known) else START_PRICES[s]
    spread = max(case.volatility, 0.002)
    off = abs(draw.gauss(0.0, 1.5 * spread))
    up = 1.0 + off if draw.random() < 0.85 else 1.0 - off
    down = 2.0 - up
    reduce = draw.choices(["", "reduce", "close"], weights=[6, 3, 2], k=1)[0]
    conditional = kind in (
        OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET, OrderType.TRAILING_STOP_MARKET
    )  # fmt: skip
    share = draw.choice([0.02, 0.1, 0.3, 0.6, 0.9, 1.0, 1.5])
    qty = case.capital * case.leverage * share / price
    rising = (side == Side.BUY) != (kind == OrderType.TAKE_PROFIT_MARKET)
    close = reduce == "close" and (conditional or kind == OrderType.MARKET)
    return OrderRequest(
        ts=ts,
        symbol=SYMBOLS[s],
        side=side,
        type=kind,
        qty=0.0 if close else qty,
        price=price * (down if side == Side.BUY else up) if kind == OrderType.LIMIT else None,
        stop_price=price * (up if rising else down) if conditional else None,
        callback=draw.choice([0.002, 0.01, 0.05]) if conditional else None,
        time_in_force=draw.choices(list(TimeInForce), weights=[6, 1, 1, 3], k=1)[0],
        working_type=draw.choice(list(WorkingType)),
        reduce_only=reduce == "reduce",
        close_position=close,
    )


def random_case(draw: random.Random) -> Case:
    """Return a case; the long comparison and the property tests draw from the same space."""
    leverage = draw.choice([1, 2, 3, 5, 10, 20])
    return Case(
        seed=draw.randrange(2**31),
        n_bars=draw.choice([30, 40, 60, 80]),
        leverage=leverage,
        isolated=draw.random() < 0.5,
        capital=draw.choice([15.0, 100.0, 300.0, 1e3, 1e4, 1e5, 1e6]),
        interval=draw.choice(["1h", "1h", "4h", "1d"]),
        volatility=draw.choice([0.001, 0.01, 0.03, 0.06]),
        crash=draw.choice([0.0, 0.2, 0.6]),
        marks=draw.random() < 0.7,
        holes=draw.random() < 0.4,
        ends=draw.random() < 0.3,
        funding=draw.random() < 0.7,
        missing_rate=draw.choice([0.0, 0.0001, 0.003]),
        costs_bps=draw.choice([0.0, 5.0, 50.0, 7.3]),
        latency_bars=draw.choice([1, 1, 1, 2, 3]),
        small_maximum=draw.random() < 0.1,
        bracket_scale=draw.choice([1.0, 1.0, 100.0]),
        orders=tuple(draw.randrange(2**31) for _ in range(draw.choice([5, 15, 30, 60]))),
        flows=tuple(draw.randrange(2**31) for _ in range(draw.choice([0, 0, 1, 3]))),
    )


def case_targets(case: Case, gross: float) -> FloatArray:
    """Return target weights that persist, turn, vanish and say nothing; gross exposure about `gross`."""
    rng = np.random.default_rng(case.seed + 1)
    shape = (case.n_bars, len(SYMBOLS))
    fresh = rng.normal(0.0, gross / len(SYMBOLS), shape)
    form = rng.random(shape)
    weights = np.zeros(shape)
    for k in range(case.n_bars):
        before = weights[k - 1] if k else np.zeros(len(SYMBOLS))
        weights[k] = np.where(form[k] < 0.2, fresh[k], np.where(form[k] < 0.26, 0.0, before))
    weights[form > 0.85] = np.nan
    return weights
