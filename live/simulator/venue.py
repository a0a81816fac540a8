"""The exchange as a state machine: what clients ask of it, how time passes on it, and what befalls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from live.simulator import passage
from live.simulator.accounts import VenueAccount
from live.simulator.engine import Engine
from live.simulator.faults import VenueFault
from live.simulator.holdings import books
from live.simulator.mishaps import suffer
from live.simulator.requests import REQUESTS
from live.simulator.wire import Refused, milliseconds


class Venue(Engine):
    """The exchange.

    Every account is advanced by the account step of the backtest. In lock-step a driver moves the clock from one bar's
    close to the next, and orders meet the next bar as the backtest has it. Else the clock moves in short steps along
    the path within the bars, and what crosses the spread fills at once against the book of the moment.
    """

    def advance(self, to_us: int) -> None:
        """Move the clock, and all accounts with it; an earlier time changes nothing."""
        passage.advance(self, to_us)

    def handle(self, account: VenueAccount, name: str, params: Mapping[str, str]) -> Any:
        """Answer a signed request, such as ``"POST /fapi/v1/order"``.

        Raises
        ------
        Refused
            As the exchange refuses; in maintenance everything with status 503.
        """
        if self.closed:
            raise Refused(-1000, "Service Unavailable.", 503)
        request = REQUESTS.get(name)
        if request is None:
            method, _, path = name.partition(" ")
            raise Refused(-5000, f"Path {path}, Method {method} is invalid", 404)
        return request(self, account, params)

    def suffer(self, fault: VenueFault) -> None:
        """Let a fault happen that concerns orders, positions, prices or rules."""
        suffer(self, fault)

    def ledger(self) -> dict[str, Any]:
        """Return the books of all accounts in plain numbers, and whether they add up."""
        return {"time": milliseconds(self.now_us), "accounts": books(self)}
