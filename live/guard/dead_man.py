"""The dead man's switch: the exchange cancels what rests when the loop falls silent, where protective stops survive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final

from live.broker.interface import Broker, Outcome
from live.guard.checks import Check, not_applicable, passed
from live.guard.modes import MODES

log = logging.getLogger(__name__)

COUNTDOWN_MS: Final = 120_000
"""After which the exchange cancels a symbol's ordinary orders (BINANCE.md, Orders)."""
EVERY_S: Final = 30.0
"""Between two rounds, of the exchange's clock."""
DISARM_S: Final = 5.0
"""On the wall, that an end waits for the countdowns to be taken back."""
_SPARES_STOPS: Final = ("sim", "paper")
"""Modes whose exchange is known to spare conditional orders; of the real one nobody could verify it (BINANCE.md)."""


def is_armed_by(mode: str, *, wanted: bool | None) -> bool:
    """Return whether the switch is used: as an operator wants, else where it is known to spare conditional orders."""
    return MODES[mode].orders and (mode in _SPARES_STOPS if wanted is None else wanted)


def check_dead_man(mode: str, *, wanted: bool | None) -> Check:
    """Return whether the switch is armed, and why not."""
    name = "dead man's switch"
    rule = f"ordinary orders are cancelled after {COUNTDOWN_MS // 1000} s of silence"
    if not MODES[mode].orders:
        return not_applicable(name, "no order rests at an exchange")
    if is_armed_by(mode, wanted=wanted):
        known = (
            "conditional orders are spared" if mode in _SPARES_STOPS else "by the operator's wish"
        )
        return passed(name, f"armed, {known}: {rule}")
    why = (
        "the operator does not want it"
        if wanted is False
        else "whether it spares protective stops is unverified on this exchange"
    )
    return not_applicable(name, f"off: {why}")


class DeadMansSwitch:
    """Keeps the countdown of every symbol from running out; what it costs is 10 of the weight per symbol and round.

    All symbols are armed again in each round, also those without orders: a countdown that is left to run would cancel
    an order sent meanwhile.

    Parameters
    ----------
    broker : Broker
        The account.
    symbols : sequence of str
        That are traded.
    """

    def __init__(self, broker: Broker, symbols: Sequence[str]) -> None:
        self._broker = broker
        self._symbols = tuple(symbols)

    async def keep(self, pause_s: float) -> None:
        """Arm in rounds, for ever; `pause_s` is `EVERY_S` of the exchange's clock in seconds on the wall."""
        while True:
            await self.arm()
            await asyncio.sleep(pause_s)

    async def arm(self) -> list[str]:
        """Begin every symbol's countdown anew; return those for which it failed: their orders may end."""
        return await self._count(COUNTDOWN_MS)

    async def disarm(self) -> list[str]:
        """Take every countdown back, at an end in order: what rests stays; return those for which it failed."""
        return await self._count(0)

    async def _count(self, milliseconds: int) -> list[str]:
        missed = []
        for symbol in self._symbols:
            answer = await self._broker.countdown(symbol, milliseconds)
            if answer.outcome is not Outcome.ACCEPTED:
                missed.append(symbol)
                log.warning("the countdown of %s was not taken: %s", symbol, answer.message)
        return missed


@contextlib.asynccontextmanager
async def armed(switch: DeadMansSwitch, pause_s: float) -> AsyncIterator[None]:
    """Keep the switch armed beside the body, and take it back at an end in order; see `DeadMansSwitch.keep`."""
    keeping = asyncio.create_task(switch.keep(pause_s))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        with contextlib.suppress(TimeoutError):  # what is not taken back runs out
            async with asyncio.timeout(DISARM_S):
                await switch.disarm()
