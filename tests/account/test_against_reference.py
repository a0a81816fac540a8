"""The compiled account plane against the plain reference account, on random markets and random orders."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.account.comparison import compared, differences, engine_of, reference_of
from tests.account.random_cases import Case, case_bars, case_requests, random_case

SEEDS = st.integers(0, 2**31 - 1)

CASES = st.builds(
    Case,
    seed=SEEDS,
    n_bars=st.integers(30, 80),
    leverage=st.sampled_from([1, 2, 3, 5, 10, 20]),
    isolated=st.booleans(),
    capital=st.sampled_from([1000.0, 15.0, 100.0, 300.0, 1e4, 1e5, 1e6]),
    interval=st.sampled_from(["1h", "4h", "1d"]),
    volatility=st.sampled_from([0.01, 0.001, 0.03, 0.06]),
    crash=st.sampled_from([0.0, 0.2, 0.6]),
    marks=st.booleans(),
    holes=st.booleans(),
    ends=st.booleans(),
    funding=st.booleans(),
    missing_rate=st.sampled_from([0.0, 0.0001, 0.003]),
    costs_bps=st.sampled_from([0.0, 5.0, 50.0, 7.3]),
    latency_bars=st.integers(1, 3),
    small_maximum=st.booleans(),
    bracket_scale=st.sampled_from([1.0, 100.0]),
    orders=st.lists(SEEDS, max_size=40).map(tuple),
    flows=st.lists(SEEDS, max_size=3).map(tuple),
)


@settings(max_examples=200)
@given(CASES)
def test_engine_and_reference_agree_on_every_fill_order_and_balance(case: Case) -> None:
    assert not differences(case)


@pytest.mark.parametrize("first", range(0, 600, 100))
def test_engine_and_reference_agree_on_busy_accounts(first: int) -> None:
    for seed in range(first, first + 100):
        case = random_case(random.Random(seed))
        found = differences(case)
        assert not found, f"{case}: {found}"


@pytest.mark.parametrize("isolated", [False, True])
def test_engine_and_reference_agree_on_isolated_margin_at_every_bar(isolated: bool) -> None:
    for seed in range(8):
        case = replace(random_case(random.Random(seed)), isolated=isolated, capital=1e4)
        bars = case_bars(case)
        requests = case_requests(case, bars)
        # State and curve after each bar: a run that ends there.
        for stop in range(5, bars.n_bars, 5):
            part = bars.rows(0, stop)
            _, state, events = engine_of(case, part, requests)
            found = compared(reference_of(case, part, requests), state, events)
            assert not found, f"{case}, {stop} bars: {found}"


def test_random_orders_reach_every_kind_of_ending() -> None:
    """A comparison says nothing of what never happens."""
    seen = set()
    liquidations = shortfalls = 0
    for seed in range(250):
        case = random_case(random.Random(seed))
        bars = case_bars(case)
        reference = reference_of(case, bars, case_requests(case, bars))
        liquidations += len(reference.books.liquidations)
        shortfalls += sum(x.insurance > 0.0 for x in reference.books.liquidations)
        for order in reference.all_orders.values():
            rule = "" if order.rule is None else order.rule.name
            seen.add((order.type.name, order.status.name, rule))
    kinds = ("MARKET", "LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
    wanted = {(kind, status, "") for kind in kinds for status in ("FILLED", "CANCELED")}
    wanted |= {
        (kind, "REJECTED", rule)
        for kind in kinds
        for rule in ("NO_PRICE", "REDUCE_ONLY", "MIN_NOTIONAL", "MARGIN", "BRACKET_NOTIONAL")
    }
    wanted |= {
        ("LIMIT", "REJECTED", "POST_ONLY_WOULD_CROSS"),
        ("LIMIT", "EXPIRED", "FOK_NOT_FILLABLE"),
        ("LIMIT", "EXPIRED", ""),
        ("STOP_MARKET", "REJECTED", "WOULD_TRIGGER"),
        ("TAKE_PROFIT_MARKET", "REJECTED", "WOULD_TRIGGER"),
        ("TRAILING_STOP_MARKET", "EXPIRED", "REDUCE_ONLY"),
        ("MARKET", "REJECTED", "SYMBOL_ENDED"),
        ("MARKET", "REJECTED", "MARKET_MAX_QTY"),
    }
    assert not wanted - seen
    assert liquidations > 20
    assert shortfalls > 5
