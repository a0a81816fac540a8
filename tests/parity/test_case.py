"""What is compared: the narrowed data, the state at its beginning, and what the exchange has no word for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from live.parity.case import narrowed
from live.simulator.matching import callback_fraction
from quantcore.config import build, compose
from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError
from quantcore.exits import NO_EXITS
from quantcore.signal_plane import signals
from tests.parity.markets import HOURLY, MINUTES, case


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synthetic")


@pytest.fixture(scope="module")
def data(root: Path) -> MarketData:
    found: MarketData = build(compose("parity", [f"data.root={root}", *HOURLY]).data).load()
    return found


def test_narrowed_data_is_traded_in_its_last_days_by_the_symbols_that_trade_most(
    data: MarketData,
) -> None:
    found = narrowed(data, days=5, symbols=2)
    assert found.start_us is not None
    assert int(found.bars.ts_us[-1]) - found.start_us == 5 * 86_400_000_000
    turnover = (data.bars.array("volume") * data.bars.array("close"))[-120:].sum(axis=0)
    most = {data.bars.symbols[s] for s in np.argsort(turnover)[-2:]}
    assert set(found.bars.symbols) == most
    assert found.bars.n_bars == data.bars.n_bars


def test_symbol_that_has_ended_is_left_out_and_one_listed_late_is_not(data: MarketData) -> None:
    fields = {name: values.copy() for name, values in data.bars.fields.items()}
    for values in fields.values():
        values[-3:, 0] = np.nan
        values[:-30, 1] = np.nan
    changed = replace(data, bars=replace(data.bars, fields=fields))
    assert narrowed(changed, days=5, symbols=3).bars.symbols == data.bars.symbols[1:]


def test_more_days_than_the_data_holds_are_refused(data: MarketData) -> None:
    with pytest.raises(ConfigError, match=r"parity\.days must be < 49, .* was 90"):
        narrowed(data, days=90, symbols=2)


def test_both_sides_begin_with_the_state_of_the_decision_before(root: Path) -> None:
    found = case(root, HOURLY, days=5)
    bars = found.data.decision_bars()
    first = int(np.searchsorted(bars.ts_us, found.bars.ts_us[0]))
    assert found.state is not None
    assert found.state.digest() == signals(bars.rows(0, first), found.signal).state.digest()


def test_minutes_before_the_first_decision_belong_to_its_bar(root: Path) -> None:
    found = case(root, MINUTES, days=1)
    assert found.begun.n_bars == 59
    assert found.begun.ts_us[-1] + 60_000_000 == found.bars.ts_us[0]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("account.cash_flows=[{ts: 2024-02-10, amount: 10}]", r"account\.cash_flows must be empty"),
        ("execution.latency_ms=3600001", r"execution\.latency_ms must be <= 3,600,000 .* was 3,600,001"),
    ],
)  # fmt: skip
def test_what_the_exchange_has_no_word_for_is_refused(override: str, told: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        case(root, [*HOURLY, override], days=5)


def test_every_tenth_of_a_per_cent_is_the_same_fraction_on_both_sides() -> None:
    for tenths in range(1, 101):
        fraction = replace(NO_EXITS, trailing_stop=tenths / 1000).trailing_stop
        assert fraction is not None
        assert callback_fraction(float(f"{100.0 * fraction:.1f}")) == fraction
