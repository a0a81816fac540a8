"""What holds for every account, market, order and target: conservation, bounds, splits, permutation, protection."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quantcore.account_plane import AccountPlane, Events, account_plane
from quantcore.account_step import scan
from quantcore.backtest.engine import check_conservation
from quantcore.exits import ExitSettings
from quantcore.fold import FoldState
from quantcore.frames import Bars, Settlements
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, order_script
from quantcore.timegrid import interval_us
from quantcore.types import FillReason, OrderStatus, OrderType, Rule
from tests.account.random_cases import (
    NO_EXITS,
    SYMBOLS,
    Case,
    case_bars,
    case_instruments,
    case_plane,
    case_requests,
    case_settings,
    case_targets,
    end_bar,
    random_case,
    random_resting,
    random_router,
    random_slippage,
)

SEEDS = st.integers(0, 2**31 - 1)
EXITS = st.builds(
    ExitSettings,
    stop_loss=st.sampled_from([None, 0.01, 0.05]),
    take_profit=st.sampled_from([None, 0.02]),
    trailing_stop=st.sampled_from([None, 0.03]),
    time_exit=st.sampled_from([None, 3]),
)


def cases(
    *,
    orders: int = 20,
    flows: int = 2,
    exits: st.SearchStrategy[ExitSettings] | None = None,
    latency: int = 3,
) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        seed=SEEDS,
        n_bars=st.integers(15, 50),
        leverage=st.sampled_from([1, 3, 10, 20]),
        isolated=st.booleans(),
        capital=st.sampled_from([1000.0, 30.0, 1e4, 1e6]),
        interval=st.sampled_from(["1h", "4h"]),
        volatility=st.sampled_from([0.01, 0.001, 0.05]),
        crash=st.sampled_from([0.0, 0.6]),
        marks=st.booleans(),
        holes=st.booleans(),
        ends=st.booleans(),
        funding=st.booleans(),
        missing_rate=st.sampled_from([0.0, 0.003]),
        costs_bps=st.sampled_from([0.0, 50.0]),
        latency_bars=st.integers(1, latency),
        bracket_scale=st.sampled_from([1.0, 100.0]),
        orders=st.lists(SEEDS, max_size=orders).map(tuple),
        flows=st.lists(SEEDS, max_size=flows).map(tuple),
        exits=st.just(NO_EXITS) if exits is None else exits,
        no_trade_band=st.sampled_from([0.0, 0.02]),
        margin_buffer=st.sampled_from([0.0, 0.1]),
    )


class Run:
    """A case with its orders and targets, advanced in any pieces."""

    def __init__(self, case: Case, *, gross: float | None = None) -> None:
        self.case = case
        self.bars = case_bars(case)
        self.plane = case_plane(case)
        self.instruments = case_instruments(case)
        self.requests: Sequence[OrderRequest] = case_requests(case, self.bars)
        most = 1.5 * case.leverage if gross is None else gross
        self.targets = case_targets(case, most)

    def piece(self, state: FoldState, start: int, stop: int) -> tuple[FoldState, Events]:
        part = self.bars.rows(start, stop)
        return self.plane.advance(
            state,
            part,
            targets=self.targets[start:stop],
            script=order_script(self.requests, part, self.instruments),
        )

    def whole(self) -> tuple[FoldState, Events]:
        return self.piece(self.plane.start(), 0, self.bars.n_bars)

    def steps(self) -> Iterator[tuple[int, FoldState, Events]]:
        state = self.plane.start()
        for row in range(self.bars.n_bars):
            state, events = self.piece(state, row, row + 1)
            yield row, state, events


def as_bytes(pieces: Sequence[Events]) -> list[bytes]:
    return [
        b"".join(np.ascontiguousarray(getattr(p, name)).tobytes() for p in pieces)
        for name in ("whole", "number", "curve_ts", "curve")
    ]


def fills_of(events: Events) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from zip(*events.of(at.EVENT_FILL), strict=True)


def orders_of(events: Events) -> dict[int, np.ndarray]:
    return {int(w[at.EVENT_ORDER]): w for w in events.of(at.EVENT_NEW_ORDER)[0]}


@settings(max_examples=60)
@given(cases(exits=EXITS))
def test_money_is_conserved_and_equity_is_never_negative(case: Case) -> None:
    run = Run(case)
    for row, state, events in run.steps():
        check_conservation(run.plane.capital, state)
        equity = float(events.curve[-1, at.CURVE_EQUITY])
        moved = case.capital + abs(float(state["cash"][at.REALISED]))
        assert equity >= -1e-9 * moved, f"bar {row}"
        assert equity == state["cash"][at.EQUITY]


@settings(max_examples=60)
@given(cases(exits=EXITS))
def test_the_tables_of_events_explain_the_totals(case: Case) -> None:
    run = Run(case)
    state, events = run.whole()
    cash = state["cash"]
    _, fills = events.of(at.EVENT_FILL)
    scale = 1e-9 * (case.capital + float(np.abs(fills[:, at.A] * fills[:, at.B]).sum()))
    assert fills[:, at.F].sum() == pytest.approx(cash[at.REALISED], abs=scale)
    assert fills[:, at.C].sum() == pytest.approx(cash[at.FEES], abs=scale)
    assert events.of(at.EVENT_FUNDING)[1][:, at.D].sum() == pytest.approx(
        cash[at.FUNDING], abs=scale
    )
    assert events.of(at.EVENT_LIQUIDATION)[1][:, at.C].sum() == pytest.approx(
        cash[at.LIQUIDATION_FEES], abs=scale
    )
    assert events.of(at.EVENT_FLOW)[1][:, at.A].sum() == pytest.approx(
        cash[at.NET_DEPOSITS], abs=scale
    )
    whole, _ = events.of(at.EVENT_FILL)
    for s in range(len(SYMBOLS)):
        mine = whole[whole[:, at.EVENT_SYMBOL] == s]
        lots = int((mine[:, at.EVENT_SIDE] * mine[:, at.EVENT_LOTS]).sum())
        assert lots == state["held"][s, at.LOTS]


@settings(max_examples=80)
@given(cases(exits=EXITS))
def test_fills_keep_the_limits_of_their_orders(case: Case) -> None:
    """No reduce-only order opens, no opening passes the bracket, no fill comes before its order can be there."""
    run = Run(case)
    _, events = run.whole()
    orders = orders_of(events)
    bar_us = interval_us(case.interval)
    _, execution = case_settings(case)
    late = max(math.ceil(execution.latency_ms * 1000 / bar_us) - 1, 0) * bar_us
    held = [0] * len(SYMBOLS)
    for whole, number in fills_of(events):
        s = int(whole[at.EVENT_SYMBOL])
        before, lots = held[s], int(whole[at.EVENT_SIDE] * whole[at.EVENT_LOTS])
        after = held[s] = before + lots
        order = orders[int(whole[at.EVENT_ORDER])]
        forced = whole[at.EVENT_REASON] in (FillReason.LIQUIDATION, FillReason.SETTLEMENT)
        assert whole[at.TS] > whole[at.EVENT_DECISION]
        if not forced:
            assert whole[at.TS] - bar_us >= whole[at.EVENT_DECISION] + late
            assert abs(lots) <= order[at.EVENT_LOTS] or order[at.EVENT_FLAGS] & at.CLOSE_POSITION
        if order[at.EVENT_FLAGS] or forced:
            assert before * lots < 0
            assert before * after >= 0
        elif abs(after) > abs(before) or before * after < 0:
            qty = abs(after) * run.plane.rules.size[s, at.STEP_NUMERATOR]
            notional = qty / run.plane.rules.size[s, at.STEP_DENOMINATOR] * number[at.B]
            assert notional <= run.plane.rules.rate[s, at.NOTIONAL_MAX] * (1.0 + 1e-12)


@settings(max_examples=60)
@given(cases())
def test_rounding_never_enlarges_a_scripted_order(case: Case) -> None:
    run = Run(case)
    _, events = run.whole()
    whole, number = events.of(at.EVENT_NEW_ORDER)
    for w, n in zip(whole, number, strict=True):
        if w[at.EVENT_CLIENT] < 0 or w[at.EVENT_FLAGS] & at.CLOSE_POSITION:
            continue
        request = run.requests[int(w[at.EVENT_CLIENT])]
        step = float(run.instruments[int(w[at.EVENT_SYMBOL])].step_size)
        assert n[at.A] <= request.qty + 1e-6 * step
        if request.type == OrderType.LIMIT:
            assert request.price is not None
            assert (n[at.B] - request.price) * int(request.side) <= 1e-6


@settings(max_examples=80)
@given(cases(orders=0, latency=1))
def test_orders_from_targets_go_toward_the_target_and_never_beyond(case: Case) -> None:
    run = Run(case)
    sizes = run.plane.rules.size
    closes = run.bars.array("close")
    marks = run.bars.array("mark_price") if run.bars.has("mark_price") else closes
    for row, state, events in run.steps():
        equity = float(events.curve[-1, at.CURVE_EQUITY])
        for whole in events.of(at.EVENT_NEW_ORDER)[0]:
            if whole[at.EVENT_REASON] != FillReason.TARGET:
                continue
            s = int(whole[at.EVENT_SYMBOL])
            step = sizes[s, at.STEP_NUMERATOR] / sizes[s, at.STEP_DENOMINATOR]
            mark = closes[row, s] if np.isnan(marks[row, s]) else marks[row, s]
            held = int(state["held"][s, at.LOTS])
            wanted = run.targets[row, s] * equity / (mark * step) - held
            lots = int(whole[at.EVENT_SIDE] * whole[at.EVENT_LOTS])
            assert lots * wanted > 0.0, f"bar {row}, symbol {s}"
            assert abs(lots) <= abs(wanted) + 2e-6, f"bar {row}, symbol {s}"


@settings(max_examples=40)
@given(cases(exits=EXITS), st.lists(st.integers(1, 49), max_size=4))
def test_pieces_joined_by_saved_states_give_the_same_bits(case: Case, cuts: list[int]) -> None:
    run = Run(case)
    end, once = run.whole()
    steps = list(run.steps())
    assert steps[-1][1].digest() == end.digest()
    assert as_bytes([events for _, _, events in steps]) == as_bytes([once])
    edges = sorted({0, run.bars.n_bars, *(c for c in cuts if c < run.bars.n_bars)})
    state, pieces = run.plane.start(), []
    for start, stop in itertools.pairwise(edges):
        state = FoldState.from_bytes(state.to_bytes())
        state, events = run.piece(state, start, stop)
        pieces.append(events)
    assert state.digest() == end.digest()
    assert as_bytes(pieces) == as_bytes([once])


@settings(max_examples=60)
@given(cases(orders=0, exits=EXITS), st.permutations(range(len(SYMBOLS))))
def test_renamed_symbols_give_the_same_account(case: Case, order: list[int]) -> None:
    run = Run(case, gross=0.4 * case.leverage)
    _, events = run.whole()
    # Orders meet the venue by symbol: where margin ran out, the order of names decides who is refused.
    assume(not _refused_for_margin(events))
    renamed, _ = _permuted(run, order)
    assert np.allclose(renamed.curve[:, 0], events.curve[:, 0], rtol=1e-9, atol=1e-9 * case.capital)
    original = sorted(
        (int(w[at.TS]), int(w[at.EVENT_SYMBOL]), int(w[at.EVENT_SIDE]), int(w[at.EVENT_LOTS]))
        for w in events.of(at.EVENT_FILL)[0]
    )
    back = sorted(
        (
            int(w[at.TS]),
            order[int(w[at.EVENT_SYMBOL])],
            int(w[at.EVENT_SIDE]),
            int(w[at.EVENT_LOTS]),
        )
        for w in renamed.of(at.EVENT_FILL)[0]
    )
    assert back == original


def _refused_for_margin(events: Events) -> bool:
    whole, _ = events.of(at.EVENT_STATUS)
    refused = whole[:, at.EVENT_STATE] == OrderStatus.REJECTED
    return bool((refused & (whole[:, at.EVENT_REASON] == Rule.MARGIN)).any())


def _permuted(run: Run, order: list[int]) -> tuple[Events, AccountPlane]:
    instruments = [
        replace(run.instruments[old], symbol=SYMBOLS[new]) for new, old in enumerate(order)
    ]
    known = run.bars.settlements
    place = np.argsort(order)
    bars = Bars(
        interval=run.bars.interval,
        ts_us=run.bars.ts_us,
        symbols=SYMBOLS,
        fields={name: np.ascontiguousarray(a[:, order]) for name, a in run.bars.fields.items()},
        settlements=Settlements(
            time_us=known.time_us,
            symbol=place[known.symbol],
            rate=known.rate,
            mark_price=known.mark_price,
        ),
    )
    account, execution = case_settings(run.case)
    plane = account_plane(
        instruments, interval=bars.interval, account=account, execution=execution,
        exits=run.case.exits,
    )  # fmt: skip
    _, events = plane.advance(plane.start(), bars, targets=run.targets[:, order])
    return events, plane


def fingerprint(seed: int) -> str:
    """Return hashes of a small run, to be compared between compiled and interpreted kernels."""
    case = Case(
        seed=seed,
        n_bars=25,
        leverage=10,
        isolated=bool(seed % 2),
        volatility=0.03,
        crash=0.6,
        holes=True,
        ends=True,
        missing_rate=0.001,
        orders=tuple(range(seed, seed + 40)),
        flows=(seed,),
        exits=ExitSettings(stop_loss=0.03, take_profit=0.05, trailing_stop=0.04, time_exit=6),
    )
    if seed % 3 == 0:
        draw = random.Random(seed)
        case = replace(
            case, interval="1m", volatility=0.005, router=random_router(draw),
            resting=random_resting(draw), slippage=random_slippage(draw),
        )  # fmt: skip
    state, events = Run(case).whole()
    return " ".join(f"{hash_of(part)}" for part in [*as_bytes([events]), state.to_bytes()])


def hash_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


@pytest.mark.integration
def test_compiled_and_interpreted_kernels_agree_to_the_last_bit() -> None:
    seeds = range(4)
    code = (
        "from tests.account.test_properties import fingerprint\n"
        f"for seed in {list(seeds)}: print(fingerprint(seed))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [fingerprint(seed) for seed in seeds]


@settings(max_examples=40)
@given(cases(latency=1), st.sampled_from([0.0, 1.0, 0.5]))
def test_a_latency_within_a_bar_means_the_next_open(case: Case, share: float) -> None:
    run = Run(case)
    account, execution = case_settings(case)
    bar_ms = interval_us(case.interval) / 1000
    other = account_plane(
        run.instruments,
        interval=case.interval,
        account=account,
        execution=replace(execution, latency_ms=share * bar_ms),
        exits=case.exits,
    )
    _, events = run.whole()
    run.plane = other
    assert as_bytes([run.whole()[1]]) == as_bytes([events])


@settings(max_examples=60)
@given(cases(exits=EXITS))
def test_a_market_order_meets_the_open_that_its_latency_names(case: Case) -> None:
    run = Run(case)
    _, events = run.whole()
    orders = orders_of(events)
    length = interval_us(case.interval)
    forced = (FillReason.LIQUIDATION, FillReason.SETTLEMENT)
    for whole, _ in fills_of(events):
        order = orders[int(whole[at.EVENT_ORDER])]
        if order[at.EVENT_TYPE] == OrderType.MARKET and whole[at.EVENT_REASON] not in forced:
            assert whole[at.TS] == whole[at.EVENT_DECISION] + case.latency_bars * length


@settings(max_examples=40)
@given(cases(exits=EXITS).map(lambda case: replace(case, ends=True)))
def test_a_symbol_that_ends_is_settled_at_its_last_mark_and_stays_empty(case: Case) -> None:
    run = Run(case)
    last = end_bar(case) - 1
    rate = run.plane.rules.rate[2, at.TAKER_FEE]
    before = 0.0
    for row, state, events in run.steps():
        if row >= last:
            assert state["held"][2, at.LOTS] == 0
            assert state["held"][2, at.RESTING] == 0
        for whole, number in fills_of(events):
            if whole[at.EVENT_SYMBOL] != 2:
                continue
            assert row <= last
            if whole[at.EVENT_REASON] == FillReason.SETTLEMENT:
                mark, close = _closing(run.bars, row, 2)
                known = [m for m in (mark, close) if not math.isnan(m)]
                assert number[at.B] == (known[0] if known else before)
                assert number[at.C] == pytest.approx(number[at.A] * number[at.B] * rate, rel=1e-12)
        before = float(state["position"][2, at.MARK])


def _closing(bars: Bars, row: int, symbol: int) -> tuple[float, float]:
    close = float(bars.array("close")[row, symbol])
    return (
        float(bars.array("mark_price")[row, symbol]) if bars.has("mark_price") else close
    ), close


ALWAYS_STOPPED = st.builds(
    ExitSettings,
    stop_loss=st.sampled_from([0.005, 0.02, 0.1]),
    take_profit=st.sampled_from([None, 0.02]),
    trailing_stop=st.sampled_from([None, 0.03]),
    time_exit=st.sampled_from([None, 3]),
)


@settings(max_examples=100)
@given(cases(orders=0, exits=ALWAYS_STOPPED))
def test_every_position_has_its_stop_from_the_bar_after_the_fill(case: Case) -> None:
    run = Run(case)
    for row, state, _ in run.steps():
        tickets = state["ticket"][: state["counter"][at.OPEN_ORDERS]]
        for s in range(len(SYMBOLS)):
            lots = int(state["held"][s, at.LOTS])
            if lots == 0:
                continue
            assert any(_leaves(t, s, lots) for t in tickets), f"bar {row}, symbol {s}"


def _leaves(ticket: np.ndarray, symbol: int, lots: int) -> bool:
    """Return whether an order is a position's stop, or the market order in place of one that would trigger at once."""
    against = ticket[at.SYMBOL] == symbol and ticket[at.SIDE] * lots < 0
    if ticket[at.REASON] == FillReason.STOP_LOSS:
        return bool(against and ticket[at.FLAGS] & at.CLOSE_POSITION)
    market = ticket[at.TYPE] == OrderType.MARKET
    return bool(against and market and (ticket[at.FLAGS] or ticket[at.ORDER_LOTS] >= abs(lots)))


@settings(max_examples=100)
@given(cases(orders=0, exits=EXITS, latency=1))
def test_after_an_exit_a_symbol_stays_flat_until_its_target_leaves_that_side(case: Case) -> None:
    run = Run(case)
    exits = (
        FillReason.STOP_LOSS, FillReason.TAKE_PROFIT, FillReason.TRAILING_STOP, FillReason.TIME_EXIT
    )  # fmt: skip
    lock = [0] * len(SYMBOLS)
    for row, state, events in run.steps():
        for whole, _ in fills_of(events):
            if whole[at.EVENT_REASON] in exits:
                lock[int(whole[at.EVENT_SYMBOL])] = -int(whole[at.EVENT_SIDE])
        for s in range(len(SYMBOLS)):
            if lock[s]:
                assert state["held"][s, at.LOTS] == 0, f"bar {row}, symbol {s}"
            weight = run.targets[row, s]
            priced = not math.isnan(run.bars.array("close")[row, s])
            if priced and not math.isnan(weight) and weight * lock[s] <= 0.0:
                lock[s] = 0


def test_targets_that_say_nothing_send_nothing() -> None:
    case = Case(n_bars=30)
    run = Run(case)
    run.targets = np.full_like(run.targets, np.nan)
    _, events = run.whole()
    assert len(events.whole) == 0
    assert (events.curve[:, at.CURVE_EQUITY] == case.capital).all()


def test_the_kernel_is_compiled_once_whatever_array_holds_the_targets() -> None:
    case = random_case(random.Random(3))
    bars, plane = case_bars(case), case_plane(case)
    targets = np.full((bars.n_bars, bars.n_symbols), 0.1)
    frozen = targets.copy()
    frozen.flags.writeable = False
    plane.advance(plane.start(), bars, targets=targets)
    compiled = len(scan.signatures)
    for weights in (frozen, np.asfortranarray(targets)):
        plane.advance(plane.start(), bars, targets=weights)
    assert len(scan.signatures) == compiled
