"""Replaying a whole journal: every hash again, the own wallet as the exchange has it, every position protected."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, func, select

from live.broker.interface import Balance, Fill, Income
from live.journal import reading, tables
from live.journal.findings import Check
from live.journal.records import START, KeptSession, KeptStep, Snapshot
from live.journal.recovery import Advance, Replaying
from live.journal.told import Event
from quantcore.errors import ConfigError, JournalError, SchemaMismatch
from quantcore.fold import FoldState

EVENT_TOLERANCE = 1e-8
"""USDT per event by which the own wallet may differ from the exchange's, whose numbers have eight digits."""


@dataclass(frozen=True, kw_only=True)
class Replayer:
    """What replays a session and reads its states, given by whoever knows the folds.

    Parameters
    ----------
    advance : Advance
        The folds with the session's settings.
    wallet : callable or None
        Takes the account's state, returns its wallet in USDT, isolated margin included.
    unprotected : callable or None
        Takes the account's state after a step and the step, returns the symbols whose position has no protective stop
        although the settings ask for one.
    adopt : callable or None
        Takes the account's state that an earlier session left, returns it under this session's settings; None: as it
        is.
    signals : object
        Equal for sessions whose signal state goes on; where it is not the signals begin anew.
    """

    advance: Advance
    wallet: Callable[[FoldState], float] | None = None
    unprotected: Callable[[FoldState, KeptStep], Sequence[str]] | None = None
    adopt: Callable[[FoldState], FoldState] | None = None
    signals: object = None


ReplayerOf = Callable[[KeptSession], Replayer]
"""Gives a session's replayer; the command finds it by its dotted name."""

NAMES = ("replay", "own wallet", "protection")


def replay_checks(connection: Connection, replayer_of: ReplayerOf | None) -> list[Check]:
    """Return the three checks of `NAMES`; without a replayer, and where it cannot tell, they say so."""
    if replayer_of is None:
        return [Check(name, skipped="journal.replayer names none") for name in NAMES]
    walk = _Walk(connection, replayer_of)
    walk.run()
    return [
        Check("replay", walk.replayed, tuple(walk.broken)),
        Check(
            "own wallet", walk.wallets, tuple(walk.wrong_wallets), skipped=walk.without("wallet")
        ),
        Check("protection", walk.protected, tuple(walk.naked), skipped=walk.without("unprotected")),
    ]


class _Walk:
    """One walk over all steps that can be replayed."""

    def __init__(self, connection: Connection, replayer_of: ReplayerOf) -> None:
        self._connection = connection
        self._replayers = {s.session_id: replayer_of(s) for s in reading.sessions(connection)}
        self._told = _Told(list(reading.events(connection)))
        self.replayed = self.wallets = self.protected = 0
        self.broken: list[str] = []
        self.wrong_wallets: list[str] = []
        self.naked: list[str] = []

    def without(self, name: str) -> str:
        """Return why a check was left out, empty if it was not."""
        if any(getattr(r, name) is not None for r in self._replayers.values()):
            return ""
        return "the replayer does not tell"

    def run(self) -> None:
        """Replay; the first step that does not come out again ends it."""
        first = _first_replayable(self._connection)
        if first is None:
            return
        try:
            for step, state in self._states(first):
                self.replayed += 1
                self._look(step, state)
        except (ConfigError, JournalError, SchemaMismatch) as error:
            self.broken.append(str(error))

    def _states(self, first: Snapshot) -> Iterator[tuple[KeptStep, FoldState]]:
        signal = reading.snapshot(self._connection, "signal", upto=first.seq)
        replaying: Replaying | None = None
        former: Replayer | None = None
        for step in reading.steps(self._connection, after=first.seq - 1):
            replayer = self._replayers[step.session_id]
            advance = replayer.advance
            if replaying is None:
                # A signal state kept earlier moved on between; it begins at the next one kept.
                at_once = signal if signal and signal.seq == first.seq else None
                replaying = Replaying(advance, first, at_once)
            replaying.switch(advance)
            kept = _kept_at(self._connection, step.seq)
            if step.kind == START:
                _check_begin(_left(replaying, former, replayer), step, kept)
                replaying.set_to(step, kept["account"], kept.get("signal"))
            else:
                replaying.take(step)
                if replaying.signal is None and "signal" in kept:
                    replaying.set_to(step, replaying.account, kept["signal"])
            former = replayer
            yield step, replaying.account

    def _look(self, step: KeptStep, state: FoldState) -> None:
        replayer = self._replayers[step.session_id]
        told = self._told.comparable(step.last_event)
        if replayer.wallet is not None and told is not None:
            self.wallets += 1
            own, allowed = replayer.wallet(state), EVENT_TOLERANCE * self._told.balances
            if not abs(own - float(Decimal(told.wallet))) <= allowed:
                self.wrong_wallets.append(
                    f"step {step.seq} has a wallet of {own!r} USDT, the exchange said {told.wallet}"
                )
        if replayer.unprotected is not None:
            self.protected += 1
            self.naked += [
                f"step {step.seq} leaves {symbol} without a protective stop"
                for symbol in replayer.unprotected(state, step)
            ]


class _Told:
    """What was heard of money, in the order of hearing, and which told wallet a state can be compared with.

    Between the trade and the wallet after it, either may be heard first, and a step may lie between the two. So a state
    is compared with the newest wallet only where it knows what moved money up to the wallet's time, and nothing later.
    Of several trades or wallets of one millisecond nobody can say which came after which: those are left out.

    Parameters
    ----------
    events : sequence of (int, event)
        With their numbers, rising.
    """

    def __init__(self, events: Sequence[tuple[int, Event]]) -> None:
        self._events = events
        self._at = 0
        self._newest: Balance | None = None
        self._compared: Balance | None = None
        self._moved = sorted(e.time_us for _, e in events if isinstance(e, Fill | Income))
        self._known, self._latest_us = 0, -1
        trades = Counter(e.time_us for _, e in events if isinstance(e, Fill))
        wallets = Counter(e.time_us for _, e in events if isinstance(e, Balance))
        self._crowded = {us for us in trades | wallets if max(trades[us], wallets[us]) > 1}
        self.balances = 0

    def comparable(self, last_event: int) -> Balance | None:
        """Return the wallet with which a state is to be compared that knows of events so far; None if there is none."""
        while self._at < len(self._events) and self._events[self._at][0] <= last_event:
            event = self._events[self._at][1]
            self._at += 1
            if isinstance(event, Balance):
                self.balances += 1
                if self._newest is None or event.time_us >= self._newest.time_us:
                    self._newest = event
            elif isinstance(event, Fill | Income):
                self._known += 1
                self._latest_us = max(self._latest_us, event.time_us)
        told = self._newest
        if told is None or told is self._compared or told.time_us in self._crowded:
            return None
        if self._latest_us > told.time_us:
            return None
        if bisect_right(self._moved, told.time_us) != self._known:
            return None
        self._compared = told
        return told


def _first_replayable(connection: Connection) -> Snapshot | None:
    """Return the first account snapshot after which no inputs were pruned."""
    pruned = connection.scalar(
        select(func.max(tables.steps.c.seq)).where(tables.steps.c.inputs.is_(None))
    )
    table = tables.snapshots
    seq = connection.scalar(
        select(func.min(table.c.seq)).where(
            table.c.plane == "account", table.c.seq >= (pruned or 0)
        )
    )
    return None if seq is None else reading.snapshot(connection, "account", upto=seq)


def _left(
    replaying: Replaying, former: Replayer | None, replayer: Replayer
) -> dict[str, FoldState | None]:
    """Return the states with which a session has to begin; None where it may begin as it likes."""
    account = replaying.account
    if former is not None and replayer.adopt is not None:
        account = replayer.adopt(account)
    goes_on = former is None or former.signals == replayer.signals
    return {"account": account, "signal": replaying.signal if goes_on else None}


def _check_begin(
    before: Mapping[str, FoldState | None], step: KeptStep, kept: Mapping[str, FoldState]
) -> None:
    """Refuse a start with other states than the steps before it have left: a session goes on, and invents nothing."""
    for plane, begun in kept.items():
        left = before[plane]
        if left is not None and left.digest() != begun.digest():
            raise JournalError(
                f"step {step.seq} must begin with the {plane} state that was left, {left.digest()[:12]}…, "
                f"began with {begun.digest()[:12]}…"
            )


def _kept_at(connection: Connection, seq: int) -> dict[str, FoldState]:
    rows = connection.execute(select(tables.snapshots).where(tables.snapshots.c.seq == seq))
    return {row.plane: FoldState.from_bytes(row.state) for row in rows}
