"""Maintenance margin, liquidation price and the moment of liquidation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.data.instruments import maintenance_amounts
from quantcore.kernels.layout import CAP, CUM, FLOOR, MAINTENANCE_RATE
from quantcore.kernels.margin import (
    bracket_of,
    crossing,
    excess,
    liquidation_price,
    maintenance_margin,
)
from quantcore.types import FloatArray

# Binance ETHUSDT, 2021 (../shared/reference/binance_margin.json, maintenance_amount_chain_eth_2021).
FLOORS = [0.0, 10_000.0, 100_000.0, 500_000.0, 1_000_000.0, 2_000_000.0]
RATES = [0.005, 0.0065, 0.01, 0.02, 0.05, 0.1]


def table(floors: list[float], rates: list[float], cums: list[float]) -> FloatArray:
    rows = np.empty((len(floors), 4))
    rows[:, FLOOR], rows[:, MAINTENANCE_RATE], rows[:, CUM] = floors, rates, cums
    rows[:, CAP] = [*floors[1:], np.inf]
    return rows


BRACKETS = table(FLOORS, RATES, maintenance_amounts(FLOORS, RATES))


def cases(shared: Path) -> dict[str, dict[str, Any]]:
    text = (shared / "reference" / "binance_margin.json").read_text()
    return {case["name"]: case for case in json.loads(text)["cases"]}


def signed(inputs: dict[str, Any]) -> float:
    return float(inputs["qty"]) * (1.0 if inputs["side"] == "long" else -1.0)


@pytest.mark.parametrize("name", ["cross_long_eth", "isolated_long_eth"])
def test_liquidation_price_of_the_published_examples(shared: Path, name: str) -> None:
    case = cases(shared)[name]
    i = case["inputs"]
    bracket = table([0.0], [i["mmr"]], [i["maint_amount"]])
    price = liquidation_price(
        i["wallet_balance"],
        i.get("other_maintenance_margin", 0.0),
        i.get("other_unrealised_pnl", 0.0),
        signed(i),
        i["entry"],
        bracket,
    )
    assert price == pytest.approx(
        case["expected"]["liquidation_price"], abs=case["tolerance"]["abs"]
    )


@pytest.mark.parametrize(
    "name",
    [
        "isolated_long_10x_230usdt",
        "isolated_short_10x_770usdt",
        "isolated_short_crossing_tier_up",
        "long_1x_never_liquidated_when_margin_covers",
    ],
)
def test_liquidation_price_takes_the_bracket_at_that_price(shared: Path, name: str) -> None:
    case = cases(shared)[name]
    i, expected = case["inputs"], case["expected"]
    brackets = table(i["floors"], i["mmr"], i["maint_amount"])
    price = liquidation_price(i["isolated_margin"], 0.0, 0.0, signed(i), i["entry"], brackets)
    if expected["liquidation_price"] is None:
        assert np.isnan(price)
        return
    assert price == pytest.approx(expected["liquidation_price"], abs=case["tolerance"]["abs"])
    assert bracket_of(brackets, i["qty"] * price, 0) == expected["tier_index_at_liquidation"]


def test_maintenance_margin_is_continuous_at_the_floors(shared: Path) -> None:
    expected = cases(shared)["maintenance_margin_continuous_at_tier_edges"]["expected"]
    for tier, floor in enumerate(FLOORS[1:], start=1):
        lower = maintenance_margin(BRACKETS, floor, tier - 1)
        upper = maintenance_margin(BRACKETS, floor, tier)
        assert lower == pytest.approx(expected["margin_at_floor_lower_tier"][tier - 1], abs=1e-9)
        assert upper == pytest.approx(expected["margin_at_floor_upper_tier"][tier - 1], abs=1e-9)


@given(
    notional=st.floats(0.0, 5e6),
    hint=st.integers(0, len(FLOORS) - 1),
)
def test_bracket_is_found_from_any_hint(notional: float, hint: int) -> None:
    tier = bracket_of(BRACKETS, notional, hint)
    assert BRACKETS[tier, FLOOR] <= notional < BRACKETS[tier, CAP]


@given(
    wallet=st.floats(10.0, 1e6),
    quantities=st.lists(st.floats(-900.0, 900.0), min_size=1, max_size=5),
    drop=st.floats(0.01, 0.99),
)
def test_liquidation_happens_where_margin_balance_meets_maintenance_margin(
    wallet: float, quantities: list[float], drop: float
) -> None:
    qty = np.array(quantities)
    entry = np.full(len(qty), 2000.0)
    start = np.full(len(qty), 2000.0)
    stop = np.where(qty > 0, 2000.0 * (1.0 - drop), 2000.0 * (1.0 + drop))
    members = np.zeros(len(qty), dtype=np.int64)
    brackets = BRACKETS[None]
    if excess(wallet, qty, entry, stop, members, brackets) > 0.0:
        return
    at = crossing(wallet, qty, entry, start, stop, members, brackets)
    left = excess(wallet, qty, entry, start + at * (stop - start), members, brackets)
    scale = wallet + float(np.abs(qty).sum()) * 2000.0
    if at > 0.0:
        assert abs(left) <= 1e-9 * scale
    else:
        assert left <= 1e-9 * scale
    # Nothing before it was due: balance less maintenance margin is concave along the path.
    for share in (0.1, 0.5, 0.9, 0.999):
        mark = start + share * at * (stop - start)
        assert excess(wallet, qty, entry, mark, members, brackets) >= -1e-9 * scale or at == 0.0


def test_single_position_crosses_at_its_liquidation_price() -> None:
    qty, entry = np.array([-4.2]), np.array([2350.0])
    members = np.zeros(1, dtype=np.int64)
    start, stop = np.array([2350.0]), np.array([3000.0])
    at = crossing(1000.0, qty, entry, start, stop, members, BRACKETS[None])
    price = liquidation_price(1000.0, 0.0, 0.0, -4.2, 2350.0, BRACKETS)
    assert 2350.0 + at * 650.0 == pytest.approx(price, abs=1e-9)


def test_compiled_equals_interpreted() -> None:
    qty, entry = np.array([3.0, -20.0]), np.array([2000.0, 1900.0])
    start, stop = np.array([2000.0, 1900.0]), np.array([1500.0, 2500.0])
    members = np.zeros(2, dtype=np.int64)
    arguments = (5000.0, qty, entry, start, stop, members, BRACKETS[None])
    assert crossing(*arguments) == crossing.py_func(*arguments)
    assert excess(5000.0, qty, entry, stop, members, BRACKETS[None]) == excess.py_func(
        5000.0, qty, entry, stop, members, BRACKETS[None]
    )
