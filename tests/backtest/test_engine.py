"""What a backtest says beside its numbers: cut withdrawals, idle strategies, and the sources in its manifest."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from quantcore.account_plane import AccountSettings, CashFlow
from quantcore.backtest import experiment
from quantcore.backtest.engine import run_backtest
from quantcore.config import build, compose
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.exits import NO_EXITS, ExitSettings, exits_of
from quantcore.frames import Bars
from quantcore.signal_plane import SignalSettings
from quantcore.types import Panel
from strategies.plain_momentum import PlainMomentumSettings

DAYS = 60
HOUR_US = 3_600_000_000
START_US = 1_704_067_200_000_000
SLEEPER = "sleeper"


@dataclass(frozen=True, kw_only=True)
class Sleeper:
    """Without exits."""

    lookback: int = 2


def sleep(bars: Bars) -> Panel:
    return bars.close * 0.0


Sleeper.__module__ = SLEEPER


@pytest.fixture(autouse=True)
def sleeper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module whose strategy never wants anything."""
    module = type(sys)(SLEEPER)
    vars(module).update(forecast=sleep, Sleeper=Sleeper)
    monkeypatch.setitem(sys.modules, SLEEPER, module)


@pytest.fixture(scope="module")
def market() -> MarketData:
    rng = np.random.default_rng(7)
    n_bars = DAYS * 24
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (n_bars, 2)), axis=0))
    fields = {
        "open": closes,
        "high": closes * 1.001,
        "low": closes * 0.999,
        "close": closes,
        "mark_price": closes,
    }
    ts_us = START_US + HOUR_US * np.arange(1, n_bars + 1)
    bars = Bars(interval="1h", ts_us=ts_us, symbols=("BTCUSDT", "ETHUSDT"), fields=fields)
    return MarketData(bars=bars, interval="1h", start_us=None, notes=())


@pytest.fixture(scope="module")
def chosen() -> dict[str, Any]:
    cfg = compose("backtest", ["strategy=plain_momentum"])
    return {
        "account": build(cfg.account, AccountSettings),
        "execution": build(cfg.execution),
        "portfolio": build(cfg.portfolio),
    }


@pytest.fixture
def notes(market: MarketData, chosen: dict[str, Any]) -> Callable[..., tuple[str, ...]]:
    def run(strategy: object, *flows: CashFlow) -> tuple[str, ...]:
        return run_backtest(
            market,
            signal=SignalSettings(strategy=strategy, portfolio=chosen["portfolio"]),
            account=replace(chosen["account"], cash_flows=flows),
            execution=chosen["execution"],
        ).notes

    return run


def test_a_withdrawal_that_was_cut_is_reported(notes: Callable[..., tuple[str, ...]]) -> None:
    said = notes(
        PlainMomentumSettings(lookback=25),
        CashFlow(ts="2024-01-08", amount=-900_000.0),
        CashFlow(ts="2024-01-05", amount=-10.0),
    )
    assert [note for note in said if "withdrawal" in note] == [
        "The withdrawal of 900,000.00 USDT due on 2024-01-08 exceeded what the account had free: 7,690.00 USDT were "
        "paid."
    ]


def test_a_strategy_that_never_wants_a_position_is_reported(
    notes: Callable[..., tuple[str, ...]], chosen: dict[str, Any], market: MarketData
) -> None:
    quick = replace(chosen["portfolio"], volatility_half_life=24.0, covariance_half_life=24.0)
    chosen = {**chosen, "portfolio": quick}
    run = run_backtest(
        market,
        signal=SignalSettings(strategy=Sleeper(), portfolio=quick),
        account=chosen["account"],
        execution=chosen["execution"],
    )
    assert "No position was ever wanted: every target weight is 0 or missing." in run.notes


def test_a_warm_up_longer_than_the_data_is_refused(notes: Callable[..., tuple[str, ...]]) -> None:
    message = "need 99,999 bars to warm up, the data holds 1,440: no decision could be taken"
    with pytest.raises(ConfigError, match=message):
        notes(PlainMomentumSettings(lookback=99_999))


def test_exits_are_optional_and_nothing_else_than_exits() -> None:
    stop = replace(NO_EXITS, stop_loss=0.1)
    assert exits_of(Sleeper()) == NO_EXITS
    assert exits_of(PlainMomentumSettings(lookback=3, exits=stop)) is stop
    with pytest.raises(ConfigError, match=r"strategy\.exits must be ExitSettings or null, was 3"):
        exits_of(PlainMomentumSettings(lookback=3, exits=3))  # type: ignore[arg-type] # the point
    assert isinstance(NO_EXITS, ExitSettings)


def test_manifest_holds_the_strategys_source_and_the_repositorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose("backtest", ["strategy=plain_momentum"])
    strategy = build(cfg.strategy)
    first = experiment.manifest(cfg, strategy)
    source = Path(str(sys.modules[type(strategy).__module__].__file__))
    assert first["strategy_source"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert experiment.manifest(cfg, strategy) == first
    (tmp_path / "FACT.json").write_text("{}")
    monkeypatch.setattr(experiment, "FACTS", tmp_path)
    assert experiment.manifest(cfg, strategy)["source_hash"] != first["source_hash"]


def test_a_strategy_without_a_file_has_no_source() -> None:
    cfg = compose("backtest", ["strategy=plain_momentum"])
    assert experiment.manifest(cfg, Sleeper())["strategy_source"] is None


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_hands_on_every_row_and_says_nothing_at_first(
    monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(printed, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", printed)
    rows = experiment.shown("rows")(range(3, 9))
    assert isinstance(rows, range) is not terminal
    assert list(rows) == list(range(3, 9))
    assert printed.getvalue().strip() == ""


def test_progress_is_shown_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shell:
        config: ClassVar[dict[str, Any]] = {"IPKernelApp": {}}

    assert not experiment.in_notebook()
    fake = type(sys)("IPython")
    vars(fake)["get_ipython"] = Shell
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert experiment.in_notebook()
    rows = experiment.shown("rows")(range(3))
    assert not isinstance(rows, range)
    assert list(rows) == [0, 1, 2]
