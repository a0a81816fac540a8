"""The pre-flight: every check is made, every failure told, and only then the start refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from live.broker.interface import AccountReport, Broker, PositionReport, SymbolSettings
from live.guard.account import (
    check_clock,
    check_equity,
    check_key,
    check_money,
    check_rules,
    equity,
)
from live.guard.checks import Check, failed, failures
from live.guard.dead_man import check_dead_man
from live.guard.limits import Sources, check_limits, strictest
from live.guard.modes import (
    MODES,
    check_armed,
    check_command_line,
    check_file_modes,
    check_hosts,
    check_keys,
    check_mode,
    check_option_file,
)
from live.guard.set_up import Wanted, set_up
from quantcore.data.instruments import Instrument
from quantcore.errors import QuantcoreError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A start that is asked for.

    Parameters
    ----------
    mode : str
        One of `modes.MODES`.
    arguments : sequence of str
        Of the process, without its name.
    environment : mapping
        Of the process.
    rest_url, stream_url, permissions_url : str or None
        Of the exchange.
    wanted : Wanted
        How the account is to stand.
    limits : mapping
        By where they come from; None limits nothing.
    fresh : bool
        Whether the journal begins with this start.
    changed : tuple of str
        Settings of ``conf`` that are not as its option file has them.
    loose : tuple of str
        Option files that others may write, with their modes.
    dry_run : bool
        Whether nothing is to be sent or set.
    dead_man : bool or None
        Whether the dead man's switch is wanted; None: where it is known to spare protective stops.
    clock_off_max_ms : float
        How far this machine's clock may be off.
    ask : callable or None
        Shows a question on a terminal and returns what was typed; None where there is no terminal.
    key_names : tuple of str
        Of the variables that hold key and secret.
    """

    mode: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    rest_url: str
    stream_url: str
    permissions_url: str | None
    wanted: Wanted
    limits: Sources
    fresh: bool
    changed: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    dry_run: bool = False
    dead_man: bool | None = None
    clock_off_max_ms: float = 1000.0
    ask: Callable[[str], str] | None = field(default=None, repr=False)
    key_names: tuple[str, str] = ("BINANCE_API_KEY", "BINANCE_API_SECRET")

    @property
    def host(self) -> str:
        """The orders' host as instruments name it."""
        return self.rest_url.partition("://")[2].rstrip("/")


def on_the_ground(flight: Flight) -> list[Check]:
    """Return what can be checked without the exchange: to be made, and refused, before anything connects to it."""
    mode = check_mode(flight.mode)
    if failures([mode]):
        return [mode]
    return [
        mode,
        check_command_line(flight.mode, flight.arguments),
        check_option_file(flight.mode, flight.changed),
        check_file_modes(flight.mode, flight.loose),
        *check_hosts(
            flight.mode,
            rest_url=flight.rest_url,
            stream_url=flight.stream_url,
            permissions_url=flight.permissions_url,
        ),
        check_keys(flight.mode, flight.environment, flight.key_names),
        *_limits(flight),
        check_dead_man(flight.mode, wanted=flight.dead_man),
    ]


async def at_the_exchange(
    flight: Flight,
    broker: Broker,
    instruments: Sequence[Instrument],
    *,
    clock_off_ms: float | None,
    earlier: Sequence[Check] = (),
    further: Sequence[Check] = (),
) -> list[Check]:
    """Return all checks: those made before, what the exchange says, and last whether an operator armed the mode.

    What can be set is set if all else holds, so that a start that is refused has changed nothing.

    Parameters
    ----------
    flight : Flight
        The start.
    broker : Broker
        Connected.
    instruments : sequence of Instrument
        As `Broker.instruments` gave them.
    clock_off_ms : float or None
        What is added to this machine's clock to have the exchange's; None where the exchange has a time of its own.
    earlier, further : sequence of Check
        From `on_the_ground`, and such as feasibility's.
    """
    checks = [*earlier, check_clock(clock_off_ms, flight.clock_off_max_ms)]
    checks += check_rules(
        flight.mode,
        instruments,
        flight.wanted.symbols,
        host=flight.host,
        leverage=flight.wanted.leverage,
    )
    checks += further
    account, told = await _read("account", broker.account)
    checks += told
    positions, told = await _read("positions", broker.positions)
    checks += told
    if account is not None:
        checks += [*check_key(flight.mode, account), *check_money(flight.mode, account)]
    if account is not None and positions is not None:
        checks += _equity(flight, account, positions)
    found, told = await _read("settings of symbols", broker.symbol_settings)
    checks += told
    checks.append(
        await asyncio.to_thread(  # streams go on while a person types
            check_armed,
            flight.mode,
            flight.environment,
            ask=None if failures(checks) else flight.ask,
            dry_run=flight.dry_run,
        )
    )
    if account is not None and found is not None:
        checks += await _set_up(flight, broker, account, found, sound=not failures(checks))
    return checks


def _limits(flight: Flight) -> list[Check]:
    try:
        return check_limits(flight.mode, flight.limits, leverage=flight.wanted.leverage)
    except QuantcoreError as error:
        return [failed("limits", str(error))]


def _equity(
    flight: Flight, account: AccountReport, positions: Sequence[PositionReport]
) -> list[Check]:
    stage = allowed = None
    if MODES[flight.mode].capital is not None and any(flight.limits.values()):
        limits = strictest(flight.mode, flight.limits)
        stage, allowed = limits.stage_capital, limits.drawdown_max
    return [
        check_equity(
            equity(account, positions),
            stage_capital=stage,
            drawdown_max=allowed,
            fresh=flight.fresh,
            has_positions=bool(positions),
        )
    ]


async def _set_up(
    flight: Flight,
    broker: Broker,
    account: AccountReport,
    found: Mapping[str, SymbolSettings],
    *,
    sound: bool,
) -> list[Check]:
    try:
        return await set_up(
            broker,
            flight.wanted,
            found,
            hedge_mode=account.hedge_mode,
            may_set=sound and not flight.dry_run,
        )
    except QuantcoreError as error:
        return [failed("settings of symbols", str(error))]


async def _read(name: str, read: Callable[[], Awaitable[T]]) -> tuple[T | None, list[Check]]:
    """Return what the exchange says, or else a check that failed."""
    try:
        return await read(), []
    except QuantcoreError as error:
        return None, [failed(name, str(error))]
