"""A start is checked whole: every failure is told, what can be set is set and checked, a refused one sets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from live.broker.interface import (
    AccountReport,
    Answer,
    Outcome,
    PositionReport,
    SymbolSettings,
)
from live.broker.paper import PaperBroker, PaperSettings
from live.guard.checks import Check, Verdict, failed, failures
from live.guard.dead_man import COUNTDOWN_MS, DeadMansSwitch, check_dead_man, is_armed_by
from live.guard.modes import ARMED
from live.guard.preflight import Flight, at_the_exchange, on_the_ground
from live.guard.set_up import Wanted
from quantcore.config import build, compose
from quantcore.errors import VenueError
from quantcore.risk.limits import RiskSettings
from tests.account.random_cases import SYMBOLS, Case, case_instruments, case_settings
from tests.guard.test_modes import LOOPBACK, REAL

T = TypeVar("T")
ANSWERED = Answer(outcome=Outcome.ACCEPTED)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


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
        "environment": {ARMED: mode},
        "rest_url": urls[0],
        "stream_url": urls[1],
        "permissions_url": urls[2],
        "wanted": Wanted(symbols=SYMBOLS, leverage=3, isolated=False),
        "limits": {"risk": limits(mode)} if mode != "sim" else {"risk": None},
        "fresh": True,
    }
    return Flight(**(given | changes))


def checked(start: Flight, exchange: Exchange, **changes: Any) -> list[Check]:
    host = changes.pop("host", start.host)
    instruments = [
        replace(each, origin=f"exchangeInfo of {host}") for each in case_instruments(Case())
    ]
    given: dict[str, Any] = {"clock_off_ms": 12.0, "earlier": on_the_ground(start)}
    return run(at_the_exchange(start, exchange, instruments, **(given | changes)))


def broken(checks: list[Check]) -> list[str]:
    return [check.name for check in failures(checks)]


def test_a_start_in_order_passes_and_is_set_up() -> None:
    exchange = Exchange()
    checks = checked(flight("sim", fresh=False), exchange)
    assert broken(checks) == []
    assert exchange.asked == [f"leverage {symbol} 3" for symbol in SYMBOLS]
    settings = run(exchange.symbol_settings())
    assert set(settings.values()) == {SymbolSettings(leverage=3, isolated=False)}
    assert len({check.name for check in checks}) == len(checks)
    assert checked(flight("sim"), exchange)[-1].line == "must be 3x for 3 symbols, is"
    assert len(exchange.asked) == 3


def test_everything_that_is_wrong_is_told_at_once_and_nothing_is_set() -> None:
    exchange = Exchange(
        capital=100.0, can_withdraw=True, can_trade=False, multi_assets=True, burns_bnb=True,
        other_assets=(("BNB", "0.4"),), hedge_mode=True,
    )  # fmt: skip
    start = flight(
        arguments=["+experiment=x"], environment={}, rest_url="https://demo-fapi.binance.com",
        permissions_url=None, limits={"risk": None},
    )  # fmt: skip
    unfit = failed("feasibility", "With 100 USDT 0 positions fit")
    checks = checked(start, exchange, clock_off_ms=-3_600_000.0, host="elsewhere", further=[unfit])
    assert broken(checks) == [
        "command line", "orders' host", "permissions' host", "limits", "clock", "filters and brackets", "universe",
        "feasibility", "key may trade", "key without withdrawal right", "single-asset margin", "BNB fee burn",
        "other assets", "armed",
    ]  # fmt: skip
    assert exchange.asked == []
    told = {check.name: check.line for check in checks}
    assert told["clock"].endswith("is 3600000 ms ahead")
    assert told["other assets"].endswith("are 0.4 BNB")
    assert told["position mode"] == "must be one-way, would be set: hedge mode now"


def test_prod_passes_with_a_whole_universe_and_nobody_is_asked_in_vain() -> None:
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "trade real money in prod"

    start = flight(environment={}, ask=ask)
    checks = checked(start, Exchange())
    assert broken(checks) == ["universe", "armed"]  # three symbols are too few
    assert asked == []
    dry = checked(replace(start, dry_run=True), Exchange())
    assert broken(dry) == ["universe"]
    assert asked == []


def test_a_dry_run_says_what_it_would_set_and_sets_nothing() -> None:
    exchange = Exchange(hedge_mode=True)
    start = flight("sim", dry_run=True, wanted=Wanted(symbols=SYMBOLS, leverage=5, isolated=True))
    told = {check.name: check.line for check in checked(start, exchange)}
    assert exchange.asked == []
    assert told["leverage"] == f"must be 5x for 3 symbols, would be set for {', '.join(SYMBOLS)}"
    assert told["margin type"].startswith("must be isolated for 3 symbols, would be set for AAA")
    assert told["position mode"] == "must be one-way, would be set: hedge mode now"


def test_each_answer_is_checked_and_already_set_is_success() -> None:
    exchange = Exchange(hedge_mode=True)
    isolated = flight("sim", wanted=Wanted(symbols=SYMBOLS, leverage=3, isolated=True))
    exchange.answers["leverage"] = Answer(
        outcome=Outcome.REFUSED, code=-2028, message="Leverage is smaller than permitted."
    )
    checks = checked(isolated, exchange)
    assert broken(checks) == ["leverage"]
    assert "AAAUSDT (-2028 Leverage is smaller than permitted.)" in checks[-1].line
    assert exchange.asked[0] == "one-way"  # answered with -4059 by the exchange
    assert run(exchange.set_isolated("AAAUSDT", True)).outcome is Outcome.ACCEPTED  # -4046
    assert not exchange.hedged


def test_an_answer_that_says_yes_is_not_believed_without_the_exchanges_word() -> None:
    exchange = Exchange()
    exchange.answers["leverage"] = ANSWERED
    checks = checked(flight("sim"), exchange)
    assert broken(checks) == ["leverage"]
    assert "AAAUSDT (the host still has 20x)" in checks[-1].line


def test_an_exchange_that_does_not_answer_is_a_failure_among_the_others() -> None:
    exchange = Exchange()
    exchange.silent.add("account")
    checks = checked(flight("sim"), exchange)
    assert broken(checks) == ["account"]
    assert exchange.asked == []


@pytest.mark.parametrize(
    ("capital", "fresh", "holds"),
    [(7700.0, True, True), (7699.0, True, False), (6776.0, False, True), (6775.0, False, False)],
)
def test_an_account_is_as_large_as_its_stage(capital: float, fresh: bool, holds: bool) -> None:
    checks = checked(flight(fresh=fresh), Exchange(capital=capital))
    assert ("equity" not in broken(checks)) == holds


def test_equity_counts_what_is_not_realised() -> None:
    exchange = Exchange(capital=7800.0)
    lost = PositionReport(
        symbol="AAAUSDT", qty="-2", entry_price="100", mark_price="200", liquidation_price="0",
        isolated_wallet="0",
    )  # fmt: skip

    async def positions() -> list[PositionReport]:
        return [lost]

    exchange.positions = positions  # type: ignore[method-assign]  # a position without a market
    checks = {check.name: check for check in checked(flight(), exchange)}
    assert checks["equity"].verdict is Verdict.FAILED
    assert checks["equity"].line.endswith("the stage, is 7,600.00")


def test_a_wrong_host_is_refused_before_anything_connects() -> None:
    start = flight(rest_url=LOOPBACK[0], stream_url=LOOPBACK[1])
    assert broken(on_the_ground(start)) == ["orders' host", "streams' host"]
    assert broken(on_the_ground(flight("sim", rest_url=REAL[0]))) == ["orders' host"]
    assert broken(on_the_ground(replace(flight("sim"), mode="live"))) == ["mode"]


def test_the_dead_mans_switch_is_armed_where_stops_are_known_to_survive_it() -> None:
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
    assert run(switch.arm()) == []
    assert exchange.asked == [f"countdown {symbol} {COUNTDOWN_MS}" for symbol in SYMBOLS]
    exchange.answers["BBBUSDT"] = Answer(outcome=Outcome.UNKNOWN, message="no legible answer")
    assert run(switch.arm()) == ["BBBUSDT"]
    exchange.asked.clear()
    assert run(switch.disarm()) == ["BBBUSDT"]
    assert exchange.asked == [f"countdown {symbol} 0" for symbol in SYMBOLS]
