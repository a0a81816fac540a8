"""Implementation shortfall: the textbooks' example, Perold's two portfolios, and decisions measured by bars."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import DataGap, QuantcoreError
from quantcore.execution import shortfall
from quantcore.execution.parents import Parents
from quantcore.execution.shortfall import PARTS, ParentOrder, order_shortfall
from quantcore.frames import Bars
from quantcore.timegrid import HOUR_US, to_us
from quantcore.types import Side

NAN = math.nan
START = pd.Timestamp("2024-01-01", tz="UTC").as_unit("us")
SYMBOLS = ["AAAUSDT", "BBBUSDT"]
EXAMPLE = ParentOrder(
    side=Side.BUY, qty=1000.0, decision_price=40.0, arrival_price=40.04, end_price=40.08
)
prices = st.floats(50.0, 200.0)
fills_of_an_order = st.lists(st.tuples(st.floats(0.01, 10.0), prices), max_size=6)


def at(hour: int) -> int:
    return to_us(START) + HOUR_US * hour


def parents(*rows: dict[str, Any]) -> Parents:
    """Buys of 10 AAA decided at hour 0 and filled whole at 102, for a spread of 1 and a fee of 0.5, unless said so."""
    usual: dict[str, Any] = {
        "decision_us": at(0), "symbol": 0, "side": 1.0, "wanted": 10.0, "filled": 10.0, "price": 102.0,
        "spread": 1.0, "fees": 0.5,
    }  # fmt: skip
    columns = pd.DataFrame([{**usual, **row} for row in rows], columns=list(usual))
    columns["paid"] = columns.pop("price") * columns["filled"]
    arrays = {name: column.to_numpy() for name, column in columns.items()}
    return Parents(names=tuple(SYMBOLS), **{str(name): array for name, array in arrays.items()})


def prices_of(
    count: int, decision: float = 100.0, arrival: float = 101.0, end: float = 103.0
) -> shortfall.Prices:
    return shortfall.Prices(*(np.full(count, price) for price in (decision, arrival, end)))


def table(*rows: dict[str, Any], **price: float) -> pd.DataFrame:
    return shortfall.shortfall_table(parents(*rows), prices_of(len(rows), **price))


def parts(row: Mapping[Any, Any]) -> list[float]:
    return [float(row[name]) for name in PARTS]


# One order


def test_the_textbooks_example_loses_nineteen_basis_points() -> None:
    found = order_shortfall(EXAMPLE, [700.0], [40.05], fees=17.0)
    bps = [1e4 * found.fraction(part) for part in ("delay", "impact", "missed", "fees", "total")]
    assert bps == pytest.approx([7.0, 1.75, 6.0, 4.25, 19.0])
    assert found.total == pytest.approx(76.0)


@given(st.sampled_from(Side), prices, prices, prices, fills_of_an_order, st.floats(0.0, 5.0))
def test_the_parts_add_up_to_what_the_paper_portfolio_is_ahead(
    side: Side,
    decision: float,
    arrival: float,
    end: float,
    filled: list[tuple[float, float]],
    more: float,
) -> None:
    qty, paid = np.array(filled).reshape(-1, 2).T
    order = ParentOrder(
        side=side,
        qty=float(qty.sum()) + more + 1e-3,
        decision_price=decision,
        arrival_price=arrival,
        end_price=end,
    )
    found = order_shortfall(order, qty, paid, fees=0.7, spread=0.3)
    on_paper = side * order.qty * (end - decision)
    real = side * float((qty * (end - paid)).sum()) - 0.7
    assert found.total == pytest.approx(on_paper - real, rel=1e-9, abs=1e-7)
    assert sum(getattr(found, part) for part in PARTS) == pytest.approx(found.total, abs=1e-9)
    assert found.notional == order.qty * decision


def test_selling_and_buying_mirror_each_other() -> None:
    sale = dataclasses.replace(EXAMPLE, side=Side.SELL)
    bought = order_shortfall(EXAMPLE, [700.0], [40.05], fees=0.0)
    sold = order_shortfall(sale, [700.0], [40.05], fees=0.0)
    for part in (*PARTS, "total"):
        assert getattr(sold, part) == -getattr(bought, part)


def test_an_order_without_fills_has_only_missed() -> None:
    order = dataclasses.replace(EXAMPLE, arrival_price=NAN)
    found = order_shortfall(order, [], [], fees=0.0)
    assert [found.missed, found.total] == pytest.approx([80.0, 80.0])
    assert [found.delay, found.spread, found.impact, found.fees] == [0.0] * 4


def test_a_part_is_nan_only_where_it_needs_a_price_that_is_not_known() -> None:
    def known(**price: float) -> list[bool]:
        order = dataclasses.replace(EXAMPLE, **price)  # type: ignore[arg-type] # prices alone
        found = order_shortfall(order, [700.0], [40.05], fees=17.0)
        return [not math.isnan(getattr(found, part)) for part in (*PARTS, "total")]

    delay, _, impact, missed, _, total = range(6)
    for price, unknown in [
        ("decision_price", {delay, missed, total}),
        ("arrival_price", {delay, impact}),
        ("end_price", {missed, total}),
    ]:
        assert known(**{price: NAN}) == [k not in unknown for k in range(6)]


def test_a_whole_order_needs_no_end_price() -> None:
    order = dataclasses.replace(EXAMPLE, qty=math.nextafter(0.7, 1.0), end_price=NAN)
    found = order_shortfall(order, [0.4, 0.3], [40.0, 40.0], fees=0.0)
    assert found.missed == 0.0
    assert found.total == pytest.approx(0.0, abs=1e-12)


def test_the_spread_moves_money_out_of_the_impact() -> None:
    plain = order_shortfall(EXAMPLE, [700.0], [40.05], fees=17.0)
    split = order_shortfall(EXAMPLE, [700.0], [40.05], fees=17.0, spread=3.0)
    assert split.spread == 3.0
    assert split.spread + split.impact == pytest.approx(plain.impact)
    assert split.total == plain.total


# Many decisions


def test_a_decision_that_fills_whole_has_delay_spread_impact_and_fee() -> None:
    """10 coins: the price goes from 100 to 101 before they arrive, and they pay 102, of which 0.1 a coin is spread."""
    (row,) = table({}).to_dict("records")
    assert parts(row) == pytest.approx([10.0, 1.0, 9.0, 0.0, 0.5])
    assert row["total"] == pytest.approx(20.5)
    assert (row["wanted_qty"], row["filled_qty"], row["mean_price"]) == (10.0, 10.0, 102.0)
    assert (row["symbol"], row["side"], row["notional"]) == ("AAAUSDT", "buy", 1000.0)
    assert row["decision_ts"] == START


def test_a_sale_that_rests_gains_what_it_waited_for() -> None:
    """The price falls by 1 before it arrives at 99; resting at 99.5 wins 0.5 of it back; the 4 left fall to 97."""
    sale = {"side": -1.0, "filled": 6.0, "price": 99.5, "spread": 0.0, "fees": 0.12}
    (row,) = table(sale, arrival=99.0, end=97.0).to_dict("records")
    assert parts(row) == pytest.approx([6.0, 0.0, -3.0, 12.0, 0.12])
    assert row["total"] == pytest.approx(15.12)
    assert row["side"] == "sell"


def test_what_was_not_filled_is_missed() -> None:
    found = table({"filled": 5.0}, {"symbol": 1, "filled": 0.0, "spread": 0.0, "fees": 0.0})
    assert found["missed"].tolist() == pytest.approx([5.0 * 3.0, 10.0 * 3.0])
    assert parts(found.to_dict("records")[1]) == pytest.approx([0.0, 0.0, 0.0, 30.0, 0.0])
    assert math.isnan(found["mean_price"].iloc[1])
    assert found["symbol"].tolist() == ["AAAUSDT", "BBBUSDT"]


def test_a_nan_reaches_only_what_needs_it() -> None:
    def unprices_of(row: dict[str, float], **price: float) -> list[bool]:
        return [math.isnan(value) for value in parts(table(row, **price).to_dict("records")[0])]

    assert unprices_of({"price": NAN}) == [False, False, True, False, False]
    assert unprices_of({"fees": NAN}) == [False, False, False, False, True]
    assert unprices_of({}, decision=NAN) == [True, False, False, False, False]


@given(
    st.sampled_from([1.0, -1.0]),
    st.tuples(prices, prices, prices),
    fills_of_an_order,
    st.floats(0.1, 5.0),
)
def test_the_table_says_of_one_order_what_the_function_does(
    side: float,
    measured: tuple[float, float, float],
    filled: list[tuple[float, float]],
    more: float,
) -> None:
    total = math.fsum(q for q, _ in filled)
    price = math.fsum(q * p for q, p in filled) / total if total else 0.0
    row = {"side": side, "wanted": total + more, "filled": total, "price": price}
    order = ParentOrder(
        side=Side(int(side)),
        qty=total + more,
        decision_price=measured[0],
        arrival_price=measured[1],
        end_price=measured[2],
    )
    paid = [q for q, _ in filled], [p for _, p in filled]
    alone = order_shortfall(order, *paid, fees=0.5, spread=1.0)
    found = shortfall.shortfall_table(parents(row), prices_of(1, *measured))
    for part in (*PARTS, "total", "notional"):
        assert found[part].iloc[0] == pytest.approx(getattr(alone, part), rel=1e-9, abs=1e-8)


def test_the_summary_adds_up_and_counts_what_it_leaves_out() -> None:
    """One decision of 1,000 costs 20.5; one of 3,000 is missed for 90; of the third the end is not known."""
    missed = {"filled": 0.0, "spread": 0.0, "fees": 0.0}
    decided = parents({}, {"wanted": 30.0, **missed}, missed)
    measured = prices_of(3)
    measured.end[2] = NAN
    found = shortfall.shortfall_summary(decided, measured)
    assert (found.decisions, found.incomplete) == (2, 1)
    assert found.notional == pytest.approx(4000.0)
    assert found.fill_rate == pytest.approx(0.25)
    assert [found.money(part) for part in PARTS] == pytest.approx([10.0, 1.0, 9.0, 90.0, 0.5])
    assert [found.bps(part) for part in PARTS] == pytest.approx([25.0, 2.5, 22.5, 225.0, 1.25])
    assert found.total == pytest.approx(110.5)
    assert found.total_bps == pytest.approx(276.25)


def test_no_decision_has_no_summary_but_a_table() -> None:
    nothing = parents({}).where(np.array([False]))
    found = shortfall.shortfall_summary(nothing, prices_of(0))
    assert (found.decisions, found.total) == (0, 0.0)
    assert math.isnan(found.total_bps)
    assert math.isnan(found.fill_rate)
    assert set(PARTS) < set(shortfall.shortfall_table(nothing, prices_of(0)).columns)


# Prices of bars


def bars(n: int = 4) -> Bars:
    close = np.arange(100.0, 100.0 + n)[:, None] + [0.0, 50.0]
    return Bars(
        interval="1h",
        ts_us=to_us("2024-01-01") + HOUR_US * np.arange(1, n + 1),
        symbols=tuple(SYMBOLS),
        fields={"open": close - 0.25, "close": close},
    )


def measured(hours: list[int], *, horizon: int, symbol: int = 0) -> list[list[float]]:
    decided = parents(*({"decision_us": at(hour), "symbol": symbol} for hour in hours))
    found = shortfall.bar_prices(bars(), decided, horizon_us=horizon * HOUR_US)
    return [price.tolist() for price in found]


def test_a_decision_at_a_close_arrives_at_the_next_open_and_ends_at_a_later_close() -> None:
    assert measured([1, 2], horizon=2) == [[100.0, 101.0], [100.75, 101.75], [102.0, 103.0]]
    assert measured([1], horizon=1, symbol=1) == [[150.0], [150.75], [151.0]]


def test_before_and_after_the_bars_no_price_is_known_but_the_last_one_ends_an_order() -> None:
    decision, arrival, end = measured([0, 4], horizon=10)
    assert np.isnan(decision).tolist() == [True, False]
    assert np.isnan(arrival).tolist() == [False, True]
    assert end == [103.0, 103.0]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: dataclasses.replace(EXAMPLE, qty=0.0),
            ValueError,
            r"qty must be > 0 and finite, was 0\.0",
        ),
        (
            lambda: dataclasses.replace(EXAMPLE, end_price=-1.0),
            ValueError,
            r"end_price must be > 0 and finite, or NaN, was -1\.0",
        ),
        (
            lambda: order_shortfall(EXAMPLE, [1001.0], [40.0], fees=0.0),
            ValueError,
            r"filled must be <= qty = 1000\.0, was 1001\.0",
        ),
        (
            lambda: order_shortfall(EXAMPLE, [1.0, -1.0], [40.0, 40.0], fees=0.0),
            ValueError,
            r"qty must be > 0 and finite, was -1\.0",
        ),
        (
            lambda: order_shortfall(EXAMPLE, [1.0], [0.0], fees=0.0),
            ValueError,
            r"prices must be > 0 and finite, or NaN, was 0\.0",
        ),
        (
            lambda: order_shortfall(EXAMPLE, [1.0], [], fees=0.0),
            ValueError,
            r"qty and prices must be of one shape \(n_fills,\), were \(1,\) and \(0,\)",
        ),
        (
            lambda: measured([1], horizon=0),
            ValueError,
            "horizon_us must be > 0, was 0",
        ),
        (
            lambda: shortfall.bar_prices(
                bars(), dataclasses.replace(parents({}), names=("AAAUSDT", "XUSDT")), horizon_us=1
            ),
            DataGap,
            "bars must hold every symbol that was traded, lacked XUSDT",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(
    call: Callable[[], object], kind: type[QuantcoreError | ValueError], message: str
) -> None:
    with pytest.raises(kind, match=f"^{message}$"):
        call()
