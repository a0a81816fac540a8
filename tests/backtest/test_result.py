"""The `Run`, its metrics and its folder: the contract of DESIGN.md 6, checked from the files as an outsider would."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from quantcore.backtest import report
from quantcore.backtest.attribution import daily_profit, profit_by_symbol
from quantcore.backtest.curves import curves
from quantcore.backtest.folder import PARTIAL, to_json
from quantcore.backtest.metrics import compute_metrics, run_trades
from quantcore.backtest.report import read_run, write_run
from quantcore.backtest.result import CONTRACT_KEYS, METRIC_KEYS, RUN_TABLES, SCHEMAS, Run
from quantcore.errors import DataGap, SchemaMismatch

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(run, tmp_path_factory.mktemp("runs"), "backtest", "fake", now=NOW)


def with_table(run: Run, name: str, table: pd.DataFrame) -> Run:
    return replace(run, tables={**run.tables, name: table})


def test_the_keys_stand_in_the_order_of_the_contract(run: Run, shared: Path) -> None:
    metrics = compute_metrics(run)
    assert tuple(metrics) == METRIC_KEYS
    text = (shared / "DESIGN.md").read_text("utf-8")
    start = text.index("`metrics.json` keys: `") + len("`metrics.json` keys: `")
    assert tuple(text[start : text.index("`.", start)].split()) == CONTRACT_KEYS
    assert METRIC_KEYS[: len(CONTRACT_KEYS)] == CONTRACT_KEYS


def test_unknown_values_are_null_and_known_ones_plain(run: Run) -> None:
    metrics = compute_metrics(run)
    null = {key for key, value in metrics.items() if value is None}
    unknown = {"ruin_probability", "liquidation_probability_24h", "dsr", "trials"}
    unknown |= {"fill_rate", "post_only_success"}
    assert null == unknown | {"adverse_selection_bps", "adverse_selection_1h_bps"}
    assert {type(value) for value in metrics.values()} <= {str, int, float, type(None)}


def test_an_outsider_recomputes_the_money_from_the_files(folder: Path) -> None:
    """The audit of the acceptance checks, without the market data it compares prices with."""
    m = json.loads((folder / "metrics.json").read_text("utf-8"))
    fills, funding, equity, positions, gone = (
        pd.read_parquet(folder / f"{name}.parquet")
        for name in ("fills", "funding", "equity", "positions", "liquidations")
    )
    qty = fills.qty * np.where(fills.side == "buy", 1.0, -1.0)
    last = positions[positions.ts == equity.ts.iloc[-1]].set_index("symbol")
    end_qty = qty.groupby(fills.symbol).sum()
    assert (np.abs(last.qty.reindex(end_qty.index).fillna(0.0) - end_qty) <= 1e-9).all()
    assert len(gone) == int((fills.reason == "liquidation").sum()) == m["liquidations"] == 1
    gross = -(qty * fills.price).sum() + float((last.qty * last.mark_price).sum())
    net = gross - fills.fee.sum() - funding.amount.sum() - gone.fee.sum() + gone.insurance.sum()
    change = equity.equity.iloc[-1] - m["capital"] - m["deposits"]
    assert equity.equity.iloc[-1] == m["final_equity"]
    assert net == pytest.approx(change, abs=1e-7)
    assert m["gross_pnl"] == pytest.approx(gross, abs=1e-7)
    assert m["fees"] == pytest.approx(fills.fee.sum(), abs=1e-9)
    assert m["funding"] == pytest.approx(funding.amount.sum(), abs=1e-9)
    assert (fills.decision_ts < fills.ts).all()


def test_sharpe_and_drawdown_agree_with_the_audit(make_run: Callable[..., Run]) -> None:
    plain = make_run(deposits=())
    m, equity = compute_metrics(plain), plain.tables["equity"]
    curve = equity.set_index(pd.DatetimeIndex(equity.ts)).equity
    daily = curve.groupby(lambda t: (t - pd.Timedelta("1us")).floor("D")).last()
    daily = pd.concat([pd.Series([m["capital"]]), daily]).pct_change().dropna()
    sharpe = daily.mean() / daily.std() * np.sqrt(365)
    assert abs(sharpe - m["sharpe"]) < 0.05 * max(1.0, abs(sharpe))
    whole = np.concatenate([[m["capital"]], equity.equity])
    assert m["max_drawdown"] <= (whole / np.maximum.accumulate(whole) - 1).min() + 1e-9
    assert m["total_return"] == pytest.approx(m["final_equity"] / m["capital"] - 1.0)


def test_a_deposit_is_no_return(run: Run) -> None:
    m = compute_metrics(run)
    assert m["deposits"] == 500.0
    assert m["final_equity"] / m["capital"] - 1.0 > m["total_return"] + 0.3
    equity = run.tables["equity"]
    implied = curves(with_table(run, "equity", equity.drop(columns=["nav", "flow"])))
    np.testing.assert_allclose(implied.nav, equity["nav"], rtol=1e-9)


def test_a_drawdown_between_decisions_counts(run: Run) -> None:
    equity = run.tables["equity"].copy()
    equity.loc[100, "drawdown"] = -0.77
    assert compute_metrics(with_table(run, "equity", equity))["max_drawdown"] == -0.77


def test_money_that_does_not_add_up_is_refused(run: Run) -> None:
    fills = run.tables["fills"].copy()
    fills["fee"] = fills["fee"].where(fills.index != 3, fills["fee"] + 1e-5)
    with pytest.raises(SchemaMismatch, match="final equity must equal"):
        compute_metrics(with_table(run, "fills", fills))


def test_slippage_is_what_takers_lost_to_the_reference(run: Run) -> None:
    m = compute_metrics(run)
    assert m["mean_slippage_bps"] == pytest.approx(3.0, rel=1e-3)
    without = with_table(run, "fills", run.tables["fills"].drop(columns="reference_price"))
    other = compute_metrics(without)
    assert (other["slippage_cost"], other["mean_slippage_bps"]) == (0.0, None)


def test_an_account_that_never_traded_has_numbers_where_they_exist(
    make_run: Callable[..., Run],
) -> None:
    idle = make_run(orders_per_bar=0.0, deposits=())
    m = compute_metrics(idle)
    assert (m["total_return"], m["trades"], m["turnover_annual"], m["max_drawdown"]) == (0, 0, 0, 0)
    assert m["sharpe"] is m["win_rate"] is m["psr"] is m["mean_slippage_bps"] is None


def test_one_equity_row_is_enough(run: Run) -> None:
    tables = {name: run.tables[name].iloc[:0] for name in RUN_TABLES}
    tables["equity"] = run.tables["equity"].iloc[:1]
    m = compute_metrics(replace(run, tables=tables))
    assert m["final_equity"] == m["capital"]
    assert m["annual_return"] is None


def test_a_ruined_account_has_lost_everything(run: Run) -> None:
    tables = {name: run.tables[name].iloc[:0] for name in RUN_TABLES}
    equity = run.tables["equity"].iloc[:100].assign(flow=0.0, drawdown=0.0)
    alive = np.arange(100) < 40
    tables["equity"] = equity.assign(
        equity=np.where(alive, 1000.0, 0.0), nav=np.where(alive, 1.0, 0.0)
    )
    tables["cash_flows"] = pd.DataFrame({"ts": equity["ts"].iloc[[50]], "amount": [-1000.0]})
    m = compute_metrics(replace(run, tables=tables))
    assert (m["total_return"], m["max_drawdown"], m["annual_return"]) == (-1.0, -1.0, -1.0)


def test_symbols_and_days_add_up_to_the_change_in_equity(run: Run) -> None:
    m = compute_metrics(run)
    change = m["final_equity"] - m["capital"] - m["deposits"]
    split, by_day = profit_by_symbol(run), daily_profit(run, curves(run))
    assert split["net"].sum() == pytest.approx(change, abs=1e-8)
    assert (split["price"] + split["slippage"]).sum() == pytest.approx(m["gross_pnl"], abs=1e-8)
    assert by_day.to_numpy().sum() == pytest.approx(change, abs=1e-8)
    np.testing.assert_allclose(by_day.sum()[split.index], split["net"], atol=1e-8)
    equity = run.tables["equity"]
    value = (equity["equity"] - equity["flow"].cumsum()).to_numpy()
    ends = value[24::24]
    np.testing.assert_allclose(by_day.sum(axis=1), np.diff(ends, prepend=1000.0), atol=1e-8)


def test_the_folder_s_name_sorts_by_time_and_nothing_partial_remains(folder: Path) -> None:
    assert folder.name == "20260102T030405.678901Z-fake"
    assert folder.parent.name == "backtest"
    assert not list((folder.parent.parent / PARTIAL).iterdir())
    wanted = {"config.yaml", "manifest.json", "metrics.json", "tearsheet.html"}
    wanted |= {f"{name}.parquet" for name in (*RUN_TABLES, "trades")}
    assert {path.name for path in folder.iterdir()} == wanted


def test_the_same_run_gives_the_same_bytes(run: Run, folder: Path, tmp_path: Path) -> None:
    again = write_run(run, tmp_path, "backtest", "fake")
    for path in folder.iterdir():
        same = hashlib.sha256(path.read_bytes()).digest()
        assert hashlib.sha256((again / path.name).read_bytes()).digest() == same, path.name


def test_two_runs_in_one_microsecond_get_two_folders(run: Run, tmp_path: Path) -> None:
    first = write_run(run, tmp_path, "backtest", "a b/../c", now=NOW)
    second = write_run(run, tmp_path, "backtest", "a b/../c", now=NOW)
    assert first.name == "20260102T030405.678901Z-a-b-..-c"
    assert second.name == "20260102T030405.678902Z-a-b-..-c"


def test_columns_and_types_are_those_declared(folder: Path) -> None:
    for name, schema in SCHEMAS.items():
        found = pq.read_schema(folder / f"{name}.parquet")
        assert found.names == schema.names
        assert found.types == schema.types
        assert not found.metadata


def test_empty_tables_keep_their_types(run: Run, tmp_path: Path) -> None:
    empty = with_table(run, "reasons", pd.DataFrame(columns=SCHEMAS["reasons"].names))
    folder = write_run(empty, tmp_path, "backtest", "fake")
    assert pq.read_schema(folder / "reasons.parquet").types == SCHEMAS["reasons"].types


def test_a_refused_run_leaves_nothing(run: Run, tmp_path: Path) -> None:
    bad = with_table(run, "fills", run.tables["fills"].assign(qty="much"))
    with pytest.raises((SchemaMismatch, ValueError)):
        write_run(bad, tmp_path, "backtest", "fake")
    assert not (tmp_path / "backtest").exists()
    assert not list((tmp_path / PARTIAL).iterdir())


def test_a_column_of_the_wrong_type_is_named(run: Run) -> None:
    with pytest.raises(SchemaMismatch, match="table fills column fee must be double"):
        report.to_arrow(run.tables["fills"].assign(fee="much"), "fills")


def test_what_was_written_is_read_back(run: Run, folder: Path) -> None:
    saved = read_run(folder)
    pd.testing.assert_frame_equal(saved.tables["targets"], run.tables["targets"], check_freq=False)
    pd.testing.assert_frame_equal(saved.tables["trades"], run_trades(run), check_dtype=False)
    assert saved.metrics == compute_metrics(run)
    assert saved.manifest["seed"] == 7
    assert saved.config_yaml == run.config_yaml


def test_targets_are_read_with_their_stamps_as_index(run: Run, folder: Path) -> None:
    targets = pd.read_parquet(folder / "targets.parquet")
    assert isinstance(targets.index, pd.DatetimeIndex)
    assert targets.index.name == "ts"
    assert str(targets.index.dtype) == "datetime64[us, UTC]"
    assert list(targets) == list(run.bars.symbols)
    assert "ts" in pq.read_schema(folder / "targets.parquet").names


def test_targets_of_an_older_folder_are_read_too(run: Run, tmp_path: Path) -> None:
    folder = write_run(run, tmp_path, "backtest", "fake")
    bare = pq.read_table(folder / "targets.parquet").replace_schema_metadata(None)
    pq.write_table(bare, folder / "targets.parquet")
    pd.testing.assert_frame_equal(
        read_run(folder).tables["targets"], run.tables["targets"], check_freq=False
    )


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataGap, match=r"must hold metrics\.json"):
        read_run(tmp_path)


def test_json_has_no_nan() -> None:
    text = to_json({"a": math.nan, "b": [np.float64(1.5), math.inf], "c": {"d": np.int64(3)}})
    assert json.loads(text) == {"a": None, "b": [1.5, None], "c": {"d": 3}}


def test_given_metrics_are_written_as_they_are(run: Run, tmp_path: Path) -> None:
    metrics = compute_metrics(run) | {"dsr": 0.5, "trials": 12}
    folder = write_run(run, tmp_path, "backtest", "fake", metrics=metrics)
    assert read_run(folder).metrics["dsr"] == 0.5


def test_a_run_without_a_table_or_a_column_is_refused(run: Run) -> None:
    with pytest.raises(SchemaMismatch, match="must have the table fills"):
        replace(run, tables={k: v for k, v in run.tables.items() if k != "fills"})
    with pytest.raises(SchemaMismatch, match=r"missing \['fee'\], unknown \['cost'\]"):
        with_table(run, "fills", run.tables["fills"].rename(columns={"fee": "cost"}))
    with pytest.raises(ValueError, match=r"capital must be > 0, was -1\.0"):
        replace(run, capital=-1.0)
