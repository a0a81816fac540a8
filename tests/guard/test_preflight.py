"""A start is checked whole: every failure is told, what can be set is set and checked, a refused one sets nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from live.broker.interface import (
    AccountReport,
    Answer,
    Outcome,
    PositionReport,
    SymbolSettings,
)
from live.broker.paper import PaperBroker, PaperSettings
from live.guard import account
from live.guard.checks import Check, Verdict, failed, failures, lines
from live.guard.dead_man import COUNTDOWN_MS, DeadMansSwitch, armed, check_dead_man, is_armed_by
from live.guard.modes import ARMED
from live.guard.preflight import Flight, at_the_exchange, on_the_ground
from live.guard.set_up import Wanted
from quantcore.config import build, compose
from quantcore.errors import VenueError
from quantcore.risk.limits import RiskSettings
from tests.account.random_cases import SYMBOLS, Case, case_instruments, case_settings
from tests.guard.test_modes import LOOPBACK, REAL

KEYS = {"BINANCE_API_KEY": "planted-key", "BINANCE_API_SECRET": "planted-secret"}
ANSWERED = Answer(outcome=Outcome.ACCEPTED)


class Exchange(PaperBroker):
    """A paper account that says of itself what a test wants, and keeps what was asked to be set."""

    def __init__(self, *, leverage: int = 20, capital: float = 8000.0, **told: Any) -> None:
        case = Case(capital=capital)
        super().__init__(
            PaperSettings.of(*case_settings(case)), case_instruments(case), interval="1h"
        )
        self.told = {"can_withdraw": False, **told}
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.silent: set[str] = set()
        self.hedged = bool(self.told.pop("hedge_mode", False))

    async def account(self) -> AccountReport:
        if "account" in self.silent:
            raise VenueError("account: the exchange could not be reached")
        return replace(await super().account(), **self.told, hedge_mode=self.hedged)

    async def set_leverage(self, symbol: str, leverage: int) -> Answer:
        self.asked.append(f"leverage {symbol} {leverage}")
        answer = self.answers.get("leverage")
        return answer if answer is not None else await super().set_leverage(symbol, leverage)

    async def set_isolated(self, symbol: str, isolated: bool) -> Answer:
        self.asked.append(f"isolated {symbol} {isolated}")
        answer = self.answers.get("isolated")
        return answer if answer is not None else await super().set_isolated(symbol, isolated)

    async def set_one_way(self) -> Answer:
        self.asked.append("one-way")
        self.hedged = False
        return await super().set_one_way()

    async def countdown(self, symbol: str, milliseconds: int) -> Answer:
        self.asked.append(f"countdown {symbol} {milliseconds}")
        answer = self.answers.get(symbol)
        return answer if answer is not None else await super().countdown(symbol, milliseconds)


def limits(mode: str) -> RiskSettings:
    return build(compose("backtest", [f"risk={mode}"]).risk, RiskSettings)


def flight(mode: str = "prod", **changes: Any) -> Flight:
    urls = REAL if mode in ("staging", "prod") else LOOPBACK
    given: dict[str, Any] = {
        "mode": mode,
        "arguments": [f"conf={mode}"],
        "environment": {ARMED: mode, **KEYS},
        "rest_url": urls[0],
        "stream_url": urls[1],
        "permissions_url": urls[2],
        "wanted": Wanted(symbols=SYMBOLS, leverage=3, isolated=False),
        "limits": {"risk": limits(mode)} if mode != "sim" else {"risk": None},
        "fresh": True,
    }
    return Flight(**(given | changes))


async def checked(start: Flight, exchange: Exchange, **changes: Any) -> list[Check]:
    host = changes.pop("host", start.host)
    instruments = [
        replace(each, origin=f"exchangeInfo of {host}") for each in case_instruments(Case())
    ]
    given: dict[str, Any] = {"clock_off_ms": 12.0, "earlier": on_the_ground(start)}
    return await at_the_exchange(start, exchange, instruments, **(given | changes))


def broken(checks: list[Check]) -> list[str]:
    return [check.name for check in failures(checks)]


async def test_a_start_in_order_passes_and_is_set_up() -> None:
    exchange = Exchange()
    checks = await checked(flight("sim", fresh=False), exchange)
    assert broken(checks) == []
    assert exchange.asked == [f"leverage {symbol} 3" for symbol in SYMBOLS]
    settings = await exchange.symbol_settings()
    assert set(settings.values()) == {SymbolSettings(leverage=3, isolated=False)}
    assert len({check.name for check in checks}) == len(checks)
    again = await checked(flight("sim"), exchange)
    assert again[-1].line == "must be 3x for 3 symbols, is"
    assert len(exchange.asked) == 3


async def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_set() -> None:
    exchange = Exchange(
        capital=100.0, can_withdraw=True, can_trade=False, multi_assets=True, burns_bnb=True,
        other_assets=(("BNB", "0.4"),), hedge_mode=True,
    )  # fmt: skip
    start = flight(
        arguments=["+experiment=x"], environment={}, rest_url="https://demo-fapi.binance.com",
        permissions_url=None, limits={"risk": None},
    )  # fmt: skip
    unfit = failed("feasibility", "With 100 USDT 0 positions fit")
    checks = await checked(
        start, exchange, clock_off_ms=-3_600_000.0, host="elsewhere", further=[unfit]
    )
    assert broken(checks) == [
        "command line", "orders' host", "permissions' host", "keys", "limits", "clock", "filters and brackets",
        "universe", "feasibility", "key may trade", "key without withdrawal right", "single-asset margin",
        "BNB fee burn", "other assets", "armed",
    ]  # fmt: skip
    assert exchange.asked == []
    told = {check.name: check.line for check in checks}
    assert told["clock"].endswith("is 3600000 ms ahead")
    assert told["other assets"].endswith("are 0.4 BNB")
    assert told["position mode"] == "must be one-way, would be set: hedge mode now"


async def test_real_money_starts_once_the_phrase_is_typed_and_nobody_is_asked_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "trade real money in prod"

    exchange, start = Exchange(), flight(environment=KEYS, ask=ask)
    assert broken(await checked(start, exchange)) == ["universe", "armed"]  # three symbols are few
    assert asked == []
    monkeypatch.setattr(account, "UNIVERSE", (3, 25))
    dry = await checked(replace(start, dry_run=True), exchange)
    assert broken(dry) == []
    assert (asked, exchange.asked) == ([], [])
    assert broken(await checked(replace(start, ask=None), exchange)) == ["armed"]
    assert exchange.asked == []
    assert broken(await checked(start, exchange)) == []
    assert len(asked) == 1
    assert exchange.asked == [f"leverage {symbol} 3" for symbol in SYMBOLS]


async def test_the_demo_hosts_rules_are_not_productions() -> None:
    demo = await checked(flight(), Exchange(), host="demo-fapi.binance.com")
    assert broken(demo) == ["filters and brackets", "universe"]
    assert broken(await checked(flight(), Exchange(), host="fapi.binance.com/")) == ["universe"]


async def test_a_dry_run_says_what_it_would_set_and_sets_nothing() -> None:
    exchange = Exchange(hedge_mode=True)
    start = flight("sim", dry_run=True, wanted=Wanted(symbols=SYMBOLS, leverage=5, isolated=True))
    told = {check.name: check.line for check in await checked(start, exchange)}
    assert exchange.asked == []
    assert told["leverage"] == f"must be 5x for 3 symbols, would be set for {', '.join(SYMBOLS)}"
    assert told["margin type"].startswith("must be isolated for 3 symbols, would be set for AAA")
    assert told["position mode"] == "must be one-way, would be set: hedge mode now"


async def test_each_answer_is_checked_and_already_set_is_success() -> None:
    exchange = Exchange(hedge_mode=True)
    isolated = flight("sim", wanted=Wanted(symbols=SYMBOLS, leverage=3, isolated=True))
    exchange.answers["leverage"] = Answer(
        outcome=Outcome.REFUSED, code=-2028, message="Leverage is smaller than permitted."
    )
    checks = await checked(isolated, exchange)
    assert broken(checks) == ["leverage"]
    assert "AAAUSDT (-2028 Leverage is smaller than permitted.)" in checks[-1].line
    assert exchange.asked[0] == "one-way"  # answered with -4059 by the exchange
    assert (await exchange.set_isolated("AAAUSDT", True)).outcome is Outcome.ACCEPTED  # -4046
    assert not exchange.hedged


async def test_an_answer_that_says_yes_is_not_believed_without_the_exchanges_word() -> None:
    exchange = Exchange()
    exchange.answers["leverage"] = ANSWERED
    checks = await checked(flight("sim"), exchange)
    assert broken(checks) == ["leverage"]
    assert "AAAUSDT (the host still has 20x)" in checks[-1].line


async def test_an_exchange_that_does_not_answer_is_a_failure_among_the_others() -> None:
    exchange = Exchange()
    exchange.silent.add("account")
    checks = await checked(flight("sim"), exchange)
    assert broken(checks) == ["account"]
    assert exchange.asked == []


@pytest.mark.parametrize(
    ("capital", "fresh", "holds"),
    [(7700.0, True, True), (7699.0, True, False), (6776.0, False, True), (6775.0, False, False)],
)
async def test_an_account_is_as_large_as_its_stage(
    capital: float, fresh: bool, holds: bool
) -> None:
    checks = await checked(flight(fresh=fresh), Exchange(capital=capital))
    assert ("equity" not in broken(checks)) == holds


async def test_equity_counts_what_is_not_realised_and_what_is_held_can_be_closed() -> None:
    exchange = Exchange(capital=7000.0)
    lost = PositionReport(
        symbol="AAAUSDT", qty="-2", entry_price="100", mark_price="1200", liquidation_price="0",
        isolated_wallet="0",
    )  # fmt: skip

    async def positions() -> list[PositionReport]:
        return [lost]

    exchange.positions = positions  # type: ignore[method-assign]  # a position without a market
    fresh = {check.name: check for check in await checked(flight(), exchange)}
    assert fresh["equity"].verdict is Verdict.FAILED
    assert fresh["equity"].line.endswith("the stage, is 4,800.00")
    traded = {check.name: check for check in await checked(flight(fresh=False), exchange)}
    assert traded["equity"].verdict is Verdict.PASSED
    assert traded["equity"].line.endswith("is 4,800.00: let in to close what it holds")


def test_a_wrong_host_is_refused_before_anything_connects() -> None:
    start = flight(rest_url=LOOPBACK[0], stream_url=LOOPBACK[1])
    assert broken(on_the_ground(start)) == ["orders' host", "streams' host"]
    assert broken(on_the_ground(flight("sim", rest_url=REAL[0]))) == ["orders' host"]
    assert broken(on_the_ground(replace(flight("sim"), mode="live"))) == ["mode"]


async def test_the_dead_mans_switch_is_armed_where_stops_are_known_to_survive_it() -> None:
    assert is_armed_by("sim", wanted=None)
    assert not is_armed_by("sim", wanted=False)
    assert not is_armed_by("paper", wanted=True)
    for mode in ("testnet", "staging", "prod"):
        assert not is_armed_by(mode, wanted=None)
        assert is_armed_by(mode, wanted=True)
        check = check_dead_man(mode, wanted=None)
        assert check.verdict is Verdict.NOT_APPLICABLE
        assert "unverified" in check.line
    assert check_dead_man("sim", wanted=None).verdict is Verdict.PASSED
    exchange = Exchange()
    switch = DeadMansSwitch(exchange, SYMBOLS)
    assert await switch.arm() == []
    assert exchange.asked == [f"countdown {symbol} {COUNTDOWN_MS}" for symbol in SYMBOLS]
    exchange.answers["BBBUSDT"] = Answer(outcome=Outcome.UNKNOWN, message="no legible answer")
    assert await switch.arm() == ["BBBUSDT"]
    exchange.asked.clear()
    assert await switch.disarm() == ["BBBUSDT"]
    assert exchange.asked == [f"countdown {symbol} 0" for symbol in SYMBOLS]


async def test_the_countdown_is_kept_from_running_out() -> None:
    exchange = Exchange()
    keeping = asyncio.create_task(DeadMansSwitch(exchange, SYMBOLS).keep(0.01))
    async with asyncio.timeout(5.0):
        while len(exchange.asked) < 3 * len(SYMBOLS):
            await asyncio.sleep(0.01)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert set(exchange.asked) == {f"countdown {symbol} {COUNTDOWN_MS}" for symbol in SYMBOLS}


async def test_an_end_in_order_takes_the_countdown_back() -> None:
    exchange = Exchange()
    async with armed(DeadMansSwitch(exchange, SYMBOLS), 0.01):
        async with asyncio.timeout(5.0):
            while len(exchange.asked) < 2 * len(SYMBOLS):
                await asyncio.sleep(0.005)
    assert exchange.asked[-len(SYMBOLS) :] == [f"countdown {symbol} 0" for symbol in SYMBOLS]
    assert exchange.asked[0] == f"countdown {SYMBOLS[0]} {COUNTDOWN_MS}"


async def test_a_simulated_account_may_be_of_any_size() -> None:
    small = flight("sim", limits={"risk": limits("prod")})
    assert broken(await checked(small, Exchange(capital=100.0))) == []


async def test_no_key_is_shown() -> None:
    start = flight()
    told = "\n".join(lines(await checked(start, Exchange())))
    assert "BINANCE_API_SECRET" in told
    assert "planted" not in told + repr(start)
