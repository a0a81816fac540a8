"""Every kind of difference, planted by hand: it is found, it comes first, and it is called by its name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from live.parity.comparison import EQUITY_TOLERANCE, compare
from live.parity.gap import PARTS, gap
from live.parity.kinds import MEANINGS, Kind
from live.parity.report import page
from live.parity.study import AROUND
from live.parity.wording import first_told, verdict
from quantcore.backtest.folder import to_json
from tests.parity.sides import CAPITAL, changed, revalued, side, stamps, study, without


def test_two_sides_that_agree_have_no_difference() -> None:
    found = compare(side(), side(), capital=CAPITAL)
    assert found.equal
    assert found.counts == {
        "targets": (5, 0),
        "orders": (4, 0),
        "fills": (3, 0),
        "funding": (2, 0),
        "liquidations": (0, 0),
        "equity": (5, 0),
    }
    assert not len(found.differences)
    assert found.max_equity_error == 0.0


PLANTED = {
    "signal": (changed("targets", 2, BTCUSDT=np.nextafter(0.1, 1.0)), "targets", "weight"),
    "rounding": (changed("orders", 3, qty=1.001), "orders", "qty"),
    "price": (changed("fills", 2, price=102.4), "fills", "price"),
    "fee": (changed("fills", 0, fee=0.11), "fills", "fee"),
    "funding": (changed("funding", 1, rate=0.0002, amount=-0.0105), "funding", "rate"),
    "timing": (changed("fills", 2, ts=stamps([4])[0]), "fills", "ts"),
    "terms": (changed("orders", 2, reduce_only=False), "orders", "reduce_only"),
    "ending": (changed("orders", 3, status="rejected", reason="margin"), "orders", "status"),
    "missing": (without("fills", 1), "fills", "qty"),
    "equity": (changed("equity", 3, equity=900.0), "equity", "equity"),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_difference_is_found_and_called_by_its_name(kind: str) -> None:
    live, table, field = PLANTED[kind]
    found = study(side(), live)
    assert not found.comparison.equal
    first = found.first
    assert first is not None
    assert (first["kind"], first["subject"], first["field"]) == (kind, table, field)
    assert found.comparison.by_kind == {kind: 1}
    assert MEANINGS[Kind(kind)] in first_told(found)


def test_what_only_the_live_side_has_is_extra() -> None:
    for table in ("fills", "orders", "funding"):
        found = study(without(table, 1), side())
        assert found.first is not None
        assert found.first["kind"] == "extra"
        assert found.first["backtest"] is None


def test_order_that_one_side_lacks_does_not_make_those_after_it_differ() -> None:
    live = without("orders", 2)
    live["orders"]["order_id"] = [0, 1, 2]
    live["fills"] = live["fills"].assign(order_id=[0, 1, 2])
    found = compare(side(), live, capital=CAPITAL)
    assert found.by_kind == {"missing": 1}


def test_first_difference_is_the_first_in_time_and_within_a_bar_the_cause() -> None:
    live = changed("fills", 2, price=102.4)
    live["equity"].loc[[3, 4], "equity"] -= 0.1
    live["targets"].loc[live["targets"].index[4], "BTCUSDT"] = 0.3
    listed = compare(side(), live, capital=CAPITAL).differences
    assert listed["kind"].tolist() == ["price", "equity", "equity", "signal"]


def test_decision_that_one_side_did_not_take_differs() -> None:
    live = side()
    live["targets"] = live["targets"].drop(live["targets"].index[1])
    found = compare(side(), live, capital=CAPITAL)
    assert found.counts["targets"] == (5, 1)
    assert found.by_kind == {"missing": 1}
    assert found.differences["live"].isna().all()


def test_decision_that_a_run_skipped_is_told_with_its_reason() -> None:
    live = side()
    when = live["targets"].index[1]
    live["targets"] = live["targets"].drop(when)
    found = study(side(), live)
    told = replace(found, summary={**found.summary, "skipped": {when.isoformat(): "late"}})
    assert first_told(told).endswith("The run skipped this decision: late.")
    assert "skipped" not in first_told(found)


def test_nan_and_zero_of_a_target_are_not_the_same_and_neither_are_the_signs_of_zero() -> None:
    for value in (0.0, -0.0):
        live = changed("targets", 4, ETHUSDT=value)
        assert compare(side(), live, capital=CAPITAL).counts["targets"] == (5, 1)
    minus, plus = (changed("targets", 4, ETHUSDT=value) for value in (-0.0, 0.0))
    assert not compare(minus, plus, capital=CAPITAL).equal


def test_equity_may_differ_by_the_order_of_a_sum_and_no_more() -> None:
    for factor, equal in ((0.9, True), (1.1, False)):
        live = side()
        live["equity"]["equity"] += factor * EQUITY_TOLERANCE * CAPITAL
        assert compare(side(), live, capital=CAPITAL).equal is equal


def test_bars_recorded_by_the_live_side_alone_are_not_compared() -> None:
    backtest = side()
    backtest["equity"] = backtest["equity"].iloc[[0, 4]].reset_index(drop=True)
    found = compare(backtest, side(), capital=CAPITAL)
    assert found.equal
    assert found.counts["equity"] == (2, 0)


def test_order_that_ended_with_its_position_may_be_expired_for_canceled_and_nothing_else() -> None:
    found = compare(side(), changed("orders", 2, status="expired"), capital=CAPITAL)
    assert found.equal
    assert found.expired == 1
    backtest = changed("orders", 2, status="expired")
    assert not compare(backtest, side(), capital=CAPITAL).equal
    assert not compare(side(), changed("orders", 2, status="rejected"), capital=CAPITAL).equal
    odd = changed("orders", 2, status="expired", stop_price=11.5)
    assert compare(side(), odd, capital=CAPITAL).by_kind == {"price": 1}


@pytest.mark.parametrize(
    ("part", "live"),
    [
        ("price", changed("fills", 2, price=102.4)),
        ("timing", changed("fills", 2, price=103.5, ts=stamps([4])[0])),
        ("rounding", changed("fills", 0, qty=2.5)),
        ("missing", without("fills", 1)),
        ("fee", changed("fills", 0, fee=0.11)),
        ("funding", changed("funding", 1, amount=-0.0105)),
    ],
)
def test_gap_is_explained_by_the_part_that_differs(
    part: str, live: dict[str, pd.DataFrame]
) -> None:
    found = study(side(), revalued(live)).summary["gap"]
    assert found["total"] != 0.0
    assert found[part] == pytest.approx(found["total"], abs=1e-9)
    assert max(abs(found[name]) for name in PARTS if name != part) < 1e-9


def test_trade_of_other_orders_on_both_sides_is_one_of_another_time() -> None:
    """The live side sells the BTC by an order of its own, in two parts, and half of it not at all."""
    live = side()
    live["orders"].loc[3, "decision_ts"] = stamps([3])[0]
    first = live["fills"].iloc[[2]].assign(ts=stamps([4])[0], qty=0.3, price=103.0, fee=0.015)
    second = first.assign(qty=0.2, price=104.5, fee=0.01)
    live["fills"] = pd.concat([live["fills"].iloc[:2], first, second], ignore_index=True)
    found = study(side(), revalued(live)).summary["gap"]
    assert found["timing"] == pytest.approx(0.3 * (103.0 - 102.5) + 0.2 * (104.5 - 102.5))
    assert found["missing"] == pytest.approx(0.5 * (104.0 - 102.5) + 0.5 * 0.05)
    assert found["extra"] == 0.0
    assert abs(found["unexplained"]) < 1e-9


def shift(table: pd.DataFrame, amount: float) -> None:
    """Change one equity."""
    table.loc[4, "equity"] = float(table["equity"].to_numpy()[4]) + amount


def test_gap_that_no_table_explains_is_left_over() -> None:
    live = side()
    shift(live["equity"], 3.0)
    gap = study(side(), live).summary["gap"]
    assert gap["unexplained"] == pytest.approx(3.0, abs=1e-9)


def test_correction_of_the_wallet_is_a_part_of_its_own() -> None:
    live = side()
    shift(live["equity"], -2.0)
    found = compare(side(), live, capital=CAPITAL)
    marks = {"BTCUSDT": 104.0, "ETHUSDT": 9.5}
    parts = gap(side(), live, found, marks, corrected=-2.0)
    assert parts["correction"] == -2.0
    assert abs(parts["unexplained"]) < 1e-9


def test_what_a_real_run_does_not_know_or_tells_to_eight_digits_is_the_same() -> None:
    live = changed("funding", 1, rate=np.nan, mark_price=np.nan, amount=0.010500004)
    assert not compare(side(), live, capital=CAPITAL).equal
    assert compare(side(), live, capital=CAPITAL, tolerance=1e-8).equal
    live["funding"]["amount"] += [0.0, 2e-8]
    assert not compare(side(), live, capital=CAPITAL, tolerance=1e-8).equal
    assert not compare(live, side(), capital=CAPITAL, tolerance=1e-8).equal


def test_context_holds_the_rows_around_the_first_difference_on_both_sides() -> None:
    found = study(side(), without("fills", 1)).context
    assert found["of"].tolist() == ["backtest"] * 3 + ["live"] * 2
    assert found["row"].tolist() == [0, 1, 2, 0, 1]
    long = study(side(), changed("targets", 2, BTCUSDT=0.3)).context
    assert len(long) == 10 <= 2 * (2 * AROUND + 1)


@pytest.mark.parametrize("kind", PLANTED)
def test_page_and_sentences_hold_every_kind(kind: str) -> None:
    found = study(side(), PLANTED[kind][0])
    html = page(found)
    assert MEANINGS[Kind(kind)] in html
    assert "First difference" in html
    assert verdict(found).startswith("Different: ")
    assert json.loads(to_json(found.summary))["first_difference"]["kind"] == kind


def test_page_of_equal_sides_says_so() -> None:
    found = study(side(), side())
    assert found.first is None
    html = page(found)
    assert "There is none." in html
    assert verdict(found) == "Equal: 5 decisions and 3 fills, no difference."
