"""A dry run: the whole pre-flight, and what a decision on the last closed bar would send; nothing is sent or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from live.accounts import Reached, account
from live.asked import Asked
from live.broker.dry import DryBroker
from live.broker.interface import Broker
from live.guard.checks import refuse
from live.hand import restrain
from live.journal.database import sqlite_path
from live.journal.journal import open_journal
from live.journal.recovery import Recovery
from live.kill_switch import Level
from live.ledger import Ledger
from live.loop import request
from live.opening import checked, connected, decision_bars, feed_of
from live.place import Place
from live.reconcile import Found, believed, compare
from live.replayer import replayer_of
from live.start import dated
from live.status import Status
from live.wanted import ClientIds, Wanted
from quantcore.data.instruments import Instrument
from quantcore.fold import FoldState
from quantcore.frames import Bars
from quantcore.signal_plane import signals, warm_up
from quantcore.timegrid import interval_us

_PREFIX = "dry"


async def dry_run(asked: Asked, status: Status, level: Level) -> None:
    """Make all checks, and tell every order that a decision on the last closed bar would send now.

    Parameters
    ----------
    asked : Asked
        The session.
    status : Status
        Told of everything.
    level : Level
        Where the kill switch stands.

    Raises
    ------
    QuantcoreError
        If a check does not hold, or something that is needed is not there.
    """
    async with connected(asked, status) as (place, there, symbols):
        recovery = _recovery(asked)
        before = None if recovery is None else recovery.session
        real, instruments = await account(asked, place, there, symbols, before)
        broker = DryBroker(real, status.say)
        checks = await checked(asked, place, there, broker, instruments, fresh=before is None)
        refuse(asked.settings.mode, checks)
        status.checked(checks, whole=True)
        ids = ClientIds(_PREFIX if before is None else before.session.prefix)
        state = await _state(asked, broker, instruments, recovery)
        ledger = Ledger(asked.parts.plane(instruments), instruments, ids, state)
        found = Found(
            orders=await broker.open_orders(),
            positions=await broker.positions(),
            account=await broker.account(),
        )
        for each in compare(believed(ledger), found, ids):
            name = each.client_id or each.symbol or "wallet"
            status.say(
                f"differs: {each.subject} {name}, {each.expected} here, {each.found} at the exchange"
            )
        requests = await _decided(asked, place, there, ledger, level)
        for wanted in requests:
            await request(broker, wanted)
        status.say(f"A dry run: nothing was sent or set. {len(requests)} requests would be sent.")


def _recovery(asked: Asked) -> Recovery | None:
    """Return what the journal of the mode says, None where there is none yet."""
    path = sqlite_path(asked.settings.journal)
    if path is not None and not path.exists():
        return None
    with open_journal(asked.settings.journal, read_only=True) as journal:
        return journal.recover()


async def _state(
    asked: Asked, broker: Broker, instruments: Sequence[Instrument], recovery: Recovery | None
) -> FoldState:
    """Return where the account stands by its journal, or afresh with the exchange's wallet."""
    if recovery is not None and recovery.session is not None:
        replayed = recovery.resume(replayer_of(recovery.session).advance)
        if replayed is not None:
            return replayed.account
    wallet = float((await broker.account()).wallet)
    return replace(asked.parts.plane(instruments), capital=wallet).start()


async def _decided(
    asked: Asked, place: Place, there: Reached, ledger: Ledger, level: Level
) -> Sequence[Wanted]:
    """Return what the account would send if the last decision bar closed with the last execution bar."""
    parts, symbols = asked.parts, ledger.plane.symbols
    row = await _last_row(asked, place, there, symbols)
    length_us = interval_us(parts.interval)
    last_us = there.now_us() // length_us * length_us
    first_us = last_us - warm_up(parts.signal, parts.interval) * length_us
    bars = await decision_bars(asked, place, there, symbols, (first_us, last_us))
    targets = restrain(signals(bars, parts.signal).weight_array[-1].copy(), level, ledger, row)
    before_us = int(row.ts_us[-1]) - interval_us(parts.execution_interval)
    ledger.state = dated(ledger.state, before_us)
    return ledger.step(row, [], targets=targets).wanted


async def _last_row(asked: Asked, place: Place, there: Reached, symbols: tuple[str, ...]) -> Bars:
    length_us = interval_us(asked.parts.execution_interval)
    closed_us = there.now_us() // length_us * length_us
    async with feed_of(asked, place, there.now_us, symbols) as feed:
        return await feed.backfill(closed_us, closed_us)
