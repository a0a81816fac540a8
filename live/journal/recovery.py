"""Any state from a snapshot and the steps after it: what a start needs, and every moment of the past."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from live.journal import reading
from live.journal.records import KeptSession, KeptStep, OpenIntent, Snapshot
from live.journal.told import Event
from quantcore.errors import JournalError
from quantcore.fold import FoldState
from quantcore.types import FloatArray


@dataclass(frozen=True, kw_only=True)
class Advance:
    """The two folds as the journal calls them, given by whoever knows them.

    Parameters
    ----------
    account : callable
        Takes the account's state before a step and the step, returns the state after it.
    signal : callable or None
        Takes the signal plane's state before a decision and its step, returns the state after it and the targets.
        None leaves the signal plane out.
    """

    account: Callable[[FoldState, KeptStep], FoldState]
    signal: Callable[[FoldState, KeptStep], tuple[FoldState, FloatArray | None]] | None = None


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The states after a step; `signal` is None where the journal holds none or it was left out."""

    seq: int
    ts_us: int
    account: FoldState = field(repr=False)
    signal: FoldState | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """All that a start needs.

    Parameters
    ----------
    session : KeptSession or None
        The last one; None of an empty journal.
    seq : int
        Of the last step, 0 if there is none.
    account, signal : Snapshot or None
        The last ones.
    steps : tuple of KeptStep
        In order, all after the older of the two snapshots; `resume` skips what a snapshot already holds.
    open_intents : tuple of OpenIntent
        Without a final answer: to be resolved by query before anything else.
    unused : tuple of (int, event)
        What was heard after the last step, with its number: no step knows it yet.
    """

    session: KeptSession | None
    seq: int
    account: Snapshot | None
    signal: Snapshot | None
    steps: tuple[KeptStep, ...] = field(repr=False)
    open_intents: tuple[OpenIntent, ...]
    unused: tuple[tuple[int, Event], ...]

    def resume(self, advance: Advance) -> Replayed | None:
        """Return the states after the last step, every hash checked; None of a journal without steps.

        Raises
        ------
        JournalError
            If a step does not give the state that it gave when it was committed.
        """
        if self.account is None or self.session is None:
            return None
        replaying = Replaying(advance, self.account, self.signal)
        for step in self.steps:
            replaying.take(step)
        return replaying.replayed(self.steps[-1].ts_us if self.steps else 0)


class Replaying:
    """States that are taken from snapshots through one step after another.

    Parameters
    ----------
    advance : Advance
        The folds.
    account : Snapshot
        Where the account begins.
    signal : Snapshot or None
        Where the signal plane begins.
    """

    def __init__(self, advance: Advance, account: Snapshot, signal: Snapshot | None) -> None:
        self._advance = advance
        self._from = (account.seq, signal.seq if signal else 0)
        self.seq = min(self._from[0], self._from[1] if signal else account.seq)
        self.account = account.state
        self.signal = signal.state if signal and advance.signal else None

    def switch(self, advance: Advance) -> None:
        """Go on with the folds of another session."""
        self._advance = advance

    def set_to(self, step: KeptStep, account: FoldState, signal: FoldState | None) -> None:
        """Take a step that set the states afresh."""
        self.account, self.seq = account, step.seq
        if signal is not None and self._advance.signal is not None:
            self.signal = signal

    def take(self, step: KeptStep) -> None:
        """Take one step, in order.

        Raises
        ------
        JournalError
            If its inputs were pruned, or it does not give the state or the targets that it gave.
        """
        if step.seq > self._from[0]:
            if step.inputs is None:
                raise JournalError(
                    f"step {step.seq} must have its inputs to be replayed, they were pruned"
                )
            self.account = self._advance.account(self.account, step)
            _check_hash(step, "account", self.account, step.account_sha)
        if step.signal_sha is not None:
            self._move_signal(step)
        self.seq = step.seq

    def replayed(self, ts_us: int) -> Replayed:
        """Return where it stands."""
        return Replayed(seq=self.seq, ts_us=ts_us, account=self.account, signal=self.signal)

    def _move_signal(self, step: KeptStep) -> None:
        if self._advance.signal is None or self.signal is None or step.seq <= self._from[1]:
            return
        self.signal, targets = self._advance.signal(self.signal, step)
        assert step.signal_sha is not None
        _check_hash(step, "signal", self.signal, step.signal_sha)
        held = None if step.decision is None else step.decision.targets
        same = (targets is None) == (held is None) and (
            targets is None or held is None or targets.tobytes() == held.tobytes()
        )
        if not same:
            raise JournalError(
                f"step {step.seq} must give its targets again, gave {targets} for {held}"
            )


def recover(connection: Connection) -> Recovery:
    """Return all that a start needs."""
    seq = reading.last_seq(connection)
    account = reading.snapshot(connection, "account", upto=seq)
    signal = reading.snapshot(connection, "signal", upto=seq)
    after = min((s.seq for s in (account, signal) if s is not None), default=0)
    kept = tuple(reading.steps(connection, after=after))
    known = kept[-1].last_event if kept else _events_of(connection, seq)
    return Recovery(
        session=reading.last_session(connection),
        seq=seq,
        account=account,
        signal=signal,
        steps=kept,
        open_intents=tuple(reading.open_intents(connection)),
        unused=tuple(reading.events(connection, after=known)),
    )


def replay(
    connection: Connection,
    advance: Advance,
    *,
    at_seq: int | None = None,
    at_us: int | None = None,
) -> Replayed:
    """Return the states at a moment: after a step, after the last one up to a time, or after the last one.

    Raises
    ------
    ValueError
        If both moments are given.
    JournalError
        If the journal has no step then, its steps were pruned, or a step does not give the state that it gave.
    """
    if at_seq is not None and at_us is not None:
        raise ValueError("replay must be given at_seq or at_us, was given both")
    seq = at_seq if at_seq is not None else reading.last_seq(connection, at_us=at_us)
    account = reading.snapshot(connection, "account", upto=seq)
    if account is None or seq > reading.last_seq(connection):
        raise JournalError(
            f"a moment must have a step with a snapshot before it, step {seq} has none"
        )
    signal = reading.snapshot(connection, "signal", upto=seq)
    replaying = Replaying(advance, account, signal)
    ts_us = 0
    for step in reading.steps(connection, after=replaying.seq - 1, upto=seq):
        ts_us = step.ts_us
        if step.seq > replaying.seq:
            replaying.take(step)
    return replaying.replayed(ts_us)


def _events_of(connection: Connection, seq: int) -> int:
    return next((s.last_event for s in reading.steps(connection, after=seq - 1, upto=seq)), 0)


def _check_hash(step: KeptStep, plane: str, state: FoldState, wanted: str) -> None:
    found = state.digest()
    if found != wanted:
        raise JournalError(
            f"step {step.seq} must give its {plane} state again, {wanted[:12]}… was committed and {found[:12]}… came"
        )
