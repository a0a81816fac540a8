"""Implementation shortfall: the textbooks' example, Perold's two portfolios, and what a run's tables may hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantcore.errors import DataGap, QuantcoreError, SchemaMismatch
from quantcore.execution import shortfall
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


def at(hour: int) -> pd.Timestamp:
    return START + pd.Timedelta(hours=hour)


def orders(*rows: dict[str, Any]) -> pd.DataFrame:
    """Orders numbered in the order given: limit buys of 10 AAA decided at hour 0, unless said otherwise."""
    usual = {
        "decision_ts": at(0),
        "symbol": "AAAUSDT",
        "side": "buy",
        "type": "limit",
        "qty": 10.0,
        "reduce_only": False,
        "reason": "target",
    }
    return pd.DataFrame([{"order_id": k, **usual, **row} for k, row in enumerate(rows)])


def fills(*rows: dict[str, Any]) -> pd.DataFrame:
    """Taker fills of order 0 at 102 with a reference price of 101.9, unless said otherwise."""
    usual = {
        "order_id": 0,
        "qty": 10.0,
        "price": 102.0,
        "fee": 0.5,
        "liquidity": "taker",
        "reference_price": 101.9,
    }
    return pd.DataFrame([{**usual, **row} for row in rows], columns=list(usual))


def benchmarks(
    decision: float = 100.0, arrival: float = 101.0, end: float = 103.0
) -> shortfall.Benchmarks:
    """The same prices for both symbols at hours 0 and 1."""
    index = pd.DatetimeIndex([at(0), at(1)], name="ts")
    panels = [pd.DataFrame(p, index=index, columns=SYMBOLS) for p in (decision, arrival, end)]
    return shortfall.Benchmarks(decision=panels[0], arrival=panels[1], end=panels[2])


def table(
    sent: pd.DataFrame,
    filled: pd.DataFrame,
    known: shortfall.Benchmarks | None = None,
    half_spread: float = 0.0,
) -> pd.DataFrame:
    return shortfall.shortfall_table(sent, filled, known or benchmarks(), half_spread=half_spread)


def parts(row: pd.Series) -> list[float]:
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
    found = order_shortfall(order, qty, paid, fees=0.7, half_spread=2e-4)
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

    delay, spread, impact, missed, _, total = range(6)
    for price, unknown in [
        ("decision_price", {delay, missed, total}),
        ("arrival_price", {delay, spread, impact}),
        ("end_price", {missed, total}),
    ]:
        assert known(**{price: NAN}) == [k not in unknown for k in range(6)]


def test_a_whole_order_needs_no_end_price() -> None:
    order = dataclasses.replace(EXAMPLE, qty=math.nextafter(0.7, 1.0), end_price=NAN)
    found = order_shortfall(order, [0.4, 0.3], [40.0, 40.0], fees=0.0)
    assert found.missed == 0.0
    assert found.total == pytest.approx(0.0, abs=1e-12)


def test_the_half_spread_moves_money_from_impact_to_spread() -> None:
    plain = order_shortfall(EXAMPLE, [700.0], [40.05], fees=17.0)
    split = order_shortfall(EXAMPLE, [700.0], [40.05], fees=17.0, half_spread=1e-4)
    assert split.spread == pytest.approx(700.0 * 40.04 * 1e-4)
    assert split.spread + split.impact == pytest.approx(plain.impact)
    assert split.total == plain.total


# The tables of a run


def test_a_taker_order_that_fills_whole_has_delay_spread_impact_and_fee() -> None:
    (row,) = table(orders({}), fills({}), half_spread=1e-3).to_dict("records")
    assert row["delay"] == pytest.approx(10.0)
    assert row["spread"] == pytest.approx(10.0 * 101.9 * 1e-3)
    assert row["impact"] == pytest.approx(10.0 - 1.019)
    assert (row["missed"], row["fees"]) == (0.0, 0.5)
    assert row["total"] == pytest.approx(20.5)
    assert row["total_bps"] == pytest.approx(205.0)
    assert (row["wanted_qty"], row["filled_qty"], row["mean_price"]) == (10.0, 10.0, 102.0)
    assert (row["decision_ts"], row["symbol"], row["side"]) == (at(0), "AAAUSDT", "buy")


def test_a_partial_fill_and_none_miss_the_rest() -> None:
    found = table(orders({}, {"symbol": "BBBUSDT"}), fills({"qty": 4.0}, {"qty": 1.0}))
    assert found["missed"].tolist() == pytest.approx([5.0 * 3.0, 10.0 * 3.0])
    assert found["filled_qty"].tolist() == [5.0, 0.0]
    assert parts(found.iloc[1]) == pytest.approx([0.0, 0.0, 0.0, 30.0, 0.0])
    assert math.isnan(found["mean_price"].iloc[1])


def test_an_order_that_replaces_another_wants_the_same_coins() -> None:
    sent = orders({"qty": 10.0}, {"qty": 7.0}, {"qty": 5.0, "type": "market"})
    filled = fills({"qty": 3.0}, {"order_id": 1, "qty": 2.0}, {"order_id": 2, "qty": 4.0})
    (row,) = table(sent, filled).to_dict("records")
    assert (row["wanted_qty"], row["filled_qty"]) == (10.0, 9.0)


def test_a_reducing_and_an_opening_order_of_one_decision_are_wanted_both() -> None:
    sent = orders({"qty": 10.0, "reduce_only": True}, {"qty": 7.0})
    (row,) = table(sent, fills({"qty": 4.0})).to_dict("records")
    assert (row["wanted_qty"], row["filled_qty"]) == (17.0, 4.0)


def test_decisions_symbols_and_sides_are_told_apart_and_sorted() -> None:
    sent = orders(
        {"decision_ts": at(1)}, {"symbol": "BBBUSDT"}, {"side": "sell"}, {"decision_ts": at(0)}
    )
    found = table(sent, fills())
    assert list(zip(found["decision_ts"], found["symbol"], found["side"], strict=True)) == [
        (at(0), "AAAUSDT", "buy"),
        (at(0), "AAAUSDT", "sell"),
        (at(0), "BBBUSDT", "buy"),
        (at(1), "AAAUSDT", "buy"),
    ]
    assert found["missed"].tolist() == pytest.approx([30.0, -30.0, 30.0, 30.0])


def test_protective_orders_and_liquidations_are_no_decisions() -> None:
    sent = orders(
        {"type": "stop_market", "reason": "stop_loss"}, {"type": "market", "reason": "time_exit"}
    )
    found = table(sent, fills({"order_id": 0}, {"order_id": 1}, {"order_id": -1}))
    assert found.empty
    assert set(PARTS) < set(found.columns)


def test_a_maker_gains_what_it_traded_better_than_the_reference() -> None:
    filled = fills({"price": 101.5, "liquidity": "maker"})
    (row,) = table(orders({}), filled, half_spread=1e-3).to_dict("records")
    assert row["spread"] == pytest.approx(10.0 * (101.5 - 101.9))
    assert row["spread"] + row["impact"] == pytest.approx(10.0 * 0.5)


def test_without_a_reference_price_a_taker_crosses_at_its_own_and_a_maker_for_nothing() -> None:
    missing = {"reference_price": NAN}
    filled = fills(missing, {**missing, "order_id": 1, "liquidity": "maker"})
    found = table(orders({}, {"symbol": "BBBUSDT"}), filled, half_spread=1e-3)
    assert found["spread"].tolist() == pytest.approx([10.0 * 102.0 * 1e-3, 0.0])


def test_a_nan_price_or_fee_reaches_only_what_needs_it() -> None:
    (row,) = table(orders({}), fills({"qty": 4.0}, {"qty": 6.0, "price": NAN})).to_dict("records")
    assert [math.isnan(row[part]) for part in PARTS] == [False, False, True, False, False]
    assert math.isnan(row["total"])
    (row,) = table(orders({}), fills({"fee": NAN})).to_dict("records")
    assert [math.isnan(row[part]) for part in PARTS] == [False, False, False, False, True]
    unknown = benchmarks(decision=NAN)
    (row,) = table(orders({}), fills({}), unknown).to_dict("records")
    assert [math.isnan(row[part]) for part in PARTS] == [True, False, False, False, False]


@given(
    st.sampled_from(["buy", "sell"]),
    st.tuples(prices, prices, prices),
    fills_of_an_order,
    st.floats(0.1, 5.0),
)
def test_the_table_says_of_one_order_what_the_function_does(
    side: str,
    known: tuple[float, float, float],
    filled: list[tuple[float, float]],
    more: float,
) -> None:
    qty = math.fsum(q for q, _ in filled) + more
    rows = [{"qty": q, "price": p, "reference_price": known[1]} for q, p in filled]
    found = table(
        orders({"side": side, "qty": qty}), fills(*rows), benchmarks(*known), half_spread=3e-4
    )
    order = ParentOrder(
        side=Side[side.upper()],
        qty=qty,
        decision_price=known[0],
        arrival_price=known[1],
        end_price=known[2],
    )
    alone = order_shortfall(
        order,
        [q for q, _ in filled],
        [p for _, p in filled],
        fees=0.5 * len(filled),
        half_spread=3e-4,
    )
    for part in (*PARTS, "total", "notional"):
        assert found[part].iloc[0] == pytest.approx(getattr(alone, part), rel=1e-9, abs=1e-8)


def test_the_order_of_the_rows_does_not_matter() -> None:
    sent = orders({"qty": 10.0}, {"qty": 7.0}, {"symbol": "BBBUSDT"}, {"decision_ts": at(1)})
    filled = fills(
        {"qty": 3.0}, {"order_id": 1, "qty": 2.0}, {"order_id": 3}, {"order_id": 2, "qty": 1.0}
    )
    shuffled = table(sent.sample(frac=1.0, random_state=3), filled.sample(frac=1.0, random_state=4))
    pd.testing.assert_frame_equal(shuffled, table(sent, filled))
    assert "parent" not in sent


def test_the_summary_adds_up_and_counts_what_it_leaves_out() -> None:
    known = benchmarks()
    known.end.loc[at(1), "AAAUSDT"] = NAN
    sent = orders({}, {"symbol": "BBBUSDT", "qty": 30.0}, {"decision_ts": at(1)})
    found = shortfall.shortfall_summary(table(sent, fills({}), known, half_spread=1e-3))
    assert (found.decisions, found.incomplete) == (2, 1)
    assert found.notional == pytest.approx(4000.0)
    assert found.fill_rate == pytest.approx(0.25)
    assert found.total == pytest.approx(20.5 + 90.0)
    assert found.total_bps == pytest.approx(1e4 * 110.5 / 4000.0)
    assert sum(getattr(found, f"{part}_bps") for part in PARTS) == pytest.approx(found.total_bps)


def test_no_decision_has_no_summary_but_a_table() -> None:
    found = table(orders({}).iloc[:0], fills())
    summary = shortfall.shortfall_summary(found)
    assert (summary.decisions, summary.total) == (0, 0.0)
    assert math.isnan(summary.total_bps)
    assert math.isnan(summary.fill_rate)


# Prices of bars


def bars(n: int = 4) -> Bars:
    close = np.arange(100.0, 100.0 + n)[:, None] + [0.0, 50.0]
    return Bars(
        interval="1h",
        ts_us=to_us("2024-01-01") + HOUR_US * np.arange(1, n + 1),
        symbols=tuple(SYMBOLS),
        fields={"open": close - 0.25, "close": close},
    )


def test_a_decision_at_a_close_arrives_at_the_next_open() -> None:
    decisions = pd.DatetimeIndex([at(1), at(2)])
    hour = pd.Timedelta("1h")
    found = shortfall.bar_benchmarks(bars(), decisions, latency_ms=100.0, horizon=2 * hour)
    assert found.decision["AAAUSDT"].tolist() == [100.0, 101.0]
    assert found.arrival["AAAUSDT"].tolist() == [100.75, 101.75]
    assert found.end["BBBUSDT"].tolist() == [152.0, 153.0]
    at_once = shortfall.bar_benchmarks(bars(), decisions, latency_ms=0.0, horizon=hour)
    pd.testing.assert_frame_equal(at_once.arrival, found.arrival)
    late = shortfall.bar_benchmarks(bars(), decisions, latency_ms=3_600_001.0, horizon=hour)
    assert late.arrival["AAAUSDT"].tolist() == [101.75, 102.75]


def test_before_and_after_the_bars_no_price_is_known_but_the_last_one_ends_an_order() -> None:
    decisions = pd.DatetimeIndex([at(0), at(4)])
    found = shortfall.bar_benchmarks(
        bars(), decisions, latency_ms=0.0, horizon=pd.Timedelta("10h")
    )  # fmt: skip
    assert found.decision["AAAUSDT"].isna().tolist() == [True, False]
    assert found.arrival["AAAUSDT"].isna().tolist() == [False, True]
    assert found.end["AAAUSDT"].tolist() == [103.0, 103.0]


def _benchmarks(**price: float) -> Callable[[], object]:
    return lambda: benchmarks(**price)


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
            lambda: table(orders({}), fills(), half_spread=-1e-4),
            ValueError,
            r"half_spread must be in \[0, 1\), was -0\.0001",
        ),
        (
            lambda: table(orders({}), fills().drop(columns="fee")),
            SchemaMismatch,
            r"fills must have the columns .*, lacked \['fee'\]",
        ),
        (
            lambda: table(orders({"side": "long"}), fills()),
            SchemaMismatch,
            "side of orders must be buy or sell, was long",
        ),
        (
            lambda: table(orders({}, {"order_id": 0}), fills()),
            SchemaMismatch,
            "order_id of orders must be unique, was 0",
        ),
        (
            lambda: table(orders({}), fills({"qty": 4.0}, {"qty": 7.0})),
            SchemaMismatch,
            "an order must not be filled by more than its qty, order_id, was 0",
        ),
        (
            lambda: table(orders({}), fills({"qty": -4.0})),
            SchemaMismatch,
            r"qty of fills must be > 0, was -4\.0",
        ),
        (
            lambda: table(orders({"decision_ts": at(5)}), fills()),
            DataGap,
            r"benchmarks must hold AAAUSDT at 2024-01-01 05:00:00\+00:00, which they do not",
        ),
        (_benchmarks(arrival=0.0), SchemaMismatch, r"arrival must be > 0 or NaN, was 0\.0"),
        (
            lambda: shortfall.bar_benchmarks(
                bars(), pd.DatetimeIndex([at(1)]), latency_ms=-1.0, horizon=pd.Timedelta("1h")
            ),
            ValueError,
            r"latency_ms must be >= 0 and finite, was -1\.0",
        ),
    ],
)
def test_nonsense_is_refused_in_one_line(
    call: Callable[[], object], kind: type[QuantcoreError | ValueError], message: str
) -> None:
    with pytest.raises(kind, match=f"^{message}$"):
        call()
