"""A person's hand in the ledger: what opens is called off, what is held is closed by orders that only reduce."""

from __future__ import annotations

import numpy as np
import pytest

from live.broker.interface import Cancel, Fill, Order, OrderChange
from live.folds import MOMENT
from live.hand import called_off, is_flat, restrain
from live.kill_switch import Level
from live.ledger import Ledger, LedgerStep
from quantcore.types import OrderStatus, OrderType, Rule, Side
from tests.loop.made import ledger_of, report
from tests.loop.test_ledger_money import BEGIN_US, PRICE, close, row

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture(params=["router", "taker"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    return ledger_of(SYMBOLS, f"execution={request.param}")


def filled(order: Order, qty: str, trade: int) -> Fill:
    return Fill(
        time_us=BEGIN_US, trade_id=trade, client_id=order.client_id, exchange_id=trade, symbol=order.symbol,
        side=order.side, qty=qty, price=str(PRICE if order.symbol == "BTCUSDT" else 2000.0), fee="0", fee_asset="USDT",
        maker=False, order_status=OrderStatus.FILLED, realised="0",
    )  # fmt: skip


def heard(ledger: Ledger, *events: Fill | OrderChange) -> LedgerStep:
    rows = [each for event in events for each in (ledger.hear(event) or [])]
    return told(ledger, rows)


def told(ledger: Ledger, rows: list) -> LedgerStep:  # type: ignore[type-arg]  # rows of the account step
    step = ledger.step(row(0, interval=MOMENT, late_us=1_000_000), rows, closes=False)
    ledger.take(step)
    return step


def hand(ledger: Ledger, level: Level) -> LedgerStep:
    return told(ledger, list(called_off(ledger, level, BEGIN_US).values()))


def orders(step: LedgerStep) -> list[Order]:
    return [each.request for each in step.wanted if isinstance(each.request, Order)]


def opened(ledger: Ledger, share: float = 0.5) -> Ledger:
    """Hold a long position of BTCUSDT, of which `share` of the order was filled."""
    order = next(o for o in orders(close(ledger, 0, targets=[0.1, np.nan])) if not o.reduce_only)
    assert order.qty is not None
    heard(ledger, filled(order, f"{share * float(order.qty):.3f}", 1))
    assert ledger.lots("BTCUSDT") > 0
    return ledger


def test_flatten_closes_by_one_order_that_only_reduces_and_says_so_once(ledger: Ledger) -> None:
    opened(ledger, 1.0)
    step = hand(ledger, Level.FLATTEN)
    leaving = [order for order in orders(step) if not order.conditional]
    assert [(o.type, o.side, o.qty, o.reduce_only) for o in leaving] == [
        (OrderType.MARKET, Side.SELL, ledger.qty("BTCUSDT"), True)
    ]
    assert called_off(ledger, Level.FLATTEN, BEGIN_US) == {}
    assert not is_flat(ledger)
    after = heard(ledger, filled(leaving[0], ledger.qty("BTCUSDT"), 2))
    assert ledger.lots("BTCUSDT") == 0
    assert all(isinstance(each.request, Cancel) for each in after.wanted)  # of its stop
    assert is_flat(ledger)


def test_flatten_is_asked_again_where_its_order_was_refused(ledger: Ledger) -> None:
    opened(ledger, 1.0)
    [leaving] = [order for order in orders(hand(ledger, Level.FLATTEN)) if not order.conditional]
    number = ledger.ids.number(leaving.client_id)
    assert number is not None
    refused = ledger.ended(number, "BTCUSDT", OrderStatus.REJECTED, Rule.REDUCE_ONLY, BEGIN_US)
    told(ledger, [refused])
    assert set(called_off(ledger, Level.FLATTEN, BEGIN_US)) == {"BTCUSDT"}


def test_freeze_calls_off_what_is_not_filled_and_keeps_what_is_held() -> None:
    ledger = opened(ledger_of(SYMBOLS, "execution=router"), 0.5)
    held = ledger.qty("BTCUSDT")
    [resting] = [name for name in ledger.open_orders().values() if not name.conditional]
    step = hand(ledger, Level.FREEZE)
    assert [each.request for each in step.wanted] == [resting]
    assert called_off(ledger, Level.FREEZE, BEGIN_US) == {}
    ended = report(resting.client_id, status=OrderStatus.CANCELED)
    after = heard(ledger, OrderChange(time_us=BEGIN_US, order=ended))
    assert [order for order in orders(after) if not order.conditional] == []
    assert ledger.qty("BTCUSDT") == held
    assert not is_flat(ledger)
    assert any(name.conditional for name in ledger.open_orders().values())  # its stop stays


@pytest.mark.parametrize(
    ("targets", "level", "kept"),
    [
        ([0.01, 0.3], Level.FREEZE, [0.01, 0.0]),
        ([0.9, 0.0], Level.FREEZE, [np.nan, 0.0]),
        ([-0.2, np.nan], Level.FREEZE, [0.0, np.nan]),
        ([np.nan, -0.1], Level.FREEZE, [np.nan, 0.0]),
        ([0.9, np.nan], Level.FLATTEN, [0.0, 0.0]),
        ([0.9, np.nan], Level.NONE, [0.9, np.nan]),
    ],
)
def test_targets_of_a_stopped_account_may_only_make_positions_smaller(
    targets: list[float], level: Level, kept: list[float]
) -> None:
    ledger = opened(ledger_of(SYMBOLS, "execution=taker"), 1.0)
    np.testing.assert_array_equal(restrain(np.array(targets), level, ledger, row(1)), kept)


def test_what_a_person_asks_for_is_done_at_a_close_as_well(ledger: Ledger) -> None:
    opened(ledger, 1.0)
    words = called_off(ledger, Level.FLATTEN, BEGIN_US).values()
    leaving = [order for order in orders(close(ledger, 1, *words)) if not order.conditional]
    assert [(o.type, o.side, o.reduce_only) for o in leaving] == [
        (OrderType.MARKET, Side.SELL, True)
    ]
