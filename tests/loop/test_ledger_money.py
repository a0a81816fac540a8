"""Money that the exchange tells: funding by its own amount, transfers, and fees other than the rules'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from live.broker.interface import Fill, Income, Order
from live.folds import MOMENT
from live.ledger import Ledger, LedgerStep
from quantcore.frames import PRICE_FIELDS, Bars, no_settlements
from quantcore.kernels import layout as at
from quantcore.types import OrderStatus, Side
from tests.loop.made import ledger_of

SYMBOLS = ("BTCUSDT", "ETHUSDT")
BEGIN_US = 1_704_182_280_000_000
PRICE = 42_000.0


@pytest.fixture
def ledger() -> Ledger:
    return ledger_of(SYMBOLS, "execution=taker")


def close(
    ledger: Ledger, bar: int, *heard: Any, targets: Sequence[float] | None = None
) -> LedgerStep:
    step = ledger.step(
        row(bar), heard, targets=None if targets is None else np.array(targets), recorded=True
    )
    ledger.take(step)
    return step


PRICES = {"BTCUSDT": PRICE, "ETHUSDT": 2000.0, "ADAUSDT": 0.5}


def row(
    bar: int, *, interval: str = "1m", late_us: int = 0, symbols: tuple[str, ...] = SYMBOLS
) -> Bars:
    prices = np.array([[PRICES[symbol] for symbol in symbols]])
    return Bars(
        interval=interval,
        ts_us=np.array([BEGIN_US + bar * 60_000_000 + late_us]),
        symbols=symbols,
        fields={**dict.fromkeys(PRICE_FIELDS, prices), "volume": np.full(prices.shape, 100.0)},
        settlements=no_settlements(),
    )


def fill(ledger: Ledger, step: LedgerStep, *, fee: str = "", asset: str = "USDT") -> Fill:
    """Return the trade of a step's first order."""
    order = step.wanted[0].request
    assert isinstance(order, Order)
    assert order.qty is not None
    qty = order.qty
    rate = ledger.plane.rules.rate[0, at.TAKER_FEE]
    own = float(qty) * PRICE * rate
    return Fill(
        time_us=BEGIN_US, trade_id=1, client_id=order.client_id, exchange_id=1, symbol="BTCUSDT", side=Side.BUY,
        qty=qty, price=str(PRICE), fee=fee or f"{own:.8f}", fee_asset=asset, maker=False,
        order_status=OrderStatus.FILLED, realised="0",
    )  # fmt: skip


def test_a_fee_as_by_the_rules_needs_no_correction(ledger: Ledger) -> None:
    step = close(ledger, 0, targets=[0.1, np.nan])
    rows = ledger.hear(fill(ledger, step))
    assert rows is not None
    assert len(rows) == 1


@pytest.mark.parametrize("fee", ["0.10000000", "9.00000000", "-0.05000000"])
def test_after_another_fee_the_wallet_is_the_exchanges(ledger: Ledger, fee: str) -> None:
    step = close(ledger, 0, targets=[0.1, np.nan])
    before = ledger.wallet
    rows = ledger.hear(fill(ledger, step, fee=fee))
    assert rows is not None
    close(ledger, 1, *rows)
    assert ledger.wallet == pytest.approx(before - float(fee), abs=1e-9)
    assert ledger.state["cash"][at.FEES] == pytest.approx(float(fee), abs=1e-9)


@pytest.mark.parametrize("amount", ["-1.25000000", "0.40000000"])
def test_funding_is_booked_by_the_amount_that_the_exchange_told(
    ledger: Ledger, amount: str
) -> None:
    before = ledger.wallet
    income = Income(
        time_us=BEGIN_US, kind="FUNDING_FEE", symbol="BTCUSDT", amount=amount, income_id="7"
    )
    rows = ledger.hear(income)
    assert rows is not None
    step = close(ledger, 0, *rows)
    assert ledger.wallet == pytest.approx(before + float(amount), abs=1e-12)
    assert ledger.state["cash"][at.FUNDING] == -float(amount)
    whole, number = step.events.of(at.EVENT_FUNDING)
    assert whole[0, at.TS] == BEGIN_US
    assert number[0, at.D] == -float(amount)
    assert np.isnan(number[0, [at.B, at.C]]).all()


def test_a_transfer_is_a_flow_that_changes_no_return(ledger: Ledger) -> None:
    close(ledger, 0)
    nav = ledger.state["cash"][at.EQUITY] * ledger.state["cash"][at.NAV_RATE]
    income = Income(time_us=BEGIN_US, kind="TRANSFER", symbol=None, amount="500", income_id="8")
    rows = ledger.hear(income)
    assert rows is not None
    close(ledger, 1, *rows)
    cash = ledger.state["cash"]
    assert cash[at.NET_DEPOSITS] == 500.0
    assert cash[at.EQUITY] * cash[at.NAV_RATE] == pytest.approx(nav, rel=1e-12)


def test_other_money_is_a_correction(ledger: Ledger) -> None:
    before = ledger.wallet
    income = Income(
        time_us=BEGIN_US, kind="INSURANCE_CLEAR", symbol="BTCUSDT", amount="-3", income_id="9"
    )
    rows = ledger.hear(income)
    assert rows is not None
    close(ledger, 0, *rows)
    assert ledger.wallet == before - 3.0


def test_a_stop_that_grows_with_its_position_is_replaced_once() -> None:
    """The word that the former stop was cancelled must not let the new one be placed again."""
    ledger = ledger_of(SYMBOLS, "execution=taker")
    first = close(ledger, 0, targets=[0.1, np.nan])
    bought = ledger.hear(fill(ledger, first))
    assert bought is not None
    (stop,) = moment(ledger, 1, *bought).wanted
    second = close(ledger, 1, targets=[0.2, np.nan])
    grown = fill(ledger, second)
    again = ledger.hear(grown.__class__(**vars(grown) | {"trade_id": 2, "price": "43000.0"}))
    assert again is not None
    follows = moment(ledger, 2, *again).wanted
    assert [type(each.request).__name__ for each in follows] == ["Cancel", "Order"]
    assert follows[0].number == stop.number
    ended = ledger.ended(stop.number, "BTCUSDT", OrderStatus.CANCELED, None, BEGIN_US)
    assert moment(ledger, 3, ended).wanted == ()
    assert len(ledger.open_orders()) == 1


def test_a_stop_that_somebody_else_ended_is_placed_anew() -> None:
    ledger = ledger_of(SYMBOLS, "execution=taker")
    bought = ledger.hear(fill(ledger, close(ledger, 0, targets=[0.1, np.nan])))
    assert bought is not None
    (stop,) = moment(ledger, 1, *bought).wanted
    ended = ledger.ended(stop.number, "BTCUSDT", OrderStatus.EXPIRED, None, BEGIN_US)
    (anew,) = moment(ledger, 2, ended).wanted
    assert anew.number > stop.number
    assert isinstance(anew.request, Order)
    assert anew.request.conditional


def test_a_trade_of_an_order_that_was_taken_for_gone_is_booked_and_guarded(ledger: Ledger) -> None:
    step = close(ledger, 0, targets=[0.1, np.nan])
    trade = fill(ledger, step)
    gone = ledger.ended(step.wanted[0].number, "BTCUSDT", OrderStatus.EXPIRED, None, BEGIN_US)
    assert moment(ledger, 1, gone).wanted == ()
    rows = ledger.hear(trade)
    assert rows is not None
    (stop,) = moment(ledger, 2, *rows).wanted
    assert ledger.qty("BTCUSDT") == trade.qty
    assert ledger.wallet == pytest.approx(7700.0 - float(trade.fee), abs=1e-8)
    assert isinstance(stop.request, Order)
    assert stop.request.close_position


def moment(ledger: Ledger, seconds: int, *heard: Any) -> LedgerStep:
    """Take a step between two closes."""
    bar = row(0, interval=MOMENT, late_us=seconds * 1_000_000)
    step = ledger.step(bar, heard, closes=False)
    ledger.take(step)
    return step
