"""A journal leaves as Parquet and comes back equal; pruning drops only what no replay needs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from live.broker.interface import Balance, Doubt
from live.journal import Journal, open_journal, reading, tables
from live.journal.prune import Pruned, prune
from live.journal.replay_check import Replayer
from live.journal.transfer import fingerprint, read_export, write_export
from live.journal.verify import verify
from quantcore.backtest.result import SCHEMAS, check_columns
from quantcore.errors import ConfigError, JournalError, SchemaMismatch
from tests.journal.entries import (
    ADVANCE,
    HOUR_US,
    Loop,
    account,
    fill,
    income,
    opened,
    whole_run,
)


@pytest.fixture
def exported(tmp_path: Path, url: str) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    with opened(url) as journal:
        whole_run(journal)
        write_export(journal, folder)
    return folder


def fingerprints(journal: Journal) -> dict[str, object]:
    with journal.transaction() as connection:
        return {t.name: fingerprint(connection, t) for t in tables.metadata.sorted_tables}


def test_an_import_is_equal_and_goes_on_as_the_journal_would_have(
    exported: Path, url_at: Callable[[str], str]
) -> None:
    with (
        open_journal(url_at("one"), read_only=True) as former,
        open_journal(url_at("two")) as journal,
    ):
        rows = read_export(journal, exported)
        assert fingerprints(journal) == fingerprints(former)
        assert journal.recover() == former.recover()
        assert rows == sum(f["rows"] for f in fingerprints(former).values())  # type: ignore[index]  # a dictionary
        checks = verify(journal, lambda session: Replayer(advance=ADVANCE))
        assert [check.differences for check in checks if check.differences] == []
        assert (journal.next_seq, journal.last_event) == (former.next_seq, former.last_event)
        with pytest.raises(ConfigError, match="journal must be empty for an import"):
            read_export(journal, exported)


def test_a_damaged_export_leaves_the_journal_empty(
    exported: Path, url_at: Callable[[str], str]
) -> None:
    path = exported / "raw" / "fills.parquet"
    table = pq.read_table(path)
    with open_journal(url_at("two")) as journal:
        pq.write_table(table.slice(1), path)
        with pytest.raises(SchemaMismatch, match=r"as its manifest says, fills of .* differs"):
            read_export(journal, exported)
        path.write_bytes(b"PAR1")
        with pytest.raises(
            SchemaMismatch, match=r"must hold whole tables, .*fills\.parquet is not"
        ):
            read_export(journal, exported)
        path.unlink()
        with pytest.raises(SchemaMismatch, match=r"fills\.parquet is not"):
            read_export(journal, exported)
        assert journal.recover().session is None
        manifest = exported / "manifest.json"
        manifest.write_text(json.dumps({"revision": "0000"}))
        with pytest.raises(ConfigError, match=r"from must be of revision 0002, .* is of 0000"):
            read_export(journal, exported)
        manifest.write_text("[")
        with pytest.raises(ConfigError, match="from must be a folder that action=export wrote"):
            read_export(journal, exported)


def test_the_tables_have_the_columns_of_a_results_folder(exported: Path) -> None:
    names = ("fills", "orders", "funding", "equity", "positions", "reasons")
    for name in names:
        table = pq.read_table(exported / f"{name}.parquet")
        assert table.schema.equals(SCHEMAS[name])
        check_columns(table.to_pandas(), name)
        assert table.num_rows > 0
    assert sorted(p.stem for p in exported.glob("*.parquet")) == sorted((*names, "targets"))


def test_fills_and_orders_say_what_happened(exported: Path) -> None:
    fills = pd.read_parquet(exported / "fills.parquet")
    hour = pd.Timedelta(hours=1)
    start = pd.Timestamp(0, tz="UTC")
    assert list(fills["ts"]) == [start + 3 * hour, start + 5 * hour, start + 6 * hour]
    assert list(fills["decision_ts"]) == [start + 2 * hour, start + 4 * hour, start + 5 * hour]
    assert list(fills["order_id"]) == [1, 3, -1]
    assert list(fills["reason"]) == ["target", "target", "foreign"]
    assert list(fills["qty"]) == [0.01, 0.004, 0.01]
    orders = pd.read_parquet(exported / "orders.parquet")
    assert list(orders["order_id"]) == [1, 2, 3]
    assert list(orders["status"]) == ["filled", "rejected", "canceled"]
    assert list(orders["wanted_qty"]) == [0.5] * 3
    assert list(orders["time_in_force"]) == ["GTC"] * 3
    funding = pd.read_parquet(exported / "funding.parquet")
    assert list(funding["amount"]) == [0.05]
    assert math.isnan(funding["rate"][0])


def test_equity_targets_and_positions_are_rows_per_step(exported: Path) -> None:
    equity = pd.read_parquet(exported / "equity.parquet")
    assert len(equity) == 5
    row = equity.iloc[0]
    assert (row["leverage"], row["risk_level"], row["regime"]) == (500 / 1010, "normal", "calm")
    assert not row["halted"]
    assert math.isnan(row["liquidation_probability"])
    positions = pd.read_parquet(exported / "positions.parquet")
    assert positions["unrealised_pnl"][0] == pytest.approx(10.0)
    targets = pd.read_parquet(exported / "targets.parquet").set_index("ts")
    assert list(targets.columns) == ["BTCUSDT", "ETHUSDT"]
    assert len(targets) == 4
    assert targets["BTCUSDT"].iloc[0] == 1.6
    assert targets["ETHUSDT"].isna().all()
    reasons = pd.read_parquet(exported / "reasons.parquet")
    assert reasons["rule"][0] == "min_notional"


def test_orders_that_the_exchange_sent_say_so(tmp_path: Path, url: str) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    made = ("autoclose-1", "adl_autoclose", "settlement_autoclose-2")
    with opened(url) as journal:
        Loop(journal).step()
        told = [fill(n, client_id=who, time_us=2 * HOUR_US) for n, who in enumerate(made)]
        journal.hear(told, heard_us=1)
        write_export(journal, folder)
    fills = pd.read_parquet(folder / "fills.parquet")
    assert list(fills["reason"]) == ["liquidation", "liquidation", "settlement"]


def test_pruning_keeps_what_happened_and_every_state_after_the_cut(url: str) -> None:
    with opened(url) as journal:
        loop = whole_run(journal)
        states = {seq: journal.replay(ADVANCE, at_seq=seq) for seq in range(4, 9)}
        before = fingerprints(journal)
        assert prune(journal, before_us=7 * HOUR_US) == Pruned(4, 4, 2, 1, 1)
        after = fingerprints(journal)
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"steps", "decisions", "snapshots", "events", "balances", "health"}
        assert {seq: journal.replay(ADVANCE, at_seq=seq) for seq in states} == states
        with pytest.raises(JournalError, match="step 3 has none"):
            journal.replay(ADVANCE, at_seq=3)
        checks = verify(journal, lambda session: Replayer(advance=ADVANCE))
        assert [check.differences for check in checks if check.differences] == []
        assert {c.name: c.examined for c in checks}["replay"] == 5
        assert journal.recover().resume(ADVANCE).account == loop.account  # type: ignore[union-attr]  # it has steps
        assert prune(journal, before_us=7 * HOUR_US) == Pruned(4, 0, 0, 0, 0)


def test_pruning_everything_keeps_the_last_snapshot_and_gives_no_number_twice(url: str) -> None:
    with opened(url) as journal:
        loop = whole_run(journal)
        journal.hear([Doubt(time_us=1, reason=text) for text in "ab"], heard_us=1)
        loop.step()
        last = journal.last_event
        assert prune(journal, before_us=10**18).from_seq == 8
        assert journal.recover().resume(ADVANCE).account == loop.account  # type: ignore[union-attr]  # it has steps
        assert journal.last_event == last
        with journal.transaction() as connection:
            told = [event for _, event in reading.events(connection)]
            assert connection.scalars(select(tables.snapshots.c.seq)).all() == [8, 8]
        assert [e.wallet for e in told if isinstance(e, Balance)] == ["1004.34999900"]
        assert prune(journal, before_us=1) == Pruned(0, 0, 0, 0, 0)
        journal.compact()
        assert journal.hear([income("77")], heard_us=9)[0].value == "new"
        assert journal.last_event == last + 1


def test_pruning_waits_for_a_signal_plane_whose_snapshot_is_older(url: str) -> None:
    with opened(url) as journal:
        loop = Loop(journal, snapshot_every=5)
        for _ in range(11):
            loop.step()
        # The signal plane moves at even steps: at 5 only the account is kept, at 10 both.
        assert prune(journal, before_us=9 * HOUR_US).from_seq == 1
        assert journal.replay(ADVANCE).signal == loop.signal
        assert journal.replay(ADVANCE, at_seq=7).account == account(
            float(journal.replay(ADVANCE, at_seq=7).account["seen"][0]), 6
        )
        assert prune(journal, before_us=10 * HOUR_US).from_seq == 10
        assert journal.replay(ADVANCE).signal == loop.signal
