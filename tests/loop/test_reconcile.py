"""What is believed against what the exchange has: each kind of difference, and its rule."""

from __future__ import annotations

import pytest

from live.broker.interface import AccountReport, Cancel, OrderReport, PositionReport
from live.journal.records import Resolution
from live.reconcile import Believed, Finding, Found, compare, halts
from live.wanted import ClientIds
from tests.loop.made import report

IDS = ClientIds("own")


def account(wallet: str = "1000") -> AccountReport:
    return AccountReport(
        wallet=wallet, available=wallet, other_assets=(), can_trade=None, can_withdraw=None,
        hedge_mode=False, multi_assets=False, burns_bnb=False,
    )  # fmt: skip


def position(symbol: str, qty: str) -> PositionReport:
    return PositionReport(
        symbol=symbol, qty=qty, entry_price="1", mark_price="1", liquidation_price="0", isolated_wallet="0",
    )  # fmt: skip


def differences(
    *,
    own: dict[int, Cancel] | None = None,
    qty: dict[str, str] | None = None,
    orders: tuple[OrderReport, ...] = (),
    positions: tuple[PositionReport, ...] = (),
    wallet: str = "1000",
) -> list[Finding]:
    mine = Believed(orders=own or {}, qty=qty or {"BTCUSDT": "0", "ETHUSDT": "0"}, wallet=1000.0)
    return compare(mine, Found(orders=orders, positions=positions, account=account(wallet)), IDS)


def stop(number: int) -> Cancel:
    return Cancel(client_id=IDS.of(number), symbol="BTCUSDT", conditional=True)


def test_what_agrees_is_no_difference_whatever_the_digits() -> None:
    assert (
        differences(
            own={3: stop(3)},
            qty={"BTCUSDT": "0.010", "ETHUSDT": "0"},
            orders=(report(IDS.of(3), conditional=True),),
            positions=(position("BTCUSDT", "0.01"),),
            wallet="1000.0000009",
        )
        == []
    )


def test_an_own_order_that_the_ledger_does_not_have_is_cancelled() -> None:
    (found,) = differences(orders=(report(IDS.of(9)),))
    assert (found.rule, found.subject, found.client_id) == (Resolution.CANCEL, "order", IDS.of(9))
    assert found.order == Cancel(client_id=IDS.of(9), symbol="BTCUSDT", conditional=False)
    assert halts([found]) == set()


def test_an_order_of_the_ledger_that_is_gone_is_asked_for() -> None:
    (found,) = differences(own={4: stop(4)})
    assert (found.rule, found.subject, found.number) == (Resolution.ADOPT, "algo_order", 4)
    assert found.order == stop(4)


@pytest.mark.parametrize("name", ["web_abc", "own2-7", "own-x"])
def test_a_foreign_order_halts_its_symbol_and_is_left_alone(name: str) -> None:
    found = differences(orders=(report(name, symbol="ETHUSDT"),))
    assert [f.rule for f in found] == [Resolution.HALT]
    assert halts(found) == {"ETHUSDT"}


@pytest.mark.parametrize("theirs", ["0.011", "-0.010", "0.009"])
def test_a_position_that_nothing_explains_halts_its_symbol(theirs: str) -> None:
    found = differences(
        qty={"BTCUSDT": "0.010", "ETHUSDT": "0"}, positions=(position("BTCUSDT", theirs),)
    )
    assert [(f.subject, f.expected, f.found) for f in found] == [("position", "0.010", theirs)]
    assert halts(found) == {"BTCUSDT"}


def test_a_position_in_a_symbol_that_is_not_traded_is_seen() -> None:
    assert halts(differences(positions=(position("SOLUSDT", "3"),))) == {"SOLUSDT"}


@pytest.mark.parametrize(
    ("wallet", "rule"),
    [
        ("1000.000002", Resolution.ADOPT),
        ("999.99", Resolution.ADOPT),
        ("1000.02", Resolution.HALT),
        ("900", Resolution.HALT),
    ],
)
def test_a_small_difference_of_the_wallet_is_booked_and_a_large_one_halts(
    wallet: str, rule: Resolution
) -> None:
    (found,) = differences(wallet=wallet)
    assert (found.rule, found.symbol) == (rule, None)
    assert found.amount == pytest.approx(float(wallet) - 1000.0)
    assert halts([found]) == set()
