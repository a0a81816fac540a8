"""Which orders that open have to wait for those that reduce: where the margin is theirs."""

from __future__ import annotations

import numpy as np
import pytest

from live.broker.interface import Order
from live.wanted import Wanted
from tests.loop.test_called_off import Acting
from tests.loop.test_ledger_money import SYMBOLS


def rotated(*overrides: str) -> list[Wanted]:
    """Hold one coin, then ask for the other instead."""
    acting = Acting(*overrides)
    [first] = [w.request for w in acting.close(0.9, np.nan).wanted]
    assert isinstance(first, Order)
    assert first.qty is not None
    acting.follow(acting.fill(first, first.qty))
    return list(acting.close(0.0, 0.9).wanted)


@pytest.mark.parametrize(("leverage", "waits"), [(1, True), (5, False)])
def test_a_rotation_waits_where_it_needs_the_margin_that_it_frees(
    leverage: int, waits: bool
) -> None:
    wanted = rotated("execution=taker", "risk=none", f"account.leverage_max={leverage}")
    opening = [w for w in wanted if isinstance(w.request, Order) and not w.urgent]
    assert [w.request.symbol for w in opening] == [SYMBOLS[1]]
    assert [w.waits for w in opening] == [waits]
    assert not any(w.waits for w in wanted if w.urgent)


def test_a_first_order_waits_for_nothing_that_there_is() -> None:
    acting = Acting("execution=taker")
    assert [w.waits for w in acting.close(0.1, np.nan).wanted] == [False]
