"""What replays a live journal: positions without a stop are seen, and a wallet is compared where it can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from live.broker.interface import Balance, Fill, Income
from live.journal.replay_check import _Told
from live.journal.told import Event
from live.replayer import naked, wallet
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from quantcore.types import FillReason, OrderType, Side
from tests.loop.made import ledger_of, plane_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def state_with(*tickets: tuple[int, FillReason, int], held: tuple[int, int] = (5, 0)) -> FoldState:
    """Return an account with positions and orders (symbol, reason, time of the cancel asked for)."""
    state = ledger_of(SYMBOLS).state
    arrays = state.copies()
    arrays["held"][:, at.LOTS] = held
    for k, (s, reason, cancel_us) in enumerate(tickets):
        ticket = arrays["ticket"][k]
        ticket[at.SYMBOL], ticket[at.REASON], ticket[at.CANCEL_TS] = s, reason, cancel_us
        ticket[at.TYPE] = OrderType.STOP_MARKET
    arrays["counter"][at.OPEN_ORDERS] = len(tickets)
    return FoldState(state.kind, state.version, arrays)


@pytest.mark.parametrize(
    ("state", "without"),
    [
        (state_with((0, FillReason.STOP_LOSS, at.NEVER)), []),
        (state_with((0, FillReason.STOP_LOSS, 77)), ["BTCUSDT"]),
        (state_with((1, FillReason.STOP_LOSS, at.NEVER)), ["BTCUSDT"]),
        (state_with((0, FillReason.TARGET, at.NEVER)), ["BTCUSDT"]),
        (state_with(held=(5, -3)), ["BTCUSDT", "ETHUSDT"]),
        (state_with(held=(0, 0)), []),
    ],
)
def test_a_position_without_its_stop_is_seen(state: FoldState, without: list[str]) -> None:
    assert naked(plane_of(SYMBOLS), state) == without


def test_without_limits_no_stop_is_asked_for() -> None:
    assert naked(plane_of(SYMBOLS, "risk=none"), state_with(held=(5, -3))) == []


def test_the_wallet_holds_isolated_margin() -> None:
    state = ledger_of(SYMBOLS).state
    arrays = state.copies()
    arrays["position"][:, at.MARGIN] = [10.0, 2.5]
    assert wallet(FoldState(state.kind, state.version, arrays)) == wallet(state) + 12.5


def balance(time_us: int) -> Balance:
    return Balance(time_us=time_us, wallet=str(time_us), change="0", kind="ORDER", positions=())


def fill(time_us: int) -> Fill:
    return Fill(
        time_us=time_us, trade_id=time_us, client_id="x", exchange_id=1, symbol="BTCUSDT", side=Side.BUY, qty="1",
        price="1", fee="0", fee_asset="USDT", maker=False, order_status=None, realised="0",
    )  # fmt: skip


def twin(time_us: int) -> Balance:
    """Return another wallet of the same millisecond."""
    return replace(balance(time_us), wallet="7")


def other(time_us: int) -> Fill:
    """Return another trade of the same millisecond."""
    return replace(fill(time_us), trade_id=77)


def income(time_us: int) -> Income:
    return Income(
        time_us=time_us, kind="FUNDING_FEE", symbol="BTCUSDT", amount="1", income_id=str(time_us)
    )


@pytest.mark.parametrize(
    ("events", "compared"),
    [
        ([fill(1), balance(1)], [None, 1]),
        ([balance(1), fill(1)], [None, 1]),
        ([balance(1), fill(1), balance(2), fill(2)], [None, 1, None, 2]),
        ([fill(1), fill(2), balance(1), balance(2)], [None, None, None, 2]),
        ([fill(1), fill(2), balance(2), balance(1)], [None, None, 2, None]),
        ([fill(2), balance(2), fill(1)], [None, None, 2]),
        ([balance(1), income(1)], [None, 1]),
        ([fill(2), balance(1), fill(1)], [None, None, None]),
        ([balance(3)], [3]),
        ([fill(1), balance(1), twin(1), fill(2), balance(2)], [None, None, None, None, 2]),
        ([fill(1), other(1), balance(1), balance(2)], [None, None, None, 2]),
    ],
)
def test_a_wallet_is_compared_once_all_is_known_that_moved_it(
    events: list[Event], compared: list[int | None]
) -> None:
    told = _Told(list(enumerate(events, start=1)))
    found = [told.comparable(number) for number in range(1, len(events) + 1)]
    assert [None if each is None else each.time_us for each in found] == compared


def test_targets_of_halted_symbols_are_left_as_they_are() -> None:
    from live.folds import traded

    targets = np.array([0.5, -0.5])
    assert traded(targets, None) is targets
    np.testing.assert_array_equal(traded(targets, np.array([False, True])), np.array([0.5, np.nan]))
    assert traded(None, np.array([True, True])) is None
    assert targets.tolist() == [0.5, -0.5]
