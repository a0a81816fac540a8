"""The proof of causality: silent about sound stages, and naming the right one for every kind of leak."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from quantcore.data.sources import MarketData
from quantcore.errors import ConfigError, DataGap
from quantcore.exits import NO_EXITS, ExitSettings
from quantcore.frames import Bars
from quantcore.regime.detector import RegimeSettings
from quantcore.research import lookahead
from quantcore.research.lookahead import COMPARED_ROWS, NOISE, ROW_BY_ROW, Proof, prove, with_noise
from quantcore.signal_plane import SignalSettings, StrategySet
from quantcore.signals.generator import PortfolioSettings
from quantcore.signals.strategy_matrix import MatrixSettings
from strategies.plain_momentum import PlainMomentumSettings
from strategies.trend import TrendSettings
from tests.research.leaks.backfilled_funding import BackfilledFundingSettings
from tests.research.leaks.centred_window import CentredWindowSettings
from tests.research.leaks.full_sample_score import FullSampleScoreSettings
from tests.research.leaks.remembered_future import RememberedFutureSettings
from tests.research.leaks.smoothed_regime import SmoothedRegimeSettings
from tests.research.market import SmallMarket, small_bars

PORTFOLIO = PortfolioSettings(
    volatility_half_life=4.0,
    covariance_half_life=6.0,
    annual_volatility_target=0.2,
    full_conviction=0.5,
    weight_max=0.3,
    gross_max=1.0,
)
TREND = TrendSettings(fast=2, slow=5, speeds=2, volatility_half_life=6.0, cap=2.0, exits=NO_EXITS)
MATRIX = MatrixSettings(
    method="given",
    rows={"calm": {"trend": 1.0, "plain": 0.0}, "wild": {"trend": 0.0, "plain": 1.0}},
    size_half_life_days=5.0,
    size=0.5,
    scale_max=2.0,
    diversification=1.2,
    review="month",
    window_days=30,
    prior_days=30.0,
)
MARKET = SmallMarket(days=30, n_symbols=3, interval="8h", execution_interval="4h").load()
LEAKS = [
    pytest.param(CentredWindowSettings, id="centred_window"),
    pytest.param(FullSampleScoreSettings, id="full_sample_score"),
    pytest.param(BackfilledFundingSettings, id="backfilled_funding"),
]


def whole_market() -> MarketData:
    """A market without holes, for strategies that do not look out for them."""
    bars = small_bars(days=30, n_symbols=3, interval="4h", seed=7, holes=False)
    return replace(MARKET, bars=bars, interval="4h")


def by_regime(*, leaks: bool) -> SignalSettings:
    return SignalSettings(
        strategy=StrategySet(
            members={"trend": TREND, "plain": PlainMomentumSettings(lookback=7)}, exits=NO_EXITS
        ),
        portfolio=PORTFOLIO,
        regime=RegimeSettings(detector=SmoothedRegimeSettings(leaks=leaks), review="week"),
        matrix=MATRIX,
    )


def proof_of(
    strategy: Any, data: MarketData | None = None, *, noise_cuts: int = 2, cold_starts: int = 0
) -> Proof:
    chosen = SignalSettings(strategy=strategy, portfolio=PORTFOLIO)
    if isinstance(strategy, SignalSettings):
        chosen = strategy
    return prove(
        data or whole_market(), chosen, noise_cuts=noise_cuts, cold_starts=cold_starts, seed=3
    )


def stages(proof: Proof, kind: str) -> set[str]:
    """Every stage that differs anywhere in one of the two proofs."""
    return set(proof.differences.loc[proof.differences["proof"] == kind, "stage"])


@pytest.mark.parametrize(
    "strategy",
    [
        pytest.param(TREND, id="compiled"),
        pytest.param(PlainMomentumSettings(lookback=7), id="plain"),
        pytest.param(by_regime(leaks=False), id="set"),
    ],
)
def test_sound_strategies_differ_nowhere(strategy: Any) -> None:
    proof = proof_of(strategy, MARKET, noise_cuts=3)
    assert proof.differing == 0
    assert len(proof.differences) == 0
    assert proof.decisions == 90
    assert proof.checked == (90 + 22 + 45 + 67) * 3


@pytest.mark.parametrize("settings", [*LEAKS, RememberedFutureSettings])
def test_the_sound_twin_of_every_leak_differs_nowhere(settings: type[Any]) -> None:
    assert proof_of(settings(leaks=False)).differing == 0


@pytest.mark.parametrize("settings", LEAKS)
def test_a_strategy_that_looks_ahead_is_caught_and_named_by_both_proofs(
    settings: type[Any],
) -> None:
    proof = proof_of(settings(leaks=True))
    name = f"strategy.{settings.__module__.rpartition('.')[2]}"
    assert proof.differing > 0
    assert proof.differences.iloc[0]["stage"] == name
    for kind in (ROW_BY_ROW, NOISE):
        assert {name, "forecast", "weights"} == stages(proof, kind)
    assert set(proof.differences["symbol"]) == {"S00", "S01", "S02"}


def test_a_centred_window_is_found_by_noise_in_no_more_rows_than_it_looks_ahead() -> None:
    proof = proof_of(CentredWindowSettings(leaks=True), noise_cuts=1)
    differences = proof.differences[proof.differences["proof"] == NOISE]
    forecasts = differences[differences["stage"] == "forecast"]
    stamps = whole_market().decision_bars().index
    assert list(forecasts["ts"].unique()) == list(stamps[88:90])


def test_smoothed_regimes_are_caught_and_named_before_what_follows_from_them() -> None:
    proof = proof_of(by_regime(leaks=True), MARKET)
    assert proof.differences.iloc[0]["stage"] == "regime"
    assert stages(proof, ROW_BY_ROW) == {"regime", "matrix", "forecast", "weights"}


def test_a_fit_that_remembers_the_future_is_caught_by_noise_where_rows_alone_see_nothing() -> None:
    proof = proof_of(RememberedFutureSettings(leaks=True))
    assert stages(proof, ROW_BY_ROW) == set()
    assert stages(proof, NOISE) == {"strategy.remembered_future", "forecast", "weights"}
    assert proof.differing > 0


@dataclass(frozen=True, kw_only=True)
class BackfilledData(MarketData):
    """Data whose decision bars take a missing close from the next row."""

    def decision_bars(self) -> Bars:
        bars = super().decision_bars()
        closes = bars.panel("close").bfill().to_numpy()
        return replace(bars, fields={**bars.fields, "close": closes})


def test_decision_bars_that_are_filled_backwards_are_caught_as_the_bars_themselves() -> None:
    data = BackfilledData(bars=MARKET.bars, interval="8h", start_us=None, notes=())
    proof = proof_of(TREND, data, noise_cuts=0)
    assert proof.differences.iloc[0]["stage"] == "bars.close"
    assert proof.differences.iloc[0]["symbol"] == "S02"


@dataclass(frozen=True, kw_only=True)
class SettlementsSettings:
    """Of the plain strategy below."""

    lookback: int = 4
    exits: ExitSettings = NO_EXITS


def forecast(bars: Bars) -> pd.Series[float]:
    """Return minus the mean settlement of the window, the same for all symbols."""
    rate = bars.settlements.rate.mean() if len(bars.settlements) else 1.0
    return pd.Series(np.clip(-1000.0 * rate, -1.0, 1.0), index=list(bars.symbols))


def test_settlements_before_the_cut_are_still_there_for_a_plain_strategy() -> None:
    assert proof_of(SettlementsSettings()).differing == 0


@pytest.mark.parametrize("cut", [1, 37, 89])
def test_noise_keeps_everything_before_the_cut_and_nothing_after_it(cut: int) -> None:
    bars = MARKET.decision_bars()
    noisy = with_noise(bars, cut, np.random.default_rng(0))
    assert noisy.rows(0, cut).fingerprint() == bars.rows(0, cut).fingerprint()
    assert (noisy.ts_us == bars.ts_us).all()
    assert set(noisy.fields) == set(bars.fields)
    for name, values in noisy.fields.items():
        was, now = bars.array(name)[cut:], values[cut:]
        assert not ((was == now) & (was != 0.0)).any(), name
        assert np.isfinite(now).all() or name == "funding_rate"


def test_noise_follows_its_seed() -> None:
    bars = MARKET.decision_bars()
    first, again, other = (
        with_noise(bars, 50, np.random.default_rng(seed)).fingerprint() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_columns_that_are_not_symbols_are_not_named_after_them() -> None:
    bars = small_bars(days=30, n_symbols=2, interval="8h", seed=7, holes=False)
    proof = proof_of(by_regime(leaks=True), replace(MARKET, bars=bars))
    first = proof.differences.iloc[0]
    assert (first["stage"], first["symbol"]) == ("regime", "0")


def test_the_earliest_difference_comes_first_whichever_proof_found_it() -> None:
    found = proof_of(FullSampleScoreSettings(leaks=True)).differences
    assert found["ts"].is_monotonic_increasing
    assert list(found.index) == list(range(len(found)))
    of_first_row = found[found["ts"] == found["ts"].iloc[0]]
    assert set(of_first_row["proof"]) == {ROW_BY_ROW, NOISE}
    assert of_first_row["stage"].iloc[0] == "strategy.full_sample_score"


def test_progress_is_shown_for_every_decision() -> None:
    shown: list[range] = []

    def progress(rows: range) -> Iterable[int]:
        shown.append(rows)
        return rows

    chosen = SignalSettings(strategy=TREND, portfolio=PORTFOLIO)
    prove(MARKET, chosen, noise_cuts=0, cold_starts=0, seed=0, progress=progress)
    assert shown == [range(90)]


def test_cold_starts_are_measured_where_the_data_is_long_enough() -> None:
    data = SmallMarket(days=40, n_symbols=3, interval="4h", execution_interval="4h").load()
    proof = proof_of(TREND, data, noise_cuts=0, cold_starts=3)
    cold = proof.cold_starts
    assert len(cold) == 3
    assert cold["ts"].iloc[-1] == data.bars.index[240 - COMPARED_ROWS]
    assert proof.warm_up < 240 - COMPARED_ROWS
    assert (cold["largest_weight"] > 0.0).all()
    assert ((cold["difference"] > 0.0) & (cold["difference"] < 0.02)).all()
    assert any("a cold start after" in line for line in lookahead._told(proof))
    assert proof.differing == 0


def test_cold_starts_are_said_to_be_impossible_where_the_data_is_too_short() -> None:
    short = replace(MARKET, bars=MARKET.bars.rows(0, 60))
    proof = proof_of(TREND, short, cold_starts=3)
    assert len(proof.cold_starts) == 0
    said = f"could not be measured: it replays {proof.warm_up} bars, the data holds 30"
    assert any(said in line for line in lookahead._told(proof))


def test_cold_starts_that_nobody_asked_for_are_not_said_to_be_impossible() -> None:
    data = SmallMarket(days=40, n_symbols=3, interval="4h", execution_interval="4h").load()
    told = lookahead._told(proof_of(TREND, data, noise_cuts=0, cold_starts=0))
    assert not any("cold start" in line for line in told)


@pytest.mark.parametrize("name", ["noise_cuts", "cold_starts"])
def test_negative_numbers_of_cuts_and_starts_are_refused(name: str) -> None:
    numbers = {"noise_cuts": 0, "cold_starts": 0, name: -1}
    with pytest.raises(ConfigError, match=f"{name} must be a whole number >= 0, was -1"):
        proof_of(TREND, MARKET, **numbers)


def test_data_in_which_nothing_could_be_decided_proves_nothing() -> None:
    bars = small_bars(days=1, n_symbols=2, interval="1h", seed=1).rows(0, 5)
    short = MarketData(bars=bars, interval="1h", start_us=None, notes=())
    with pytest.raises(
        ConfigError, match=r"need [\d,]+ bars to warm up, the data holds 5: no deci"
    ):
        proof_of(TREND, short, noise_cuts=0, cold_starts=0)


def test_data_without_a_whole_decision_bar_is_refused() -> None:
    bars = small_bars(days=1, n_symbols=2, interval="1h", seed=1).rows(0, 5)
    short = MarketData(bars=bars, interval="1d", start_us=None, notes=())
    with pytest.raises(DataGap, match="must hold a whole decision bar of 1d, held none"):
        prove(
            short,
            SignalSettings(strategy=TREND, portfolio=PORTFOLIO),
            noise_cuts=0,
            cold_starts=0,
            seed=1,
        )


def configured(folder: Path, *, leaks: bool) -> Any:
    """What the command is given, on the small market and a strategy that leaks or does not."""
    portfolio = {name: getattr(PORTFOLIO, name) for name in PORTFOLIO.__dataclass_fields__}
    market = {"days": 30, "n_symbols": 3, "interval": "8h", "execution_interval": "8h"}
    return OmegaConf.create(
        {
            "runs": str(folder / "runs"),
            "name": "leaks" if leaks else "sound",
            "seed": 7,
            "noise_cuts": 1,
            "cold_starts": 1,
            "data": {"_target_": "tests.research.market.SmallMarket", **market},
            "universe": {},
            "regime": {},
            "matrix": {},
            "account": {},
            "execution": {},
            "strategy": {
                "_target_": "tests.research.leaks.centred_window.CentredWindowSettings",
                "leaks": leaks,
            },
            "portfolio": {"_target_": "quantcore.signals.generator.PortfolioSettings", **portfolio},
        }
    )


@pytest.mark.parametrize("leaks", [False, True])
def test_the_command_ends_in_one_where_a_decision_differs_and_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], leaks: bool
) -> None:
    assert lookahead.main(configured(tmp_path, leaks=leaks)) == int(leaks)
    told = capsys.readouterr().out.strip().splitlines()
    folder = Path(told[-1])
    assert {path.name for path in folder.iterdir()} == {
        "summary.json",
        "config.yaml",
        "differences.parquet",
        "cold_starts.parquet",
    }
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    differences = pd.read_parquet(folder / "differences.parquet")
    assert summary["decisions"] == 90
    assert summary["checked"] == (90 + 45) * 3
    assert (summary["differing"] > 0) == (len(differences) > 0) == leaks
    first = summary["first_difference"]
    assert (first is not None) == leaks
    if leaks:
        assert first["stage"] == "strategy.centred_window"
        assert first["ts"] == differences["ts"].iloc[0].isoformat()
        assert told[1].startswith("first: strategy.centred_window of S00 at 2024-01-01")


def prove_from_outside(workplace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    small = ("data.n_symbols=4", "data.days=320", "data.late_listings=1", "data.interval=4h")
    return subprocess.run(
        [sys.executable, "-m", "quantcore.research.lookahead", "+experiment=quickstart", *small, *arguments],
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip


@pytest.mark.integration
def test_the_command_ends_in_nought_and_counts_what_it_compared(tmp_path: Path) -> None:
    done = prove_from_outside(tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["checked"] > summary["decisions"] == 1_920
    assert summary["differing"] == 0
    assert not list((tmp_path / "data" / "runs" / ".partial").glob("*"))


@pytest.mark.integration
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("portfolio.gross_max=-1", "gross_max must be finite and > 0"),
        ("noise_cuts=-3", "noise_cuts must be a whole number >= 0, was -3"),
        ("cold_starts=x", "cold_starts must be a whole number >= 0, was 'x'"),
        ("account.capital=-5", "account.capital must be > 0, was -5"),
        ("execution.slippage_bps=-1", "execution.slippage_bps must be >= 0, was -1"),
    ],
)
def test_a_refused_command_says_one_line_and_leaves_nothing(
    tmp_path: Path, override: str, said: str
) -> None:
    done = prove_from_outside(tmp_path, override)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert said in done.stderr
    runs = tmp_path / "data" / "runs"
    assert not list(runs.glob("lookahead/*"))
    assert not list(runs.glob(".partial/*"))
