"""A journal and a results folder as the tracker reads them, held against a backtest, as page and as text."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from live.broker.interface import Order, Outcome
from live.folds import CLOSE, bars_arrays
from live.journal import (
    START,
    Decision,
    Equity,
    Intent,
    Journal,
    Latency,
    Step,
    open_journal,
)
from live.monitor.__main__ import main
from live.monitor.page import page, text
from live.monitor.place import Place, place_of
from live.monitor.record import Record, expected_bars, record_of
from live.monitor.summary import summary
from live.monitor.tracker import TrackerSettings, compare, period_of, track
from quantcore.config import compose
from quantcore.errors import ConfigError, JournalError
from quantcore.frames import Bars, no_settlements
from quantcore.types import OrderStatus, OrderType, Side, TimeInForce
from tests.journal.entries import (
    HOUR_US,
    account,
    answered,
    balance,
    change,
    fill,
    income,
    session,
    signal,
    url_of,
)
from tests.monitor.test_view import beat

PART = OrderStatus.PARTIALLY_FILLED
NIGHT_US = 19_800 * 24 * HOUR_US
"""A midnight."""
SETTINGS = TrackerSettings(
    period="day", window_days=None, expectation=None, false_alarm=0.05, horizon_days=100, band=0.9, paths=200, seed=1
)  # fmt: skip


def bar(close: float, hour: int) -> Bars:
    prices = np.array([[close, 10.0 * close]])
    return Bars(
        interval="1h",
        ts_us=np.array([NIGHT_US + hour * HOUR_US]),
        symbols=("BTCUSDT", "ETHUSDT"),
        fields=dict.fromkeys(("open", "high", "low", "close", "volume"), prices),
        settlements=no_settlements(),
    )


def post_only(number: int) -> Intent:
    request = Order(
        client_id=f"qc-{number}", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT, qty="1", price="100",
        time_in_force=TimeInForce.GTX,
    )  # fmt: skip
    return Intent(order_number=number, request=request, reason="target", wanted_qty=1.0)


def step(
    journal: Journal,
    hour: int,
    close: float,
    *intents: Intent,
    skipped: str = "",
    late_us: int = 0,
) -> tuple[int, ...]:
    """Commit a closed bar with a decision, so late; equity is 1000 USDT and 1 more with each hour."""
    equity = 1000.0 + hour
    row = bar(close, hour)
    return journal.commit_step(
        Step(
            seq=journal.next_seq,
            ts_us=NIGHT_US + hour * HOUR_US + late_us,
            kind=CLOSE,
            inputs=bars_arrays(row),
            account=account(0.0, hour),
            signal=signal(0.0),
            decision=Decision(targets=None if skipped else np.zeros(2), inputs={}, skipped=skipped),
            intents=intents,
            equity=Equity(
                equity=equity, wallet_balance=equity, unrealised_pnl=0.0, margin_ratio=0.0, gross_exposure=500.0,
                net_exposure=0.0, drawdown=-0.01, flow=0.0, nav=equity / 1000.0,
            ),
            took_us=9_000,
            account_us=4_000,
        )
    )  # fmt: skip


def ran(folder: Path, hours: int = 6) -> Place:
    """A run in which a decision at 1:00 is filled in part a second late, and re-quoted at another price."""
    config = yaml.safe_dump({"data": {"interval": "1h", "execution_interval": "1h"}})
    with open_journal(url_of(folder)) as journal:
        journal.begin(session(config_yaml=config), now_us=NIGHT_US)
        journal.commit_step(
            Step(
                seq=1,
                ts_us=NIGHT_US,
                kind=START,
                inputs={},
                account=account(0.0, 0),
                signal=signal(0.0),
                snapshot=True,
            )
        )
        journal.health(beat(ts_us=NIGHT_US, wall_us=0, requests=0, failures=0))
        (first,) = step(journal, 1, 100.0, post_only(1))
        told = answered(first, latency=Latency(sent_after_us=500, answered_after_us=30_000))
        journal.answer(replace(told, ts_us=NIGHT_US + HOUR_US))
        at = {"time_us": NIGHT_US + HOUR_US + 1_000_000}
        journal.hear(
            [fill(1, client_id="qc-1", qty="0.5", price="100", maker=True, order_status=PART, **at)],
            heard_us=NIGHT_US + HOUR_US + 3_000_000,
        )  # fmt: skip
        journal.hear(
            [change(OrderStatus.CANCELED, client_id="qc-1", **at)], heard_us=NIGHT_US + HOUR_US
        )
        event = Step(
            seq=journal.next_seq, ts_us=NIGHT_US + HOUR_US + 2_000_000, kind="event", inputs=bars_arrays(bar(105.0, 1)),
            account=account(0.0, 9), intents=[post_only(2)],
        )  # fmt: skip
        (second,) = journal.commit_step(event)
        journal.answer(answered(second, Outcome.REFUSED))
        (third,) = step(journal, 2, 110.0, post_only(3))
        journal.answer(answered(third))
        at = {"time_us": NIGHT_US + 2 * HOUR_US + 1_000_000}
        journal.hear(
            [fill(2, client_id="qc-3", qty="1", price="111", **at)],
            heard_us=at["time_us"] + 1_000_000,
        )
        journal.hear([income(time_us=NIGHT_US + 2 * HOUR_US)], heard_us=NIGHT_US + 2 * HOUR_US)
        for hour in range(3, hours):
            if hour != 4:  # a bar is lost
                step(journal, hour, 110.0, skipped="late" if hour == 3 else "")
        journal.health(
            beat(ts_us=NIGHT_US + 5 * HOUR_US, wall_us=3600 * 1_000_000, requests=50, failures=2)
        )
    return place_of(str(folder / "live"), None)


def test_orders_are_measured_by_the_decision_that_asked_for_them(tmp_path: Path) -> None:
    found = record_of(ran(tmp_path))
    orders = found.orders.set_index("order_id")
    assert orders["arrival"].tolist() == [
        100.0,
        100.0,
        110.0,
    ]  # the second quote serves the first decision
    assert orders["status"].tolist() == ["canceled", "rejected", "filled"]
    assert (orders["decision_ts"].dt.hour).tolist() == [1, 1, 2]
    assert found.fills["reference_price"].tolist() == [100.0, 110.0]
    assert found.fills["liquidity"].tolist() == ["maker", "taker"]
    assert found.funding["amount"].tolist() == [0.05]


def test_what_only_a_live_run_has_is_read_out_of_the_journal(tmp_path: Path) -> None:
    found = record_of(ran(tmp_path)).stability
    assert found is not None
    assert found.round_trip_us[0] == 30_000.0
    assert found.account_us.tolist() == [4_000.0] * 4
    # Five hours of the exchange in one of this machine: seconds there are fifths of them here.
    assert found.update_us.tolist() == [400_000.0, 200_000.0]
    assert (found.beats.requests, found.beats.failures) == (50, 2)
    assert len(found.closes_us) == 4
    assert found.skipped.tolist() == ["late"]
    scores = {each.key: each for each in track(ran(tmp_path / "again"), SETTINGS).scores}
    assert scores["data_loss"].value == "1 bar"


def test_bars_that_were_caught_up_on_count_where_they_closed(tmp_path: Path) -> None:
    place = ran(tmp_path, hours=3)
    with open_journal(url_of(tmp_path)) as journal:
        journal.begin(session(), now_us=NIGHT_US)
        for hour in (3, 4, 5, 6):  # four bars taken half an hour after the last of them
            step(journal, hour, 110.0, late_us=(6 - hour) * HOUR_US + HOUR_US // 2)
        step(journal, 7, 110.0)
        step(journal, 7, 110.0, late_us=1)  # told again by another session
        journal.end("over", now_us=NIGHT_US + 8 * HOUR_US)
    found = record_of(place).stability
    assert found is not None
    assert found.closes_us.tolist() == [NIGHT_US + hour * HOUR_US for hour in range(1, 8)]
    assert expected_bars(record_of(place)) == 7


def test_alerts_that_were_sent_at_once_are_timed(tmp_path: Path) -> None:
    place = ran(tmp_path)
    with sqlite3.connect(tmp_path / "live" / "alerts.sqlite") as queue:
        queue.execute("CREATE TABLE latencies (latency_us INTEGER, held INTEGER)")
        queue.executemany("INSERT INTO latencies VALUES (?, ?)", [(40_000, 0), (9_000_000, 1)])
    found = record_of(place).stability
    assert found is not None
    assert found.alert_us.tolist() == [40_000.0]


def test_only_the_window_counts(tmp_path: Path) -> None:
    found = record_of(ran(tmp_path), days=3.5 / 24.0)
    assert found.equity["ts"].dt.hour.tolist() == [2, 3, 5]
    assert found.nav_before == 1.001
    assert found.orders["order_id"].tolist() == [3]


def test_a_journal_without_a_bar_is_refused(tmp_path: Path) -> None:
    with open_journal(url_of(tmp_path)) as journal:
        journal.begin(session(), now_us=1)
    with pytest.raises(JournalError, match=r"journal must hold a closed bar, .* holds none yet"):
        record_of(place_of(str(tmp_path / "live"), None))


def test_a_day_adds_up(tmp_path: Path) -> None:
    found = period_of(record_of(ran(tmp_path)), "day")
    assert (found.equity, found.profit, found.fills, found.skipped) == (1005.0, 4.0, 2, 1)
    assert found.turnover == pytest.approx(0.5 * 100.0 + 111.0)
    assert found.fees == pytest.approx(2 * 0.2500005)
    assert found.funding == pytest.approx(0.05)
    assert found.growth == pytest.approx(0.005)
    assert [each[0] for each in found.symbols] == ["BTCUSDT"]


def promised(folder: Path, returns: np.ndarray) -> Path:
    """A results folder with only what the comparison reads, its other tables empty."""
    import pyarrow.parquet as pq

    from quantcore.backtest.result import RUN_TABLES, SCHEMAS

    folder.mkdir()
    nav = np.cumprod(np.append(1.0, 1.0 + returns))
    rows: dict[str, object] = {name: np.zeros(len(nav)) for name in SCHEMAS["equity"].names}
    rows |= {
        "ts": pd.date_range("2023-01-01", periods=len(nav), freq="D", unit="us", tz="UTC"),
        "equity": 1000.0 * nav, "nav": nav, "regime": None, "halted": False, "risk_level": None,
    }  # fmt: skip
    for name in (*RUN_TABLES, "trades"):
        table = SCHEMAS[name].empty_table() if name in SCHEMAS else None
        if name == "targets":
            pd.DataFrame({"ts": rows["ts"], "BTCUSDT": 0.0}).to_parquet(folder / "targets.parquet")
        elif name == "equity":
            pd.DataFrame(rows).to_parquet(folder / "equity.parquet", schema=SCHEMAS["equity"])
        else:
            pq.write_table(table, folder / f"{name}.parquet")
    (folder / "metrics.json").write_text(json.dumps({"capital": 1000.0}))
    (folder / "manifest.json").write_text("{}")
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"data": {"interval": "1d", "execution_interval": "1d"}})
    )
    return folder


def of_days(folder: Path, returns: np.ndarray) -> Record:
    return record_of(Place(results=promised(folder, returns)))


def test_a_run_is_held_against_a_backtest(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    backtest = promised(tmp_path / "backtest", rng.normal(0.002, 0.01, 300))
    good, none = compare(
        of_days(tmp_path / "good", rng.normal(0.002, 0.01, 60)), backtest, SETTINGS
    )
    bad, _ = compare(of_days(tmp_path / "bad", rng.normal(-0.006, 0.01, 60)), backtest, SETTINGS)
    assert good is not None
    assert bad is not None
    assert (none, good.watched.alarm, good.outside) == ("", None, False)
    assert bad.watched.alarm is not None
    assert bad.outside
    assert good.band.shape == (60, 3)
    assert good.growth[-1] == pytest.approx(1.0 + summary_of(tmp_path / "good", backtest)["growth"])
    few = promised(tmp_path / "few", rng.normal(0.0, 0.01, 59))
    with pytest.raises(
        ConfigError, match=r"expectation must hold 60 daily returns that vary, .* holds 59"
    ):
        compare(of_days(tmp_path / "other", rng.normal(0.0, 0.01, 60)), few, SETTINGS)


def summary_of(folder: Path, backtest: Path) -> dict[str, float]:
    settings = TrackerSettings(**vars(SETTINGS) | {"expectation": str(backtest)})
    found: dict[str, float] = summary(track(Place(results=folder), settings))["expectation"]
    return found


def test_before_a_whole_day_there_is_nothing_to_compare(tmp_path: Path) -> None:
    backtest = promised(tmp_path / "backtest", np.random.default_rng(3).normal(0.0, 0.01, 100))
    settings = TrackerSettings(**vars(SETTINGS) | {"expectation": str(backtest)})
    found = track(ran(tmp_path), settings)
    assert (found.comparison, found.why_not) == (None, "No whole day has passed.")
    assert "No whole day has passed." in page(found)


def test_the_page_is_whole_and_shows_nothing_unescaped(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    backtest = promised(tmp_path / "backtest", rng.normal(0.002, 0.01, 300))
    folder = promised(tmp_path / "run", rng.normal(-0.006, 0.01, 60))
    (folder / "manifest.json").write_text(json.dumps({"experiment": "<script>alert(1)</script>"}))
    settings = TrackerSettings(**vars(SETTINGS) | {"expectation": str(backtest)})
    found = track(Place(results=folder), settings)
    html = page(found)
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "It has stayed behind what the backtest promised: alarm on " in html
    assert 'id="band"' in html
    assert 'id="sums"' in html
    assert "Only a live run has these: Order latency p50" in html
    assert "NaN" not in html.split('id="figures">')[1].split("</script>")[0]
    told = text(found)
    assert len(told.splitlines()) <= 5
    assert "alarm on" in told.splitlines()[-1]


def test_in_lock_step_funding_is_what_the_wallet_was_told(tmp_path: Path) -> None:
    with open_journal(url_of(tmp_path)) as journal:
        journal.begin(session(mode="parity"), now_us=NIGHT_US)
        journal.commit_step(
            Step(
                seq=1,
                ts_us=NIGHT_US,
                kind=START,
                inputs={},
                account=account(0.0, 0),
                signal=signal(0.0),
                snapshot=True,
            )
        )
        at = {"time_us": NIGHT_US + HOUR_US, "positions": ()}
        told = (
            balance("999.5", change="-0.5", kind="FUNDING_FEE", **at),
            balance("998.5", change="-1", **at),
        )
        journal.hear(told, heard_us=NIGHT_US + HOUR_US)
        step(journal, 1, 100.0)
    found = record_of(place_of(str(tmp_path / "live"), None))
    assert found.funding["amount"].tolist() == [0.5]


def test_funding_says_which_way_it_went(tmp_path: Path) -> None:
    found = track(ran(tmp_path), SETTINGS)
    received = replace(found, period=replace(found.period, funding=-0.05))
    for told in (found, received):
        way = "paid" if told is found else "received"
        assert f"funding 0.05 {way}." in text(told)
        assert f"USDT {way}" in page(told).split("Funding")[1].split("Decisions")[0]


def test_the_command_writes_page_text_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(tmp_path)
    given = [f"run={tmp_path / 'live'}", f"runs={tmp_path / 'runs'}", "monitor.paths=100"]
    assert main(compose("monitor", given)) == 0
    printed = capsys.readouterr().out
    folder = Path(printed.splitlines()[-1])
    assert sorted(each.name for each in folder.iterdir()) == [
        "report.html",
        "report.txt",
        "summary.json",
    ]
    told = json.loads((folder / "summary.json").read_text())
    assert told["targets"]["data_loss"]["value"] == 1.0
    assert told["targets"]["sharpe"]["value"] is None
    assert (folder / "report.txt").read_text().startswith("sim, day to ")
    assert "Post-only success" in printed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"period": "year"}, "period must be one of day, week, was 'year'"),
        ({"window_days": 0.0}, "window_days must be > 0 or null, was 0.0"),
        ({"false_alarm": 1.0}, r"false_alarm must be in \(0, 1\), was 1.0"),
        ({"horizon_days": 0}, "horizon_days must be >= 1, was 0"),
        ({"band": 0.0}, r"band must be in \(0, 1\), was 0.0"),
        ({"paths": 10}, "paths must be >= 100, was 10"),
    ],
)
def test_settings_out_of_range_are_told(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrackerSettings(**vars(SETTINGS) | changed)
    assert math.isfinite(SETTINGS.band)
