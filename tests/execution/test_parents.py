"""What decisions wanted and got: children that replace each other, turns, refusals, and what belongs to no decision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.errors import SchemaMismatch
from quantcore.execution.parents import Parents, parent_orders, symbol_codes

NAN = math.nan
START = pd.Timestamp("2024-01-01", tz="UTC").as_unit("us")


def at(minute: int) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minute)


def orders(*rows: dict[str, Any]) -> pd.DataFrame:
    """Orders numbered in the order given: post-only buys of 10 BTC decided at minute 0, unless said otherwise."""
    usual = {
        "decision_ts": at(0),
        "symbol": "BTCUSDT",
        "side": "buy",
        "type": "limit",
        "qty": 10.0,
        "reduce_only": False,
        "status": "canceled",
        "reason": "target",
    }
    return pd.DataFrame([{"order_id": k, **usual, **row} for k, row in enumerate(rows)])


def fills(*rows: dict[str, Any]) -> pd.DataFrame:
    """Fills of 10 coins of order 0 at 100 for a fee of 0.5, unless said otherwise."""
    usual = {"order_id": 0, "qty": 10.0, "price": 100.0, "fee": 0.5, "reference_price": NAN}
    return pd.DataFrame([{**usual, **row} for row in rows], columns=list(usual))


def parents(sent: pd.DataFrame, *filled: dict[str, Any]) -> Parents:
    return parent_orders(sent, fills(*filled))


def wanted_and_filled(found: Parents) -> list[tuple[float, float]]:
    return list(zip(found.wanted.tolist(), found.filled.tolist(), strict=True))


REJECTED = {"status": "rejected", "reason": "post_only_would_cross"}
CROSSED = {"type": "market", "status": "filled"}


def test_children_that_replace_each_other_want_the_same_coins() -> None:
    """Rejected; 4 of 10 and cancelled; nothing of 6 and cancelled; the rest crosses."""
    sent = orders(
        {**REJECTED, "qty": 10.0},
        {"qty": 10.0},
        {"qty": 6.0},
        {**CROSSED, "qty": 6.0},
    )
    found = parents(
        sent, {"order_id": 1, "qty": 1.0}, {"order_id": 1, "qty": 3.0}, {"order_id": 3, "qty": 6.0}
    )
    assert wanted_and_filled(found) == [(10.0, 10.0)]
    assert found.fill_rate == 1.0


@pytest.mark.parametrize("ending", [REJECTED, {"status": "canceled"}, {"status": "new"}])
def test_what_the_last_child_left_is_missed(ending: dict[str, str]) -> None:
    sent = orders({"qty": 10.0}, {"qty": 6.0, **ending})
    found = parents(sent, {"order_id": 0, "qty": 4.0})
    assert wanted_and_filled(found) == [(10.0, 4.0)]
    assert found.fill_rate == pytest.approx(0.4)


def test_a_partial_fill_of_the_last_child_counts_once() -> None:
    sent = orders({"qty": 10.0}, {"qty": 6.0})
    found = parents(sent, {"order_id": 0, "qty": 4.0}, {"order_id": 1, "qty": 1.5})
    assert wanted_and_filled(found) == [(10.0, 5.5)]


def test_slices_add_up() -> None:
    sent = orders(*[{"qty": 3.0, "status": "filled"}] * 3, {"qty": 1.0})
    found = parents(sent, *[{"order_id": k, "qty": 3.0} for k in range(3)])
    assert wanted_and_filled(found) == [(10.0, 9.0)]


def test_a_turn_wants_its_closing_and_its_opening_part_and_is_one_decision() -> None:
    """Long 5, wanted short 7: 2 of 5 close as maker, 3 cross; of the 7 that open 6 are filled, and 1 is left."""
    closing, opening = {"reduce_only": True}, {"reduce_only": False}
    sent = orders(
        {**closing, "qty": 5.0},
        {**closing, **CROSSED, "qty": 3.0},
        {**opening, **REJECTED, "qty": 7.0},
        {**opening, "qty": 7.0},
        {**opening, "qty": 1.0},
    ).assign(side="sell")  # fmt: skip
    found = parents(
        sent, {"order_id": 0, "qty": 2.0}, {"order_id": 1, "qty": 3.0}, {"order_id": 3, "qty": 6.0}
    )  # fmt: skip
    assert wanted_and_filled(found) == [(12.0, 11.0)]
    assert found.side.tolist() == [-1.0]


def test_what_closing_and_opening_children_left_is_missed_both() -> None:
    sent = orders({"qty": 10.0, "reduce_only": True}, {"qty": 7.0})
    assert wanted_and_filled(parents(sent, {"qty": 4.0})) == [(17.0, 4.0)]


def test_a_reducing_order_that_was_cut_to_the_position_is_whole() -> None:
    sent = orders({**CROSSED, "qty": 10.0, "reduce_only": True})
    found = parents(sent, {"qty": 6.0})
    assert wanted_and_filled(found) == [(6.0, 6.0)]


def test_what_found_nothing_to_reduce_wanted_nothing() -> None:
    gone = {"status": "expired", "reason": "reduce_only", "reduce_only": True}
    assert len(parents(orders({"qty": 10.0, **gone}))) == 0
    sent = orders({"qty": 10.0, "reduce_only": True}, {"qty": 8.0, **gone})
    assert wanted_and_filled(parents(sent, {"qty": 2.0})) == [(2.0, 2.0)]


def test_the_fill_rate_is_the_mean_over_decisions_and_not_over_coins() -> None:
    sent = orders({"qty": 1.0}, {"symbol": "ETHUSDT", "qty": 1000.0}, {"decision_ts": at(60)})
    found = parents(sent, {"order_id": 0, "qty": 0.5}, {"order_id": 1, "qty": 1000.0})
    assert found.fill_rate == pytest.approx((0.5 + 1.0 + 0.0) / 3)
    assert math.isnan(parents(orders({}).iloc[:0]).fill_rate)


def test_decisions_symbols_and_sides_are_told_apart_and_sorted() -> None:
    sent = orders(
        {"decision_ts": at(5)}, {"symbol": "ETHUSDT"}, {"side": "sell"}, {"decision_ts": at(0)}
    )
    found = parents(sent)
    assert found.names == ("BTCUSDT", "ETHUSDT")
    minutes = (found.decision_us - found.decision_us[0]) // 60_000_000
    assert minutes.tolist() == [0, 0, 0, 5]
    assert found.symbol.tolist() == [0, 0, 1, 0]
    assert found.side.tolist() == [1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "row",
    [
        {"type": "stop_market", "reason": "stop_loss"},
        {"type": "market", "reason": "time_exit"},
        {"type": "limit", "reason": "take_profit"},
        {"type": "market", "reason": "risk"},
    ],
)
def test_what_no_decision_asked_for_is_left_out(row: dict[str, str]) -> None:
    sent = orders(row, {"order_id": 7})
    found = parents(sent, {"order_id": 0}, {"order_id": -1}, {"order_id": 7, "qty": 4.0})
    assert wanted_and_filled(found) == [(10.0, 4.0)]


def test_money_adds_up_by_parent() -> None:
    """A buy of 2 at 101 and 3 at 99 against 100: paid 499, worse by 2 and better by 3; and a sale of 1 at 90."""
    sent = orders({"qty": 2.0}, {"qty": 3.0}, {"side": "sell", "qty": 1.0})
    found = parents(
        sent,
        {"order_id": 0, "qty": 2.0, "price": 101.0, "reference_price": 100.0, "fee": 0.4},
        {"order_id": 1, "qty": 3.0, "price": 99.0, "reference_price": 100.0, "fee": -0.1},
        {"order_id": 2, "qty": 1.0, "price": 90.0, "reference_price": 92.0},
    )
    assert found.paid.tolist() == [499.0, 90.0]
    assert found.spread.tolist() == [-1.0, 2.0]
    assert found.fees.tolist() == pytest.approx([0.3, 0.5])


def test_without_a_reference_price_nothing_is_called_spread() -> None:
    assert parents(orders({}), {"price": 101.0}).spread.tolist() == [0.0]
    bare = parent_orders(orders({}), fills({"price": 101.0}).drop(columns="reference_price"))
    assert bare.spread.tolist() == [0.0]


def test_the_order_of_the_rows_does_not_matter() -> None:
    sent = orders({"qty": 10.0}, {"qty": 7.0}, {"symbol": "ETHUSDT"}, {"decision_ts": at(9)})
    filled = fills({"qty": 3.0}, {"order_id": 1, "qty": 2.0}, {"order_id": 2, "qty": 1.0})
    one, other = (
        parent_orders(o, f)
        for o, f in [
            (sent, filled),
            (sent.sample(frac=1.0, random_state=3), filled.sample(frac=1.0, random_state=4)),
        ]
    )
    for name in ("decision_us", "symbol", "side", "wanted", "filled", "paid", "fees"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_symbols_are_numbered_in_their_order() -> None:
    names, codes = symbol_codes(pd.Series(["ETHUSDT", "BTCUSDT", "ETHUSDT"]))
    assert (names, codes.tolist()) == (("BTCUSDT", "ETHUSDT"), [1, 0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: parent_orders(orders({}), fills().drop(columns="fee")),
            r"fills must have the columns .*, lacked \['fee'\]",
        ),
        (
            lambda: parent_orders(orders({}).drop(columns="status"), fills()),
            r"orders must have the columns .*, lacked \['status'\]",
        ),
        (
            lambda: parents(orders({"side": "long"})),
            "side of orders must be buy or sell, was long",
        ),
        (
            lambda: parents(orders({}, {"order_id": 0})),
            "order_id of orders must be unique, was 0",
        ),
        (
            lambda: parents(orders({"qty": 0.0})),
            r"qty of orders must be > 0, was 0\.0",
        ),
        (
            lambda: parents(orders({}), {"qty": 4.0}, {"qty": 7.0}),
            "an order must not be filled by more than its qty, order_id, was 0",
        ),
        (lambda: parents(orders({}), {"qty": -4.0}), r"qty of fills must be > 0, was -4\.0"),
        (
            lambda: parents(orders({}), {"price": 0.0}),
            r"price of fills must be > 0 or NaN, was 0\.0",
        ),
        (lambda: symbol_codes(pd.Series(["A", None])), "symbol must not be missing"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(SchemaMismatch, match=f"^{message}$"):
        call()
