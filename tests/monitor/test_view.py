"""A journal as those who look on read it: typed, in parts, and never in the loop's way."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from live.journal import Decision, Health, Step, open_journal
from live.monitor.place import place_of
from live.monitor.view import TABLES, View
from quantcore.errors import ConfigError, JournalError
from tests.journal.entries import HOUR_US, Loop, account, opened, signal, url_of, whole_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with opened(tmp_path) as journal:
        whole_run(journal)
    return tmp_path / "live"


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'journal.sqlite'}"


def beat(**changed: object) -> Health:
    given = {
        "ts_us": HOUR_US, "wall_us": 7, "late_us": 3, "clock_off_ms": math.nan, "requests": 10, "failures": 1,
        "used_weight": 4, "account_stream": True, "sockets": 2, "connected": 1, "book_age_s": 0.5, "mark_age_s": 1.5,
        "kline_age_s": math.nan, "doubtful": 0, "halted": 0, "stopped": None, "memory_mb": 300.0,
        "disk_free_mb": math.nan, "copy_behind": None, "counts": {"rows": 3},
    }  # fmt: skip
    return Health(**given | changed)  # type: ignore[arg-type]  # the tests' own values


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_a_typed_frame(folder: Path, table: str) -> None:
    with View(url(folder)) as view:
        found = view.rows(table)
    assert found.columns[0] == "row"
    assert found["row"].is_monotonic_increasing
    if len(found):
        assert str(found["ts"].dtype) == "datetime64[us, UTC]"
    for name in ("qty", "price", "fee", "equity", "entry_price", "answered_after_us"):
        if name in found and len(found):
            assert found[name].dtype == np.float64


def test_fills_know_the_order_and_the_step_that_asked_for_them(folder: Path) -> None:
    with View(url(folder)) as view:
        fills = view.rows("fills")
    own, part, foreign = (row for _, row in fills.iterrows())
    assert (own["symbol"], own["qty"], own["price"], own["reason"]) == (
        "BTCUSDT",
        0.01,
        50000.1,
        "target",
    )
    assert own["decision_ts"] == pd.Timestamp(2 * HOUR_US, unit="us", tz="UTC")
    assert own["order_number"] == 1
    assert part["qty"] == 0.004
    assert pd.isna(foreign["decision_ts"])
    assert pd.isna(foreign["reason"])


def test_what_is_new_comes_alone(folder: Path) -> None:
    with View(url(folder)) as view:
        before = view.marks()
        assert view.rows("fills", after=before.events).empty
        with open_journal(url(folder)) as journal:
            journal.begin(journal.recover().session.session, now_us=9 * HOUR_US)  # type: ignore[union-attr]  # it has one
            journal.health(beat())
        now = view.marks()
        assert now == before._replace(sessions=before.sessions + 1, health=before.health + 1)
        assert view.marks() == now
    assert before.steps == 8


def test_rows_are_taken_from_either_end(folder: Path) -> None:
    with View(url(folder)) as view:
        every = view.rows("steps")
        assert view.rows("steps", last=2)["row"].tolist() == [7, 8]
        assert view.rows("steps", after=2, upto=4)["row"].tolist() == [3, 4]
        assert view.rows("steps", since_us=6 * HOUR_US)["row"].tolist() == [6, 7, 8]
        assert len(every) == 8
        with pytest.raises(
            ValueError, match=r"table must be one of steps, decisions, .*, was 'trades'"
        ):
            view.rows("trades")


def test_targets_are_wide_and_leave_out_what_was_skipped(folder: Path) -> None:
    with open_journal(url(folder)) as journal:
        journal.begin(journal.recover().session.session, now_us=9 * HOUR_US)  # type: ignore[union-attr]  # it has one
        late = Decision(targets=None, inputs={}, skipped="late")
        journal.commit_step(
            Step(
                seq=9, ts_us=9 * HOUR_US, kind="close", inputs={}, account=account(0.0, 9), signal=signal(1.0),
                decision=late, took_us=42,
            )
        )  # fmt: skip
    with View(url(folder)) as view:
        targets = view.targets()
        assert targets.columns.tolist() == ["BTCUSDT", "ETHUSDT"]
        assert len(targets) == 4
        assert targets["ETHUSDT"].isna().all()
        assert view.rows("decisions", last=1)["skipped"].tolist() == ["late"]
        assert view.rows("steps", last=1)["took_us"].tolist() == [42.0]


def test_a_heartbeat_and_what_strategies_counted_come_back(tmp_path: Path) -> None:
    with opened(tmp_path) as journal:
        loop = Loop(journal)
        loop.step()
        journal.commit_step(
            Step(
                seq=2, ts_us=HOUR_US * 2, kind="close", inputs={}, account=account(0.0, 2), signal=signal(1.0),
                decision=Decision(
                    targets=np.zeros(2), inputs={}, strategies={"trend": 0.75, "carry": math.nan}
                ),
            )
        )  # fmt: skip
        journal.health(beat(book_age_s=math.nan))
    with View(url_of(tmp_path)) as view:
        assert view.rows("decisions")["strategies"][0] == {"trend": 0.75, "carry": None}
        told = view.rows("health").iloc[0]
    assert told["counts"] == {"rows": 3}
    assert math.isnan(told["book_age_s"])
    assert told["wall_ts"] == pd.Timestamp(7, unit="us", tz="UTC")


def test_the_loop_writes_while_somebody_reads(folder: Path) -> None:
    with View(url(folder)) as view, view.journal.transaction() as reading:
        held = reading.exec_driver_sql("SELECT count(*) FROM health").scalar_one()
        with open_journal(url(folder)) as journal:
            journal.begin(journal.recover().session.session, now_us=9 * HOUR_US)  # type: ignore[union-attr]  # it has one
            journal.health(beat())
        # What the reader has begun to read stays as it was.
        assert reading.exec_driver_sql("SELECT count(*) FROM health").scalar_one() == held


def test_an_older_journal_is_refused_and_left_as_it_is(folder: Path) -> None:
    with open_journal(url(folder)) as journal, journal.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    held = (folder / "journal.sqlite").read_bytes()
    with pytest.raises(
        JournalError, match=r"must be of revision \d+, .* is of 0001: the loop brings it"
    ):
        View(url(folder))
    assert (folder / "journal.sqlite").read_bytes() == held


def test_nothing_can_be_written_through_a_view(folder: Path) -> None:
    with (
        View(url(folder)) as view,
        pytest.raises(JournalError, match="readonly"),
        view.journal.transaction() as connection,
    ):
        connection.exec_driver_sql("DELETE FROM notes")


def test_a_place_is_a_folder_a_file_or_a_url(folder: Path, tmp_path: Path) -> None:
    by_folder, by_file = place_of(str(folder), None), place_of(str(folder / "journal.sqlite"), None)
    assert by_folder == by_file == place_of(None, url(folder))
    assert by_folder.folder == folder
    assert place_of(str(tmp_path), "postgresql+psycopg://me:secret@host/journal").folder == tmp_path
    assert place_of(None, "postgresql+psycopg://me:secret@host/journal").words == (
        "postgresql+psycopg://me:***@host/journal"
    )
    for name in ("metrics.json", "equity.parquet"):
        (tmp_path / name).touch()
    assert place_of(str(tmp_path), None).results == tmp_path


@pytest.mark.parametrize(
    ("run", "db", "words"),
    [
        (None, None, "run or db must be given"),
        ("nowhere", None, "run must be a folder with journal.sqlite, .* was nowhere"),
        (None, "sqlite:///nowhere.sqlite", "db must be a journal, nowhere.sqlite is not there"),
        ("nowhere", "postgresql+psycopg://me@host/x", "run beside db must be the folder .* nowhere"),
        (None, "mysql://host/x", "url must begin with sqlite:/// or postgresql"),
    ],
)  # fmt: skip
def test_what_is_no_place_is_told_in_one_line(run: str | None, db: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place_of(run, db)
