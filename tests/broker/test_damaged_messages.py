"""Whatever the user stream or an answer says, it is an event that can be kept and booked, or a doubt in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.broker import forms
from live.broker.interface import Doubt, Fill, OrderChange
from live.broker.user_stream import UserStream
from live.journal import Journal, open_journal
from quantcore.errors import VenueError
from tests.broker.messages import account_update, algo_update, order_update, trade
from tests.journal.entries import session
from tests.loop.made import PREFIX, ledger_of

WORDS = (
    "nan", "-inf", "1e400", "1e-400", "-0", "-0.004", "0x1", "9" * 400, "²", "true", "\ud800", "BTCUSDT",
    "XYZUSDT", "FILLED", "autoclose-1", f"{PREFIX}-1", f"{PREFIX}-{'9' * 30}",
)  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
OWN = f"{PREFIX}-1"
MESSAGES = (
    trade(c=OWN), trade(c="web-1"), order_update(c=OWN, X="EXPIRED", x="EXPIRED", er="9"), algo_update(caid=OWN),
    algo_update(caid=OWN, X="CANCELED"), account_update(), account_update("FUNDING_FEE"),
    {"e": "TRADE_LITE", "E": 1, "T": 1, "s": "BTCUSDT", "t": 5},
    {"e": "ACCOUNT_CONFIG_UPDATE", "E": 1, "T": 1, "ac": {"s": "BTCUSDT", "l": 25}},
    {"e": "listenKeyExpired", "E": "1", "listenKey": "k"},
)  # fmt: skip
LEDGER = ledger_of(("BTCUSDT", "ETHUSDT"))


@pytest.fixture(scope="module")
def journal() -> Iterator[Journal]:
    with open_journal("sqlite://") as found:
        found.begin(session(), now_us=0)
        yield found


def places(told: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a message as what holds it and its key there."""
    entries = told.items() if isinstance(told, dict) else enumerate(told)
    for key, inside in entries:
        yield told, key
        if isinstance(inside, dict | list):
            yield from places(inside)


@given(st.sampled_from(MESSAGES), st.data())
def test_a_damaged_message_is_an_event_that_can_be_booked_or_a_doubt(
    journal: Journal, message: dict[str, Any], draw: st.DataObject
) -> None:
    damaged = copy.deepcopy(message)
    for _ in range(draw.draw(st.integers(1, 2))):
        holder, key = draw.draw(st.sampled_from(list(places(damaged))))
        if draw.draw(st.booleans()) and isinstance(holder, dict):
            del holder[key]
            if not damaged:
                return
        else:
            holder[key] = draw.draw(JSON)
    text = json.dumps(damaged)  # NaN and Infinity pass as they do from an exchange that errs
    stream = UserStream(stuck_us=1)
    for event in [*stream.hear(json.loads(text)), *stream.watch(2**62)]:
        with journal.transaction() as connection:
            for table in ("fills", "order_changes", "balances", "doubts", "events"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        journal.hear([event], heard_us=1)
        if isinstance(event, Doubt):
            assert "\n" not in event.reason
            assert len(event.reason) <= 200
        elif isinstance(event, Fill | OrderChange):
            for whole, numbers in LEDGER.hear(event) or ():
                assert all(-(2**63) <= number < 2**63 for number in whole)
                assert all(abs(number) < 1e18 for number in numbers)


@pytest.mark.parametrize(
    "changes",
    [
        {"l": "nan"}, {"l": "-0.004"}, {"L": "much"}, {"L": "0"}, {"L": "inf"}, {"n": "nan"}, {"rp": "x"},
        {"t": 2**63}, {"t": 1.5}, {"T": -1}, {"T": 2**62}, {"m": "false"}, {"l": "1e13"}, {"T": float("inf")},
    ],
)  # fmt: skip
def test_a_fill_with_a_number_that_is_none_is_a_doubt(changes: dict[str, Any]) -> None:
    (event,) = UserStream(stuck_us=1).hear(trade(**changes))
    assert isinstance(event, Doubt)
    assert event.reason.startswith("user stream: ORDER_TRADE_UPDATE not understood")


@pytest.mark.parametrize(
    "changes",
    [
        {"s": "XYZUSDT"}, {"c": f"{PREFIX}-01"}, {"c": f"{PREFIX}-{'9' * 30}"}, {"c": f"{PREFIX}-²"},
        {"c": "web-1", "l": "0.00401"},
    ],
)  # fmt: skip
def test_what_is_of_another_symbol_or_of_no_order_of_ours_is_foreign(
    changes: dict[str, Any],
) -> None:
    for told in (trade(c=OWN), order_update(c=OWN, x="CANCELED", X="CANCELED")):
        (event,) = UserStream(stuck_us=1).hear(told | {"o": told["o"] | changes})
        assert isinstance(event, Fill | OrderChange)
        assert LEDGER.hear(event) is None


def test_a_stamp_that_is_no_time_is_a_doubt() -> None:
    for stamp in ("²", "9" * 5000, -1, True, float("nan"), [1]):
        (event,) = UserStream(stuck_us=1).hear(account_update() | {"T": stamp})
        assert isinstance(event, Doubt)
        assert event.reason == "user stream: ACCOUNT_UPDATE at no time that there is"


ACCOUNT = {"assets": [{"asset": "USDT", "walletBalance": "7700", "availableBalance": "7700"}]}
POSITION = {"symbol": "BTCUSDT", "positionAmt": "0.01", "entryPrice": "1", "markPrice": "1"}


@pytest.mark.parametrize("wrong", ["nan", "inf", "", None, "much", "1e13", True, []])
def test_a_balance_or_a_position_that_is_no_number_is_no_answer(wrong: Any) -> None:
    asset = ACCOUNT["assets"][0] | {"walletBalance": wrong}
    with pytest.raises(VenueError), forms.legible("account"):
        forms.account_report(
            {"assets": [asset]}, hedge_mode=False, multi_assets=False, burns_bnb=False, permissions=None
        )  # fmt: skip
    with pytest.raises(VenueError), forms.legible("positions"):
        forms.position_reports([POSITION | {"positionAmt": wrong}])


@pytest.mark.parametrize("wrong", ["false", 0, None, "no"])
def test_a_permission_is_true_or_false_and_no_text(wrong: Any) -> None:
    told = {"enableFutures": wrong, "enableWithdrawals": False}
    with pytest.raises(VenueError), forms.legible("permissions"):
        forms.account_report(
            ACCOUNT, hedge_mode=False, multi_assets=False, burns_bnb=False, permissions=told
        )  # fmt: skip
