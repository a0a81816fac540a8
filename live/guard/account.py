"""What the exchange says of key, clock, account and rules, held against what the loop relies on (all pure)."""

from __future__ import annotations

from collections.abc import Sequence

from live.broker.interface import AccountReport, PositionReport
from live.guard.checks import Check, failed, held_to, not_applicable, passed
from live.guard.modes import MODES
from quantcore.data.instruments import Instrument

UNIVERSE = (10, 25)
"""Fewest and most symbols of the universe (DESIGN.md 7)."""


def check_key(mode: str, account: AccountReport) -> list[Check]:
    """Return whether the key may trade, and may not withdraw."""
    name, rule = "key without withdrawal right", "the key must not be able to withdraw"
    if account.can_withdraw is not None:
        withdrawal = held_to(name, not account.can_withdraw, _answered(rule, account.can_withdraw))
    elif MODES[mode].real_money:
        withdrawal = failed(name, f"{rule}, the host did not say")
    else:
        withdrawal = not_applicable(name, "the host does not tell a key's permissions")
    may_trade = held_to(
        "key may trade",
        account.can_trade is not False,
        _answered("the key must be able to trade futures", account.can_trade),
    )
    return [may_trade, withdrawal]


def check_clock(off_ms: float | None, most_ms: float) -> Check:
    """Return whether this machine's clock is near the exchange's; None where the exchange has a time of its own."""
    name = "clock"
    if off_ms is None:
        return not_applicable(name, "the exchange's time is not this machine's")
    way = "behind" if off_ms > 0.0 else "ahead"
    line = f"this machine's must be within {most_ms:g} ms of the exchange's, is {abs(off_ms):.0f} ms {way}"
    return held_to(name, abs(off_ms) <= most_ms, line)


def check_money(mode: str, account: AccountReport) -> list[Check]:
    """Return whether the account has one kind of money, and pays its fees with it."""
    multi = held_to(
        "single-asset margin",
        not account.multi_assets,
        _answered("multi-assets mode must be off", account.multi_assets),
    )
    burn = held_to(
        "BNB fee burn",
        not account.burns_bnb,
        _answered("fees must be paid in USDT, BNB burn must be off", account.burns_bnb),
    )
    held = ", ".join(f"{amount} {asset}" for asset, amount in account.other_assets) or "none"
    name, line = (
        "other assets",
        f"the ledger knows USDT alone: other assets must be none, are {held}",
    )
    if not account.other_assets:
        other = passed(name, line)
    elif MODES[mode].real_money:
        other = failed(name, line)
    else:
        other = not_applicable(
            name, f"test money: {held} are no margin while multi-assets mode is off"
        )
    return [multi, burn, other]


def equity(account: AccountReport, positions: Sequence[PositionReport]) -> float:
    """Return the account's equity, USDT: wallet and unrealised profit at the marks."""
    profit = sum(
        float(each.qty) * (float(each.mark_price) - float(each.entry_price)) for each in positions
    )
    return float(account.wallet) + profit


def check_equity(
    held: float,
    *,
    stage_capital: float | None,
    drawdown_max: float | None,
    fresh: bool,
    has_positions: bool,
) -> Check:
    """Return whether an account is as large as its stage; one that has traded may have lost what its limits allow.

    One that lost more and still holds positions is let in: the risk controller is there to close them.

    Parameters
    ----------
    held : float
        Equity, USDT.
    stage_capital, drawdown_max : float or None
        Of the strictest limits.
    fresh : bool
        Whether the journal begins with this start.
    has_positions : bool
        Whether anything is held.
    """
    name = "equity"
    if stage_capital is None:
        return held_to(name, held > 0.0, f"must be > 0 USDT, is {held:,.2f}")
    least, why = stage_capital, "the stage"
    if not fresh:
        least *= 1.0 - (drawdown_max or 0.0)
        why = f"the stage of {stage_capital:,.0f} less the drawdown allowed"
    line = f"must be >= {least:,.2f} USDT, {why}, is {held:,.2f}"
    if held < least and has_positions and not fresh:
        return passed(name, f"{line}: let in to close what it holds")
    return held_to(name, held >= least, line)


def check_rules(
    mode: str,
    instruments: Sequence[Instrument],
    symbols: Sequence[str],
    *,
    host: str,
    leverage: int,
) -> list[Check]:
    """Return whether filters and brackets are of the host traded on, whole, and allow the leverage.

    Parameters
    ----------
    instruments : sequence of Instrument
        As they were loaded.
    symbols : sequence of str
        That are traded.
    host : str
        Name of the orders' host, with its port where it has one.
    leverage : int
        Set for every symbol.
    """
    name = "filters and brackets"
    named = [each.symbol for each in instruments]
    missing = sorted(set(symbols) - set(named))
    foreign = [
        each.symbol
        for each in instruments
        if each.defaulted or not each.origin.rstrip("/").endswith(f" of {host}")
    ]
    if not MODES[mode].orders:
        loaded = not_applicable(name, "no order is sent: the committed ones serve")
    elif missing:
        loaded = failed(name, f"must be loaded for every symbol, are not for {', '.join(missing)}")
    else:
        told = (
            f"those of {len(named)} symbols are"
            if not foreign
            else f"not those of {', '.join(foreign)}"
        )
        loaded = held_to(name, not foreign, f"must be loaded from {host}, {told}")
    low = [f"{i.symbol} {i.leverage_max}" for i in instruments if i.leverage_max < leverage]
    line = f"the brackets must allow {leverage}x, are lower for {', '.join(low) or 'none'}"
    fewest, most = UNIVERSE if MODES[mode].real_money else (1, UNIVERSE[1])
    fits = fewest <= len(symbols) <= most
    universe = f"must have {fewest} to {most} symbols, has {len(symbols)}"
    return [
        loaded,
        held_to("leverage within the brackets", not low, line),
        held_to("universe", fits, universe),
    ]


def _answered(rule: str, value: bool | None) -> str:
    said = {True: "yes", False: "no", None: "not told"}[value]
    return f"{rule}: {said}"
