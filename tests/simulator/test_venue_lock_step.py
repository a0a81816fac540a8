"""In lock-step an account of the exchange is the account of the backtest, to the last bit."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.filters import whole_steps
from live.simulator.venue import Venue
from live.simulator.wire import Refused, digits_of, lots_text, text
from quantcore.account_plane import account_plane
from quantcore.data.instruments import Instrument
from quantcore.kernels import layout as at
from quantcore.orders import OrderRequest, _down, _nearest, _passive, order_script
from quantcore.timegrid import to_us
from quantcore.types import OrderType
from tests.account.random_cases import (
    Case,
    case_bars,
    case_instruments,
    case_requests,
    case_settings,
)

KEY = "key"
HINTS = [at.TIER, at.ASKED_LOTS]
CONDITIONAL = (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET, OrderType.TRAILING_STOP_MARKET)
CASES = st.builds(
    Case,
    seed=st.integers(0, 2**31 - 1),
    n_bars=st.sampled_from([30, 80]),
    leverage=st.sampled_from([1, 3, 5, 20]),
    isolated=st.booleans(),
    capital=st.sampled_from([1000.0, 3e4]),
    volatility=st.sampled_from([0.01, 0.003, 0.03]),
    crash=st.sampled_from([0.0, 0.0, 0.5]),
    marks=st.booleans(),
    holes=st.booleans(),
    ends=st.booleans(),
    funding=st.booleans(),
    small_maximum=st.booleans(),
    bracket_scale=st.sampled_from([1.0, 100.0]),
    orders=st.lists(st.integers(0, 2**31 - 1), min_size=5, max_size=60).map(tuple),
)


def parameters(request: OrderRequest, number: int, instrument: Instrument) -> dict[str, str]:
    """Return a request as a client sends it."""
    digits = digits_of(instrument.tick_size)
    sent: dict[str, str] = {
        "symbol": request.symbol, "side": request.side.name, "type": request.type.name,
        "workingType": request.working_type.name,
    }  # fmt: skip
    conditional = request.type in CONDITIONAL
    sent["clientAlgoId" if conditional else "newClientOrderId"] = f"c{number}"
    if conditional:
        sent["algoType"] = "CONDITIONAL"
    if request.close_position:
        sent["closePosition"] = "true"
    else:
        sent["quantity"] = lots_text(_down(request.qty, instrument.step_size), instrument.step_size)
        sent["reduceOnly"] = str(request.reduce_only).lower()
    if request.price is not None:
        price = _passive(request.price, instrument.tick_size, request.side)
        sent |= {"price": text(price, digits), "timeInForce": request.time_in_force.name}
    if request.type == OrderType.TRAILING_STOP_MARKET and request.callback is not None:
        sent["callbackRate"] = text(request.callback * 100.0, 1)
    elif request.stop_price is not None:
        sent["triggerPrice"] = text(_nearest(request.stop_price, instrument.tick_size), digits)
    return sent


class Driver:
    """Plays requests to a venue bar by bar, and keeps those that it took."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bars = case_bars(case)
        self.instruments = case_instruments(case)
        _, execution = case_settings(case)
        self.venue = Venue(
            BarTape(bars=self.bars, instruments=self.instruments),
            VenueSettings(
                lock_step=True,
                half_spread_bps=execution.half_spread_bps,
                slippage_bps=execution.slippage_bps,
            ),
        )
        self.account = self.venue.open_account(KEY, "secret", case.capital)
        self.taken: list[OrderRequest] = []
        self.place: dict[int, int] = {}
        """Where a request stands among those taken, by its number."""
        for symbol in self.bars.symbols:
            self.ask("POST /fapi/v1/leverage", symbol=symbol, leverage=str(case.leverage))
            if case.isolated:
                self.ask("POST /fapi/v1/marginType", symbol=symbol, marginType="ISOLATED")

    def ask(self, name: str, **params: str) -> Any:
        return self.venue.handle(self.account, name, params)

    def run(self, requests: list[OrderRequest]) -> None:
        row = 0
        while True:
            now = int(self.bars.ts_us[row])
            for number, request in enumerate(requests):
                if to_us(request.ts) == now:
                    self.send(number, request)
            row += 1
            if row == self.bars.n_bars:
                break
            self.venue.advance(int(self.bars.ts_us[row]))

    def send(self, number: int, request: OrderRequest) -> None:
        try:
            if request.cancel is not None:
                self.cancel(request)
                return
            instrument = self.instruments[self.bars.symbols.index(request.symbol)]
            conditional = request.type in CONDITIONAL
            path = "algoOrder" if conditional else "order"
            if request.close_position and request.type in (
                OrderType.MARKET,
                OrderType.TRAILING_STOP_MARKET,
            ):
                return  # the exchange has no such order
            self.ask(f"POST /fapi/v1/{path}", **parameters(request, number, instrument))
        except Refused:
            return
        self.place[number] = len(self.taken)
        self.taken.append(request)

    def cancel(self, request: OrderRequest) -> None:
        assert request.cancel is not None
        if request.cancel not in self.place:
            return
        first = self.taken[self.place[request.cancel]]
        if first.type in CONDITIONAL:
            self.ask("DELETE /fapi/v1/algoOrder", clientAlgoId=f"c{request.cancel}")
        else:
            self.ask(
                "DELETE /fapi/v1/order", symbol=first.symbol, origClientOrderId=f"c{request.cancel}"
            )
        self.taken.append(
            OrderRequest(ts=request.ts, symbol=request.symbol, cancel=self.place[request.cancel])
        )


@settings(
    max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(case=CASES)
def test_fills_and_books_are_those_of_the_backtest(case: Case) -> None:
    driver = Driver(case)
    # A close-position order ends with its position here, as on the exchange; the backtest's waits for another one.
    requests = [r for r in case_requests(case, driver.bars) if not r.close_position]
    driver.run(requests)
    account, execution = case_settings(case)
    plane = account_plane(
        driver.instruments, interval=driver.bars.interval, account=account, execution=execution, exits=case.exits
    )  # fmt: skip
    script = order_script(driver.taken, driver.bars, driver.instruments)
    state, events = plane.advance(plane.start(), driver.bars, script=script)
    whole, number = events.of(at.EVENT_FILL)
    trades = list(driver.account.trades)
    assert len(trades) == len(whole)
    for trade, which, row in zip(trades, whole, number, strict=True):
        assert trade.order.terms.s == which[at.EVENT_SYMBOL]
        assert trade.lots == which[at.EVENT_LOTS]
        assert (trade.price, trade.fee, trade.realised) == (row[at.B], row[at.C], row[at.F])
        assert trade.time_us == which[at.TS]
    held = driver.account.held
    for name in ("cash", "position"):
        np.testing.assert_array_equal(held[name], state[name], err_msg=name)
    ours, theirs = (np.delete(a["held"], HINTS, axis=1) for a in (held, state))
    np.testing.assert_array_equal(ours, theirs)
    assert driver.venue.ledger()["accounts"][0]["missing"] == pytest.approx(
        0.0, abs=1e-9 * case.capital
    )


def test_a_market_order_waits_for_the_next_open_and_the_clock_for_its_driver() -> None:
    case = Case(seed=3, capital=1e6)
    driver = Driver(case)
    symbol, now = driver.bars.symbols[0], driver.venue.now_us
    quantity = lots_text(2000, driver.instruments[0].step_size)
    sent = driver.ask(
        "POST /fapi/v1/order", symbol=symbol, side="BUY", type="MARKET", quantity=quantity
    )
    assert sent["status"] == "NEW"
    assert driver.venue.now_us == now
    assert not driver.account.trades
    driver.venue.advance(now + driver.venue.tape.bar_us - 1)
    assert driver.venue.now_us == now
    driver.venue.advance(now + driver.venue.tape.bar_us)
    assert driver.account.trades[0].time_us == int(driver.bars.ts_us[1])


def test_the_same_requests_give_the_same_messages_also_after_a_restore() -> None:
    seeds = tuple(random.Random(5).randrange(2**31) for _ in range(40))
    case = Case(seed=9, n_bars=60, orders=seeds)
    one, other = Driver(case), Driver(case)
    requests = case_requests(case, one.bars)
    one.run(requests)
    first = one.venue.drain()
    half = int(other.bars.ts_us[30])
    early = [r for r in requests if to_us(r.ts) <= half]
    for row in range(31):
        other.venue.advance(int(other.bars.ts_us[row]))
        for number, request in enumerate(requests):
            if request in early and to_us(request.ts) == int(other.bars.ts_us[row]):
                other.send(number, request)
    kept = other.venue.snapshot()
    other.venue.advance(int(other.bars.ts_us[-1]))
    other.venue.drain()
    other.venue.restore(kept)
    other.account = other.venue.accounts[KEY]
    for row in range(31, 60):
        other.venue.advance(int(other.bars.ts_us[row]))
        for number, request in enumerate(requests):
            if to_us(request.ts) == int(other.bars.ts_us[row]):
                other.send(number, request)
    assert other.venue.drain() == first
    assert len(first) > 40


def test_whole_steps_are_exact() -> None:
    refusal = Refused(-4023, "no")
    assert whole_steps(Decimal("0.3"), "0.1", refusal) == 3
    with pytest.raises(Refused, match="-1111"):
        whole_steps(Decimal("0.31"), "0.1", refusal)
    with pytest.raises(Refused, match="-4023"):
        whole_steps(Decimal("0.3"), "0.2", refusal)
