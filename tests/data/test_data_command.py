from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from quantcore.config import build, compose
from quantcore.data.commands import main, read_options
from quantcore.data.folder import Folder
from quantcore.data.quality import series_of
from quantcore.data.sources import INVENTED, StoreData
from quantcore.data.store import Store
from quantcore.errors import ConfigError, DataGap, SchemaMismatch

FIRST_MS = 1_672_531_200_000
HOUR_MS = 3_600_000


def run(*overrides: str) -> int:
    return main(compose("market_data", overrides))


@pytest.fixture
def folder(
    tmp_path: Path, kline_columns: Callable[..., Any], write_klines: Any, write_series: Any
) -> Path:
    write_klines("AUSDT", kline_columns(48))
    write_klines(
        "BUSDT", kline_columns(24, seed=2), times_ms=FIRST_MS + HOUR_MS * np.arange(24, 48)
    )
    at = FIRST_MS + 8 * HOUR_MS * np.arange(6)
    write_series("funding/AUSDT", "funding_time", at, funding_rate=np.full(6, 1e-4))
    return tmp_path / "folder"


def test_import_then_info_list_what_is_held(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    assert run("action=import", f"from={folder}", f"to={store}") == 0
    assert series_of(Store.open(str(store))) == series_of(Folder(str(folder)))
    capsys.readouterr()
    assert run("action=info", f"from={store}") == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "BUSDT" in x)
    assert line.split() == [
        *("klines", "1h", "BUSDT", "2023-01-02T01:00", "2023-01-03T00:00", "24", "0", "0"),
    ]


def test_import_can_be_narrowed(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    chosen = ["symbols=[AUSDT]", "kinds=[klines]", "intervals=[1h]"]
    run("action=import", f"from={folder}", f"to={store}", *chosen)
    assert series_of(Store.open(str(store))) == [("klines", "1h", "AUSDT")]
    with pytest.raises(DataGap, match="AUSD is not held, nearest is AUSDT"):
        run("action=import", f"from={folder}", f"to={store}", "symbols=[AUSD]")
    with pytest.raises(DataGap, match=r"holds nothing of kinds all, intervals \['4h'\]"):
        run("action=import", f"from={folder}", f"to={store}", "intervals=[4h]", "symbols=[BUSDT]")


def test_import_refuses_corrupt_data_and_says_what_to_do(
    tmp_path: Path, kline_columns: Any, write_klines: Any
) -> None:
    columns = kline_columns(5)
    columns["close"][2] = np.inf
    write_klines("AUSDT", columns)
    folder = tmp_path / "folder"
    with pytest.raises(
        SchemaMismatch, match=r"close must be finite.*; action=validate from=.*clean"
    ):
        run("action=import", f"from={folder}", f"to={tmp_path / 'store'}")


def test_validate_writes_a_report_and_a_cleaned_copy_that_loads(
    tmp_path: Path, kline_columns: Any, write_klines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = kline_columns(48)
    columns["high"][10] = columns["low"][10] * 0.5
    columns["close"][20] = -1.0
    times_ms = FIRST_MS + HOUR_MS * np.arange(48)
    times_ms[31] = times_ms[30]
    write_klines("AUSDT", columns, times_ms=times_ms)
    clean = tmp_path / "clean"
    assert run("action=validate", f"from={tmp_path / 'folder'}", f"to={clean}") == 0
    summary = json.loads((clean / "summary.json").read_text())
    assert set(summary["by_check"]) == {"ohlc", "bad_price", "conflicting_duplicate", "gap"}
    assert summary["repairs_by_rule"] == {"drop_bad_price": 1, "keep_first": 4, "widen_range": 1}
    assert pq.read_table(clean / "findings.parquet").num_rows == summary["findings"]
    assert pq.read_table(clean / "repairs.parquet").num_rows == 6
    assert "6 repairs recorded" in capsys.readouterr().out
    market = StoreData(
        root=str(clean),
        interval="1h",
        execution_interval="1h",
        symbols=None,
        start=None,
        end=None,
        ends=None,
    ).load()
    assert np.isnan(market.bars.array("close")[:, 0]).sum() == 2
    # A second run gives the same copy again instead of adding to it.
    before = {p.name: p.read_bytes() for p in clean.rglob("*") if p.is_file()}
    run("action=validate", f"from={tmp_path / 'folder'}", f"to={clean}")
    assert {p.name: p.read_bytes() for p in clean.rglob("*") if p.is_file()} == before


def test_validate_says_which_series_it_leaves_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean"
    run("action=validate", f"from={folder}", f"to={clean}")
    (folder / "klines_1h" / "BUSDT.parquet").write_bytes(b"nothing")
    capsys.readouterr()
    assert run("action=validate", f"from={folder}", f"to={clean}") == 0
    # The series of the earlier copy has gone too.
    assert Store.open(str(clean)).symbols("klines", "1h") == ["AUSDT"]
    shown = capsys.readouterr().out
    assert "unreadable" in shown
    assert shown.splitlines()[-3:] == [
        f"2 repairs recorded; cleaned copy and report in {clean}",
        "1 file dropped: klines_1h/BUSDT.parquet",
        "1 series dropped: klines_1h BUSDT",
    ]
    recorded = pq.read_table(clean / "repairs.parquet").to_pylist()
    assert [(r["symbol"], r["kind"], r["field"], r["rule"]) for r in recorded] == [
        ("BUSDT", "klines_1h", "klines_1h/BUSDT.parquet", "drop_file"),
        ("BUSDT", "klines_1h", "series", "drop_series"),
    ]


def test_validate_keeps_the_years_of_a_store_that_can_be_read(
    tmp_path: Path, kline_columns: Any, write_klines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_klines("AUSDT", kline_columns(20), times_ms=FIRST_MS + HOUR_MS * (8750 + np.arange(20)))
    store, clean = tmp_path / "store", tmp_path / "clean"
    run("action=import", f"from={tmp_path / 'folder'}", f"to={store}")
    damaged = next(store.rglob("part-2024.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:500])
    capsys.readouterr()
    assert run("action=validate", f"from={store}", f"to={clean}") == 0
    assert len(Store.open(str(clean)).read("klines", "1h", "AUSDT")) == 10
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "1 file dropped: kind=klines/interval=1h/symbol=AUSDT/part-2024.parquet"


def test_validate_refuses_where_nothing_would_be_left(
    tmp_path: Path, kline_columns: Any, write_klines: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_klines("AUSDT", kline_columns(3)).write_bytes(b"nothing")
    write_klines("BUSDT", {name: values[:0] for name, values in kline_columns(3).items()})
    with pytest.raises(DataGap, match="held none of 2: no cleaned copy was written"):
        run("action=validate", f"from={tmp_path / 'folder'}", f"to={tmp_path / 'clean'}")
    shown = capsys.readouterr().out
    assert "unreadable" in shown
    assert "empty" in shown
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_import_that_is_refused_writes_nothing(
    tmp_path: Path, kline_columns: Any, write_klines: Any
) -> None:
    write_klines("AUSDT", kline_columns(5))
    columns = kline_columns(5)
    columns["low"][2] = -1.0
    write_klines("BUSDT", columns)
    with pytest.raises(SchemaMismatch, match=r"BUSDT.parquet: low must be finite"):
        run("action=import", f"from={tmp_path / 'folder'}", f"to={tmp_path / 'store'}")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_an_import_that_is_interrupted_writes_nothing_and_a_rerun_completes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = pq.write_table, []

    def interrupt(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments, **options)

    store = tmp_path / "store"
    monkeypatch.setattr("quantcore.data.store.pq.write_table", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run("action=import", f"from={folder}", f"to={store}")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert run("action=import", f"from={folder}", f"to={store}") == 0
    assert series_of(Store.open(str(store))) == series_of(Folder(str(folder)))


def test_an_import_refuses_an_empty_or_unreadable_file_without_recommending_to_clean_it(
    tmp_path: Path, kline_columns: Any, write_klines: Any
) -> None:
    options = ["action=import", f"from={tmp_path / 'folder'}", f"to={tmp_path / 'store'}"]
    path = write_klines("AUSDT", {name: values[:0] for name, values in kline_columns(3).items()})
    with pytest.raises(SchemaMismatch, match=r"^/.*AUSDT.parquet must have at least one row, had"):
        run(*options)
    path.write_bytes(b"nothing")
    with pytest.raises(SchemaMismatch, match=r"^(?!.*action=validate)/.*must be a readable Parq"):
        run(*options)
    write_klines("AUSDT", {k: v for k, v in kline_columns(3).items() if k != "high"})
    with pytest.raises(SchemaMismatch, match=r"^(?!.*action=validate)/.*have the column high"):
        run(*options)


@pytest.mark.parametrize("action", ["import", "validate"])
def test_a_target_that_cannot_be_written_to_is_refused(folder: Path, action: str) -> None:
    with pytest.raises(ConfigError, match="to must be a writable folder, was /proc/nowhere"):
        run(f"action={action}", f"from={folder}", "to=/proc/nowhere")


def test_validate_does_not_write_over_its_source(folder: Path) -> None:
    with pytest.raises(ConfigError, match="to must not be the data that is validated"):
        run("action=validate", f"from={folder}", f"to={folder}/../folder")


def test_synth_writes_a_market_that_the_store_gives_back(tmp_path: Path) -> None:
    store = tmp_path / "store"
    small = [f"data.root={tmp_path / 'synthetic'}", "data.days=20", "data.n_symbols=2"]
    assert run("action=synth", f"to={store}", *small, "data.late_listings=0") == 0
    kinds = {(kind, interval) for kind, interval, _ in series_of(Store.open(str(store)))}
    assert ("klines", "1h") in kinds
    assert ("funding", "event") in kinds


def test_invented_and_recorded_prices_never_share_a_store(folder: Path, tmp_path: Path) -> None:
    invented, recorded, copied = (str(tmp_path / name) for name in ("invented", "recorded", "copy"))
    small = [f"data.root={tmp_path / 'synthetic'}", "data.days=20", "data.n_symbols=2"]
    small.append("data.late_listings=0")
    run("action=synth", f"to={invented}", *small)
    run("action=import", f"from={folder}", f"to={recorded}")
    before = [Store.open(recorded).read(*part) for part in series_of(Store.open(recorded))]
    refused = "^to must be another store than one of {} prices for {} ones, was "
    with pytest.raises(ConfigError, match=refused.format("recorded", "invented") + recorded):
        run("action=synth", f"to={recorded}", *small)
    with pytest.raises(ConfigError, match=refused.format("invented", "recorded") + invented):
        run("action=import", f"from={folder}", f"to={invented}")
    with pytest.raises(ConfigError, match=refused.format("invented", "recorded") + invented):
        run("action=validate", f"from={recorded}", f"to={invented}")
    assert [Store.open(recorded).read(*p) for p in series_of(Store.open(recorded))] == before
    run("action=synth", f"to={invented}", *small)
    run("action=import", f"from={invented}", f"to={copied}")
    run("action=validate", f"from={copied}", f"to={copied}-clean")
    for place, synthetic in (
        (invented, True),
        (copied, True),
        (f"{copied}-clean", True),
        (recorded, False),
    ):
        settings = compose("backtest", ["data=store", f"data.root={place}", "data.interval=1h"])
        assert (build(settings.data).load().notes[:1] == (INVENTED,)) is synthetic


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["action=fetch"], "action must be one of synth, download, import, validate, info"),
        (["action=import"], "action=import must be given from=FOLDER, was null"),
        (["action=info", "from=nowhere"], "from must be an existing folder or store, was nowhere"),
        (["action=info", "from=file:///nowhere"], "from must be an existing store, was file:"),
        (["+experiment=quickstart"], "experiment must not be given to quantcore.data, was quick"),
        (["action=download"], r"action=download must be given symbols=\[\.\.\.\] and start="),
        (["kinds=[trades]"], r"kinds\S* must be among klines, mark, funding, open_interest"),
        (["intervals=[hour]"], r"^intervals\S* must be a whole number and one of"),
        (["workers=many"], "workers must be a whole number, was 'many'"),
    ],
)
def test_bad_options_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(*overrides)


def test_a_default_store_that_was_never_made_is_answered_with_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no store data/store yet: action=synth, download or imp"):
        run("action=info")


def test_options_without_a_range_of_their_own_are_checked_where_they_are_used() -> None:
    options = read_options(compose("market_data", ["workers=0", "frozen_bars=1", "rest_url=x"]))
    with pytest.raises(ConfigError, match="workers must be >= 1"):
        options.archive()
    with pytest.raises(ConfigError, match="frozen_bars must be >= 2"):
        options.quality()
    with pytest.raises(ConfigError, match="rest_url must start with"):
        options.rest()


def test_a_download_from_a_dead_host_says_so_in_one_line_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(
        "action=download",
        "symbols=[AUSDT]",
        "start=2024-01-01",
        "end=2024-12-02",
        "base_url='http://127.0.0.1:9'",
        "retries=0",
        f"raw={tmp_path / 'raw'}",
        f"to={tmp_path / 'store'}",
    )
    assert code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.splitlines()[-1]
    assert last == "base_url http://127.0.0.1:9 cannot be reached: Connection refused"
    assert not (tmp_path / "store").exists()


def test_a_download_fills_the_store_and_a_rerun_adds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "www/data/futures/um/monthly/klines/AUSDT/1h/AUSDT-1h-2024-01.zip"
    path.parent.mkdir(parents=True)
    broken = path.with_name("AUSDT-1h-2024-02.zip")
    broken.write_bytes(b"another file")
    broken.with_name(f"{broken.name}.CHECKSUM").write_text(f"{'0' * 64}  {broken.name}\n")
    first_ms = 1_704_067_200_000
    opens = first_ms + HOUR_MS * np.delete(np.arange(744), [100, 101])
    lines = [f"{t},100,102,99,101,5,{t + HOUR_MS - 1},505,7,2,202,0" for t in opens]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("AUSDT-1h-2024-01.csv", "\n".join(lines))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{digest}  {path.name}\n")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        options = [
            *("action=download", "symbols=[AUSDT]", "kinds=[klines]", "retries=0"),
            *("start=2024-01-01", "end=2024-02-01", f"to={tmp_path / 'store'}"),
            f"base_url='http://127.0.0.1:{server.server_port}'",
            f"raw={tmp_path / 'raw'}",
        ]
        codes = [run(*options), run(*options)]
        shown = capsys.readouterr().out
        codes.append(run(*options, "end=2024-03-01"))
        server.shutdown()
        thread.join()
    assert codes == [0, 0, 1]
    partly = capsys.readouterr()
    assert "1 files failed" in partly.out
    assert "SHA-256" not in partly.out
    assert f"  data/futures/um/monthly/klines/AUSDT/1h/{broken.name}: SHA-256 must be" in partly.err
    assert "1 files downloaded, 0 files stored" in shown
    assert "1 files imported, 742 new rows" in shown
    assert "klines 1h AUSDT from 2024-01-05T05:00:00Z: 2 bars" in shown
    assert "0 files downloaded, 1 files stored" in shown
    assert "0 files imported, 0 new rows" in shown


@pytest.mark.integration
def test_the_command_explains_itself_and_refuses_in_one_line() -> None:
    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quantcore.data", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = start("--help")
    assert shown.returncode == 0
    for action in ("synth", "download", "import", "validate", "info"):
        assert f"\n{action} " in shown.stdout
    refused = start("action=info", "from=nowhere")
    assert refused.returncode == 2
    assert refused.stderr == "from must be an existing folder or store, was nowhere\n"
    assert "experiment" not in shown.stdout.split("Settings:")[0]
    assert "portfolio:" not in shown.stdout


def test_the_real_folder_survives_import_and_validation(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, clean = tmp_path / "store", tmp_path / "clean"
    chosen = ["symbols=[SOLUSDT,MATICUSDT]"]
    run("action=import", f"from={real_data}", f"to={store}", *chosen)
    run("action=validate", f"from={store}", f"to={clean}", *chosen)
    summary = json.loads((clean / "summary.json").read_text())
    assert (summary["blocking"], summary["repairs"]) == (0, 0)
    assert summary["by_check"]["funding_interval"]["findings"] >= 2
    assert "MATICUSDT" in capsys.readouterr().out
