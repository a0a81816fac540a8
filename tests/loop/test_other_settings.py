"""A journal that is carried on under other settings: what the account keeps, what begins anew, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from live.ledger import Ledger
from live.wanted import ClientIds
from quantcore.account_adopt import adopt
from quantcore.account_follow import NOTHING_HEARD, follow_bar
from quantcore.account_plane import AccountPlane
from quantcore.data.instruments import load_instruments
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.fold import FoldState
from quantcore.kernels import layout as at
from tests.loop.made import PREFIX, ledger_of, parts_of
from tests.loop.test_called_off import Acting, orders
from tests.loop.test_ledger_money import SYMBOLS, row

THREE = ("ADAUSDT", *SYMBOLS)


def plane_of(symbols: tuple[str, ...], *overrides: str) -> AccountPlane:
    return parts_of(*overrides).plane(load_instruments(symbols))


def holding(*overrides: str, closes: bool = True) -> Ledger:
    """Return an account with a long position of BTCUSDT and its stop, after a bar with nothing on its way."""
    acting = Acting(*overrides, "strategy.exits.stop_loss=0.05")
    [entry] = [order for order in orders(acting.close(0.1, np.nan)) if not order.conditional]
    assert entry.qty is not None
    acting.follow(acting.fill(entry, entry.qty))
    if closes:
        acting.close(np.nan, np.nan)
    return acting.ledger


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("execution=taker",), ("execution=router",)),
        (("execution=router",), ("execution=taker",)),
        (("execution=taker", "risk=none"), ("execution=router", "risk=paper")),
        (("execution=router", "risk=paper"), ("execution=taker", "risk=none")),
        (("execution=taker",), ("execution=taker",)),
    ],
)
def test_positions_orders_and_money_are_carried_over(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    ledger = holding(*before)
    plane = plane_of(THREE, *after, "account.leverage_max=2", "strategy.exits.stop_loss=0.05")
    state = adopt(plane, ledger.state)
    plane.check_state(state)
    other = Ledger(plane, load_instruments(THREE), ClientIds(PREFIX), state)
    assert {symbol: other.qty(symbol) for symbol in THREE} == {
        "ADAUSDT": "0", "ETHUSDT": "0.000", "BTCUSDT": ledger.qty("BTCUSDT"),
    }  # fmt: skip
    assert other.wallet == ledger.wallet
    assert other.open_orders() == ledger.open_orders() != {}
    assert (state["position"][:, at.LEVERAGE_SET] == 2.0).all()
    assert state["position"][1, at.ENTRY] == ledger.state["position"][0, at.ENTRY]
    bar = row(2, symbols=THREE)
    step = other.step(bar, [], targets=np.array([0.1, 0.0, np.nan]), recorded=True)
    assert {w.request.symbol for w in step.wanted} == {"ADAUSDT", "BTCUSDT"}


def test_the_ladder_begins_with_the_accounts_own_peak() -> None:
    ledger = holding("execution=taker", "risk=none")
    arrays = ledger.state.copies()
    arrays["cash"][at.PEAK_NAV] = 1.25
    state = FoldState(ledger.state.kind, ledger.state.version, arrays)
    adopted = adopt(plane_of(SYMBOLS, "execution=taker", "risk=paper"), state)
    assert adopted["risk"][at.PEAK] == 1.25
    assert adopted["risk"][at.DAY_NAV] == pytest.approx(1.0, abs=1e-3)


def test_what_was_learnt_of_a_pair_stays_with_its_symbols() -> None:
    ledger = holding("execution=taker", "risk=paper")
    arrays = ledger.state.copies()
    arrays["pairs"][0] = [[1.0, 2.0], [2.0, 4.0]]
    state = FoldState(ledger.state.kind, ledger.state.version, arrays)
    adopted = adopt(plane_of(THREE, "execution=taker", "risk=paper"), state)
    np.testing.assert_array_equal(adopted["pairs"][0, 1:, 1:], [[1.0, 2.0], [2.0, 4.0]])


def test_a_symbol_that_is_held_cannot_be_left_out() -> None:
    ledger = holding("execution=taker")
    with pytest.raises(ConfigError, match=r"data\.symbols must keep BTCUSDT while a position"):
        adopt(plane_of(("ETHUSDT",), "execution=taker"), ledger.state)


def test_a_symbol_with_an_open_order_cannot_be_left_out() -> None:
    acting = Acting("execution=router", "execution.router.post_only=true")
    acting.close(0.1, np.nan)
    with pytest.raises(ConfigError, match=r"data\.symbols must keep BTCUSDT while it has 1 open"):
        adopt(plane_of(("ETHUSDT",), "execution=router"), acting.ledger.state)


def test_a_router_that_works_cannot_be_left_out() -> None:
    acting = Acting("execution=router", "execution.router.post_only=true")
    acting.close(0.1, np.nan)
    with pytest.raises(ConfigError, match="execution must keep its router while it works in 1"):
        adopt(plane_of(SYMBOLS, "execution=taker"), acting.ledger.state)


@pytest.mark.parametrize("closes", [True, False])
@pytest.mark.parametrize("other", ["execution=router", "risk=paper"])
def test_a_state_of_other_settings_is_refused_before_a_kernel_sees_it(
    closes: bool, other: str
) -> None:
    state = ledger_of(SYMBOLS, "execution=taker", "risk=none").state
    plane = plane_of(SYMBOLS, "execution=taker", "risk=none", other)
    with pytest.raises(SchemaMismatch, match="state must be of an account with these settings"):
        follow_bar(plane, state, row(0), NOTHING_HEARD, closes=closes)
