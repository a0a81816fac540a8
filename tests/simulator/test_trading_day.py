"""The unmodified python-binance client trades a day on the exchange's own process."""

from __future__ import annotations

import pytest

# Of the client, not of ours: it names what its library of WebSockets no longer recommends.
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_a_trading_day() -> None:
    from tests.simulator.trading_day import trade_a_day

    told: list[str] = []
    day = trade_a_day(told.append)
    text = "\n".join(told)
    assert "post-only above the ask: -5022" in text
    assert "limit through the book: PARTIALLY_FILLED" in text
    assert "protective stop through the Algo Service: NEW" in text
    assert "the stop ended with its position: EXPIRED" in text
    assert "closed at" in text
    assert day.difference == pytest.approx(0.0, abs=1e-7)
    kinds = {event.get("e") for event in day.events}
    assert {"ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE", "ALGO_UPDATE"} <= kinds
