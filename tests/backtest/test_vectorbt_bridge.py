"""A run handed to vectorbt: the same equity in every row, whatever happened to the account, and vectorbt's own figures.

The expected numbers are vectorbt's: it adds up cash and coins from the fills on its own, and knows nothing of our
ledger, its margin or its marks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantcore.account_plane import AccountSettings, CashFlow, account_plane
from quantcore.backtest.engine import decision_rows
from quantcore.backtest.experiment import run_experiment
from quantcore.backtest.metrics import run_trades
from quantcore.backtest.result import Run
from quantcore.backtest.tables import run_tables
from quantcore.backtest.vectorbt_bridge import held_marks, run_marks, vectorbt_portfolio
from quantcore.data.instruments import Bracket, Instrument
from quantcore.errors import ConfigError, SchemaMismatch
from quantcore.execution.settings import ExecutionSettings
from quantcore.exits import ExitSettings
from quantcore.frames import Bars, Settlements, resample_bars, to_panel
from quantcore.timegrid import HOUR_US, to_us
from quantcore.types import FloatArray

vbt = pytest.importorskip("vectorbt")

pytestmark = [
    # vectorbt's, not ours: pandas warns of an argument that it uses, and vectorbt of two plots that it leaves out.
    pytest.mark.filterwarnings("ignore:The inplace keyword:pandas.errors.Pandas4Warning"),
    pytest.mark.filterwarnings("ignore:Subplot .* does not support grouped data:UserWarning"),
]

FIRST_US = to_us("2024-01-01")
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT")
N_BARS = 24 * 20
DEPOSITS = 500.0 - 120.0 + 800.0
LISTED, HOLE, FALL = 24 * 5, slice(200, 207), 300
NO_EXITS = ExitSettings(stop_loss=None, take_profit=None, trailing_stop=None, time_exit=None)


def wild_market() -> Bars:
    """Hourly bars with marks beside closes: A opens 40 % lower once, B is listed late, C has a hole, D has no price."""
    rng = np.random.default_rng(11)
    shape = (N_BARS, len(SYMBOLS))
    steps = rng.normal(0.0, 0.012, shape)
    steps[FALL, 0] -= 0.5
    closes = 100.0 * np.exp(np.cumsum(steps, axis=0))
    opens = np.vstack([np.full((1, shape[1]), 100.0), closes[:-1]])
    opens[FALL, 0] *= np.exp(-0.5)
    spread = 1.0 + np.abs(rng.normal(0.0, 0.002, shape))
    fields = {
        "open": opens,
        "high": np.maximum(opens, closes) * spread,
        "low": np.minimum(opens, closes) / spread,
        "close": closes,
    }
    drift = 1.0 + rng.normal(0.0, 5e-4, shape)
    for mark, field in (
        ("mark_open", "open"),
        ("mark_high", "high"),
        ("mark_low", "low"),
        ("mark_price", "close"),
    ):
        fields[mark] = fields[field] * drift
    fields["mark_high"] = np.maximum(fields["mark_high"], fields["mark_open"])
    fields["mark_low"] = np.minimum(fields["mark_low"], fields["mark_open"])
    for values in fields.values():
        values[:LISTED, 1] = np.nan
        values[HOLE, 2] = np.nan
        values[:, 3] = np.nan
    settled = np.arange(8, N_BARS, 8)
    return Bars(
        interval="1h",
        ts_us=FIRST_US + HOUR_US * np.arange(1, N_BARS + 1),
        symbols=SYMBOLS,
        fields=fields,
        settlements=Settlements(
            time_us=np.repeat(FIRST_US + HOUR_US * settled, 3),
            symbol=np.tile(np.arange(3), len(settled)),
            rate=rng.normal(1e-4, 3e-4, 3 * len(settled)),
            mark_price=np.full(3 * len(settled), np.nan),
        ),
    )


def instruments() -> list[Instrument]:
    bracket = Bracket(floor=0.0, cap=1e9, maintenance_margin_rate=0.01, cum=0.0, leverage_max=20)
    return [
        Instrument(
            symbol=symbol,
            tick_size="0.0001",
            step_size="0.001",
            min_qty="0.001",
            market_max_qty="1000000",
            limit_max_qty="1000000",
            min_notional=5.0,
            maker_fee=0.0002,
            taker_fee=0.0005,
            liquidation_fee=0.0125,
            funding_interval_hours=8,
            brackets=(bracket,),
            origin="made up for the comparison",
            ends="2024-01-18" if symbol == "CCCUSDT" else None,
        )
        for symbol in SYMBOLS
    ]


def account_run(bars: Bars, targets: FloatArray, interval: str, account: AccountSettings) -> Run:
    """The account's run over some bars that decides on target weights, without a signal plane."""
    plane = account_plane(
        instruments(),
        interval=bars.interval,
        account=account,
        execution=ExecutionSettings(
            half_spread_bps=1.0, slippage_bps=2.0, latency_ms=0.0, maker_fee=None, taker_fee=None
        ),
        exits=NO_EXITS,
    )
    decided = resample_bars(bars, interval)
    _, events = plane.advance(
        plane.start(),
        bars,
        targets=targets,
        decisions=decision_rows(bars.ts_us, decided.ts_us),
    )
    return Run(
        bars=bars,
        interval=interval,
        capital=account.capital,
        tables=run_tables(events, plane, bars, to_panel(targets, decided)),
        notes=(),
        quality={},
        config_yaml="",
        manifest={},
    )


def wild_run(margin: Any, interval: str = "4h") -> Run:
    """Five times the equity long and short, turned at random, with deposits and a withdrawal."""
    bars = wild_market()
    rows = resample_bars(bars, interval).n_bars
    rng = np.random.default_rng(5)
    weights = rng.choice([-1.2, -0.6, 0.0, 0.9], (rows, len(SYMBOLS)))
    weights[:, 0] = 3.0
    weights[rng.random(weights.shape) < 0.7] = np.nan
    weights[rows * 16 // 20 : rows * 17 // 20, 2] = 0.9  # held when it ends
    flows = (
        CashFlow(ts="2024-01-06T10:30", amount=500.0),
        CashFlow(ts="2024-01-11T00:00", amount=-120.0),
        CashFlow(ts="2024-01-14T00:00", amount=800.0),  # the fall on the 13th left nothing
    )
    account = AccountSettings(
        capital=1000.0,
        margin=margin,
        leverage_max=10,
        no_trade_band=0.0,
        margin_buffer=0.02,
        missing_funding_rate=0.0001,
        cash_flows=flows,
    )
    return account_run(bars, weights, interval, account)


def assert_same_equity(run: Run, portfolio: Any) -> None:
    equity = run.tables["equity"]
    value = portfolio.value()
    assert list(value.index) == list(equity["ts"])
    ours = equity["equity"].to_numpy()
    np.testing.assert_allclose(value.to_numpy(), ours, rtol=1e-9, atol=1e-12 * run.capital)
    np.testing.assert_allclose(portfolio.final_value(), equity["equity"].iloc[-1], rtol=1e-9)


@pytest.fixture(scope="module")
def cross() -> Run:
    return wild_run("cross")


@pytest.fixture(scope="module")
def portfolio(cross: Run) -> Any:
    return vectorbt_portfolio(cross, run_marks(cross))


@pytest.mark.parametrize("engine", ["numba", "rust"])
@pytest.mark.parametrize("interval", ["1h", "4h"])
@pytest.mark.parametrize("margin", ["cross", "isolated"])
def test_equity_of_a_leveraged_funded_and_liquidated_account_is_the_same_in_every_row(
    margin: str, interval: str, engine: str
) -> None:
    run = wild_run(margin, interval)
    tables = run.tables
    leverage = (tables["equity"]["gross_exposure"] / tables["equity"]["equity"]).max()
    assert leverage > 3.0
    assert (tables["funding"]["amount"] > 0.0).any()
    assert (tables["funding"]["amount"] < 0.0).any()
    assert len(tables["liquidations"]) > 0
    assert tables["liquidations"]["insurance"].max() > 0.0
    assert {"liquidation", "settlement"} <= set(tables["fills"]["reason"])
    assert len(tables["cash_flows"]) == 3
    viewed = vectorbt_portfolio(run, run_marks(run)).replace(engine=engine)
    assert_same_equity(run, viewed)


def test_closes_are_the_marks_that_the_account_used(cross: Run, portfolio: Any) -> None:
    assert list(portfolio.close.columns) == [
        "AAAUSDT",
        "BBBUSDT",
        "CCCUSDT",
        "funding",
        "cash_flows",
    ]
    held = cross.tables["positions"]
    seen = [portfolio.close.at[ts, s] for ts, s in zip(held["ts"], held["symbol"], strict=True)]
    np.testing.assert_array_equal(seen, held["mark_price"])


def test_a_column_of_payments_holds_their_sum_and_no_value(cross: Run, portfolio: Any) -> None:
    paid = portfolio.trades.records_readable.set_index("Column")["PnL"]
    tables = cross.tables
    assert paid["funding"] == pytest.approx(-tables["funding"]["amount"].sum(), rel=1e-9)
    assert paid["cash_flows"] == pytest.approx(DEPOSITS, rel=1e-12)
    extra = portfolio.asset_value(group_by=False)[["funding", "cash_flows"]]
    assert extra.abs().to_numpy().max() < 1e-9


def test_its_trades_are_our_round_trips_net_of_fees(run: Run) -> None:
    viewed = vectorbt_portfolio(run, run_marks(run)).trades.records_readable
    viewed = viewed[~viewed["Column"].isin(["funding", "cash_flows"])]
    ours = run_trades(run)
    assert len(viewed) == len(ours)
    forced = run.tables["liquidations"].groupby("symbol")[["fee", "insurance"]].sum()
    net = (ours["pnl"] - ours["fees"]).groupby(ours["symbol"]).sum()
    net = net.sub(forced["fee"] - forced["insurance"], fill_value=0.0)
    for symbol, profit in viewed.groupby("Column")["PnL"].sum().items():
        assert profit == pytest.approx(net[symbol], rel=1e-9, abs=1e-9), symbol


def test_its_benchmark_is_the_symbols_held_in_equal_parts(cross: Run, portfolio: Any) -> None:
    marks = run_marks(cross)[["AAAUSDT", "BBBUSDT", "CCCUSDT"]].ffill().bfill()
    expected = (marks.iloc[-1] / marks.iloc[0]).mean() - 1.0
    assert portfolio.total_benchmark_return() == pytest.approx(expected, rel=1e-12)


def test_stats_trades_drawdowns_and_plots_work(cross: Run, portfolio: Any) -> None:
    stats = portfolio.stats()
    equity = cross.tables["equity"]
    assert stats["End Value"] == pytest.approx(equity["equity"].iloc[-1])
    assert stats["Start Value"] == 1000.0
    assert stats["Period"] == len(equity) * pd.Timedelta("4h")
    tables = cross.tables
    paid = (
        tables["fills"]["fee"].sum()
        + tables["funding"]["amount"].sum()
        + (tables["liquidations"]["fee"] - tables["liquidations"]["insurance"]).sum()
        - DEPOSITS
    )
    assert stats["Total Fees Paid"] == pytest.approx(paid)
    assert {"Entry Timestamp", "PnL"} <= set(portfolio.trades.records_readable)
    deepest = portfolio.drawdowns.max_drawdown()
    value = equity["equity"].to_numpy()
    assert deepest == pytest.approx((value / np.maximum.accumulate(value) - 1.0).min())
    assert len(portfolio.plot().data) > 0
    assert len(portfolio.plot(column="AAAUSDT", group_by=False).data) > 1
    assert len(portfolio.drawdowns.plot().data) > 0


def test_what_a_results_folder_keeps_gives_the_same_equity(cross: Run) -> None:
    assert_same_equity(cross, vectorbt_portfolio(cross, held_marks(cross)))


def test_a_symbol_that_no_row_found_held_is_known_by_its_last_fill(cross: Run) -> None:
    held = cross.tables["positions"]
    unseen = {**cross.tables, "positions": held[held["symbol"] != "AAAUSDT"]}
    marks = held_marks(Run(**{**vars(cross), "tables": unseen}))["AAAUSDT"]
    fills = cross.tables["fills"]
    assert marks.iloc[:-1].isna().all()
    assert marks.iloc[-1] == fills.loc[fills["symbol"] == "AAAUSDT", "price"].iloc[-1]


def test_a_run_in_which_nothing_happened_keeps_its_capital(cross: Run) -> None:
    empty = {n: t.iloc[:0] for n, t in cross.tables.items() if n not in ("equity", "targets")}
    idle = Run(**{**vars(cross), "tables": {**cross.tables, **empty}})
    for marks in (run_marks(idle), run_marks(idle)[["DDDUSDT", "AAAUSDT"]]):
        assert (vectorbt_portfolio(idle, marks).value() == 1000.0).all()


def test_a_traded_symbol_without_marks_is_refused(cross: Run) -> None:
    with pytest.raises(SchemaMismatch, match="marks must have AAAUSDT, which was traded"):
        vectorbt_portfolio(cross, run_marks(cross)[["BBBUSDT", "CCCUSDT"]])


def test_a_liquidation_that_is_no_fill_is_refused(cross: Run) -> None:
    fills = cross.tables["fills"]
    lost = {**cross.tables, "fills": fills[fills["reason"] != "liquidation"]}
    broken = Run(**{**vars(cross), "tables": lost})
    with pytest.raises(SchemaMismatch, match="each liquidation must also be a fill, were"):
        vectorbt_portfolio(broken, run_marks(broken))


def test_a_missing_vectorbt_is_named_with_what_installs_it(
    cross: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vectorbt", None)
    with pytest.raises(ConfigError, match=r"pip install 'quantcore\[research\]'"):
        vectorbt_portfolio(cross, run_marks(cross))


@pytest.mark.integration
def test_equity_of_a_configured_run_of_many_symbols_is_the_same_in_every_row(
    tmp_path: Path,
) -> None:
    market = [f"data.root={tmp_path}", "data.days=90", "data.n_symbols=6", "strategy.slow=96"]
    later = ["data.start=2024-01-25", "risk=prod", "account.leverage_max=10"]
    run = run_experiment("quickstart", [*market, *later])
    assert run.tables["fills"]["symbol"].nunique() == 6
    assert run.tables["equity"]["ts"].iloc[0] > run.bars.index[500]
    assert_same_equity(run, vectorbt_portfolio(run, run_marks(run)))
