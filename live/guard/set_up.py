"""What the loop relies on and can set itself: one-way mode, margin type and leverage of every symbol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from live.broker.interface import Answer, Broker, Outcome, SymbolSettings
from live.guard.checks import Check, failed, passed


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How an account is to stand.

    Parameters
    ----------
    symbols : tuple of str
        That are traded.
    leverage : int
        Of each.
    isolated : bool
        Whether each has a margin of its own.
    """

    symbols: tuple[str, ...]
    leverage: int
    isolated: bool


async def set_up(
    broker: Broker,
    wanted: Wanted,
    found: Mapping[str, SymbolSettings],
    *,
    hedge_mode: bool,
    may_set: bool,
) -> list[Check]:
    """Set what stands otherwise, and check each answer and then the exchange's own word; already set is success.

    Parameters
    ----------
    broker : Broker
        The account.
    wanted : Wanted
        How it is to stand.
    found, hedge_mode
        How it stands.
    may_set : bool
        Whether anything may be changed; if not, the checks say what would be.
    """
    mode = await _one_way(broker, hedge_mode=hedge_mode, may_set=may_set)
    unknown = [symbol for symbol in wanted.symbols if symbol not in found]
    if unknown:
        line = f"the host must know every symbol, does not know {', '.join(unknown)}"
        return [mode, failed("margin type", line), failed("leverage", line)]
    margins = [s for s in wanted.symbols if found[s].isolated != wanted.isolated]
    leverages = [s for s in wanted.symbols if found[s].leverage != wanted.leverage]
    kind = "isolated" if wanted.isolated else "cross"
    if not may_set:
        return [
            mode,
            _would(wanted, "margin type", kind, margins),
            _would(wanted, "leverage", f"{wanted.leverage}x", leverages),
        ]
    refused_margins = [
        f"{symbol} ({_shown(answer)})"
        for symbol in margins
        if _is_refused(answer := await broker.set_isolated(symbol, wanted.isolated))
    ]
    refused_leverages = [
        f"{symbol} ({_shown(answer)})"
        for symbol in leverages
        if _is_refused(answer := await broker.set_leverage(symbol, wanted.leverage))
    ]
    if margins or leverages:
        found = await broker.symbol_settings()
    refused_margins += [
        f"{s} (the host still has the other)"
        for s in wanted.symbols
        if found[s].isolated != wanted.isolated and not refused_margins
    ]
    refused_leverages += [
        f"{s} (the host still has {found[s].leverage}x)"
        for s in wanted.symbols
        if found[s].leverage != wanted.leverage and not refused_leverages
    ]
    return [
        mode,
        _done(wanted, "margin type", kind, margins, refused_margins),
        _done(wanted, "leverage", f"{wanted.leverage}x", leverages, refused_leverages),
    ]


async def _one_way(broker: Broker, *, hedge_mode: bool, may_set: bool) -> Check:
    name, rule = "position mode", "must be one-way"
    if not hedge_mode:
        return passed(name, f"{rule}, is")
    if not may_set:
        return passed(name, f"{rule}, would be set: hedge mode now")
    answer = await broker.set_one_way()
    if _is_refused(answer):
        return failed(name, f"{rule}, could not be set: {_shown(answer)}")
    if (await broker.account()).hedge_mode:
        return failed(name, f"{rule}, was set, and the host still has hedge mode")
    return passed(name, f"{rule}, was set now")


def _would(wanted: Wanted, name: str, value: str, others: Sequence[str]) -> Check:
    told = f"would be set for {', '.join(others)}" if others else "is"
    return passed(name, f"must be {value} for {len(wanted.symbols)} symbols, {told}")


def _done(
    wanted: Wanted, name: str, value: str, others: Sequence[str], refused: Sequence[str]
) -> Check:
    rule = f"must be {value} for {len(wanted.symbols)} symbols"
    if refused:
        return failed(name, f"{rule}, is not for {', '.join(refused)}")
    told = f"was set now for {', '.join(others)}" if others else "is"
    return passed(name, f"{rule}, {told}")


def _is_refused(answer: Answer) -> bool:
    return answer.outcome is not Outcome.ACCEPTED


def _shown(answer: Answer) -> str:
    return answer.message if answer.code is None else f"{answer.code} {answer.message}"
