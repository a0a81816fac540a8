"""In maintenance time goes on and nothing else: nothing is taken, filled, settled or liquidated until it ends."""

from __future__ import annotations

import pytest

from live.simulator.bar_tape import BarTape
from live.simulator.engine import VenueSettings
from live.simulator.venue import Venue
from live.simulator.wire import Refused, digits_of, text
from quantcore.kernels import layout as at
from quantcore.timegrid import HOUR_US, MINUTE_US
from tests.account.random_cases import Case, case_bars, case_instruments
from tests.simulator.test_mishaps import missing, strike
from tests.simulator.test_venue_live import SECOND, Trader, kinds, trader


def fundings(t: Trader) -> list[float]:
    return [each.amount for each in t.account.incomes if each.kind == "FUNDING_FEE"]


def dip(t: Trader) -> tuple[int, str]:
    """Return a span in microseconds within which the price falls and comes back, and a price in between."""
    now_us, tape = t.venue.now_us, t.venue.tape
    tick = t.venue.instruments[0].tick_size
    for span_us in range(HOUR_US, 40 * HOUR_US, 10 * MINUTE_US):
        low = float(tape.swept(now_us, now_us + span_us).low[0])
        # What the minutes after it do belongs to the test as well.
        after = float(tape.swept(now_us + span_us, now_us + span_us + 5 * MINUTE_US).low[0])
        back = min(after, float(t.venue.prices[0]))
        if low < back * 0.995:
            middle = round((low + back) / 2.0 / float(tick)) * float(tick)
            return span_us, text(middle, digits_of(tick))
    raise AssertionError("the market has no dip")


def test_what_the_market_does_in_maintenance_fills_nothing() -> None:
    t, twin = trader(), trader()
    span_us, price = dip(t)
    for each in (t, twin):
        each.order(side="BUY", type="LIMIT", timeInForce="GTC", quantity=each.qty(500), price=price)
        each.events()
    strike(t, "maintenance", span_us / SECOND)
    for _ in range(span_us // MINUTE_US):
        t.wait(60)
        twin.wait(60)
        assert t.venue.now_us == twin.venue.now_us
    assert kinds(twin.events())[:2] == ["TRADE_LITE", "TRADE FILLED"]
    t.wait(60)
    assert t.events() == []
    assert [o.status for o in t.account.open_orders()] == ["NEW"]


def test_nothing_is_taken_until_it_ends_and_then_all_can_be_asked() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(500))
    rest = t.order(
        side="BUY", type="LIMIT", timeInForce="GTC", quantity=t.qty(500), price=t.price(0.96)
    )
    strike(t, "maintenance", 60.0)
    t.wait(59)
    for name in ("POST /fapi/v1/order", "GET /fapi/v2/account"):
        with pytest.raises(Refused, match="-1000: Service Unavailable") as refused:
            t.ask(name, symbol=t.symbol, side="BUY", type="MARKET", quantity=t.qty(500))
        assert refused.value.status == 503
    t.wait(1)
    assert [o["orderId"] for o in t.ask("GET /fapi/v1/openOrders")] == [rest["orderId"]]
    assert float(t.ask("GET /fapi/v3/positionRisk")[0]["positionAmt"]) > 0.0
    assert len(t.ask("GET /fapi/v1/userTrades", symbol=t.symbol)) >= 1


def test_funding_of_the_time_is_paid_at_the_end_as_it_fell_due() -> None:
    t, twin = trader(funding=True), trader(funding=True)
    for each in (t, twin):
        each.order(side="BUY", type="MARKET", quantity=each.qty(500))
    strike(t, "maintenance", 20 * 3600.0)
    for each in (t, twin):
        for _ in range(2 * 20 - 1):
            each.wait(1800)
    assert len(fundings(twin)) >= 2
    assert fundings(t) == []
    for each in (t, twin):
        each.wait(1801)
    # Where a settlement has no mark of its own, the step's first one stands for it: a little earlier for the twin.
    assert fundings(t) == pytest.approx(fundings(twin), rel=2e-3)
    assert "ACCOUNT_UPDATE" in kinds(t.events())
    assert missing(t) == pytest.approx(0.0, abs=1e-8)


class Leveraged(Trader):
    """Holds what the market will liquidate."""

    def __init__(self) -> None:
        super().__init__(
            Case(seed=8, capital=10_000.0, n_bars=200, volatility=0.01, bracket_scale=100.0)
        )
        self.order(side="BUY", type="MARKET", quantity=self.qty(95_000))

    def ruined_us(self) -> int:
        """Return when it is liquidated."""
        while self.account.lots(0):
            self.wait(60)
        return self.venue.now_us


@pytest.mark.parametrize("recovers", [True, False])
def test_margins_are_tested_at_the_price_at_the_end(recovers: bool) -> None:
    t = Leveraged()
    ruined_us = Leveraged().ruined_us()
    tape, now_us = t.venue.tape, t.venue.now_us
    before_us = ruined_us - 2 * HOUR_US
    t.wait((before_us - now_us) / SECOND)
    assert t.account.lots(0) > 0
    held = t.account.held["position"]
    level = float(t.venue.marks[0])
    ends = range(ruined_us, tape.end_us - HOUR_US, HOUR_US)
    if recovers:
        end_us = next(e for e in ends if tape.swept(e, e + 10 * MINUTE_US).mark_low[0] > level)
    else:
        end_us = next(e for e in ends if tape.mark(e)[0] < float(tape.mark(ruined_us)[0]))
    strike(t, "maintenance", (end_us - before_us) / SECOND)
    t.wait((end_us - before_us) / SECOND - 1)
    assert t.account.lots(0) > 0
    assert held[0, at.QTY] > 0.0
    t.wait(60)
    assert (t.account.lots(0) > 0) == recovers
    assert bool(t.venue.drain_forced()) != recovers
    assert missing(t) == pytest.approx(0.0, abs=1e-7)


def test_faults_that_trade_cannot_happen_in_it() -> None:
    t = trader()
    t.order(side="BUY", type="MARKET", quantity=t.qty(500))
    strike(t, "maintenance", 60.0)
    for kind, values in (("liquidation", {}), ("adl", {}), ("price_gap", {"fraction": -0.5})):
        with pytest.raises(ValueError, match="kind must be none that trades in maintenance"):
            strike(t, kind, **values)
    assert t.account.lots(0) > 0
    rest = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": t.qty(300)}
    t.wait(60)
    t.order(**rest, price=t.price(1.03))
    strike(t, "maintenance", 60.0)
    strike(t, "partial_fill", 120.0, fraction=0.5)  # which lasts, but fills nothing now
    t.wait(60)
    assert [o.status for o in t.account.open_orders()] == ["NEW"]
    assert len(t.venue.in_force("partial_fill", 0, t.account)) == 1
    strike(t, "liquidation")
    assert t.account.lots(0) == 0


def test_a_restored_venue_is_still_in_maintenance() -> None:
    t = trader()
    strike(t, "maintenance", 60.0)
    kept = t.venue.snapshot()
    t.wait(61)
    assert not t.venue.closed
    t.venue.restore(kept)
    assert t.venue.closed


def test_in_lock_step_bars_that_open_in_it_are_not_met() -> None:
    case = Case(seed=4, capital=10_000.0, n_bars=60, volatility=0.004, funding=True)
    bars = case_bars(case)

    def venue() -> Venue:
        tape = BarTape(bars=bars, instruments=case_instruments(case))
        made = Venue(tape, VenueSettings(lock_step=True))
        account = made.open_account("key", "secret", case.capital)
        order = {"symbol": bars.symbols[0], "side": "BUY", "type": "MARKET", "quantity": "2"}
        made.handle(account, "POST /fapi/v1/order", order)
        made.advance(int(bars.ts_us[1]))
        return made

    closed, open_ = venue(), venue()
    account, twin = closed.accounts["key"], open_.accounts["key"]
    assert account.lots(0) == twin.lots(0) > 0
    t = Trader.__new__(Trader)
    t.venue = closed
    bar_us = closed.tape.bar_us
    strike(t, "maintenance", (20.5 * bar_us) / SECOND)  # it ends within the bar that closes at 22
    paid = []
    for row in range(2, 24):
        for each in (closed, open_):
            each.advance(int(bars.ts_us[row]))
        assert closed.now_us == open_.now_us == int(bars.ts_us[row])
        paid.append(sum(each.kind == "FUNDING_FEE" for each in account.incomes))
    assert paid[20] == 0 < paid[21]
    late, due = (
        [each.amount for each in a.incomes if each.kind == "FUNDING_FEE"] for a in (account, twin)
    )
    assert late == due
