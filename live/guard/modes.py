"""What is fixed of each mode: its hosts, its limits, and by what an operator says that real money may be traded."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

from live.guard.checks import Check, failed, held_to, not_applicable, passed

ARMED: Final = "QUANTCORE_ARMED"
"""The environment variable that arms a mode of real money by its name."""
_CONF = re.compile(r"[+~]*conf(?P<part>[.@/:].*)?")
_MULTIRUN = ("-m", "--multirun")


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Names of the hosts that may be talked to: for orders and prices, for streams, for a key's permissions."""

    rest: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One mode (DESIGN.md 7; hosts: BINANCE.md).

    Parameters
    ----------
    hosts : Hosts
        Beside this machine.
    loopback : bool
        Whether it may talk to this machine.
    orders : bool
        Whether it sends orders to a host.
    real_money : bool
        Whether those are paid with.
    capital : float or None
        USDT of the account that it is meant for.
    leverage_max, daily_var_max, drawdown_max, size_limit : float or None
        The strictest that the table of DESIGN.md 7 asks for; None where it asks for nothing.
    """

    hosts: Hosts = field(default_factory=Hosts)
    loopback: bool = False
    orders: bool = True
    real_money: bool = False
    capital: float | None = None
    leverage_max: float | None = None
    daily_var_max: float | None = None
    drawdown_max: float | None = None
    size_limit: float | None = None


_PRODUCTION: Final = Hosts(
    rest=("fapi.binance.com",), streams=("fstream.binance.com",), permissions=("api.binance.com",)
)
_DEMO: Final = Hosts(
    rest=("demo-fapi.binance.com", "testnet.binancefuture.com"),
    streams=("demo-fstream.binance.com", "fstream.binancefuture.com"),
)
MODES: Final[Mapping[str, Mode]] = MappingProxyType(
    {
        "sim": Mode(loopback=True),
        "paper": Mode(
            hosts=_PRODUCTION, loopback=True, orders=False,
            capital=100.0, leverage_max=2.0, daily_var_max=0.05, drawdown_max=0.20,
        ),
        "testnet": Mode(hosts=_DEMO, leverage_max=3.0, daily_var_max=0.03, drawdown_max=0.15),
        "staging": Mode(
            hosts=_PRODUCTION, real_money=True, capital=230.0,
            leverage_max=3.0, daily_var_max=0.03, drawdown_max=0.15, size_limit=0.1,
        ),
        "prod": Mode(
            hosts=_PRODUCTION, real_money=True, capital=7700.0,
            leverage_max=10.0, daily_var_max=0.02, drawdown_max=0.12,
        ),
    }
)  # fmt: skip


def check_mode(mode: str) -> Check:
    """Return whether a mode is one."""
    return held_to("mode", mode in MODES, f"must be one of {', '.join(MODES)}, is {mode}")


def check_command_line(mode: str, arguments: Sequence[str]) -> Check:
    """Return whether a mode of real money stands on the command line itself, with no other override of ``conf``.

    Experiments outrank ``conf=prod``, so that what was composed proves nothing (STYLE.md 5).

    Parameters
    ----------
    mode : str
        One of `MODES`.
    arguments : sequence of str
        Of the process, without its name.
    """
    name = "command line"
    if not MODES[mode].real_money:
        return not_applicable(name, f"conf={mode} trades no real money")
    keys = [(argument, _CONF.fullmatch(argument.partition("=")[0])) for argument in arguments]
    of_conf = [argument for argument, found in keys if found]
    repeated = [argument for argument in arguments if argument in _MULTIRUN]
    holds = of_conf == [f"conf={mode}"] and not repeated
    given = " ".join([*of_conf, *repeated]) or "nothing of it"
    return held_to(name, holds, f"must hold conf={mode} alone of all conf settings, holds {given}")


def check_option_file(mode: str, changed: Sequence[str]) -> Check:
    """Return whether a mode of real money is as its option file has it: an experiment could have set its ``conf``.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    changed : sequence of str
        Settings of ``conf`` that are not as the file has them.
    """
    name = "option file"
    if not MODES[mode].real_money:
        return not_applicable(name, f"conf={mode} trades no real money")
    told = f"others are: {', '.join(changed)}" if changed else "all are"
    return held_to(name, not changed, f"conf must be as conf/conf/{mode}.yaml has it, {told}")


def check_file_modes(mode: str, loose: Sequence[str]) -> Check:
    """Return whether nobody else can write the option files: limits and hosts of real money stand in them.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    loose : sequence of str
        Option files and folders that others than their owner and his group may write, with their modes.
    """
    name = "file modes"
    if not MODES[mode].real_money:
        return not_applicable(name, f"conf={mode} trades no real money")
    told = f"others may write {', '.join(loose)}: chmod o-w" if loose else "nobody may"
    return held_to(name, not loose, f"option files must not be writable by others, {told}")


def check_hosts(
    mode: str, *, rest_url: str, stream_url: str, permissions_url: str | None
) -> list[Check]:
    """Return whether a mode talks to its own hosts: a real one under ``conf=sim``, or the reverse, is refused."""
    rules = MODES[mode]
    found = [
        _check_host(
            "orders' host" if rules.orders else "prices' host", rest_url, rules.hosts.rest, rules
        ),
        _check_host("streams' host", stream_url, rules.hosts.streams, rules),
    ]
    if permissions_url is not None:
        found.append(
            _check_host("permissions' host", permissions_url, rules.hosts.permissions, rules)
        )
    elif rules.real_money:
        line = f"must be {' or '.join(rules.hosts.permissions)}, which tells whether the key may withdraw, is none"
        found.append(failed("permissions' host", line))
    return found


def _check_host(name: str, url: str, allowed: tuple[str, ...], rules: Mode) -> Check:
    parts = urlsplit(url)
    of_this_machine = rules.loopback and _is_loopback(parts)
    secure = parts.scheme in ("https", "wss") and _port(parts) in (None, 443)
    named = parts.hostname in allowed and secure and parts.username is None
    wanted = [f"{parts.scheme}://{host}" if secure else f"a secure {host}" for host in allowed]
    wanted += ["this machine"] if rules.loopback else []
    shown = f"{parts.scheme}://{parts.hostname}" + (
        "" if _port(parts) is None else f":{_port(parts)}"
    )
    return held_to(
        name, named or of_this_machine, f"must be {' or '.join(wanted) or 'none'}, is {shown}"
    )


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        return -1


def check_keys(mode: str, environment: Mapping[str, str], names: Sequence[str]) -> Check:
    """Return whether the environment holds key and secret; their values are never shown.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    environment : mapping
        Of the process.
    names : sequence of str
        Of the variables.
    """
    rules = MODES[mode]
    if not (rules.orders and rules.hosts.rest):
        return not_applicable("keys", f"conf={mode} needs none of the environment's")
    missing = [name for name in names if not environment.get(name, "").strip()]
    told = f"not set: {', '.join(missing)}" if missing else "are"
    return held_to("keys", not missing, f"{' and '.join(names)} must be set, {told}")


def phrase(mode: str) -> str:
    """Return what an operator types on a terminal to arm a mode."""
    return f"trade real money in {mode}"


def check_armed(
    mode: str,
    environment: Mapping[str, str],
    *,
    ask: Callable[[str], str] | None = None,
    dry_run: bool = False,
) -> Check:
    """Return whether an operator armed a mode of real money.

    Parameters
    ----------
    mode : str
        One of `MODES`.
    environment : mapping
        Of the process.
    ask : callable or None
        Shows a question on a terminal and returns what was typed; None where there is no terminal.
    dry_run : bool
        Nothing is sent, so nobody is asked.
    """
    name = "armed"
    if not MODES[mode].real_money:
        return not_applicable(name, f"conf={mode} trades no real money")
    if environment.get(ARMED) == mode:
        return passed(name, f"{ARMED} is {mode}")
    if dry_run:
        return not_applicable(name, f"a dry run sends nothing; a start wants {ARMED}={mode}")
    wanted = phrase(mode)
    if ask is not None and ask(f"type '{wanted}' to arm: ").strip() == wanted:
        return passed(name, "the phrase was typed")
    return failed(name, f"{ARMED} must be {mode}, or the phrase '{wanted}' typed, was not")
