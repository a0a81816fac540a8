"""What the messages of the user stream mean."""

from __future__ import annotations

from typing import Any

import pytest

from live.broker import user_stream
from live.broker.interface import Balance, Doubt, Fill, OrderChange
from live.broker.user_stream import UserStream
from quantcore.types import OrderStatus, OrderType, Side
from tests.broker.messages import AT_MS, account_update, algo_update, order_update, trade

AT_US = AT_MS * 1000


def stream() -> UserStream:
    return UserStream(stuck_us=3_000_000)


def only(found: list[Any]) -> Any:
    assert len(found) == 1
    return found[0]


def test_a_fill_carries_everything_that_the_ledger_books() -> None:
    assert only(stream().hear(trade())) == Fill(
        time_us=AT_US,
        trade_id=77,
        client_id="q-1",
        exchange_id=8886774,
        symbol="BTCUSDT",
        side=Side.BUY,
        qty="0.004",
        price="40999.9",
        fee="0.0328",
        fee_asset="USDT",
        maker=True,
        order_status=OrderStatus.PARTIALLY_FILLED,
        realised="1.25",
    )


def test_a_trade_is_told_once_however_often_it_comes() -> None:
    of = stream()
    assert len(of.hear(trade())) == 1
    assert of.hear(trade()) == []
    assert len(of.hear(trade(t=78))) == 1
    assert len(of.hear(trade(s="ETHUSDT"))) == 1, "ids are unique per symbol alone"


def test_only_the_newest_trades_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_stream, "KEPT", 3)
    of = stream()
    for t in range(5):
        of.hear(trade(t=t))
    assert of.hear(trade(t=4)) == []
    assert len(of.hear(trade(t=0))) == 1


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("NEW", OrderStatus.NEW),
        ("CANCELED", OrderStatus.CANCELED),
        ("EXPIRED", OrderStatus.EXPIRED),
        ("EXPIRED_IN_MATCH", OrderStatus.EXPIRED),
        ("REJECTED", OrderStatus.REJECTED),
    ],
)
def test_a_change_without_a_trade_tells_the_orders_state(state: str, status: OrderStatus) -> None:
    change = only(stream().hear(order_update(x="CANCELED" if state != "NEW" else "NEW", X=state)))
    assert isinstance(change, OrderChange)
    assert (change.order.status, change.order.client_id, change.time_us) == (status, "q-1", AT_US)
    assert (change.order.qty, change.order.price, change.order.stop_price) == (
        "0.010",
        "41000.0",
        None,
    )
    assert not change.order.conditional


def test_the_exchanges_reason_for_an_expiry_is_kept() -> None:
    change = only(stream().hear(order_update(x="EXPIRED", X="EXPIRED", er="4")))
    assert change.why == "EXPIRED (4)"


@pytest.mark.parametrize(
    ("client_id", "execution", "state"),
    [
        ("autoclose-1699", "CALCULATED", "FILLED"),
        ("adl_autoclose", "TRADE", "NEW"),
        ("settlement_autoclose-8", "TRADE", "FILLED"),
    ],
)
def test_orders_that_the_exchange_makes_itself_keep_their_names(
    client_id: str, execution: str, state: str
) -> None:
    fill = only(stream().hear(trade(c=client_id, x=execution, X=state, o="LIQUIDATION", S="SELL")))
    assert isinstance(fill, Fill)
    assert (fill.client_id, fill.side) == (client_id, Side.SELL)


@pytest.mark.parametrize(
    ("state", "filled", "status"),
    [
        ("NEW", "0", OrderStatus.NEW),
        ("TRIGGERING", "0", OrderStatus.NEW),
        ("TRIGGERED", "0", OrderStatus.NEW),
        ("TRIGGERED", "0.004", OrderStatus.PARTIALLY_FILLED),
        ("FINISHED", "0.010", OrderStatus.FILLED),
        ("FINISHED", "0", OrderStatus.CANCELED),
        ("CANCELED", "0", OrderStatus.CANCELED),
        ("REJECTED", "0", OrderStatus.REJECTED),
        ("EXPIRED", "0", OrderStatus.EXPIRED),
    ],
)
def test_the_states_of_conditional_orders(state: str, filled: str, status: OrderStatus) -> None:
    change = only(stream().hear(algo_update(X=state, aq=filled)))
    order = change.order
    assert (order.status, order.conditional, order.client_id) == (status, True, "q-9")
    assert (order.exchange_id, order.stop_price, order.type) == (
        2148719,
        "38000",
        OrderType.STOP_MARKET,
    )
    assert order.close_position
    assert not order.stuck


def test_a_conditional_order_that_became_a_part_fill_was_cancelled() -> None:
    change = only(stream().hear(algo_update(X="FINISHED", q="0.010", aq="0.004", cp=False)))
    assert change.order.status is OrderStatus.CANCELED


def test_a_rejection_tells_the_exchanges_reason() -> None:
    assert only(stream().hear(algo_update(X="REJECTED", rm="Margin"))).why == "Margin"


def test_triggering_is_stuck_only_after_some_seconds_and_told_once() -> None:
    of = stream()
    of.hear(algo_update(X="TRIGGERING"))
    assert of.watch(AT_US + 2_900_000) == []
    change = only(of.watch(AT_US + 3_100_000))
    assert isinstance(change, OrderChange)
    assert change.order.stuck
    assert change.order.client_id == "q-9"
    of.hear(algo_update(X="TRIGGERING"))
    assert of.watch(AT_US + 9_000_000) == []


def test_what_triggers_in_time_is_never_stuck() -> None:
    of = stream()
    of.hear(algo_update(X="TRIGGERING"))
    of.hear(algo_update(X="TRIGGERED", ai="991"))
    assert of.watch(AT_US + 60_000_000) == []


def test_fills_of_a_triggered_order_carry_the_conditional_orders_client_id() -> None:
    of = stream()
    of.hear(algo_update(X="TRIGGERED", ai="991"))
    fill = only(of.hear(trade(c="made-by-exchange", i=991, o="MARKET")))
    assert (fill.client_id, fill.exchange_id) == ("q-9", 991)
    other = only(of.hear(trade(c="another", i=992, t=80)))
    assert other.client_id == "another"


def test_a_balance_is_the_whole_wallet_with_the_positions_that_changed() -> None:
    assert only(stream().hear(account_update())) == Balance(
        time_us=AT_US,
        wallet="7699.5",
        change="0",
        kind="ORDER",
        positions=(("BTCUSDT", "0.004", "40999.90"),),
    )


def test_funding_comes_as_a_change_of_the_balance() -> None:
    told = account_update(
        "FUNDING_FEE", B=[{"a": "USDT", "wb": "7698", "cw": "7698", "bc": "-1.5"}], P=[]
    )
    balance = only(stream().hear(told))
    assert (balance.kind, balance.change, balance.positions) == ("FUNDING_FEE", "-1.5", ())


def test_another_asset_and_hedge_mode_raise_doubt() -> None:
    burnt = account_update(
        B=[
            {"a": "USDT", "wb": "1", "cw": "1", "bc": "0"},
            {"a": "BNB", "wb": "1", "cw": "1", "bc": "0"},
        ]
    )
    found = stream().hear(burnt)
    assert {type(each) for each in found} == {Balance, Doubt}
    position = account_update()["a"]["P"][0]
    hedged = only(stream().hear(account_update(P=[{**position, "ps": "LONG"}])))
    assert hedged.reason == "user stream: a position of hedge mode"
    bare = only(stream().hear(account_update("MARGIN_TYPE_CHANGE", B=[])))
    assert "without a balance" in bare.reason


def test_a_brief_trade_is_awaited_in_full() -> None:
    of = stream()
    brief = {"e": "TRADE_LITE", "E": AT_MS, "T": AT_MS, "s": "BTCUSDT", "t": 77, "i": 8886774}
    assert of.hear(brief) == []
    assert of.watch(AT_US + 4_000_000) == []
    doubt = only(of.watch(AT_US + 6_000_000))
    assert doubt.reason == "user stream: trade 77 of BTCUSDT came without its order's update"
    assert of.watch(AT_US + 9_000_000) == []
    whole = stream()
    whole.hear(brief)
    whole.hear(trade())
    assert whole.hear(brief) == []
    assert whole.watch(AT_US + 60_000_000) == []


def test_coin_margined_events_of_the_same_stream_are_left_out() -> None:
    of = stream()
    assert of.hear({**trade(), "st": 2}) == []
    assert len(of.hear({**trade(), "st": 1})) == 1


def test_a_leverage_that_somebody_else_sets_raises_doubt_and_our_own_does_not() -> None:
    of = stream()
    told = {
        "e": "ACCOUNT_CONFIG_UPDATE",
        "E": AT_MS,
        "T": AT_MS,
        "ac": {"s": "BTCUSDT", "l": 25},
    }
    assert only(of.hear(told)).reason == "user stream: leverage of BTCUSDT was set to 25"
    of.expect_leverage("BTCUSDT", 25)
    assert of.hear(told) == []
    switched = {"e": "ACCOUNT_CONFIG_UPDATE", "E": AT_MS, "T": AT_MS, "ai": {"j": True}}
    assert "multi-assets" in only(of.hear(switched)).reason


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        "text",
        7,
        {},
        {"e": 5},
        {"e": "SOMETHING_NEW", "E": AT_MS},
        {"e": "MARGIN_CALL", "E": AT_MS, "p": []},
        {"e": "ORDER_TRADE_UPDATE", "E": AT_MS},
        {"e": "ORDER_TRADE_UPDATE", "E": AT_MS, "o": None},
        order_update(X="SOMETHING_NEW"),
        order_update(o="ICEBERG"),
        order_update(S="SHORT"),
        order_update(i="x"),
        trade(l="much"),
        trade(t=None),
        algo_update(X="PONDERING"),
        algo_update(aq="much"),
        {"e": "ALGO_UPDATE", "E": AT_MS, "o": []},
        {"e": "ACCOUNT_UPDATE", "E": AT_MS, "T": AT_MS, "a": {}},
        {"e": "ACCOUNT_UPDATE", "E": AT_MS, "T": AT_MS, "a": {"m": "ORDER", "B": [{}], "P": []}},
        {"e": "ACCOUNT_CONFIG_UPDATE", "E": AT_MS, "ac": {"s": "BTCUSDT", "l": "x"}},
        {"e": "TRADE_LITE", "E": AT_MS},
    ],
)
def test_what_is_not_understood_is_a_doubt_of_one_line(message: Any) -> None:
    doubt = only(stream().hear(message))
    assert isinstance(doubt, Doubt)
    assert doubt.reason.startswith("user stream: ")
    assert "\n" not in doubt.reason
    assert len(doubt.reason) <= 200


def test_the_end_of_the_listen_key_is_left_to_the_socket() -> None:
    assert stream().hear({"e": "listenKeyExpired", "E": str(AT_MS), "listenKey": "k" * 64}) == []


def test_a_message_that_is_not_understood_does_not_mark_its_trade_as_told() -> None:
    of = stream()
    of.hear(trade(n="0.03", X="SOMETHING_NEW"))
    assert isinstance(only(of.hear(trade())), Fill)
