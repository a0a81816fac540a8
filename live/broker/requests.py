"""A request from its turn in the budget to its answer: what is tried again, when, and how often."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from live.broker.budget import Budget, OutOfPatience, Priority
from live.broker.calls import Call
from live.broker.errors import Failure, Remedy, never_sent
from live.broker.interface import Answer, Outcome
from quantcore.errors import VenueError

PAUSES_S: Final = (0.2, 0.4, 0.8)
"""Before what was certainly not carried out is sent again (BINANCE.md, Unknown outcomes)."""


class RequestFailed(Exception):
    """A request without success; holds nothing of what the client raised, which knows address and signature."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Perform(Protocol):
    """Carries out one attempt; raises `RequestFailed`."""

    def __call__(self, call: Call, /, **params: Any) -> Awaitable[Any]:
        """Return the exchange's JSON."""


class Requests:
    """The requests of one account.

    Parameters
    ----------
    perform : callable
        One attempt.
    budget : Budget
        Whose turn it is.
    measure_clock : callable
        Measures the exchange's clock again.
    read_attempts : int
        How often a read is tried in all.
    patience_s, exit_patience_s : float
        As in `BrokerSettings`.
    """

    def __init__(
        self,
        perform: Perform,
        budget: Budget,
        *,
        measure_clock: Callable[[], Awaitable[None]],
        read_attempts: int,
        patience_s: float,
        exit_patience_s: float,
    ) -> None:
        self._perform = perform
        self._budget = budget
        self._measure_clock = measure_clock
        self._read_attempts = read_attempts
        self._patience_s = patience_s
        self._exit_patience_s = exit_patience_s

    async def once(
        self, call: Call, /, *, priority: Priority = Priority.READ, **params: Any
    ) -> Any:
        """Ask once, when it is its turn.

        Raises
        ------
        RequestFailed
            If it is not answered with success, or its turn does not come.
        """
        patience_s = self._patience_s if priority is Priority.ENTRY else self._exit_patience_s
        try:
            await self._budget.take(
                call.weight, orders=call.orders, priority=priority, patience_s=patience_s
            )
        except OutOfPatience as error:
            failure = never_sent(str(error), Remedy.NONE)
        else:
            return await self._perform(call, **params)
        raise RequestFailed(failure)

    async def read(self, call: Call, /, **params: Any) -> Any:
        """Return what changes nothing, asked a few times with growing pauses.

        Raises
        ------
        VenueError
            If it is refused for good, or the last attempt fails.
        """
        try:
            return await self.read_or_fail(call, **params)
        except RequestFailed as error:
            failure = error.failure
        raise VenueError(f"{call.method}: {failure}")

    async def read_or_fail(self, call: Call, /, **params: Any) -> Any:
        """Return the same; raises `RequestFailed` with the last failure."""
        for attempt in range(self._read_attempts):
            try:
                return await self.once(call, **params)
            except RequestFailed as error:
                failure = error.failure
            last = attempt + 1 == self._read_attempts
            if last or failure.remedy in (Remedy.NONE, Remedy.NO_ENTRY):
                break
            await self._heal(failure, attempt)
        raise RequestFailed(failure)

    async def change(
        self, call: Call, /, *, priority: Priority, exempt: bool, **params: Any
    ) -> tuple[Answer, Any]:
        """Ask for a change; it is sent again only where it was certainly not carried out.

        Parameters
        ----------
        call : Call
            What.
        priority : Priority
            Who goes first.
        exempt : bool
            Whether it reduces, closes or cancels, and so passes the exchange's protection under load.
        **params
            Of the request.

        Returns
        -------
        Answer
            What came of it, without the order.
        object
            The exchange's JSON; None where there is none.
        """
        waits = priority is Priority.EXIT
        for attempt in range(len(PAUSES_S) + 1):
            try:
                return Answer(outcome=Outcome.ACCEPTED), await self.once(
                    call, priority=priority, **params
                )
            except RequestFailed as error:
                failure = error.failure
            may = (
                failure.remedy in (Remedy.CLOCK, Remedy.AGAIN)
                or (failure.remedy is Remedy.IF_EXEMPT and exempt)
                or (failure.remedy is Remedy.WAIT and waits)
            )
            if attempt == len(PAUSES_S) or not may:
                break
            await self._heal(failure, attempt)
        return answer_of(failure), None

    async def _heal(self, failure: Failure, attempt: int) -> None:
        """Do what may make the next attempt succeed; a limit is then waited for in the budget."""
        if failure.remedy is Remedy.CLOCK:
            with contextlib.suppress(RequestFailed):  # the next attempt will tell
                await self._measure_clock()
        else:
            await asyncio.sleep(PAUSES_S[min(attempt, len(PAUSES_S) - 1)])


def answer_of(failure: Failure) -> Answer:
    """Return a failure as the loop is told of it."""
    return Answer(
        outcome=failure.outcome, code=failure.code, message=failure.message, rule=failure.rule
    )
