"""The exchange as a state machine: the engine, with what clients ask of it and what befalls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from live.simulator.accounts import VenueAccount
from live.simulator.answers import books
from live.simulator.desk import REQUESTS
from live.simulator.engine import Engine
from live.simulator.faults import VenueFault
from live.simulator.mishaps import suffer
from live.simulator.recorded_fills import meet_prints
from live.simulator.watch import look_after
from live.simulator.wire import Refused, milliseconds


class Venue(Engine):
    """The exchange."""

    def handle(self, account: VenueAccount, name: str, params: Mapping[str, str]) -> Any:
        """Answer a signed request, such as ``"POST /fapi/v1/order"``.

        Raises
        ------
        Refused
            As the exchange refuses.
        """
        request = REQUESTS.get(name)
        if request is None:
            method, _, path = name.partition(" ")
            raise Refused(-5000, f"Path {path}, Method {method} is invalid", 404)
        return request(self, account, params)

    def meet_prints(self, to_us: int) -> None:
        """Let what rests meet the market's prints up to a time, where it fills by them."""
        if self.tape.fills_by_prints:
            meet_prints(self, to_us)

    def look_after(self) -> None:
        """Let orders end, triggers be watched and warnings be sent after a step of the clock."""
        for account in self.accounts.values():
            look_after(self, account)

    def suffer(self, fault: VenueFault) -> None:
        """Let a fault happen that concerns orders, positions, prices or rules."""
        suffer(self, fault)

    def ledger(self) -> dict[str, Any]:
        """Return the books of all accounts in plain numbers, and whether they add up."""
        return {"time": milliseconds(self.now_us), "accounts": books(self)}
